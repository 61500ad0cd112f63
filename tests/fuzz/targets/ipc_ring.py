"""A ring whose peer scribbles over the shared memory: pointers, lengths, magic, semaphore, sizes, files."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from ipc._ring import Ring, RingError
from tests.fuzz.hostile import Leaf
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.shared_ring import HEADER_LEAVES, Scribbler

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

(
    CREATOR_READS, CREATOR_WRITES, OPENER_READS, OPENER_WRITES, FIELD, HEADER, DATA, CHUNK, TRUNCATE, REOPEN,
    LOOK,
) = range(11)  # fmt: skip
"""Step.what; Step.where chooses field, variant or place."""

MESSAGE_MAX: Final = 2000
"""Small, so that rings go round often."""


class Pair:
    """Both ends of one ring, in one process."""

    def __init__(self, directory: str, sysv: bool) -> None:
        self.base = f"{directory}/qb-fuzz"
        self.creator = Ring.create(self.base, MESSAGE_MAX, sysv=sysv)
        self.scribbler = Scribbler(self.base)
        self.opener: Ring | None = Ring.open(self.base, MESSAGE_MAX)

    def close(self) -> None:
        if self.opener is not None:
            self.opener.close()
        self.creator.close(unlink=True)
        self.scribbler.close()


def fuzz(data: bytes) -> None:
    """Only RingError comes out, no chunk is longer than agreed, nothing waits longer than it was told to."""
    directory = tempfile.mkdtemp(prefix="aisexec-fuzz-ring-", dir="/dev/shm")
    try:
        pair = Pair(directory, sysv=data[:1] == b"\xff")
        try:
            for step in steps(data[1:]):
                _take(pair, step)
        finally:
            pair.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _take(pair: Pair, step: Step) -> None:
    number = int.from_bytes(step.data[:8], "little")
    scribbler = pair.scribbler
    match step.what % 11:
        case 0:
            _reads(pair.creator, step.where)
        case 1:
            _guarded(lambda: pair.creator.write(_parts(step)))
        case 2 if pair.opener is not None:
            _reads(pair.opener, step.where)
        case 3 if pair.opener is not None:
            opener = pair.opener
            _guarded(lambda: opener.write(_parts(step)))
        case 4:
            scribbler.header_field(step.where, number)
        case 5:
            scribbler.header_bytes(step.where * 33, step.data)
        case 6:
            scribbler.data_bytes_at(step.where * 16, step.data)
        case 7:
            at = scribbler.read_point() if step.where & 128 else step.where
            scribbler.chunk(at, number, step.where)
            scribbler.post(1 + (step.where & 3))
        case 8:
            scribbler.truncate(bool(step.where & 1), number % 20_000)
        case 9:
            _reopen(pair)
        case _:
            _look(pair.creator, number)


def _guarded(call: Callable[[], object]) -> object:
    """RingError is what a spoilt ring gives."""
    with suppress(RingError):
        return call()
    return None


def _parts(step: Step) -> list[bytes]:
    size = 1 + step.where % 50
    return [step.data[at : at + size] for at in range(0, min(len(step.data), 40 * size), size)]


def _reads(ring: Ring, how: int) -> None:
    match how % 4:
        case 0:
            chunks = [_guarded(lambda: ring.read(1))]
        case 1:
            found = _guarded(lambda: ring.read_many(5))
            chunks = list(found) if isinstance(found, list) else []
        case _:
            chunks = [_guarded(ring.read)]
    for chunk in chunks:
        assert chunk is None or (isinstance(chunk, bytes) and len(chunk) <= MESSAGE_MAX)


def _look(ring: Ring, number: int) -> None:
    pending = _guarded(ring.pending)
    assert pending is None or (isinstance(pending, int) and pending >= 0)
    free = _guarded(ring.free_bytes)
    assert free is None or (isinstance(free, int) and free <= 8192)
    _guarded(lambda: ring.ref_count)
    _guarded(lambda: ring.flow_level)
    _guarded(lambda: setattr(ring, "flow_level", number & 0x7FFFFFFF))


def _reopen(pair: Pair) -> None:
    """As a client of a hostile executive does."""
    if pair.opener is not None:
        pair.opener.close()
    pair.opener = None
    with suppress(RingError):
        pair.opener = Ring.open(pair.base, MESSAGE_MAX)
    if not os.path.exists(pair.base + "-header"):
        raise AssertionError("opening a ring must not remove it")


def _fields(step: Step) -> Sequence[Leaf]:
    return (Leaf(0, "Q", 8), Leaf(0, "I", 4), Leaf(4, "I", 4))


@cache
def seeds() -> Sequence[bytes]:
    """Honest traffic, then each kind of dishonesty in its midst."""
    chunk = Step(OPENER_WRITES, 7, b"a request of a client" * 3)
    read = Step(CREATOR_READS, 2, b"")
    back = [Step(CREATOR_WRITES, 9, bytes(600)), Step(OPENER_READS, 2, b"")]
    honest = [chunk, read, *back]
    found = [honest, honest * 4]
    found += [
        [chunk, Step(FIELD, index, value.to_bytes(8, "little")), read, *back, Step(REOPEN, 0, b""), *back]
        for index in range(len(HEADER_LEAVES))
        for value in (0, 0xFFFFFFFF, 1023, 1024, 0x56737953)
    ]
    found += [
        [chunk, Step(CHUNK, where, value.to_bytes(8, "little")), read, *back]
        for where in (0, 1, 128, 129)
        for value in (0, 2001, 0xFFFFFFFF)
    ]
    found += [
        [chunk, Step(TRUNCATE, which, size.to_bytes(8, "little")), read, *back, Step(LOOK, 0, b"")]
        for which in (0, 1)
        for size in (0, 5000)
    ]
    found.append([chunk, Step(HEADER, 124, b"/dev/zero\0"), Step(REOPEN, 0, b""), chunk, read])
    found.append([chunk, Step(DATA, 0, b"\xa1" * 64), read])
    return [kind + join(parts) for parts in found for kind in (b"\0", b"\xff")]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The order, or a number."""
    rest = mutation_of(_fields, [seed[1:] for seed in seeds()])(data[1:], rng)
    return (data[:1] or b"\0") + rest


def inputs() -> SearchStrategy[bytes]:
    """Any steps, numbers at their edges."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, integer, mixed, step, step_lists

    numbers = integer("Q").map(lambda value: value.to_bytes(8, "little"))
    one = step(st.integers(0, 10), numbers | st.binary(max_size=80))
    both = st.builds(lambda sysv, rest: sysv + rest, st.sampled_from((b"\0", b"\xff")), step_lists(one, 16))
    return mixed(both, damaged(seeds(), mutate))
