"""Compiled reassembly beside its plain twin: the same packets, the same messages and complaints."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from aisexec.totem._assembly import Assembly, PacketError
from aisexec.totem.packing import PACKET_HEAD
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.targets import totem_packets
from tests.fuzz.targets.totem_packets import LEFT, SENDERS, frame_head
from tests.twins import assembly as twin

SECONDS = totem_packets.SECONDS

AS_PACKET = 4
"""Bit of Step.what: not within a frame."""


def fuzz(data: bytes) -> None:
    """Whatever comes, both say the same of it and keep the same."""
    ours: list[tuple[int, bytes | str]] = []
    theirs: list[tuple[int, bytes | str]] = []
    compiled = Assembly(lambda *message: ours.append(message), lambda *complaint: ours.append(complaint))
    plain = twin.Assembly(lambda nodeid, message: theirs.append((nodeid, bytes(message))))
    for step in steps(data):
        sender = step.where % SENDERS + 1
        if step.what & LEFT:
            compiled.forget(sender)
            plain.forget(sender)
        for _ in range(0 if step.what & LEFT else 1 + (step.what & 3)):
            if step.what & AS_PACKET:
                try:
                    compiled.packet(sender, step.data)
                except PacketError as error:
                    ours.append((sender, str(error)))
            else:
                assert compiled.frames([frame_head(sender) + step.data]) == 1
            try:
                plain.packet(sender, memoryview(step.data))
            except PacketError as error:
                theirs.append((sender, str(error)))
        assert ours == theirs
        assert compiled.open_sizes == {nodeid: message.size for nodeid, message in plain._open.items()}
        ours.clear()
        theirs.clear()


def _packet(fragmented: int, continuation: int, *pieces: bytes) -> bytes:
    lengths = b"".join(len(piece).to_bytes(2, "little") for piece in pieces)
    return PACKET_HEAD.struct.pack(0, 0, fragmented, continuation, len(pieces)) + lengths + b"".join(pieces)


@cache
def seeds() -> Sequence[bytes]:
    """A real ring's, and messages that end, or do not because their sender has left."""
    begin, middle, end = (
        _packet(1, 0, b"whole", b"beg"),
        _packet(2, 1, b"inn"),
        _packet(0, 2, b"ing", b"next"),
    )
    told = [Step(0, 0, begin), Step(AS_PACKET, 1, begin), Step(0, 0, middle), Step(AS_PACKET, 0, end)]
    left = [Step(0, 0, begin), Step(0, 0, middle), Step(LEFT, 0, b""), Step(0, 0, end)]
    return [join(told), join(left), join([*left, *told]), *totem_packets.seeds()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of a packet, or the order of packets."""
    return mutation_of(totem_packets._fields, seeds())(data, rng)


inputs = totem_packets.inputs
