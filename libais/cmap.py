"""The executive's map of keys and values: configuration, run-time state, statistics (cmap_overview(3)).

The names are those of the C library without their prefix: cmap_set_uint32 is `Handle.set_uint32`.
Failures are exceptions of `libais.errors`, one class per cs_error_t.  What the keys mean is in
cmap_keys(7).

    with cmap.Handle() as handle:
        handle.set_string("my.key", "value")
        for entry in handle.iteration("nodelist."):
            print(entry.key, handle.get(entry.key).plain)
        handle.track_add("runtime.members.", prefix=True)
        for change in handle.events():
            ...

A handle may be used by several threads or greenlets; notifications are handed out in their order, to
one of them at a time.  After a fork the child has to open its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final

from ipc.cmap_layouts import (
    ADJUST_INT_REQUEST,
    GET_REQUEST,
    GET_RESPONSE,
    HANDLE_REQUEST,
    HANDLE_RESPONSE,
    KEY_MAX,
    KEY_MIN,
    KEY_REQUEST,
    SERVICE_NAME,
    SET_CURRENT_MAP_REQUEST,
    SET_REQUEST,
    TRACK_ADD_REQUEST,
    VALUE_MAX,
    AdjustIntRequest,
    CmapEvent,
    CmapRequest,
    GetRequest,
    HandleRequest,
    KeyRequest,
    Map,
    SetCurrentMapRequest,
    SetRequest,
    StoredValue,
    TrackAddRequest,
    TrackEvent,
    ValueType,
    payload,
    unpack_notification,
)
from ipc.layouts import RESPONSE_HEADER
from ipc.waiting import Waiter
from libais._cmap_iteration import Iteration
from libais._cmap_keys import checked_key
from libais._cmap_mapping import MapView
from libais._cmap_types import (
    Entry,
    Notification,
    Plain,
    Value,
    decode_text,
    decode_value,
    encode_value,
)
from libais._handle import ContextHandle
from libais._types import Dispatch
from libais.errors import BadHandleError, InvalidParamError, LibraryError

__all__ = [
    "KEY_MAX",
    "KEY_MIN",
    "VALUE_MAX",
    "Dispatch",
    "Entry",
    "Handle",
    "Iteration",
    "Map",
    "MapView",
    "Notification",
    "Plain",
    "Track",
    "TrackEvent",
    "Value",
    "ValueType",
]

Key = str | bytes
NotifyCallback = Callable[["Handle", Notification], object]

ALL_CHANGES: Final = TrackEvent.ADD | TrackEvent.MODIFY | TrackEvent.DELETE
# Nearly every value fits; a longer one costs two more round trips.
USUAL_ROOM: Final = 1024
# A value may grow between asking how long it is and asking for it.
GET_ATTEMPTS: Final = 8
STEP_MIN: Final = -(2**31)
STEP_MAX: Final = 2**31 - 1


class Track:
    """Changes of a key are reported until `delete`, the end of a `with` block, or that of the handle."""

    def __init__(
        self, handle: Handle, key: str, events: TrackEvent, callback: NotifyCallback | None, inst: int
    ) -> None:
        self.key = key
        self.events = events
        self.callback = callback
        self._handle = handle
        self._inst = inst
        # Given by the executive when it has taken the track.
        self._cookie = 0

    def delete(self) -> None:
        """No further notifications, waiting ones included.  cmap_track_delete(3).

        Raises BadHandleError when done already.
        """
        self._handle._track_delete(self)

    def __enter__(self) -> Track:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handle.closed and self._inst in self._handle._tracks:
            self.delete()

    def __repr__(self) -> str:
        return f"<libais.cmap.Track {self.key!r} {self.events!r}>"


class Handle(ContextHandle[Notification]):
    """A connection to one map.  cmap_initialize(3), cmap_initialize_map(3).

    map: ICMAP, configuration and state, or STATS, counters that are computed when they are read.
    context: anything, kept as attribute `context`.
    retry_for: seconds for which every call repeats what the executive answers with TRY_AGAIN.
    connect_timeout: seconds to wait for the executive's answer, None for ever.
    waiter: `ipc.waiting.GeventWaiter()` makes it cooperative where gevent did not patch the standard
    library; normally left out.

    Raises LibraryError when no executive runs, TryAgainError when it is not ready yet, AccessError.
    """

    _prefix = "cmap"

    def __init__(
        self,
        map: Map = Map.ICMAP,
        *,
        context: object = None,
        retry_for: float = 0.0,
        connect_timeout: float | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        super().__init__(SERVICE_NAME, retry_for=retry_for, connect_timeout=connect_timeout, waiter=waiter)
        self.context = context
        self.map = map
        self._tracks: dict[int, Track] = {}
        self._last_inst = 0
        if map != Map.ICMAP:
            try:
                self._set_current_map(map)
            except BaseException:
                self.close()
                raise

    def _set_current_map(self, map: Map) -> None:
        request = SetCurrentMapRequest(CmapRequest.SET_CURRENT_MAP, SET_CURRENT_MAP_REQUEST.size, map)
        self._request("cmap_initialize_map", SET_CURRENT_MAP_REQUEST.pack(request))

    # --- values --------------------------------------------------------------------------------

    def get(self, key: Key) -> Value:
        """The value of a key, with its type.  cmap_get(3).

        Raises NotExistError, NameTooLongError above 255 bytes.
        """
        what = f"cmap_get {decode_text(checked_key('cmap_get', key))}"
        try:
            return self._get(what, key, USUAL_ROOM)
        except InvalidParamError:
            pass
        for _ in range(GET_ATTEMPTS):
            room = self.get_entry(key).length
            try:
                return self._get(what, key, room)
            except InvalidParamError:
                continue
        raise LibraryError(f"{what}: the value is not as long as the executive says")

    def _get(self, what: str, key: Key, room: int) -> Value:
        response = self._get_request(what, key, room)
        try:
            head = GET_RESPONSE.unpack(response)
            return decode_value(head.type, payload(response, GET_RESPONSE.size, head.value_len))
        except ValueError as error:
            raise LibraryError(f"{what}: {error}") from None

    def _get_request(self, what: str, key: Key, room: int) -> bytes:
        name = checked_key(what, key)
        request = GetRequest(CmapRequest.GET, GET_REQUEST.size, len(name), name, room)
        return self._request(what, GET_REQUEST.pack(request))

    def get_entry(self, key: Key) -> Entry:
        """Type and length of a key's value, without the value.  cmap_get(3) without a buffer."""
        name = decode_text(checked_key("cmap_get", key))
        what = f"cmap_get {name}"
        try:
            head = GET_RESPONSE.unpack(self._get_request(what, key, 0))
            return Entry(name, ValueType(head.type), head.value_len)
        except ValueError as error:
            raise LibraryError(f"{what}: {error}") from None

    def _get_typed(self, key: Key, kind: ValueType) -> Plain:
        value = self.get(key)
        if value.type != kind:
            name = decode_text(checked_key("cmap_get", key))
            raise InvalidParamError(
                f"cmap_get {name}: its type is {value.type.name.lower()}, not {kind.name.lower()}"
            )
        return value.plain

    def _get_int(self, key: Key, kind: ValueType) -> int:
        number = self._get_typed(key, kind)
        assert isinstance(number, int)
        return number

    def _get_float(self, key: Key, kind: ValueType) -> float:
        number = self._get_typed(key, kind)
        assert isinstance(number, float)
        return number

    def get_int8(self, key: Key) -> int:
        """cmap_get_int8(3).  This and the others: NotExistError, InvalidParamError for another type."""
        return self._get_int(key, ValueType.I8)

    def get_uint8(self, key: Key) -> int:
        """cmap_get_uint8(3)."""
        return self._get_int(key, ValueType.U8)

    def get_int16(self, key: Key) -> int:
        """cmap_get_int16(3)."""
        return self._get_int(key, ValueType.I16)

    def get_uint16(self, key: Key) -> int:
        """cmap_get_uint16(3)."""
        return self._get_int(key, ValueType.U16)

    def get_int32(self, key: Key) -> int:
        """cmap_get_int32(3)."""
        return self._get_int(key, ValueType.I32)

    def get_uint32(self, key: Key) -> int:
        """cmap_get_uint32(3)."""
        return self._get_int(key, ValueType.U32)

    def get_int64(self, key: Key) -> int:
        """cmap_get_int64(3)."""
        return self._get_int(key, ValueType.I64)

    def get_uint64(self, key: Key) -> int:
        """cmap_get_uint64(3)."""
        return self._get_int(key, ValueType.U64)

    def get_float(self, key: Key) -> float:
        """cmap_get_float(3)."""
        return self._get_float(key, ValueType.FLOAT)

    def get_double(self, key: Key) -> float:
        """cmap_get_double(3)."""
        return self._get_float(key, ValueType.DOUBLE)

    def get_string(self, key: Key) -> str:
        """cmap_get_string(3).  What is not UTF-8 comes as surrogate escapes."""
        text = self._get_typed(key, ValueType.STRING)
        assert isinstance(text, str)
        return text

    def get_binary(self, key: Key) -> bytes:
        """The bytes of a value of type BINARY."""
        data = self._get_typed(key, ValueType.BINARY)
        assert isinstance(data, bytes)
        return data

    def set(self, key: Key, value: Plain, type: ValueType) -> None:
        """Set a key, which may have had another type before.  cmap_set(3).

        value: int, float, str or bytes, as the type wants it.
        Raises InvalidParamError (value), NameTooLongError (name too short or too long, or with other
        characters than letters, digits and `._-/:`), AccessError (read-only key), TooBigError.
        """
        try:
            raw = encode_value(type, value)
        except ValueError as error:
            name = decode_text(checked_key("cmap_set", key))
            raise InvalidParamError(f"cmap_set {name}: {error}") from None
        self.set_raw(key, type, raw)

    def set_raw(self, key: Key, type: ValueType | int, raw: bytes) -> None:
        """cmap_set(3) with the value as bytes in host order; the executive checks their number."""
        name = checked_key("cmap_set", key)
        size = SET_REQUEST.size + len(raw)
        head = SetRequest(CmapRequest.SET, size, len(name), name, len(raw), type)
        self._request(f"cmap_set {decode_text(name)}", (SET_REQUEST.pack(head), raw))

    def set_int8(self, key: Key, value: int) -> None:
        """cmap_set_int8(3).  This and the others: errors as `set`."""
        self.set(key, value, ValueType.I8)

    def set_uint8(self, key: Key, value: int) -> None:
        """cmap_set_uint8(3)."""
        self.set(key, value, ValueType.U8)

    def set_int16(self, key: Key, value: int) -> None:
        """cmap_set_int16(3)."""
        self.set(key, value, ValueType.I16)

    def set_uint16(self, key: Key, value: int) -> None:
        """cmap_set_uint16(3)."""
        self.set(key, value, ValueType.U16)

    def set_int32(self, key: Key, value: int) -> None:
        """cmap_set_int32(3)."""
        self.set(key, value, ValueType.I32)

    def set_uint32(self, key: Key, value: int) -> None:
        """cmap_set_uint32(3)."""
        self.set(key, value, ValueType.U32)

    def set_int64(self, key: Key, value: int) -> None:
        """cmap_set_int64(3)."""
        self.set(key, value, ValueType.I64)

    def set_uint64(self, key: Key, value: int) -> None:
        """cmap_set_uint64(3)."""
        self.set(key, value, ValueType.U64)

    def set_float(self, key: Key, value: float) -> None:
        """cmap_set_float(3)."""
        self.set(key, value, ValueType.FLOAT)

    def set_double(self, key: Key, value: float) -> None:
        """cmap_set_double(3)."""
        self.set(key, value, ValueType.DOUBLE)

    def set_string(self, key: Key, value: str | bytes) -> None:
        """cmap_set_string(3)."""
        self.set(key, value, ValueType.STRING)

    def set_binary(self, key: Key, value: bytes) -> None:
        """A value of type BINARY; the executive refuses an empty one."""
        self.set(key, value, ValueType.BINARY)

    def delete(self, key: Key) -> None:
        """Remove a key.  cmap_delete(3).  Raises NotExistError, AccessError (read-only key)."""
        name = checked_key("cmap_delete", key)
        request = KeyRequest(CmapRequest.DELETE, KEY_REQUEST.size, len(name), name)
        self._request(f"cmap_delete {decode_text(name)}", KEY_REQUEST.pack(request))

    def adjust(self, key: Key, step: int) -> None:
        """Add `step`, a signed 32-bit number, at one stroke; the sum wraps in the width of the type.

        Raises NotExistError, AccessError (read-only key), InvalidParamError (no integer).
        """
        self._adjust("cmap_adjust", key, step)

    def inc(self, key: Key) -> None:
        """One more, at one stroke.  cmap_inc(3).  Errors as `adjust`."""
        self._adjust("cmap_inc", key, 1)

    def dec(self, key: Key) -> None:
        """One less, at one stroke.  cmap_dec(3).  Errors as `adjust`."""
        self._adjust("cmap_dec", key, -1)

    def _adjust(self, call: str, key: Key, step: int) -> None:
        name = checked_key(call, key)
        if not STEP_MIN <= step <= STEP_MAX:
            raise InvalidParamError(f"{call} {decode_text(name)}: step {step} has more than 32 bits")
        request = AdjustIntRequest(CmapRequest.ADJUST_INT, ADJUST_INT_REQUEST.size, len(name), name, step)
        self._request(f"{call} {decode_text(name)}", ADJUST_INT_REQUEST.pack(request))

    # --- all keys ------------------------------------------------------------------------------

    def iteration(self, prefix: Key = "") -> Iteration:
        """Walk over the keys that begin with `prefix`, in the order of their bytes.  cmap_iter_init(3)."""
        return Iteration(self, prefix)

    def mapping(self, prefix: str = "") -> MapView:
        """The keys that begin with `prefix` as a dictionary; its keys leave out the prefix.

        `handle.mapping("totem.")["token"]`.  Nothing is copied: every use asks the executive.
        """
        return MapView(self, prefix)

    # --- tracking ------------------------------------------------------------------------------

    def track_add(
        self,
        key: Key = "",
        events: TrackEvent = ALL_CHANGES,
        callback: NotifyCallback | None = None,
        *,
        prefix: bool = False,
    ) -> Track:
        """Be told of changes of a key that need not exist yet.  cmap_track_add(3).

        events: which changes, ADD, MODIFY, DELETE.
        prefix: all keys that begin with `key`, which may be empty; the same as PREFIX in events.
        callback: what `dispatch` calls with the handle and a `Notification`; `events` and `aevents`
        need none.  A change of several tracks comes once for each.
        Raises NameTooLongError, InvalidParamError (unknown events), NotSupportedError (on the stats map:
        a prefix without both ADD and DELETE).
        """
        name = checked_key("cmap_track_add", key)
        wanted = events | TrackEvent.PREFIX if prefix else events
        self._last_inst += 1
        track = Track(self, decode_text(name), wanted, callback, self._last_inst)
        # Before the answer: the first notification may come with it.
        self._tracks[track._inst] = track
        try:
            request = TrackAddRequest(
                CmapRequest.TRACK_ADD, TRACK_ADD_REQUEST.size, len(name), name, wanted, track._inst
            )
            response = self._request(f"cmap_track_add {track.key}", TRACK_ADD_REQUEST.pack(request))
            track._cookie = self._unpack("cmap_track_add", HANDLE_RESPONSE, response).handle
        except BaseException:
            del self._tracks[track._inst]
            raise
        return track

    def _track_delete(self, track: Track) -> None:
        if self._tracks.get(track._inst) is not track:
            raise BadHandleError(f"cmap_track_delete {track.key}: it is deleted already")
        request = HandleRequest(CmapRequest.TRACK_DELETE, HANDLE_REQUEST.size, track._cookie)
        self._request(f"cmap_track_delete {track.key}", HANDLE_REQUEST.pack(request))
        del self._tracks[track._inst]

    def _decode(self, message: bytes) -> Notification | None:
        if RESPONSE_HEADER.unpack(message).id != CmapEvent.NOTIFY:
            raise ValueError(f"unknown event {RESPONSE_HEADER.unpack(message).id}")
        raw = unpack_notification(message)
        track = self._tracks.get(raw.track_inst_handle)
        if track is None:
            return None  # deleted while the notification was on its way
        event = TrackEvent(raw.event)
        # The stats map fills in both values, with the same content.
        new = None if event == TrackEvent.DELETE else _value(raw.new)
        old = None if event == TrackEvent.ADD else _value(raw.old)
        return Notification(decode_text(raw.key), event, new, old, track)

    def _call_back(self, event: Notification) -> None:
        if event.track.callback is not None:
            event.track.callback(self, event)


def _value(stored: StoredValue) -> Value | None:
    return decode_value(stored.type, stored.data) if stored.type else None
