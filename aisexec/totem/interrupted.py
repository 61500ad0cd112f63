"""A message of ours that a membership change cut in two.

Its first fragments were ordered on the old ring; those who join now never see them, and could not
put the message together although the veterans can: two members of the same configurations would
deliver different messages.  So it is sent again from its beginning.  First comes a packet that makes
every receiver forget what it has: continuation that fits nothing, fragmented 0 (spec 7.5: stock
discards the packet and drops the sender's state).
"""

from __future__ import annotations

from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD

RESET_PIECE = b"\0"

Queued = tuple[bytes, int]


class InterruptedMessage:
    """Remembers the packets of the one message that is only partly sent."""

    def __init__(self) -> None:
        self.packets: list[Queued] = []
        """From its first piece on; `_numbering` appends what only continues it."""

    def sent(self, packet: bytes, guarantee: int) -> None:
        """A packet of the regular queue has been numbered."""
        fragmented = packet[4]
        if not fragmented:
            if self.packets:
                self.packets = []
            return
        count = packet[6] | packet[7] << 8
        if packet[5] and count == 1:
            self.packets.append((packet, guarantee))
        else:
            self.packets = [(_only_last_piece(packet, count), guarantee)]

    def restart(self) -> list[Queued]:
        """What has to be queued before the rest of the message; empty when none is open."""
        packets, self.packets = self.packets, []
        if not packets:
            return []
        reset = _packet(0, (packets[-1][0][4] % 255) + 1, RESET_PIECE)
        return [(reset, 0), *packets]


def _packet(fragmented: int, continuation: int, piece: bytes) -> bytes:
    head = PACKET_HEAD.struct.pack(0, 0, fragmented, continuation, 1)
    return head + len(piece).to_bytes(LENGTH_SIZE, "little") + piece


def _only_last_piece(packet: bytes, count: int) -> bytes:
    """The packet without the complete messages in front of the open one."""
    at = PACKET_HEAD.size + LENGTH_SIZE * (count - 1)
    length = packet[at] | packet[at + 1] << 8
    return _packet(packet[4], 0, packet[len(packet) - length :])
