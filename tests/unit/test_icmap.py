"""The configuration map: what may be stored, who is told, who may write."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from aisexec import icmap
from aisexec.icmap import Change, Icmap, MapError, Track, TrackEvent, Value, ValueType, text, u8, u32, u64
from aisexec.services.configuration_keys import take_over
from ipc.errors import CsError


def refused(error: MapError | pytest.ExceptionInfo[MapError]) -> CsError:
    return error.value.error if isinstance(error, pytest.ExceptionInfo) else error.error


@pytest.fixture
def map() -> Icmap:
    return Icmap()


@pytest.mark.parametrize("key", ["ab", "", "k" * 256, "with blank", "dollar$", "ümlaut", "nul\0"])
def test_wrong_keys_are_refused(map: Icmap, key: str) -> None:
    with pytest.raises(MapError) as error:
        map.set(key, u8(1))
    assert refused(error) is CsError.NAME_TOO_LONG
    assert len(map) == 0


@pytest.mark.parametrize(
    "value",
    [
        Value(ValueType.U8, b""),
        Value(ValueType.U32, b"12345"),
        Value(ValueType.DOUBLE, b"1234"),
        Value(ValueType.STRING, b"no end"),
        Value(ValueType.STRING, b"in\0side\0"),
        Value(ValueType.STRING, b""),
        Value(ValueType.BINARY, bytes(16385)),
    ],
)
def test_a_value_has_to_fit_its_type(map: Icmap, value: Value) -> None:
    with pytest.raises(MapError) as error:
        map.set("a.key", value)
    assert refused(error) is CsError.INVALID_PARAM


def test_values_are_read_as_what_they_are(map: Icmap) -> None:
    map.set("a.number", icmap.i64(-5))
    map.set("a.text", text("word\0cut off"))
    map.set("a.real", icmap.single(0.5))
    assert map.number("a.number") == -5
    assert map.number("a.text", 7) == map.number("no.key", 7) == map.number("a.real", 7) == 7
    assert map.text("a.text") == "word"
    assert map.text("a.number", "none") == "none"
    real = map.get("a.real")
    assert real is not None
    assert real.real == 0.5
    with pytest.raises(TypeError):
        _ = real.number


@pytest.mark.parametrize(
    ("value", "step", "number"),
    [(u8(255), 1, 0), (u8(0), -1, 255), (icmap.i32(2**31 - 1), 1, -(2**31)), (u64(5), -7, 2**64 - 2)],
)
def test_integers_wrap_round(map: Icmap, value: Value, step: int, number: int) -> None:
    map.set("a.number", value)
    map.adjust("a.number", step)
    assert map.number("a.number") == number


def test_what_is_no_integer_is_not_adjusted(map: Icmap) -> None:
    map.set("a.text", text("1"))
    with pytest.raises(MapError) as error:
        map.adjust("a.text", 1)
    assert refused(error) is CsError.INVALID_PARAM
    with pytest.raises(MapError) as error:
        map.adjust("no.key", 1)
    assert refused(error) is CsError.NOT_EXIST


def test_keys_are_in_byte_order_and_found_by_prefix(map: Icmap) -> None:
    for key in ("a.b", "a-b", "a.B", "a.b.c", "a_b", "a/b", "a:b", "ab0"):
        map.set(key, u8(1))
    assert map.keys() == sorted(map.keys(), key=str.encode)
    assert map.keys("a.b") == ["a.b", "a.b.c"]
    assert map.keys("z") == []


def test_an_iteration_goes_on_while_keys_come_and_go(map: Icmap) -> None:
    for key in ("k.1", "k.3", "k.5"):
        map.set(key, u8(1))
    first = map.next_key(None, "k.")
    assert first == "k.1"
    map.delete("k.1")
    map.delete("k.3")
    map.set("k.0", u8(1))
    map.set("k.2", u8(1))
    assert map.next_key(first, "k.") == "k.2"
    assert map.next_key("k.2", "k.") == "k.5"
    assert map.next_key("k.5", "k.") is None


def test_a_change_is_told_from_the_nearest_track_to_the_farthest(map: Icmap) -> None:
    told: list[str] = []

    def track(name: str, key: str | None, *, prefix: bool) -> None:
        map.track(key, lambda change: told.append(name), prefix=prefix)

    track("everything", None, prefix=True)
    track("short", "a", prefix=True)
    track("here, first", "a.key", prefix=True)
    track("here, second", "a.key", prefix=True)
    track("exact, old", "a.key", prefix=False)
    track("exact, young", "a.key", prefix=False)
    track("other", "a.ke", prefix=False)
    map.set("a.key", u8(1))
    assert told == ["exact, young", "exact, old", "here, first", "here, second", "short", "everything"]


def test_a_track_is_told_what_it_asked_for(map: Icmap) -> None:
    told: list[Change] = []
    map.track("a.key", told.append, events=TrackEvent.MODIFY | TrackEvent.DELETE)
    map.set("a.key", u8(1))
    map.set("a.key", u8(1))
    assert told == []
    map.set("a.key", u32(1))
    map.delete("a.key")
    assert told == [
        Change("a.key", TrackEvent.MODIFY, u8(1), u32(1)),
        Change("a.key", TrackEvent.DELETE, u32(1), None),
    ]


def test_a_track_that_ended_meanwhile_is_not_called(map: Icmap) -> None:
    told: list[str] = []
    far = map.track("a.", lambda change: told.append("far"), prefix=True)
    map.track("a.key", lambda change: map.untrack(far))
    map.set("a.key", u8(1))
    assert told == []
    with pytest.raises(KeyError):
        map.untrack(far)


def test_a_callback_may_change_the_key(map: Icmap) -> None:
    seen: list[int] = []

    def reset(change: Change) -> None:
        seen.append(map.number("a.key"))
        if map.number("a.key"):
            map.set("a.key", u8(0))

    map.track("a.key", reset)
    map.set("a.key", u8(9))
    assert seen == [9, 0]
    assert map.number("a.key") == 0


def test_read_only_is_for_programs_only(map: Icmap) -> None:
    map.protect("system.", prefix=True)
    map.protect("totem.version")
    map.set("system.x", u8(1))
    map.set("totem.version", u32(2))
    calls: list[Callable[[], None]] = [
        lambda: map.client_set("system.x", u8(2)),
        lambda: map.client_adjust("system.x", 1),
        lambda: map.client_delete("totem.version"),
        lambda: map.client_set("system.new", u8(2)),
    ]
    for call in calls:
        with pytest.raises(MapError) as error:
            call()
        assert refused(error) is CsError.ACCESS
    map.client_set("totem.version_of_mine", u8(1))
    map.unprotect("totem.version")
    map.client_delete("totem.version")


def test_programs_cannot_fill_the_memory(map: Icmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmap, "MAP_BYTES_MAX", 3 * (16384 + 300))
    big = Value(ValueType.BINARY, bytes(16384))
    for n in range(3):
        map.client_set(f"big.{n}", big)
    with pytest.raises(MapError) as error:
        map.client_set("big.3", big)
    assert refused(error) is CsError.NO_MEMORY
    map.set("runtime.key", big)  # the executive's own
    map.client_delete("big.0")
    map.client_delete("big.1")
    map.client_set("big.3", big)
    stored = 0
    with suppress(MapError):
        for stored in range(1000):
            map.client_set(f"empty.{stored}", Value(ValueType.BINARY, b""))
    assert stored < 10  # what has no bytes takes room, too


def test_values_that_are_asked_for(map: Icmap) -> None:
    told: list[TrackEvent] = []
    map.track("count.", lambda change: told.append(change.event), prefix=True)
    number = 1
    map.provide("count.rx", lambda: u64(number))
    assert map.number("count.rx") == 1
    number = 2
    assert map.number("count.rx") == 2
    assert map.keys("count.") == ["count.rx"]
    map.delete("count.rx")
    assert told == [TrackEvent.ADD, TrackEvent.DELETE]


def test_a_prefix_is_deleted(map: Icmap) -> None:
    for key in ("nodelist.node.0.name", "nodelist.node.1.name", "nodelist2"):
        map.set(key, text("x"))
    map.delete_prefix("nodelist.")
    assert map.keys() == ["nodelist2"]


def test_tracks_that_ended_cost_nothing_and_the_others_keep_their_order(map: Icmap) -> None:
    told: list[int] = []

    def track(number: int, key: str | None, *, prefix: bool) -> Track:
        return map.track(key, lambda change: told.append(number), prefix=prefix)

    exact = [track(number, "a.key", prefix=False) for number in range(4)]
    near = [track(10 + number, "a.", prefix=True) for number in range(4)]
    all_keys = [track(20 + number, None, prefix=True) for number in range(4)]
    nobody = track(30, None, prefix=False)
    for tracks in (exact, near, all_keys):
        map.untrack(tracks[1])
    map.set("a.key", u8(1))
    assert told == [3, 2, 0, 10, 12, 13, 23, 22, 20]
    for tracks in (exact, near, all_keys):
        for number in (0, 2, 3):
            map.untrack(tracks[number])
    map.untrack(nobody)
    map.set("a.key", u8(2))
    assert len(told) == 9


def test_many_tracks_are_told_and_ended_without_a_search_for_each(map: Icmap) -> None:
    tracks = [map.track(None, lambda change: None, prefix=True) for _ in range(8192)]
    started = time.process_time()
    map.set("a.key", u8(1))
    for track in tracks:
        map.untrack(track)
    assert time.process_time() - started < 0.3  # takes 10 ms; with a search it is seconds


def test_programs_create_so_many_keys(map: Icmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmap, "MAP_CLIENT_KEYS_MAX", 3)
    map.set("own.key", u8(1))
    map.client_set("own.key", u8(2))
    for number in range(3):
        map.client_set(f"key.{number}", u8(1))
    with pytest.raises(MapError) as error:
        map.client_set("key.3", u8(1))
    assert refused(error) is CsError.NO_MEMORY
    assert "key.3" not in map
    map.client_set("key.2", u8(2))
    map.set("own.other", u8(1))
    map.delete("key.1")
    with pytest.raises(MapError) as error:
        map.client_set("not a key", u8(1))
    assert refused(error) is CsError.NAME_TOO_LONG
    map.client_set("key.3", u8(1))


def test_programs_add_so_many_settings(map: Icmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmap, "MAP_CLIENT_CONFIGURED_MAX", 2)
    map.client_set("totem.mine", u8(1))
    map.client_set("logging.mine", u8(1))
    with pytest.raises(MapError) as error:
        map.client_set("quorum.mine", u8(1))
    assert refused(error) is CsError.NO_MEMORY
    map.client_set("other.mine", u8(1))
    take_over(map, {})
    assert map.keys() == ["other.mine"]
    map.client_set("quorum.mine", u8(1))


def test_a_new_key_may_be_deleted_by_who_is_told_of_it(map: Icmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmap, "MAP_CLIENT_KEYS_MAX", 1)
    map.track("a.", lambda change: map.delete(change.key), events=TrackEvent.ADD, prefix=True)
    for number in range(3):
        map.client_set(f"a.{number}", u8(1))
    assert len(map) == 0
