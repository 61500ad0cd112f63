"""Named limits of the protocol (totemsrp and totempg of corosync 3.1)."""

from typing import Final

PROCESSOR_COUNT_MAX: Final = 384
"""Members of a ring, and entries of any membership list on the wire."""

FRAME_SIZE_MAX: Final = 65536
"""Bytes of the longest mcast frame a node stores; stock peers abort on a longer one."""

OVERSIZED_FRAMES_MAX: Final = 1024
"""Frames kept in a sort queue beyond which one longer than our own netmtu allows is dropped."""

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

# Partial connectivity.

CLIQUE_SEARCH_STEPS: Final = 2000
"""Branches looked at for one part of the graph of broken links; beyond it a good set must do."""

QUARRELS_MAX: Final = 2
"""Consensus timeouts with the same node, heard but of another opinion, that make us suspect links."""

LOST_ATTEMPTS_MAX: Final = 4
"""Commit or recovery tokens lost, no lasting ring between, that make us suspect links."""

UNHEARD_MAX: Final = 3
"""Rings formed without the same node, named by others and not heard by us, that make us suspect links."""

SHORT_RINGS_MAX: Final = 4
"""Rings broken soon by the same node, left out of them though heard, that make us suspect links."""

BROKEN_PAIRS_MAX: Final = 64
"""Directions between two nodes that statistics name as broken."""

BROKEN_PAIRS_FOUND_MAX: Final = 1024
"""Directions between two nodes that one survey finds broken; more are not looked at."""

UNANSWERED_MAX: Final = 3
"""Surveys in a row in which a node that is heard must not answer to be called deaf."""

BROKEN_PAIRS_LOGGED: Final = 8
"""Directions named in one go in the log."""

BROKEN_PAIR_LOG_INTERVAL: Final = 600.0
"""Seconds between two log lines about the same direction."""

BACKOFF_LEVEL_MAX: Final = 6
"""The back-off of an excluded node is doubled so often."""

SURVEYS_MAX: Final = 36
"""Surveys within the time of twenty attempts after which we leave them alone for a while."""

SURVEY_ROUNDS_MAX: Final = 12
"""Rounds in which a node may be of another opinion before it is left out of the choice."""

RETRANSMIT_REPORT_INTERVAL: Final = 10.0
"""Seconds between two lines that explain retransmits; the first comes after RETRANSMIT_LOG_INTERVAL."""

RETRANSMIT_REPORT_SEQS_MAX: Final = 256
"""Messages told apart in such a line."""
