"""The protocol's timers as deadlines on a clock that is handed in."""

from __future__ import annotations

from enum import Enum

from aisexec.totem._timers import Timers

__all__ = ["Timer", "Timers"]


class Timer(Enum):
    """All timers of the protocol, by the names of corosync.conf where it has one."""

    TOKEN = "token"
    TOKEN_WARNING = "token warning"
    TOKEN_RETRANSMIT = "token retransmit"
    HOLD = "hold"
    HEARTBEAT = "heartbeat"
    SEND_JOIN = "send_join"
    JOIN = "join"
    CONSENSUS = "consensus"
    MERGE = "merge"
    PAUSE = "pause"
    DOWNCHECK = "downcheck"
    RETRANSMITS = "retransmits"
    """To tell of them."""

    __hash__ = object.__hash__  # members are single objects; Enum's own takes a call of Python code
