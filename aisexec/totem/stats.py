"""Counters of the protocol, by corosync's names under `stats.srp.`, and of frames that were dropped."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

PAUSES_KEPT = 10
"""MAX_SCHEDMISS_EVENTS of corosync."""


@dataclass(slots=True)
class Stats:
    """All count from the start of the process."""

    orf_token_tx: int = 0
    orf_token_rx: int = 0
    memb_merge_detect_tx: int = 0
    memb_merge_detect_rx: int = 0
    memb_join_tx: int = 0
    memb_join_rx: int = 0
    mcast_tx: int = 0
    mcast_retx: int = 0
    mcast_rx: int = 0
    memb_commit_token_tx: int = 0
    memb_commit_token_rx: int = 0
    token_hold_cancel_tx: int = 0
    token_hold_cancel_rx: int = 0
    operational_entered: int = 0
    operational_token_lost: int = 0
    gather_entered: int = 0
    gather_token_lost: int = 0
    commit_entered: int = 0
    commit_token_lost: int = 0
    recovery_entered: int = 0
    recovery_token_lost: int = 0
    consensus_timeouts: int = 0
    rx_msg_dropped: int = 0
    continuous_gather: int = 0
    surveys: int = 0
    """Memberships formed by asking who hears whom, because links are broken."""
    exclusions: int = 0
    """Times a node was left out of the ring, for a while, for links that are broken."""
    excluded: int = 0
    """Nodes left out at present."""
    excluded_ignored: int = 0
    """Frames of such nodes that were not listened to."""
    broken_pairs: tuple[tuple[int, int], ...] = ()
    """At the last survey: who speaks, and who does not hear it."""
    broken_pairs_seen: int = 0
    """Such directions since the start, each time it was new."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Frames not used, by kind: truncated, magic, version, limit, nodeid, out of state ..."""
    pauses: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=PAUSES_KEPT))
    """When we had not been scheduled, on our clock, and for how many seconds; the last first."""
