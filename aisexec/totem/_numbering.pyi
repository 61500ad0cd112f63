from collections import deque

from aisexec.totem.interrupted import InterruptedMessage
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
    """Take up to `allowed` packets off the queue and make mcast frames of them.

    The first gets the number behind `seq`; `this_seqno` counts frames of this node, of any ring.
    `open_message` is told what it has to remember.  Raises ValueError for a packet without a head.
    """
