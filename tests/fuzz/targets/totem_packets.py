"""Packing and assembly: packets of several senders, cut and put together in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.totem import wire
from aisexec.totem.limits import ASSEMBLY_SIZE_MAX, GROUPS_MAX
from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD
from aisexec.totem.settings import Settings
from aisexec.totem.stack import Totem
from aisexec.totem.types import Configuration, RingId
from tests.fuzz.captured import packets
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0

SENDERS: Final = 3
LEFT: Final = 128
"""Bit of Step.what: the sender leaves the ring; otherwise Step.what times the packet is delivered."""


class Collector:
    """Above the protocol: keeps what comes."""

    def __init__(self) -> None:
        self.size = 0
        self.groups = 0

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        self.size += len(message)
        self.groups += 1
        assert len(message) <= ASSEMBLY_SIZE_MAX

    def configuration(self, change: Configuration) -> None:
        pass

    def token_passed(self) -> None:
        pass


def fuzz(data: bytes) -> None:
    """Nothing is raised, nothing comes out that did not come in, an open message stays within its limit."""
    upper = Collector()
    totem = Totem(Settings(), 1, 0, upper)
    given = 0
    for step in steps(data):
        sender = step.where % SENDERS + 1
        if step.what & LEFT:
            totem._left = (sender,)
            totem.recovered()
            totem._assembly = totem._regular
            continue
        for _ in range(1 + (step.what & 3)):
            totem.deliver_frames([frame_head(sender) + step.data])
            given += len(step.data)
        for assembly in (totem._regular, totem._transitional):
            assert len(assembly.open_sizes) <= SENDERS
            assert all(size <= ASSEMBLY_SIZE_MAX for size in assembly.open_sizes.values())
    assert upper.size <= given * GROUPS_MAX


def frame_head(sender: int) -> bytes:
    return wire.pack_mcast_header(wire.Encapsulated.PLAIN, sender, 1, 0, RingId(1, 4), 0)


def _fields(step: Step) -> Sequence[Leaf]:
    count = int.from_bytes(step.data[6:8], "little") if len(step.data) > 8 else 0
    at = PACKET_HEAD.size + LENGTH_SIZE * count
    lengths = (Leaf(PACKET_HEAD.size + LENGTH_SIZE * i, "H", LENGTH_SIZE) for i in range(min(count, 8)))
    groups = (Leaf(at, "H", LENGTH_SIZE), Leaf(at + LENGTH_SIZE, "H", LENGTH_SIZE))
    return [*leaves(PACKET_HEAD), *lengths, *groups]


@cache
def seeds() -> Sequence[bytes]:
    """Runs of packets of a real ring."""
    run = packets()
    every = [join([Step(0, nodeid, packet)]) for nodeid, packet in run[::7]]
    return every + [join(Step(0, n, p) for n, p in run[at : at + 12]) for at in range(0, len(run), 40)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of a packet, or the order of packets."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Packets from their layout, with lengths that fit or not; spoilt ones of a real ring."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, followed, integer, mixed, step, step_lists, structure

    lengths = st.lists(integer("H"), max_size=4).map(
        lambda values: b"".join(value.to_bytes(2, "little") for value in values)
    )
    packet = followed(structure(PACKET_HEAD), followed(lengths, st.binary(max_size=40)))

    def fitting(fragmented: int, continuation: int, pieces: list[bytes]) -> bytes:
        head = PACKET_HEAD.struct.pack(0, 0, fragmented, continuation, len(pieces))
        return head + b"".join(len(p).to_bytes(2, "little") for p in pieces) + b"".join(pieces)

    number = st.integers(0, 3) | st.integers(0, 255)
    group = st.builds(
        lambda head, rest: b"".join(v.to_bytes(2, "little") for v in head) + rest,
        st.lists(integer("H"), max_size=3),
        st.binary(max_size=20),
    )
    good = st.builds(fitting, number, number, st.lists(group, max_size=3))
    what = st.integers(0, 3) | st.just(LEFT)
    return mixed(step_lists(step(what, packet | good)), damaged(seeds(), mutate))
