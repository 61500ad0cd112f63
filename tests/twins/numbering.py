"""Packets of the send queue into numbered frames."""

from __future__ import annotations

from collections import deque

from aisexec.totem import wire
from aisexec.totem.interrupted import InterruptedMessage
from aisexec.totem.sequence import following
from aisexec.totem.types import RingId


def number_queued(
    pending: deque[tuple[bytes, int]],
    allowed: int,
    open_message: InterruptedMessage,
    me: int,
    seq: int,
    this_seqno: int,
    ring_id: RingId,
) -> list[bytes]:
    """See aisexec/totem/_numbering.pyi."""
    frames: list[bytes] = []
    while pending and len(frames) < allowed:
        packet, guarantee = pending.popleft()
        open_message.sent(packet, guarantee)
        seq = following(seq)
        head = wire.pack_mcast_header(
            wire.Encapsulated.PLAIN, me, seq, this_seqno + len(frames), ring_id, guarantee
        )
        frames.append(head + packet)
    return frames
