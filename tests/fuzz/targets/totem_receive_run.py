"""The compiled queue of received frames beside its plain twin, round the end of the numbers, too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.totem import wire
from aisexec.totem._sort_queue import SortQueue
from aisexec.totem.sequence import HALF, MASK, lt
from aisexec.totem.types import RingId
from tests.fuzz.frames import fields
from tests.fuzz.hostile import Leaf
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.twins import sort_queue as twin

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

FRAME, RUN, MISS, RELEASE, ORDERED, LONE = range(6)
"""Step.what.  Frames wait until a run is taken; Step.where is a distance from the window's begin."""

HEADS: Final = (0, 1, 5000, HALF - 3, HALF, MASK - 0xFFFF, MASK - 300, MASK)
"""Where the window begins, by the first byte of an input."""
RING: Final = RingId(1, 8)
MEMBERS: Final = frozenset((1, 2, 3))
SIZE_MAX: Final = 1500


class Both:
    """The two queues and what waits."""

    def __init__(self, head: int) -> None:
        self.compiled, self.plain = SortQueue(), twin.SortQueue()
        self.compiled.head = self.plain.head = head
        self.high = head
        self.waiting: list[tuple[bytes, str]] = []

    def take_run(self) -> None:
        taken, high = self.compiled.take_run(self.waiting, 0, *RING, MEMBERS, SIZE_MAX, self.high)
        assert (taken, high) == plain_run(self.plain, self.waiting, self.high)
        self.waiting, self.high = [], high

    def compare(self) -> None:
        compiled, plain = self.compiled, self.plain
        assert compiled.head == plain.head
        assert compiled.frames == plain.frames
        assert len(compiled) == len(plain)
        assert compiled.miss_count == len(plain.misses)
        for seq in (plain.head, (plain.head - 1) & MASK, self.high):
            assert (seq in compiled) == (seq in plain)
            assert compiled.get(seq) == plain.get(seq)
            assert compiled.in_range(seq) == plain.in_range(seq)
            assert compiled.contiguous_from(seq) == plain.contiguous_from(seq)


def plain_run(queue: twin.SortQueue, frames: list[tuple[bytes, str]], high: int) -> tuple[int, int]:
    """What SortQueue.take_run says that it does."""
    for index, (frame, _) in enumerate(frames):
        if not wire.MCAST_SIZE <= len(frame) <= SIZE_MAX:
            return index, high
        head = wire.MCAST.unpack(frame)
        ordinary = (
            (head.header.magic, head.header.version) == (wire.MAGIC, wire.VERSION)
            and head.header.type == wire.FrameType.MCAST
            and frame[4] == wire.Encapsulated.PLAIN
            and head.ring_id == RING
            and head.system_from == head.header.nodeid
            and head.header.nodeid in MEMBERS
        )
        if not ordinary:
            return index, high
        if queue.add(head.seq, frame) and lt(high, head.seq):
            high = head.seq
    return len(frames), high


def plain_ordered(queue: twin.SortQueue, after: int, to: int, safe: int | None) -> list[bytes]:
    """What SortQueue.ordered says that it does."""
    found = []
    seq = after
    while seq != to:
        seq = (seq + 1) & MASK
        frame = queue.get(seq)
        if frame is None:
            break
        asks = len(frame) >= wire.MCAST_SIZE and wire.MCAST.unpack(frame).guarantee == 1
        if safe is not None and lt(safe, seq) and asks:
            break
        found.append(frame)
    return found


def fuzz(data: bytes) -> None:
    """Both keep the same."""
    both = Both(HEADS[data[0] % len(HEADS)] if data else 0)
    for step in steps(data[1:]):
        _take(both, step)
        both.compare()


def _take(both: Both, step: Step) -> None:
    head = both.plain.head
    there = (head + step.where) & MASK
    match step.what % 6:
        case 0:
            both.waiting.append((step.data, "10.0.0.1"))
        case 1:
            both.take_run()
        case 2:
            if there not in both.plain and both.plain.in_range(there):
                assert both.compiled.miss(there) == both.plain.miss(there)
        case 3:
            both.compiled.release(head, there)
            both.plain.release(head, there)
        case 4:
            safe_only = bool(step.data[:1])
            safe = (head + step.data[0]) & MASK if safe_only else 0
            found = both.compiled.ordered((head - 1) & MASK, there, safe_only, safe)
            assert found == plain_ordered(both.plain, (head - 1) & MASK, there, safe if safe_only else None)
        case _:
            assert both.compiled.add(there, step.data) == both.plain.add(there, step.data)


def _fields(step: Step) -> Sequence[Leaf]:
    return fields(step.data)


def _frame(sender: int, seq: int, guarantee: int = 0) -> bytes:
    head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, sender, seq & MASK, 0, RING, guarantee)
    return head + b"packet"


@cache
def seeds() -> Sequence[bytes]:
    """In order, with holes, doubled, foreign, from each beginning."""
    found = []
    for kind, head in enumerate(HEADS):
        run = [Step(FRAME, 0, _frame(n % 3 + 1, head + n, n % 2)) for n in range(8)]
        holes = [frame for n, frame in enumerate(run) if n not in (2, 5)]
        alien = Step(FRAME, 0, _frame(9, head + 20))
        ask = [Step(ORDERED, 10, b""), Step(ORDERED, 10, b"\x03")]
        take = Step(RUN, 0, b"")
        story = [*holes, take, Step(MISS, 2, b""), Step(MISS, 2, b""), *ask, *run, take, *ask]
        story += [Step(RELEASE, 4, b""), *ask, run[0], alien, run[1], take, Step(RELEASE, 200, b"")]
        found += [bytes([kind]) + join(story), bytes([kind]) + join([*run, take, *ask])]
    return found


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The order, or a field."""
    rest = mutation_of(_fields, [seed[1:] for seed in seeds()])(data[1:], rng)
    return (data[:1] or b"\0") + rest


def inputs() -> SearchStrategy[bytes]:
    """Ours, foreign and spoilt frames at any place."""
    from hypothesis import strategies as st

    from tests.fuzz.frames import any_frame
    from tests.fuzz.strategies import damaged, mixed, step, step_lists

    near = st.integers(-3, 30) | st.integers(16_380, 16_390)
    ours = st.builds(
        lambda sender, head, off, guarantee: _frame(sender, head + off, guarantee),
        st.integers(1, 4), st.sampled_from(HEADS), near, st.integers(0, 2),
    )  # fmt: skip
    one = step(st.just(FRAME), ours | ours | any_frame()) | step(st.integers(0, 5), st.binary(max_size=3))
    stories = st.builds(
        lambda kind, rest: bytes([kind]) + rest, st.integers(0, len(HEADS) - 1), step_lists(one, 24)
    )
    return mixed(stories, damaged(seeds(), mutate))
