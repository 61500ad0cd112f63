"""Packets from the wire: what holds them together, and what is in them (totempg; spec 7.5, 7.6)."""

from __future__ import annotations

import struct

from aisexec.totem._assembly import Assembly, PacketError, Sink
from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD

__all__ = ["Assembly", "PacketError", "Sink", "split"]


def split(payload: memoryview) -> tuple[int, int, list[memoryview]]:
    """(fragmented, continuation, pieces); raises PacketError unless all lengths fit exactly."""
    if len(payload) < PACKET_HEAD.size:
        raise PacketError(f"packet of {len(payload)} bytes")
    _, _, fragmented, continuation, count = PACKET_HEAD.struct.unpack_from(payload)
    offset = PACKET_HEAD.size + LENGTH_SIZE * count
    if offset > len(payload):
        raise PacketError(f"{count} pieces in a packet of {len(payload)} bytes")
    pieces = []
    for length in struct.unpack_from(f"<{count}H", payload, PACKET_HEAD.size):
        pieces.append(payload[offset : offset + length])
        offset += length
    if offset != len(payload):
        raise PacketError(f"pieces end at {offset} in a packet of {len(payload)} bytes")
    return fragmented, continuation, pieces
