"""How many messages a token visit may send (Totem single-ring paper, flow control; spec section 5.4).

The token carries fcc, the messages sent in the last rotation, and backlog, the members' queue
lengths.  A member adds what changed since its last visit, so its old contribution must be taken
out exactly; otherwise the whole ring is throttled for ever.
"""

from __future__ import annotations

from aisexec.totem._state import FlowState
from aisexec.totem.sequence import MASK


class FlowControl(FlowState):
    """What this member put into fcc and backlog at its last visit."""

    def reset(self) -> None:
        """A new ring starts with an empty token."""
        self.sent_last_visit = 0
        self.queued_last_visit = 0

    def allowance(self, *, fcc: int, backlog: int, queued: int, window_size: int, max_messages: int) -> int:
        """Messages this visit may send, new and retransmitted ones together."""
        # A sum above the window can only be wrong, and would never come down again if it silenced
        # everybody; stock's unsigned subtraction lets members go on as well.
        allowed = min(max_messages, window_size - fcc) if fcc <= window_size else max_messages
        total = (backlog + queued - self.queued_last_visit) & MASK
        if total:
            share = window_size * self.queued_last_visit // total
            if share > 0:
                allowed = min(allowed, share)
        return allowed

    def account(self, *, fcc: int, backlog: int, queued: int, sent: int) -> tuple[int, int]:
        """New (fcc, backlog) for the token; `queued` was measured before sending."""
        fcc = (fcc + sent - self.sent_last_visit) & MASK
        backlog = (backlog + queued - self.queued_last_visit) & MASK
        self.sent_last_visit = sent
        self.queued_last_visit = queued
        return fcc, backlog
