"""The configuration map: every key of cmap(8) with its value, and who wants to hear of changes.

One instance per executive.  The executive itself may write every key; what a program asks for
goes through `client_set()`, `client_delete()` and `client_adjust()`, which keep to the read-only
rules.  Names, types and error codes are those of corosync's map (spec ipc.md 5.3, cmap_keys(7)).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import NamedTuple

from aisexec.limits import MAP_BYTES_MAX, MAP_CLIENT_CONFIGURED_MAX, MAP_CLIENT_KEYS_MAX
from ipc.cmap_layouts import KEY_MAX, KEY_MIN, NUMBER_FORMATS, VALUE_MAX
from ipc.cmap_layouts import TrackEvent as TrackEvent
from ipc.cmap_layouts import ValueType as ValueType
from ipc.errors import CsError

KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:")


CODES = {type: struct.Struct(code) for type, code in NUMBER_FORMATS.items()}
"""Types of fixed size."""

ENTRY_SIZE = 256
"""Bytes that a key takes besides its name and its value, about."""

CONFIGURED = ("logging.", "totem.", "nodelist.", "quorum.", "uidgid.config.", "nozzle.")
"""Keys that a reload takes out when the file does not have them any more."""

INTEGERS = frozenset(CODES) - {ValueType.FLOAT, ValueType.DOUBLE}


class Value(NamedTuple):
    """A value as it is stored; a string ends with a NUL."""

    type: ValueType
    data: bytes

    @property
    def number(self) -> int:
        """Of an integer type; raises TypeError for others."""
        if self.type not in INTEGERS:
            raise TypeError(f"{self.type.name} is no integer")
        return int(CODES[self.type].unpack(self.data)[0])

    @property
    def real(self) -> float:
        """Of a float or double; raises TypeError for others."""
        if self.type not in (ValueType.FLOAT, ValueType.DOUBLE):
            raise TypeError(f"{self.type.name} is neither float nor double")
        return float(CODES[self.type].unpack(self.data)[0])

    @property
    def text(self) -> str:
        """Of a string, without its NUL; raises TypeError for others."""
        if self.type is not ValueType.STRING:
            raise TypeError(f"{self.type.name} is no string")
        return self.data[:-1].decode("utf-8", "replace")


def fixed(type: ValueType, number: float) -> Value:
    """A number of the given type; raises struct.error when it does not fit."""
    return Value(type, CODES[type].pack(number))


def u8(number: int) -> Value:
    """An unsigned integer of 8 bits; this and the next raise struct.error when it does not fit."""
    return fixed(ValueType.U8, number)


def u16(number: int) -> Value:
    """16 bits."""
    return fixed(ValueType.U16, number)


def u32(number: int) -> Value:
    """32 bits."""
    return fixed(ValueType.U32, number)


def u64(number: int) -> Value:
    """64 bits."""
    return fixed(ValueType.U64, number)


def i32(number: int) -> Value:
    """A signed integer of 32 bits."""
    return fixed(ValueType.I32, number)


def i64(number: int) -> Value:
    """64 bits."""
    return fixed(ValueType.I64, number)


def single(number: float) -> Value:
    """A floating point number of 32 bits (C: float)."""
    return fixed(ValueType.FLOAT, number)


def double(number: float) -> Value:
    """64 bits."""
    return fixed(ValueType.DOUBLE, number)


def text(string: str) -> Value:
    """A string; what follows a NUL in it is cut off, as C would."""
    return Value(ValueType.STRING, string.encode("utf-8", "surrogateescape").split(b"\0")[0] + b"\0")


class MapError(Exception):
    """A call was refused; `error` is what cmap answers."""

    def __init__(self, error: CsError, text: str) -> None:
        super().__init__(text)
        self.error = error


ALL = TrackEvent.ADD | TrackEvent.MODIFY | TrackEvent.DELETE


class Change(NamedTuple):
    """What happened to a key; `old` is None for ADD, `new` for DELETE."""

    key: str
    event: TrackEvent
    old: Value | None
    new: Value | None


class Track(NamedTuple):
    """Somebody who wants to hear of changes.  `key` None: of the whole map."""

    serial: int
    key: str | None
    events: TrackEvent
    prefix: bool
    callback: Callable[[Change], None]


class Icmap:
    """Keys in byte order, their values, tracks and read-only rules."""

    def __init__(self) -> None:
        self._values: dict[str, Value | Callable[[], Value]] = {}
        self._keys: list[str] = []
        self._size = 0
        self._read_only: set[str] = set()
        self._read_only_prefixes: set[str] = set()
        self._of_clients: set[str] = set()
        """Keys that programs have created ..."""
        self._configured_of_clients = 0
        """... and how many of them are CONFIGURED ones."""
        self._serial = 0
        self._live: dict[int, Track] = {}
        """By serial, the oldest first; so are the following."""
        self._exact: dict[str, dict[int, Track]] = {}
        self._prefixes: dict[str, dict[int, Track]] = {}
        self._everything: dict[int, Track] = {}

    # ------------------------------------------------------------- reading

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> Value | None:
        """The value, None when there is no such key."""
        value = self._values.get(key)
        return value() if callable(value) else value

    def number(self, key: str, default: int = 0) -> int:
        """An integer; `default` when the key is missing or holds something else."""
        value = self.get(key)
        return value.number if value is not None and value.type in INTEGERS else default

    def text(self, key: str, default: str = "") -> str:
        """A string; `default` when the key is missing or holds something else."""
        value = self.get(key)
        return value.text if value is not None and value.type is ValueType.STRING else default

    def keys(self, prefix: str = "") -> list[str]:
        """All that begin with `prefix`, in byte order."""
        if not prefix:
            return list(self._keys)
        keys, first = self._keys, bisect_left(self._keys, prefix)
        return keys[first : bisect_left(keys, prefix + "\x7f", first)]

    def next_key(self, after: str | None, prefix: str = "") -> str | None:
        """The key that follows `after` among those with `prefix`; None at the end.

        `after` need not be in the map any more: so an iteration goes on while keys come and go.
        """
        keys = self._keys
        index = bisect_left(keys, prefix) if after is None else bisect_right(keys, after)
        if index == len(keys) or not keys[index].startswith(prefix):
            return None
        return keys[index]

    # ------------------------------------------------------------- writing

    def set(self, key: str, value: Value) -> None:
        """Create a key or change it; the same value again is no change.

        Raises MapError: INVALID_PARAM for a value that does not fit its type, NAME_TOO_LONG for a new key
        of a wrong length or with wrong characters.
        """
        check_value(value)
        old = self._values.get(key)
        if old is None:
            self._add_key(key)
        elif old == value:
            return
        self._values[key] = value
        before = old() if callable(old) else old
        self._size += len(value.data) - len(before.data if before is not None else b"")
        self._tell(Change(key, TrackEvent.ADD if before is None else TrackEvent.MODIFY, before, value))

    def provide(self, key: str, read: Callable[[], Value]) -> None:
        """A key whose value is asked for when somebody reads it.

        Its size must not vary.  Tracks hear of its coming and going only.  Raises MapError as `set()`.
        """
        known = key in self._values
        if not known:
            self._add_key(key)
        self._values[key] = read
        if not known:
            value = read()
            self._size += len(value.data)
            self._tell(Change(key, TrackEvent.ADD, None, value))

    def delete(self, key: str) -> None:
        """Remove a key; raises MapError NOT_EXIST."""
        old = self.get(key)
        if old is None:
            raise MapError(CsError.NOT_EXIST, f"no key {key}")
        del self._values[key]
        del self._keys[bisect_left(self._keys, key)]
        self._size -= len(old.data) + len(key) + ENTRY_SIZE
        self._forget_creator(key)
        self._tell(Change(key, TrackEvent.DELETE, old, None))

    def _add_key(self, key: str) -> None:
        check_key(key)
        insort(self._keys, key)
        self._size += len(key) + ENTRY_SIZE

    def delete_prefix(self, prefix: str) -> None:
        """Remove every key that begins with it."""
        for key in self.keys(prefix):
            self.delete(key)

    def adjust(self, key: str, step: int) -> None:
        """Add to an integer, which wraps round; raises MapError NOT_EXIST or, for others, INVALID_PARAM."""
        old = self.get(key)
        if old is None:
            raise MapError(CsError.NOT_EXIST, f"no key {key}")
        if old.type not in INTEGERS:
            raise MapError(CsError.INVALID_PARAM, f"{key} is no integer")
        size = len(old.data)
        number = (int.from_bytes(old.data, "little") + step) % (1 << 8 * size)
        self.set(key, Value(old.type, number.to_bytes(size, "little")))

    # ------------------------------------------------------------- what programs may do

    def protect(self, key: str, *, prefix: bool = False) -> None:
        """Programs may not change this key, or any that begins with it."""
        (self._read_only_prefixes if prefix else self._read_only).add(key)

    def unprotect(self, key: str, *, prefix: bool = False) -> None:
        """Take a rule of `protect()` back."""
        (self._read_only_prefixes if prefix else self._read_only).discard(key)

    def is_read_only(self, key: str) -> bool:
        """May programs not change it?  It need not exist."""
        return key in self._read_only or any(key.startswith(prefix) for prefix in self._read_only_prefixes)

    def client_set(self, key: str, value: Value) -> None:
        """As `set()`; raises also ACCESS for a read-only key and NO_MEMORY when there is no room.

        NO_MEMORY is what corosync says when it gets no memory for a key.
        """
        self._check_access(key)
        if self._size + len(value.data) > MAP_BYTES_MAX:
            raise MapError(CsError.NO_MEMORY, f"the map holds {self._size} bytes, limit {MAP_BYTES_MAX}")
        if key in self._values:
            self.set(key, value)
            return
        self._remember_creator(key)
        try:
            self.set(key, value)
        except MapError:
            self._forget_creator(key)
            raise

    def client_delete(self, key: str) -> None:
        """As `delete()`; raises also ACCESS."""
        self._check_access(key)
        self.delete(key)

    def client_adjust(self, key: str, step: int) -> None:
        """As `adjust()`; raises also ACCESS."""
        self._check_access(key)
        self.adjust(key, step)

    def _remember_creator(self, key: str) -> None:
        """Before a program's new key is there, as who is told of it may delete it at once."""
        if len(self._of_clients) >= MAP_CLIENT_KEYS_MAX:
            raise MapError(CsError.NO_MEMORY, f"programs have created {MAP_CLIENT_KEYS_MAX} keys, the limit")
        if key.startswith(CONFIGURED):
            if self._configured_of_clients >= MAP_CLIENT_CONFIGURED_MAX:
                limit = MAP_CLIENT_CONFIGURED_MAX
                raise MapError(CsError.NO_MEMORY, f"programs have added {limit} settings, the limit")
            self._configured_of_clients += 1
        self._of_clients.add(key)

    def _forget_creator(self, key: str) -> None:
        if key in self._of_clients:
            self._of_clients.remove(key)
            self._configured_of_clients -= key.startswith(CONFIGURED)

    def _check_access(self, key: str) -> None:
        if self.is_read_only(key):
            raise MapError(CsError.ACCESS, f"{key} is read-only")

    # ------------------------------------------------------------- tracks

    def track(
        self,
        key: str | None,
        callback: Callable[[Change], None],
        *,
        events: TrackEvent = ALL,
        prefix: bool = False,
    ) -> Track:
        """Call back at each change, at once; with `prefix` for all keys that begin with `key`."""
        self._serial += 1
        track = Track(self._serial, key, events, prefix, callback)
        self._live[track.serial] = track
        if key is None:
            if prefix:  # stock calls nobody else who names no key
                self._everything[track.serial] = track
        else:
            (self._prefixes if prefix else self._exact).setdefault(key, {})[track.serial] = track
        return track

    def untrack(self, track: Track) -> None:
        """End it; raises KeyError when it has ended already."""
        del self._live[track.serial]
        if track.key is None:
            self._everything.pop(track.serial, None)
            return
        groups = self._prefixes if track.prefix else self._exact
        group = groups[track.key]
        del group[track.serial]
        if not group:
            del groups[track.key]

    def _tell(self, change: Change) -> None:
        """The nearer a track's key is to the changed one, the earlier it is told, as in stock.

        Of one prefix the oldest is told first; of one key, or of the whole map, the youngest.
        """
        if not self._live:
            return
        key = change.key
        tracks = list(reversed(self._exact.get(key, NOBODY).values()))
        if self._prefixes:
            for length in range(len(key), 0, -1):
                tracks += self._prefixes.get(key[:length], NOBODY).values()
        tracks += reversed(self._everything.values())
        event, live = change.event.value, self._live
        for track in tracks:
            if track.events.value & event and track.serial in live:
                track.callback(change)


NOBODY: dict[int, Track] = {}


def is_key(key: str) -> bool:
    """May a key be called so?"""
    return KEY_MIN <= len(key) <= KEY_MAX and KEY_CHARACTERS.issuperset(key)


def check_key(key: str) -> None:
    """Raises MapError NAME_TOO_LONG, which stock says of wrong characters, too."""
    if not is_key(key):
        raise MapError(
            CsError.NAME_TOO_LONG,
            f"{key!r} is no key: {KEY_MIN} to {KEY_MAX} letters, digits and . _ - / :",
        )


def check_value(value: Value) -> None:
    """Raises MapError INVALID_PARAM."""
    code = CODES.get(value.type)
    if code is not None:
        fits = len(value.data) == code.size
    elif value.type is ValueType.STRING:
        fits = 1 <= len(value.data) <= VALUE_MAX + 1 and value.data.find(b"\0") == len(value.data) - 1
    else:
        fits = len(value.data) <= VALUE_MAX
    if not fits:
        raise MapError(CsError.INVALID_PARAM, f"{len(value.data)} bytes are no {value.type.name}")
