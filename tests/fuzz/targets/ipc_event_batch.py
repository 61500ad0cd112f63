"""Events written from a batch in one go beside events written one by one."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from ipc._event_batch import EventBatch
from ipc._ring import Ring, RingError
from tests.fuzz.hostile import Leaf
from tests.fuzz.records import Step, join, mutation_of, steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 3.0

ADD, WRITE, READ, NEW = range(4)
"""Step.what; Step.where are the receivers, the first to be written, or how many are read."""

MESSAGE_MAX: Final = 2000
"""Small, so that the ring is soon full."""
RECEIVERS: Final = ((1,), (1, 2), (1, 2, 3))

Way = Callable[[Ring, EventBatch, int, int], int]
"""Writes the events first..last-1."""


class Side:
    """A ring that is written in one of the two ways."""

    def __init__(self, base: str) -> None:
        self.ring = Ring.create(base, MESSAGE_MAX)

    def write(self, how: Way, batch: EventBatch, first: int, last: int) -> int | str:
        """How many, or what is wrong."""
        try:
            return how(self.ring, batch, first, last)
        except (IndexError, RingError) as error:
            return type(error).__name__


def in_one_go(ring: Ring, batch: EventBatch, first: int, last: int) -> int:
    """As the executive does it."""
    return ring.write_batch(batch, first, last)


def one_by_one(ring: Ring, batch: EventBatch, first: int, last: int) -> int:
    """What Ring.write_batch says that it does."""
    if last > len(batch):
        raise IndexError(last)
    for index in range(first, last):
        if not ring.write(batch.event(index)):
            return index - first
    return max(0, last - first)


def fuzz(data: bytes) -> None:
    """Both rings hold the same."""
    directory = tempfile.mkdtemp(prefix="aisexec-fuzz-batch-", dir="/dev/shm")
    sides = Side(f"{directory}/qb-batch"), Side(f"{directory}/qb-one")
    try:
        batch = EventBatch()
        added: list[tuple[tuple[int, ...], bytes]] = []
        for step in steps(data):
            match step.what % 4:
                case 0:
                    receivers = RECEIVERS[step.where % len(RECEIVERS)]
                    event = step.data * (1 + step.where // 16)
                    batch.add(receivers, event)
                    added.append((receivers, event))
                case 1:
                    first, last = step.where, step.where + len(step.data)
                    assert sides[0].write(in_one_go, batch, first, last) == sides[1].write(
                        one_by_one, batch, first, last
                    )
                case 2:
                    found = [side.ring.read_many(step.where) for side in sides]
                    assert found[0] == found[1]
                case _:
                    check(batch, added)
                    batch, added = EventBatch(), []
        check(batch, added)
        assert sides[0].ring.read_many(1 << 20) == sides[1].ring.read_many(1 << 20)
    finally:
        for side in sides:
            side.ring.close(unlink=True)
        shutil.rmtree(directory, ignore_errors=True)


def check(batch: EventBatch, added: Sequence[tuple[tuple[int, ...], bytes]]) -> None:
    """It holds what was added, and its runs are neighbours with the same receivers."""
    assert len(batch) == len(added)
    assert [batch.event(index) for index in range(len(batch))] == [event for _, event in added]
    at = 0
    for receivers, first, last in batch.runs():
        assert first == at < last
        assert all(added[index][0] == receivers for index in range(first, last))
        at = last
    assert at == len(batch)


def _fields(step: Step) -> Sequence[Leaf]:
    return ()


@cache
def seeds() -> Sequence[bytes]:
    """Small and large ones, with and without room, beyond the end, too long for the ring."""
    some = [Step(ADD, n % 3, b"event" * n) for n in range(1, 20)]
    large = [Step(ADD, 16 * n, bytes(300)) for n in range(7)]
    write, read = Step(WRITE, 0, bytes(15)), Step(READ, 9, b"")
    found = [[*some, write, read], [*some, Step(WRITE, 4, bytes(40)), Step(WRITE, 19, b"x"), read]]
    found.append([*large, Step(WRITE, 0, bytes(7)), read, Step(WRITE, 2, bytes(3)), read, Step(NEW, 0, b"")])
    found.append([*some, *(write, write, write, read) * 6])
    found.append([Step(ADD, 255, bytes(2000)), Step(ADD, 0, b"behind"), Step(WRITE, 0, b"12"), read])
    found.append([Step(ADD, 0, b""), Step(WRITE, 0, b"1"), read])
    return [join(parts) for parts in found]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The order, or a number."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Any events and ranges."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, mixed, step, step_lists

    sizes = st.integers(0, 40) | st.integers(0, 2100)
    one = step(st.integers(0, 3), sizes.map(bytes), st.integers(0, 20) | st.integers(0, 255))
    return mixed(step_lists(one, 24), damaged(seeds(), mutate))
