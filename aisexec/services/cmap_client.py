"""What the executive knows of one program that uses cmap, and the two maps it can look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from aisexec.icmap import ALL, Change, Icmap, MapError, Track, TrackEvent, Value, ValueType
from aisexec.services.stats_map import StatsMap, StatsTrack
from ipc.cmap_layouts import VALUE_MAX
from ipc.errors import CsError

Untrack = Callable[[], None]

KNOWN_BITS = int(ALL | TrackEvent.PREFIX)


class MapView(Protocol):
    """A map as programs see it; what is refused raises MapError."""

    def get(self, key: str) -> Value | None: ...
    def next_key(self, after: str | None, prefix: str) -> str | None: ...
    def listed(self, key: str) -> tuple[int, int]: ...
    def set(self, key: str, type: int, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def adjust(self, key: str, step: int) -> None: ...
    def track(self, key: str | None, bits: int, callback: Callable[[Change], None]) -> Untrack: ...


class ConfigurationView:
    """The configuration map."""

    def __init__(self, map: Icmap) -> None:
        self._map = map
        self.get = map.get
        self.next_key = map.next_key

    def listed(self, key: str) -> tuple[int, int]:
        """Bytes and type, as an iteration tells them."""
        value = self._map.get(key)
        assert value is not None
        return len(value.data), value.type

    def set(self, key: str, type: int, data: bytes) -> None:
        if self._map.is_read_only(key):
            raise MapError(CsError.ACCESS, f"{key} is read-only")
        self._map.client_set(key, client_value(type, data))

    def delete(self, key: str) -> None:
        self._map.client_delete(key)

    def adjust(self, key: str, step: int) -> None:
        self._map.client_adjust(key, step)

    def track(self, key: str | None, bits: int, callback: Callable[[Change], None]) -> Untrack:
        if bits & ~KNOWN_BITS:
            raise MapError(CsError.INVALID_PARAM, f"unknown bits in {bits:#x}")
        track: Track = self._map.track(
            key, callback, events=TrackEvent(bits & ALL), prefix=bool(bits & TrackEvent.PREFIX)
        )
        return lambda: self._map.untrack(track)


class StatisticsView:
    """The statistics map."""

    def __init__(self, map: StatsMap) -> None:
        self._map = map
        self.get = map.get
        self.next_key = map.next_key

    def listed(self, key: str) -> tuple[int, int]:
        """Stock does not know a string's length here."""
        value = self._map.get(key)
        assert value is not None
        return (0 if value.type is ValueType.STRING else len(value.data)), value.type

    def set(self, key: str, type: int, data: bytes) -> None:
        self._map.set(key)

    def delete(self, key: str) -> None:
        self._map.refuse(key)

    def adjust(self, key: str, step: int) -> None:
        self._map.refuse(key)

    def track(self, key: str | None, bits: int, callback: Callable[[Change], None]) -> Untrack:
        track: StatsTrack = self._map.track(key, bits, callback)
        return lambda: self._map.untrack(track)


def client_value(type: int, data: bytes) -> Value:
    """What a program wants to store; of a string it may leave out the NUL, and nothing may follow one.

    Raises MapError INVALID_PARAM.
    """
    try:
        kind = ValueType(type)
    except ValueError:
        raise MapError(CsError.INVALID_PARAM, f"no type {type}") from None
    if len(data) > VALUE_MAX:
        raise MapError(CsError.INVALID_PARAM, f"{len(data)} bytes, at most {VALUE_MAX}")
    if kind is ValueType.STRING and not data.endswith(b"\0"):
        data += b"\0"
    return Value(kind, data)


@dataclass(slots=True)
class Iteration:
    """Goes on behind the key it has come to, whatever else has changed meanwhile."""

    prefix: str
    last: str | None = None


@dataclass(slots=True)
class CmapClient:
    """State of one connection."""

    view: MapView
    iterations: dict[int, Iteration] = field(default_factory=dict)
    tracks: dict[int, tuple[int, Untrack]] = field(default_factory=dict)
    """By our handle: the library's, and how to end it."""

    def close(self) -> None:
        """End all its tracks."""
        for _, untrack in self.tracks.values():
            untrack()
        self.tracks.clear()
