"""The fuzzer itself: inputs are what their layouts say, and decoders broken on purpose are noticed."""

from __future__ import annotations

import itertools
import random

import pytest

from aisexec import driver
from aisexec.config import grammar
from aisexec.net.replay_window import ReplayWindow
from aisexec.services.cpg_fragments import Fragments
from aisexec.state import RingIdFile
from aisexec.totem import wire
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.stack import Totem
from ipc._event_batch import EventBatch
from ipc._ring import Ring
from ipc.cpg_layouts import CALLS, MCAST_REQUEST, McastRequest
from libais._cpg_events import Decoder
from tests.fuzz.frames import FIXED
from tests.fuzz.hostile import HOSTILE, bounds, leaves, spoil
from tests.fuzz.records import STEPS_MAX, Step, join, steps
from tests.fuzz.run import _judge
from tests.fuzz.target import load, names
from tests.fuzz.targets import cpg_intake, cpg_multicasts, ipc_event_batch
from tests.twins import assembly, sort_queue

TRIES = 3000


@pytest.mark.parametrize("code", "BbHhIiQq")
def test_hostile_values_fit_and_hold_the_edges(code: str) -> None:
    low, high = bounds(code)
    assert {low, high, 0, 1} <= set(HOSTILE[code])
    assert all(low <= value <= high for value in HOSTILE[code])


@pytest.mark.parametrize("layout", [*FIXED.values(), *(call.request for call in CALLS.values())])
def test_leaves_lie_inside_and_apart(layout: object) -> None:
    found = sorted(leaves(layout))  # type: ignore[arg-type]
    assert found[-1].offset + found[-1].size <= layout.size  # type: ignore[attr-defined]
    assert all(a.offset + a.size <= b.offset for a, b in itertools.pairwise(found))


def test_steps_are_what_was_joined() -> None:
    parts = [Step(n, 255 - n, bytes(n * 30)) for n in range(STEPS_MAX)]
    assert list(steps(join(parts))) == parts
    assert list(steps(join(parts)[:-1]))[:-1] == parts[:-1]
    assert list(steps(b"\1\2")) == []


def test_spoiling_changes_little_and_often() -> None:
    rng = random.Random(1)
    data = bytes(wire.JOIN.size)
    changed = [spoil(data, list(leaves(wire.JOIN)), rng) for _ in range(200)]
    assert sum(new != data for new in changed) > 150
    assert len({len(new) for new in changed}) > 5


def test_mutations_are_repeatable() -> None:
    for name in names():
        target = load(name)
        seed = target.seeds()[0]
        assert target.mutate(seed, random.Random(7)) == target.mutate(seed, random.Random(7)), name


def hurt(name: str) -> BaseException | None:
    """What the target says within some thousand tries."""
    target = load(name)
    seeds = list(target.seeds())
    for number in range(TRIES):
        rng = random.Random(number)
        data = rng.choice(seeds)
        for _ in range(rng.randint(0, 5)):
            data = target.mutate(data, rng)
        try:
            target.fuzz(data)
        except Exception as error:
            return error
    return None


def no_limit(self: Totem, frames: list[bytes]) -> None:
    """Believes that there is a head."""
    for frame in frames:
        payload = frame[wire.MCAST_SIZE :]
        self._message(wire.mcast_nodeid(frame), payload[PACKET_HEAD.size + payload[6] :])


def trusting_state(self: RingIdFile) -> int:
    return int.from_bytes(self._read(), "little")


def trusting_intake(message: bytes) -> McastRequest | None:
    return MCAST_REQUEST.unpack(message) if len(message) >= MCAST_REQUEST.size else None


def twice(ring: Ring, batch: EventBatch, first: int, last: int) -> int:
    ring.write_batch(batch, first, last)
    return ring.write_batch(batch, first, last)


SABOTAGE: dict[str, tuple[str, object, str, object]] = {
    "counts of a JOIN unchecked": ("totem_frames", wire, "PROCESSOR_COUNT_MAX", 1 << 32),
    "packets believed": ("totem_packets", Totem, "deliver_frames", no_limit),
    "fragments believed": ("executive_messages", Fragments, "take", lambda *args: True),
    "frames taken twice": ("sealed_frames", ReplayWindow, "is_new", lambda self, counter: True),
    "keys of any length": ("config_grammar", grammar, "KEY_PATH_MAX", 1 << 20),
    "any number on disk": ("state_files", RingIdFile, "load", trusting_state),
    "event heads unread": ("libais_events", Decoder, "_confchg", lambda self, message: message[1000]),
    "left senders kept": ("totem_assembly", assembly.Assembly, "forget", lambda self, nodeid: None),
    "no window": ("totem_receive_run", sort_queue.SortQueue, "in_range", lambda self, seq: True),
    "any request ordinary": ("cpg_intake", cpg_intake, "ordinary", trusting_intake),
    "any group heard": ("cpg_multicasts", cpg_multicasts, "exec_name", lambda group: group.value),
    "events written twice": ("ipc_event_batch", ipc_event_batch, "in_one_go", twice),
    "tokens overlooked": ("turn_frames", driver, "holds_token", lambda frames: False),
    "events unread": ("ipc_client", Decoder, "decode", lambda self, message: message[100_000]),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_what_is_broken_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, owner, attribute, broken = SABOTAGE[what]
    monkeypatch.setattr(owner, attribute, broken)
    assert hurt(name) is not None


LOG = """
INFO: seed corpus: files: 3 min: 1b max: 2b total: 6b rss: 40Mb
#4 INITED cov: 10 ft: 11 corp: 3/6b exec/s: 0 rss: 41Mb
 === Uncaught Python exception: ===
ValueError: a number: 5
Traceback (most recent call last):
==77== ERROR: libFuzzer: fuzz target exited
artifact_prefix='x'; Test unit written to /nowhere/crash-1
stat::number_of_executed_units: 17
stat::peak_rss_mb: 44
"""


def test_the_driver_understands_what_libfuzzer_says() -> None:
    outcome = _judge(LOG, 77, 2.0)
    assert (outcome.executions, outcome.coverage, outcome.features) == (17, 10, 11)
    assert (outcome.rss_first, outcome.rss_peak) == (40, 44)
    assert outcome.trouble == "ValueError: a number: 5"
    assert str(outcome.crash) == "/nowhere/crash-1"
    assert _judge("stat::number_of_executed_units: 3", 0, 1.0).trouble == ""
    assert "timeout" in _judge("==1== ERROR: libFuzzer: timeout after 5 seconds", 70, 1.0).trouble
