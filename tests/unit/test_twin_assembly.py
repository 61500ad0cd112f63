"""The compiled assembly and its twin in plain Python put the same messages together."""

from __future__ import annotations

import random

import pytest

from aisexec.totem import wire
from aisexec.totem.assembly import Assembly, PacketError
from aisexec.totem.limits import ASSEMBLY_SIZE_MAX
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.types import RingId
from tests.twins.assembly import Assembly as Twin
from tests.twins.packing import Packer

Delivered = list[tuple[int, bytes]]


def packets_of(draw: random.Random) -> list[bytes]:
    """What one sender sends, some of it lost or spoilt."""
    made: list[bytes] = []
    packer = Packer(draw.choice((60, 200, 1410)), lambda packet, _: made.append(packet))
    for _ in range(draw.randrange(1, 12)):
        packer.add([draw.randbytes(draw.choice((1, 10, 100, 1000, 5000)))], 0)
        if draw.random() < 0.3:
            packer.flush()
    packer.flush()
    return [spoilt(draw, packet) for packet in made if draw.random() < 0.97]


def spoilt(draw: random.Random, packet: bytes) -> bytes:
    if draw.random() < 0.95:
        return packet
    changed = bytearray(packet)
    for _ in range(draw.randrange(1, 4)):
        changed[draw.randrange(min(16, len(changed)))] = draw.choice((0, 1, 2, 5, 255))
    return bytes(changed[: draw.randrange(len(changed) + 1)])


def streams(draw: random.Random) -> list[tuple[int, bytes]]:
    """Packets of several senders mixed, each sender's in order."""
    waiting = {nodeid: packets_of(draw) for nodeid in (1, 2, 300)}
    mixed = []
    while any(waiting.values()):
        nodeid = draw.choice([n for n, left in waiting.items() if left])
        mixed.append((nodeid, waiting[nodeid].pop(0)))
    return mixed


@pytest.mark.parametrize("seed", range(60))
def test_random_streams(seed: int) -> None:
    draw = random.Random(seed)
    got: Delivered = []
    expected: Delivered = []
    assembly = Assembly(lambda nodeid, message: got.append((nodeid, message)))
    twin = Twin(lambda nodeid, message: expected.append((nodeid, bytes(message))))
    for nodeid, packet in streams(draw):
        answers = []
        for taker in (assembly, twin):
            try:
                answers.append(str(taker.packet(nodeid, memoryview(packet))))
            except PacketError as error:
                answers.append(str(error))
        assert answers[0] == answers[1]
        if draw.random() < 0.02:
            assembly.forget(nodeid)
            twin.forget(nodeid)
        assert got == expected
        assert assembly.open_sizes == {n: m.size for n, m in twin._open.items()}


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_packets_with_a_head(seed: int) -> None:
    mixed = streams(random.Random(seed))
    got: Delivered = []
    expected: Delivered = []
    said: list[int] = []
    refused = []
    assembly = Assembly(
        lambda nodeid, message: got.append((nodeid, message)), lambda nodeid, text: said.append(nodeid)
    )
    twin = Twin(lambda nodeid, message: expected.append((nodeid, bytes(message))))
    frames = []
    for nodeid, packet in mixed:
        head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, nodeid, 1, 0, RingId(1, 4), 0)
        frames.append(head + packet)
        try:
            twin.packet(nodeid, memoryview(packet))
        except PacketError:
            refused.append(nodeid)
    assert assembly.frames(frames) == len(frames)
    assert (got, said) == (expected, refused)


def test_a_delivery_may_end_the_run() -> None:
    packet = PACKET_HEAD.struct.pack(0, 0, 0, 0, 2) + b"\x01\x00\x01\x00ab"
    head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, 1, 1, 0, RingId(1, 4), 0)
    got: list[bytes] = []

    def deliver(nodeid: int, message: bytes) -> None:
        got.append(message)
        if len(got) == 3:
            assembly.stop = True

    assembly = Assembly(deliver)
    assert assembly.frames([head + packet] * 4) == 2
    assert got == [b"a", b"b", b"a", b"b"]
    assert assembly.frames([head + packet] * 4, 2) == 4


def test_the_longest_message() -> None:
    got: list[int] = []
    assembly = Assembly(lambda nodeid, message: got.append(len(message)))
    piece = bytes(65000)
    pieces = ASSEMBLY_SIZE_MAX // len(piece)
    rest = ASSEMBLY_SIZE_MAX - pieces * len(piece)
    for last in (rest, rest + 1):
        for number in range(pieces + 1):
            part = piece if number < pieces else bytes(last)
            fragmented = number + 1 if number < pieces else 0
            head = PACKET_HEAD.struct.pack(0, 0, fragmented, number, 1)
            packet = head + len(part).to_bytes(2, "little") + part
            if last > rest and number == pieces:
                with pytest.raises(PacketError, match="longer than"):
                    assembly.packet(1, packet)
            else:
                assembly.packet(1, packet)
    assert got == [ASSEMBLY_SIZE_MAX]
    assert assembly.open_sizes == {}
