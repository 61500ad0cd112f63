"""Reads UDP payloads from a pcap file (Ethernet, IPv4), fragments joined."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CAPTURES = Path(__file__).parent / "captures"


class Datagram(NamedTuple):
    source: str
    target: str
    payload: bytes


def datagrams(name: str) -> Iterator[Datagram]:
    """All UDP payloads of a capture, in order."""
    data = (CAPTURES / f"{name}.pcap").read_bytes()
    assert struct.unpack_from("<I", data)[0] in (0xA1B2C3D4, 0xA1B23C4D)
    offset = 24
    parts: dict[tuple[bytes, bytes, int], dict[int, bytes]] = {}
    while offset < len(data):
        size, original = struct.unpack_from("<II", data, offset + 8)
        packet = data[offset + 16 : offset + 16 + size]
        offset += 16 + size
        if size < original or packet[12:14] != b"\x08\x00" or packet[23] != 17:
            continue
        ip = packet[14:]
        header = (ip[0] & 15) * 4
        total, ident, flags = struct.unpack_from(">HHH", ip, 2)
        body = ip[header:total]
        key = (ip[12:16], ip[16:20], ident)
        fragments = parts.setdefault(key, {})
        fragments[(flags & 0x1FFF) * 8] = body
        if flags & 0x2000 or not _whole(fragments):
            continue
        del parts[key]
        udp = b"".join(fragments[at] for at in sorted(fragments))
        source, target = (".".join(map(str, part)) for part in key[:2])
        yield Datagram(source, target, udp[8:])


def _whole(fragments: dict[int, bytes]) -> bool:
    end = 0
    for at in sorted(fragments):
        if at != end:
            return False
        end += len(fragments[at])
    return True
