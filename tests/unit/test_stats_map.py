"""The statistics map: types, clearing, tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from aisexec.icmap import Change, MapError, TrackEvent, ValueType, text
from aisexec.limits import STATS_CACHE, STATS_INTERVAL, STATS_TRACKS_MAX
from aisexec.services.stats_map import CONNECTION_KEYS, Connection, StatsMap
from ipc.errors import CsError
from tests.unit.service_support import StageContext

ADD, MODIFY, DELETE, PREFIX = TrackEvent.ADD, TrackEvent.MODIFY, TrackEvent.DELETE, TrackEvent.PREFIX
BOTH = ADD | DELETE


class Numbers:
    """A source."""

    def __init__(self) -> None:
        self.numbers = {
            "stats.srp.mcast_tx": 10,
            "stats.srp.continuous_gather": 3,
            "stats.net.sent_frames": 5,
        }
        self.clients: list[Connection] = []
        self.times: list[tuple[int, float]] = []

    def counters(self) -> Iterator[tuple[str, int]]:
        yield from self.numbers.items()

    def connections(self) -> Iterator[Connection]:
        yield from self.clients

    def connection(self, client: int) -> Connection | None:
        return next((known for known in self.clients if known.id == client), None)

    def pauses(self) -> Sequence[tuple[int, float]]:
        return self.times

    def forget_pauses(self) -> None:
        self.times.clear()


class Stage:
    def __init__(self) -> None:
        self.context = StageContext()
        self.numbers = Numbers()
        self.map = StatsMap(lambda: self.context.now, self.context.call_later)
        self.map.source = self.numbers

    def number(self, key: str) -> int:
        self.context.now += 2 * STATS_CACHE
        value = self.map.get(key)
        assert value is not None
        return value.number

    def connect(self, number: int, **figures: int | str) -> str:
        self.numbers.clients.append(Connection("cpg", 4711, number, figures))
        self.map.connection_changed(number, ADD)
        return f"stats.ipcs.service2.4711.0x{number:x}"

    def disconnect(self, number: int) -> None:
        self.map.connection_changed(number, DELETE)
        self.numbers.clients = [client for client in self.numbers.clients if client.id != number]


def test_types_are_stocks() -> None:
    stage = Stage()
    prefix = stage.connect(16, procname="cpgbench", queueing=1, requests=2**40)
    types = {}
    key = stage.map.next_key(None, "stats.")
    while key is not None:
        value = stage.map.get(key)
        assert value is not None
        types[key] = value.type
        key = stage.map.next_key(key, "stats.")
    assert types["stats.srp.mcast_tx"] is ValueType.U64
    assert types["stats.srp.continuous_gather"] is ValueType.U32
    assert types[f"{prefix}.queueing"] is ValueType.I32
    assert types[f"{prefix}.sent"] is ValueType.U32
    assert types[f"{prefix}.requests"] is ValueType.U64
    assert types[f"{prefix}.procname"] is ValueType.STRING
    assert list(types) == sorted(types)


def test_clients_are_among_the_other_keys_in_order() -> None:
    stage = Stage()
    heads = [stage.connect(number) for number in (1, 16, 2, 258)]
    stage.disconnect(16)
    heads.remove("stats.ipcs.service2.4711.0x10")
    expected = sorted(
        [*stage.numbers.numbers, *(f"{head}.{name}" for head in heads for name in CONNECTION_KEYS)]
    )
    found: list[str] = []
    while (key := stage.map.next_key(found[-1] if found else None, "")) is not None:
        found.append(key)
    assert found == expected
    assert stage.map.next_key(None, "stats.ipcs.service2.4711.0x2.") == f"{heads[1]}.dispatched"
    assert stage.map.next_key(f"{heads[1]}.sent", f"{heads[1]}.") is None
    assert stage.map.next_key(None, "stats.ipcs.service2.4711.0x10.") is None
    assert stage.map.get("stats.ipcs.service2.4711.0x10.sent") is None
    assert stage.map.get(f"{heads[1]}.none") is None


def test_counters_are_cleared_and_states_are_not() -> None:
    stage = Stage()
    prefix = stage.connect(1, requests=7, queued=2)
    stage.map.set("stats.clear.totem")
    assert stage.number("stats.srp.mcast_tx") == 0
    assert stage.number("stats.srp.continuous_gather") == 3
    assert stage.number("stats.net.sent_frames") == 5
    assert stage.number(f"{prefix}.requests") == 7
    stage.numbers.numbers["stats.srp.mcast_tx"] = 14
    assert stage.number("stats.srp.mcast_tx") == 4
    stage.map.set("stats.clear.all")
    assert stage.number("stats.srp.mcast_tx") == stage.number("stats.net.sent_frames") == 0
    assert stage.number(f"{prefix}.requests") == 0
    assert stage.number(f"{prefix}.queued") == 2


def test_pauses_are_numbered_from_the_last() -> None:
    stage = Stage()
    stage.numbers.times = [(2000, 900.5), (1000, 800.0)]
    assert stage.number("stats.schedmiss.0.timestamp") == 2000
    delay = stage.map.get("stats.schedmiss.1.delay")
    assert delay is not None
    assert (delay.type, delay.real) == (ValueType.FLOAT, 800.0)
    stage.map.set("stats.clear.schedmiss")
    assert stage.map.get("stats.schedmiss.0.timestamp") is None


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("stats.srp.mcast_tx", CsError.ACCESS),
        ("stats.clear.none", CsError.NOT_SUPPORTED),
        ("x", CsError.ACCESS),
    ],
)
def test_the_rest_is_refused(key: str, error: CsError) -> None:
    stage = Stage()
    with pytest.raises(MapError) as refused:
        stage.map.set(key)
    assert refused.value.error is error
    with pytest.raises(MapError) as refused:
        stage.map.refuse(key)
    assert refused.value.error is error


@pytest.mark.parametrize("bits", [PREFIX, PREFIX | ADD, PREFIX | DELETE, PREFIX | MODIFY])
def test_a_prefix_is_tracked_for_both(bits: TrackEvent) -> None:
    stage = Stage()
    with pytest.raises(MapError) as refused:
        stage.map.track("stats.ipcs.", bits, lambda change: None)
    assert refused.value.error is CsError.NOT_SUPPORTED


def test_connections_come_and_go() -> None:
    stage = Stage()
    told: list[Change] = []
    stage.map.track("stats.ipcs.", BOTH | PREFIX, told.append)
    stage.map.track("stats.srp.", BOTH | PREFIX, told.append)
    prefix = stage.connect(3, requests=1)
    assert [change.key for change in told] == [f"{prefix}.{name}" for name in CONNECTION_KEYS]
    assert {change.event for change in told} == {ADD}
    told.clear()
    stage.disconnect(3)
    assert {change.event for change in told} == {DELETE}
    assert all(change.old == change.new for change in told)


def test_a_value_is_looked_at_now_and_then() -> None:
    stage = Stage()
    told: list[Change] = []
    track = stage.map.track("stats.srp.mcast_tx", MODIFY, told.append)
    stage.map.track("stats.srp.none", MODIFY, told.append)
    stage.context.pass_time(STATS_INTERVAL)
    assert told == []
    stage.numbers.numbers["stats.srp.mcast_tx"] = 11
    stage.context.pass_time(STATS_INTERVAL)
    stage.context.pass_time(STATS_INTERVAL)
    assert [(change.event, change.new and change.new.number) for change in told] == [(MODIFY, 11)]
    stage.map.untrack(track)
    stage.numbers.numbers["stats.srp.mcast_tx"] = 12
    stage.context.pass_time(STATS_INTERVAL)
    assert len(told) == 1


def test_nothing_is_looked_at_when_nobody_tracks() -> None:
    stage = Stage()
    stage.map.untrack(stage.map.track("stats.srp.mcast_tx", MODIFY, lambda change: None))
    stage.context.pass_time(STATS_INTERVAL)
    assert stage.context.alarms.next() is None


def test_what_was_cleared_is_forgotten_with_its_client() -> None:
    stage = Stage()
    prefix = stage.connect(5, requests=9)
    stage.map.set("stats.clear.ipc")
    stage.disconnect(5)
    stage.connect(5, requests=2)
    assert stage.number(f"{prefix}.requests") == 2


def test_there_are_so_many_tracks() -> None:
    stage = Stage()
    tracks = [stage.map.track("stats.", BOTH | PREFIX, lambda change: None) for _ in range(STATS_TRACKS_MAX)]
    with pytest.raises(MapError) as refused:
        stage.map.track("stats.srp.mcast_tx", MODIFY, lambda change: None)
    assert refused.value.error is CsError.NO_RESOURCES
    stage.map.untrack(tracks[3])
    stage.map.track("stats.srp.mcast_tx", MODIFY, lambda change: None)


def test_all_tracks_are_told_of_the_same_change() -> None:
    stage = Stage()
    first: list[Change] = []
    second: list[Change] = []
    stage.map.track("stats.ipcs.", BOTH | PREFIX, first.append)
    stage.map.track(None, BOTH | PREFIX, second.append)
    stage.connect(3)
    assert len(first) == len(CONNECTION_KEYS)
    assert all(one is other for one, other in zip(first, second, strict=True))


def test_clearing_takes_a_step_for_each_client() -> None:
    stage = Stage()
    for number in range(1, 5):
        stage.connect(number, requests=number, procname="x", queued=number)
    stage.map.set("stats.clear.ipc")
    head = "stats.ipcs.service2.4711.0x4"
    stage.numbers.clients[3] = Connection("cpg", 4711, 4, {"requests": 9, "procname": "y", "queued": 1})
    assert stage.number(f"{head}.requests") == 5
    assert stage.number(f"{head}.queued") == 1
    assert stage.map.get(f"{head}.procname") == text("y")
