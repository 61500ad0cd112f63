"""The compiled numbering and its twin in plain Python make the same frames and remember the same packets."""

from __future__ import annotations

import random
from collections import deque

import pytest

from aisexec.totem import wire
from aisexec.totem._numbering import number_queued
from aisexec.totem.interrupted import InterruptedMessage
from aisexec.totem.packing import PACKET_HEAD, PacketHead
from aisexec.totem.sequence import MASK
from aisexec.totem.types import RingId
from tests.twins import numbering as twin


def packet(draw: random.Random, *, long: bool) -> bytes:
    """long: mostly one piece in the middle of a message."""
    middle = draw.random() < (0.95 if long else 0.2)
    count = 1 if middle else draw.randrange(1, 4)
    fragmented = draw.randrange(1, 256) if middle else draw.choice((0, 0, 0, 1, 200))
    continuation = draw.randrange(1, 256) if middle else draw.choice((0, 0, 7))
    lengths = [draw.randrange(1, 60) for _ in range(count)]
    head = PACKET_HEAD.pack(PacketHead(0, 0, fragmented, continuation, count))
    return head + b"".join(n.to_bytes(2, "little") for n in lengths) + draw.randbytes(sum(lengths))


@pytest.mark.parametrize("seed", range(60))
def test_same_frames_and_memory(seed: int) -> None:
    draw = random.Random(seed)
    ring = RingId(draw.randrange(1, 1 << 32), draw.randrange(1 << 62))
    ours: deque[tuple[bytes, int]] = deque()
    theirs: deque[tuple[bytes, int]] = deque()
    memory, expected = InterruptedMessage(), InterruptedMessage()
    seq, sent = draw.choice((0, 5, MASK - 20, 0x7FFFFFF0)), draw.choice((0, 0x7FFFFFF0, 1 << 33))
    for _ in range(60):
        long = draw.random() < 0.5
        for _ in range(draw.randrange(12)):
            entry = (packet(draw, long=long), draw.choice((0, 0, 1)))
            ours.append(entry)
            theirs.append(entry)
        allowed = draw.randrange(-1, 12)
        me = draw.randrange(1, 1 << 32)
        frames = number_queued(ours, allowed, memory, me, seq, sent, ring)
        assert frames == twin.number_queued(theirs, allowed, expected, me, seq, sent, ring)
        assert (ours, memory.packets) == (theirs, expected.packets)
        for place, frame in enumerate(frames):
            assert wire.MCAST.unpack(frame).seq == (seq + 1 + place) & MASK
        seq, sent = (seq + len(frames)) & MASK, sent + len(frames)
        if draw.random() < 0.05:
            assert memory.restart() == expected.restart()


def test_a_packet_has_a_head() -> None:
    queue = deque([(b"\0" * 7, 0)])
    with pytest.raises(ValueError, match="packet of 7 bytes"):
        number_queued(queue, 1, InterruptedMessage(), 1, 0, 0, RingId(1, 4))
