"""The loop itself, between a network and an executive that only keep what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import gevent
import pytest

from aisexec.driver import FRAMES_AT_ONCE, Driver
from aisexec.executive import Executive
from aisexec.exit_codes import ExitCode
from aisexec.garbage import Garbage
from aisexec.net.base import NetStats, Received, Transport
from aisexec.services.stats_map import StatsMap
from aisexec.services.timers import Alarm
from aisexec.totem.stats import Stats
from aisexec.totem.types import Unicast

TOKEN = b"\x70\xc0\3\0" + bytes(53)


class Network:
    """Has frames waiting; notes in `story` what is sent."""

    def __init__(self, story: list[str]) -> None:
        self.stats = NetStats()
        self.frames: list[Received] = []
        self._story = story

    def receive(self) -> list[Received]:
        taken, self.frames = self.frames, []
        return taken

    def unicast(self, nodeid: int, frames: Sequence[bytes]) -> None:
        self._story.append("sent token" if frames[0] == TOKEN else "sent something")


class Stage:
    """An executive that passes on each frame called token, and knows which frames are stale."""

    def __init__(self, story: list[str]) -> None:
        self.totem = cast(Any, self)
        self.stats = Stats()
        self.statistics = StatsMap(lambda: 0.0, lambda delay, callback: Alarm(delay, callback))
        self.token_received_at = 0.0
        self.backlog = 0
        self.circulating = False
        self.ring_id = None
        self.ready = False
        self.served: tuple[str, ...] = ()
        self.stale = b""
        self._story = story
        self._effects: list[Unicast] = []

    def without_stale(self, frames: Sequence[Received], now: float) -> Sequence[Received]:
        return [received for received in frames if received[0] != self.stale]

    def receive(self, frames: Sequence[Received], now: float) -> None:
        self._story.append(f"got {len(frames)}")
        self.stats.orf_token_rx += sum(frame == TOKEN for frame, _ in frames)
        self._effects += [Unicast(2, frame) for frame, _ in frames if frame == TOKEN]

    def take_effects(self) -> list[Unicast]:
        taken, self._effects = self._effects, []
        return taken

    def next_timer(self) -> None:
        return None

    def flow_level(self) -> int:
        return 0

    def slots_free(self) -> int:
        return 9

    def frames_waiting(self) -> int:
        return 0

    def counters(self) -> Iterable[tuple[str, int]]:
        return [("stats.toy.things", 7)]


@pytest.fixture
def story() -> list[str]:
    return []


class Broom(Garbage):
    """Notes when it is used."""

    def __init__(self, story: list[str]) -> None:
        super().__init__()
        self._story = story

    def token_passed(self) -> None:
        self._story.append("swept")


def driver(network: Network, stage: Stage, garbage: Garbage | None = None) -> Driver:
    return Driver(
        lambda buffers: cast(Executive, stage),
        cast(Transport, network),
        cast(Any, None),
        lambda subsystem, priority, text: None,
        garbage=garbage,
    )


def test_token_is_passed_on_before_the_frames_behind_it(story: list[str]) -> None:
    network, stage = Network(story), Stage(story)
    filler = [(b"other", "10.0.0.3")] * FRAMES_AT_ONCE
    network.frames = [(TOKEN, "10.0.0.2"), *filler, *filler]
    driver(network, stage)._network_ready()
    assert story == [f"got {FRAMES_AT_ONCE}", "sent token", f"got {FRAMES_AT_ONCE}", "got 1"]


def test_stale_frames_are_dropped_from_all_that_wait(story: list[str]) -> None:
    """What makes them stale may be in a later part."""
    network, stage = Network(story), Stage(story)
    stage.stale = b"stale"
    network.frames = [(b"stale", "10.0.0.2")] * 500 + [(TOKEN, "10.0.0.2")]
    driver(network, stage)._network_ready()
    assert story == ["got 1", "sent token"]


def test_garbage_is_collected_when_the_token_is_gone(story: list[str]) -> None:
    network, stage = Network(story), Stage(story)
    network.frames = [(TOKEN, "10.0.0.2"), (b"other", "10.0.0.3")]
    node = driver(network, stage, Broom(story))
    node._network_ready()
    assert story == ["got 2", "sent token", "swept"]
    network.frames = [(b"other", "10.0.0.3")]
    node._network_ready()
    assert story[3:] == ["got 1"]


def test_token_hold_and_batches_are_counted(story: list[str]) -> None:
    network, stage = Network(story), Stage(story)
    node = driver(network, stage)
    for frames in ([(TOKEN, "10.0.0.2")], [(b"other", "10.0.0.2")] * 20, []):
        network.frames = frames
        node._network_ready()
    counters = dict(node.counters())
    assert counters["stats.loop.frames_per_receive_below_2"] == 1
    assert counters["stats.loop.frames_per_receive_below_32"] == 1
    assert sum(n for key, n in counters.items() if key.startswith("stats.srp.token_hold_us_below_")) == 1


def test_counters_have_keys_of_the_statistics_map(story: list[str]) -> None:
    network, stage = Network(story), Stage(story)
    stage.stats.mcast_tx = 3
    stage.stats.dropped["token of another ring"] += 2
    network.stats.refused["invalid"] += 4
    counters = dict(driver(network, stage).counters())
    assert counters["stats.srp.mcast_tx"] == 3
    assert counters["stats.srp.dropped.token_of_another_ring"] == 2
    assert counters["stats.net.refused.invalid"] == 4
    assert counters["stats.ipcs.global.active"] == 0
    assert counters["stats.ipcs.global.put_off"] == 0
    assert counters["stats.toy.things"] == 7
    assert not any(" " in key for key in counters)


def test_a_mistake_in_the_middle_of_messages_ends_the_node(
    story: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher whose callback has failed is not called again: nobody would look at the network any more."""
    network, stage = Network(story), Stage(story)
    told: list[str] = []
    node = driver(network, stage)
    node._log = lambda subsystem, priority, text: told.append(text)
    monkeypatch.setattr(stage, "receive", lambda frames, now: 1 // 0)
    reported: list[BaseException] = []
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "handle_error", lambda where, kind, error, trace: reported.append(error))
    network.frames = [(TOKEN, "10.0.0.2")]
    node._timer_due()
    assert [type(error) for error in reported] == [ZeroDivisionError]
    assert node.finished.is_set()
    assert node.exit_code == ExitCode.FATAL_ERROR
    assert "Internal error" in told[0]
    node._timer_due()
    assert len(reported) == 1
