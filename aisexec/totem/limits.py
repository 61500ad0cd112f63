"""Named limits of the protocol (totemsrp and totempg of corosync 3.1)."""

from typing import Final

PROCESSOR_COUNT_MAX: Final = 384
"""Members of a ring, and entries of any membership list on the wire."""

FRAME_SIZE_MAX: Final = 65536
"""Bytes of the longest mcast frame a node stores; stock peers abort on a longer one."""

RETRANSMIT_ENTRIES_MAX: Final = 30
"""Entries of a token's retransmit list."""

SORT_QUEUE_SIZE: Final = 16384
"""Sequence numbers between the oldest unreleased message and the newest."""

RECOVERY_QUEUE_SIZE: Final = 16384
"""Old-ring messages a member may have to send again in one recovery."""

SEND_QUEUE_BYTES: Final = 4 * 1048576
"""Bytes the send queue is dimensioned for; its slots are this divided by the net MTU."""

MESSAGE_SIZE_MAX: Final = 1048576
"""Bytes of the biggest message an application may hand down in one piece."""

ASSEMBLY_SIZE_MAX: Final = MESSAGE_SIZE_MAX + 65536
"""Bytes of one message being put together from fragments; stock peers abort beyond it."""

RING_SEQ_STEP: Final = 4
"""A new ring's sequence number is the highest one seen plus this."""

OWN_FRAMES_MAX: Final = 1024
"""Own JOIN and HOLD CANCEL frames waiting to be handled by ourselves in one turn."""

ANOMALY_SENDERS_MAX: Final = 1024
"""(kind, sender) pairs remembered for rate-limiting the log."""

ANOMALY_LOG_INTERVAL: Final = 10.0
"""Seconds between two log lines about the same kind of bad frame from the same sender."""

RETRANSMIT_LOG_INTERVAL: Final = 1.0
"""Seconds between two log lines about retransmit lists."""

GROUPS_MAX: Final = 32
"""Group names in front of one message; stock sends one."""

RING_SEQ_JUMP_MAX: Final = 1 << 32
"""How far a ring sequence number may be ahead of all we have seen: memberships count in steps of four."""

RING_SEQ_MAX: Final = 1 << 62
"""Ring sequence numbers beyond it are refused: a forged one would leave no room to count on."""
