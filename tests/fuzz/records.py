"""Several steps in one input: each a small head and its bytes.  Any bytes at all are some steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from ipc.layout import U8, U16, Layout
from tests.fuzz.hostile import Leaf, leaves, spoil

STEPS_MAX: Final = 48


class StepHead(NamedTuple):
    """What to do (a target's own numbers), a parameter, how many bytes follow."""

    what: U8
    where: U8
    size: U16


STEP_HEAD = Layout(StepHead)


class Step(NamedTuple):
    """One step of an input."""

    what: int
    where: int
    data: bytes


def steps(data: bytes) -> Iterator[Step]:
    """What the bytes say; the last step takes what there is."""
    at = 0
    for _ in range(STEPS_MAX):
        if at + STEP_HEAD.size > len(data):
            return
        head = STEP_HEAD.unpack(data, at)
        at += STEP_HEAD.size
        yield Step(head.what, head.where, data[at : at + head.size])
        at += head.size


def join(parts: Iterable[Step]) -> bytes:
    """The input of these steps."""
    return b"".join(
        STEP_HEAD.pack(StepHead(s.what & 0xFF, s.where & 0xFF, len(s.data[:0xFFFF]))) + s.data[:0xFFFF]
        for s in parts
    )


_HEAD_LEAVES = list(leaves(STEP_HEAD))[:2]
Mutation = Callable[[bytes, random.Random], bytes]


def mutation_of(fields: Callable[[Step], Sequence[Leaf]], seeds: Sequence[bytes]) -> Mutation:
    """Changes that keep steps whole: spoils one, swaps, repeats or drops some, takes some of a seed."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        parts = list(steps(data))
        kind = rng.randrange(8)
        if not parts or kind == 0:
            other = list(steps(rng.choice(seeds)))
            at = rng.randrange(len(other)) if other else 0
            place = rng.randrange(len(parts) + 1)
            parts[place:place] = other[at : at + rng.randint(1, 4)]
            return join(parts[:STEPS_MAX])
        index = rng.randrange(len(parts))
        step = parts[index]
        match kind:
            case 1:
                parts.insert(rng.randrange(len(parts) + 1), step)
            case 2:
                del parts[index]
            case 3:
                other_index = rng.randrange(len(parts))
                parts[index], parts[other_index] = parts[other_index], step
            case 4:
                head = spoil(bytes((step.what, step.where)), _HEAD_LEAVES, rng).ljust(2, b"\0")
                parts[index] = step._replace(what=head[0], where=head[1])
            case _:
                parts[index] = step._replace(data=spoil(step.data, fields(step), rng))
        return join(parts[:STEPS_MAX])

    return mutate
