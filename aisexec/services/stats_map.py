"""The statistics map of cmap: what corosync counts under its names and types, and what we count besides.

Nothing is stored here: values are asked for when somebody reads.  Rules are stock's (spec ipc.md
5.3.4): all keys are read-only but stats.clear.*, which clear when they are set to anything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from aisexec.icmap import Change, MapError, TrackEvent, Value, ValueType, single, text, u8, u32, u64
from aisexec.limits import STATS_CACHE, STATS_INTERVAL, STATS_TRACKS_MAX
from aisexec.services.timers import Alarm
from ipc.errors import CsError

SERVICE_IDS = {"cmap": 0, "cfg": 1, "cpg": 2, "quorum": 3, "votequorum": 5}

TYPES: Mapping[str, Callable[[int], Value]] = {
    "stats.pg.msg_queue_avail": u32,
    "stats.pg.msg_reserved": u32,
    "stats.srp.continuous_gather": u32,
    "stats.srp.continuous_sendmsg_failures": u32,
    "stats.srp.firewall_enabled_or_nic_failure": u8,
    "stats.srp.mtt_rx_token": u32,
    "stats.srp.avg_token_workload": u32,
    "stats.srp.avg_backlog_calc": u32,
}
"""All other numbers are of 64 bits."""

CONNECTION_TYPES: Mapping[str, Callable[[int], Value]] = {
    "queueing": lambda number: Value(ValueType.I32, number.to_bytes(4, "little", signed=True)),
    "queued": u32,
    "sent": u32,
    "flow_control": u32,
}
CONNECTION_KEYS = (
    "queueing", "queued", "invalid_request", "overload", "sent", "procname", "requests", "responses",
    "dispatched", "send_retries", "recv_retries", "flow_control", "flow_control_count",
)  # fmt: skip
"""In the order in which trackers are told of them."""
SORTED_KEYS = sorted(CONNECTION_KEYS)

STATES = frozenset(
    {
        *TYPES,
        "stats.srp.time_since_token_last_received",
        "stats.srp.excluded",
        "stats.net.continuous_send_failures",
        "stats.ipcs.global.active",
    }
)
"""What is so at present, and no count: it cannot be cleared.  So are the longest times."""

CLEAR = "stats.clear."
CLEARED = {
    "knet": ("stats.knet.", "stats.net."),
    "ipc": ("stats.ipcs.",),
    "totem": ("stats.srp.", "stats.pg."),
    "schedmiss": (),
    "all": ("stats.",),
}
CONNECTION_STATES = ("queueing", "queued", "flow_control", "procname")
U32, U64 = 2**32, 2**64
NOTHING: Mapping[str, int | str] = {}


class Connection(NamedTuple):
    """A client of one service, and what the IPC server counts of it by stock's names."""

    service: str
    pid: int
    id: int
    figures: Mapping[str, int | str]

    @property
    def head(self) -> str:
        """What its keys begin with; our ids stand where stock has addresses in memory."""
        return f"stats.ipcs.service{SERVICE_IDS.get(self.service, 0)}.{self.pid}.0x{self.id:x}."


class Source(Protocol):
    """Who knows the numbers: the driver, or nobody in a simulation."""

    def counters(self) -> Iterator[tuple[str, int]]:
        """Everything that is counted, by key."""

    def connections(self) -> Iterator[Connection]:
        """All clients."""

    def connection(self, client: int) -> Connection | None:
        """One of them; who has just gone is there until everybody was told."""

    def pauses(self) -> Sequence[tuple[int, float]]:
        """When we were not scheduled, the last first: milliseconds since the epoch, and for how many."""

    def forget_pauses(self) -> None:
        """Clear them."""


class NoSource:
    """Where nothing is counted."""

    def counters(self) -> Iterator[tuple[str, int]]:
        return iter(())

    def connections(self) -> Iterator[Connection]:
        return iter(())

    def connection(self, client: int) -> Connection | None:
        return None

    def pauses(self) -> Sequence[tuple[int, float]]:
        return ()

    def forget_pauses(self) -> None:
        pass


