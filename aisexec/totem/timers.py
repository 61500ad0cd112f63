"""The protocol's timers as deadlines on a clock that is handed in."""

from __future__ import annotations

from enum import Enum


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

    __hash__ = object.__hash__  # members are single objects; Enum's own takes a call of Python code


class Timers:
    """Deadlines in seconds; at most one of each kind."""

    def __init__(self) -> None:
        self._deadlines: dict[Timer, float] = {}

    def start(self, timer: Timer, deadline: float) -> None:
        """Arm or re-arm."""
        self._deadlines[timer] = deadline

    def stop(self, *timers: Timer) -> None:
        """Disarm; unarmed ones are left alone."""
        for timer in timers:
            self._deadlines.pop(timer, None)

    def running(self, timer: Timer) -> bool:
        """Is it armed?"""
        return timer in self._deadlines

    def next(self) -> float | None:
        """The earliest deadline."""
        return min(self._deadlines.values(), default=None)

    def pop_due(self, now: float) -> Timer | None:
        """Disarm and return the earliest timer whose deadline has come, if any."""
        if not self._deadlines:
            return None
        timer, deadline = min(self._deadlines.items(), key=lambda item: item[1])
        if deadline > now:
            return None
        del self._deadlines[timer]
        return timer
