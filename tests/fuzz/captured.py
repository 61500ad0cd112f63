"""What a real corosync ring has sent: frames, and the messages in them; the first inputs of every corpus."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from aisexec.totem import wire
from aisexec.totem.assembly import Assembly, PacketError
from tests.wire.pcap import CAPTURES, datagrams

PER_TYPE = 12
"""Frames of a type from a capture: later ones differ in little."""


@cache
def frames() -> tuple[bytes, ...]:
    """A few frames of each type and length from every capture."""
    found: dict[bytes, None] = {}
    for path in sorted(CAPTURES.glob("*.pcap")):
        counts: dict[tuple[int, int], int] = {}
        for datagram in datagrams(path.stem):
            frame = datagram.payload
            key = frame[3], frame[4]
            sort = (frame[3] << 8 | frame[4], len(frame) // 64)
            counts[sort] = counts.get(sort, 0) + 1
            if counts[sort] <= (2 if key[0] == wire.FrameType.ORF_TOKEN else PER_TYPE):
                found[frame] = None
    return tuple(found)


@cache
def packets() -> tuple[tuple[int, bytes], ...]:
    """(sender, payload) of plain mcast frames, in order, each once."""
    found: dict[tuple[int, bytes], None] = {}
    for path in sorted(CAPTURES.glob("*.pcap")):
        for datagram in datagrams(path.stem):
            frame = datagram.payload
            if frame[3] == wire.FrameType.MCAST and frame[4] == wire.Encapsulated.PLAIN:
                found[wire.mcast_nodeid(frame), frame[wire.MCAST_SIZE :]] = None
    return tuple(found)


@cache
def messages() -> tuple[tuple[bytes, bytes], ...]:
    """(group, message) with different heads."""
    return tuple(_messages())


def _messages() -> Iterator[tuple[bytes, bytes]]:
    found: list[bytes] = []

    def collect(_: int, message: bytes) -> None:
        found.append(bytes(message))

    assembly = Assembly(collect)
    for nodeid, packet in packets():
        try:
            assembly.packet(nodeid, memoryview(packet))
        except PacketError:
            continue
    seen = set()
    for message in found:
        length = int.from_bytes(message[2:4], "little")
        group, body = message[4 : 4 + length], message[4 + length :]
        key = group, body[:4], len(body) // 128
        if key not in seen:
            seen.add(key)
            yield group, body
