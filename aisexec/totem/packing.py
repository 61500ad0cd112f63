"""Packing messages into frames and cutting large ones (totempg; spec 7.2, 7.3).

A packet is a fixed head, the lengths of its pieces, then the pieces.  Only the first piece may
continue a message of the sender's previous packet, only the last may go on in the next one.
Where a piece is cut follows stock, but for one thing: the end of a message that was cut shares its packet
with the next ones.  Stock sends it alone, up to half as many frames more, and of two sizes.
"""

from __future__ import annotations

from typing import NamedTuple

from aisexec.totem._packing import Packer
from ipc.layout import U8, U16, Layout

__all__ = ["LENGTH_SIZE", "PACKET_HEAD", "Packer", "PacketHead"]


class PacketHead(NamedTuple):
    """Head of the payload of a plain mcast frame."""

    version: U16
    type: U16
    fragmented: U8
    """0: the last piece ends here; otherwise the number of the fragment that goes on."""
    continuation: U8
    """0: the first piece starts a message; otherwise the number of the fragment it continues."""
    msg_count: U16


PACKET_HEAD = Layout(PacketHead)
LENGTH_SIZE = 2
