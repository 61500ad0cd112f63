"""The numbers the protocol runs with.  Times are in seconds; corosync.conf has them in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Effective values of section totem{} (corosync.conf(5)); the defaults are those of a ring of two."""

    token: float = 3.0
    token_retransmit: float = 0.714
    token_warning: int = 75
    """Percent of `token` after which its absence is logged; 0 is never."""
    hold: float = 0.561
    join: float = 0.05
    send_join: float = 0.0
    consensus: float = 3.6
    merge: float = 0.2
    downcheck: float = 1.0
    fail_recv_const: int = 2500
    seqno_unchanged_const: int = 30
    miss_count_const: int = 5
    window_size: int = 50
    """Messages a whole ring may send in one rotation."""
    max_messages: int = 17
    """Messages one member may send in one token visit."""
    net_mtu: int = 1410
    """Bytes of a frame behind its mcast header: netmtu less two headers of 45 bytes."""
    heartbeat_failures_allowed: int = 0
    max_network_delay: float = 0.05
    cancel_token_hold_on_retransmit: bool = False
    accelerated_window: int = 0
    """Last messages of a visit, sent after the token, whose seq counts them already; 0 sends all before."""