@dataclass(slots=True, eq=False)
class StatsTrack:
    """Somebody who wants to hear of changes; the value of a single key is looked at now and then."""

    key: str | None
    bits: int
    callback: Callable[[Change], None]
    last: Value | None = field(default=None)

    @property
    def polled(self) -> bool:
        return self.key is not None and not self.bits & TrackEvent.PREFIX


class StatsMap:
    """All statistics as keys."""

    def __init__(
        self, now: Callable[[], float], call_later: Callable[[float, Callable[[], None]], Alarm]
    ) -> None:
        self.source: Source = NoSource()
        self._now = now
        self._call_later = call_later
        self._values: dict[str, Value] = {}
        self._keys: list[str] = []
        self._read_at = float("-inf")
        self._heads: list[str] = []
        """What the keys of each client begin with, in order ..."""
        self._clients: dict[str, int] = {}
        """... and whose they are."""
        self._base: dict[str, int] = {}
        """What was there when it was cleared, by key ..."""
        self._base_of_clients: dict[str, Mapping[str, int | str]] = {}
        """... and of clients, by what their keys begin with."""
        self._tracks: list[StatsTrack] = []
        self._alarm: Alarm | None = None

    # ------------------------------------------------------------- reading

    def get(self, key: str) -> Value | None:
        """The value; None when there is no such key."""
        head, dot, name = key.rpartition(".")
        client = self._clients.get(head + dot)
        if client is not None:
            connection = self.source.connection(client)
            return None if connection is None else self._connection_value(connection, name)
        self._read()
        return self._values.get(key)

    def next_key(self, after: str | None, prefix: str) -> str | None:
        """As aisexec.icmap.Icmap.next_key()."""
        self._read()
        keys = self._keys
        index = bisect_left(keys, prefix) if after is None else bisect_right(keys, after)
        found = [key for key in keys[index : index + 1] if key.startswith(prefix)]
        found += self._next_of_clients(after, prefix)
        return min(found, default=None)

    def _next_of_clients(self, after: str | None, prefix: str) -> list[str]:
        """At most one key: of the client whose keys `after` is among, or of the next one."""
        start = prefix if after is None else after
        first = max(0, bisect_right(self._heads, start) - 1)
        for head in self._heads[first : first + 2]:
            for name in SORTED_KEYS:
                key = head + name
                if key.startswith(prefix) and (after is None or key > after):
                    return [key]
        return []

    def _read(self) -> None:
        """All counters at once: a reader of one usually wants many."""
        if self._now() - self._read_at <= STATS_CACHE:
            return
        self._read_at = self._now()
        values: dict[str, Value] = {}
        for key, number in self.source.counters():
            values[key] = TYPES.get(key, u64)(self._since_clear(key, number) % self._modulus(key))
        for position, (at, duration) in enumerate(self.source.pauses()):
            values[f"stats.schedmiss.{position}.timestamp"] = u64(at)
            values[f"stats.schedmiss.{position}.delay"] = single(duration)
        if values.keys() != self._values.keys():
            self._keys = sorted(values)
        self._values = values

    @staticmethod
    def _modulus(key: str) -> int:
        make = TYPES.get(key)
        return U64 if make is None else 256 if make is u8 else U32

    def _connection_value(self, connection: Connection, name: str) -> Value | None:
        if name not in CONNECTION_KEYS:
            return None
        figure = connection.figures.get(name, 0)
        if isinstance(figure, str):
            return text(figure)
        base = self._base_of_clients.get(connection.head, NOTHING).get(name, 0)
        if isinstance(base, int) and name not in CONNECTION_STATES:
            figure = max(0, figure - base)
        make = CONNECTION_TYPES.get(name)
        return u64(figure) if make is None else make(figure % U32)

    # ------------------------------------------------------------- clearing

    def _since_clear(self, key: str, number: int) -> int:
        return max(0, number - self._base.get(key, 0)) if self._base else number

    def set(self, key: str) -> None:
        """Any value clears; raises MapError ACCESS, or NOT_SUPPORTED for what cannot be cleared."""
        self._check_access(key)
        wanted = [what for what in CLEARED if key.startswith(CLEAR + what)]
        if not wanted:
            raise MapError(CsError.NOT_SUPPORTED, f"{key}: nothing of that name can be cleared")
        for what in wanted:
            self._clear(CLEARED[what])
            if what in ("schedmiss", "all"):
                self.source.forget_pauses()
        self._read_at = float("-inf")

    def _clear(self, prefixes: tuple[str, ...]) -> None:
        """As long as it takes to ask for all counters: one step for each, and for each client."""
        for key, number in self.source.counters():
            if key.startswith(prefixes) and key not in STATES and "longest" not in key:
                self._base[key] = number
        for connection in self.source.connections():
            if connection.head.startswith(prefixes):
                self._base_of_clients[connection.head] = connection.figures

    def refuse(self, key: str) -> None:
        """What is neither get nor set; raises MapError ACCESS or NOT_SUPPORTED."""
        self._check_access(key)
        raise MapError(CsError.NOT_SUPPORTED, "statistics can be read, and cleared by stats.clear")

    def _check_access(self, key: str) -> None:
        if not key.startswith(CLEAR):
            raise MapError(CsError.ACCESS, f"{key} is read-only")

    # ------------------------------------------------------------- tracks

    def track(self, key: str | None, bits: int, callback: Callable[[Change], None]) -> StatsTrack:
        """Of a prefix its keys' coming and going; of a key its value, looked at every STATS_INTERVAL.

        Raises MapError NOT_SUPPORTED for a prefix without both, NO_RESOURCES when there are too many.
        """
        if len(self._tracks) >= STATS_TRACKS_MAX:
            raise MapError(CsError.NO_RESOURCES, f"{len(self._tracks)} tracks, the limit")
        both = TrackEvent.ADD | TrackEvent.DELETE
        if bits & TrackEvent.PREFIX and bits & both != both:
            raise MapError(CsError.NOT_SUPPORTED, "under a prefix only ADD together with DELETE is tracked")
        track = StatsTrack(key, bits, callback)
        if track.polled and key is not None:
            track.last = self.get(key)
        self._tracks.append(track)
        self._arm()
        return track

    def untrack(self, track: StatsTrack) -> None:
        """End it."""
        self._tracks.remove(track)

    def _arm(self) -> None:
        pending = self._alarm is not None and self._alarm.pending
        if not pending and any(track.polled for track in self._tracks):
            self._alarm = self._call_later(STATS_INTERVAL, self._look)

    def _look(self) -> None:
        """Stock tells the new value as the old one, too."""
        for track in list(self._tracks):
            if track.polled and track.key is not None:
                value = self.get(track.key)
                if value is not None and value != track.last:
                    track.last = value
                    track.callback(Change(track.key, TrackEvent.MODIFY, value, value))
        self._arm()

    def connection_changed(self, client: int, event: TrackEvent) -> None:
        """A client has come (ADD) or gone (DELETE)."""
        connection = self.source.connection(client)
        if connection is None:
            return
        if event is TrackEvent.ADD:
            insort(self._heads, connection.head)
            self._clients[connection.head] = client
        interested = [track for track in self._tracks if track.bits & event]
        for name in CONNECTION_KEYS if interested else ():
            value = self._connection_value(connection, name)
            self._tell(interested, Change(connection.head + name, event, value, value))
        if event is TrackEvent.DELETE and self._clients.pop(connection.head, None) is not None:
            del self._heads[bisect_left(self._heads, connection.head)]
            self._base_of_clients.pop(connection.head, None)

    @staticmethod
    def _tell(tracks: list[StatsTrack], change: Change) -> None:
        for track in tracks:
            prefix = bool(track.bits & TrackEvent.PREFIX)
            if track.key == change.key or (prefix and change.key.startswith(track.key or "")):
                track.callback(change)
