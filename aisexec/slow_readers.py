"""When the ring waits a little for programs of this node that cannot read as fast as all nodes send.

On a busy machine executives run with real-time priority and the programs do not: what everybody sends
can be more than a program gets processor time to read.  Before it is far enough behind to be cut off
(ipc.limits.EVENT_QUEUE_BYTES_MAX), this node keeps the token for a moment at each visit, the longer the
farther it is behind.  Only while more and more waits: a program that has stopped reading for good
delays each message once at most.
"""

from __future__ import annotations

from typing import Final

BEHIND: Final = 8 * 1024 * 1024
"""Bytes that wait for this node's programs, rings not counted, from which on it is done."""

FAR_BEHIND: Final = 40 * 1024 * 1024
"""Bytes at which the wait is the longest; a single client is cut off at 64 MB."""

PAUSE_MAX: Final = 0.001
"""Seconds of a visit: shorter than any token time-out by far, and not so long that programs that send
more than they are let spend the time on trying."""


class SlowReaders:
    """Asked at each visit of the token."""

    def __init__(self) -> None:
        self._before = 0
        self.pauses = 0
        """Since start."""

    def pause(self, waiting: int) -> float:
        """Seconds to wait.  waiting: bytes of events that have not found room in the programs' rings."""
        grows = waiting > self._before
        self._before = waiting
        if waiting <= BEHIND or not grows:
            return 0.0
        self.pauses += 1
        return PAUSE_MAX * min(1.0, (waiting - BEHIND) / (FAR_BEHIND - BEHIND))
