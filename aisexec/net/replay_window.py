"""Which frames of a session may be taken: each once, and none that comes much too late.

The window of RFC 4303, section 3.4.3, with a floor that follows: what was sealed before something
that arrived a while ago is not taken any more, though it may never have been seen (it was recorded
where this node could not hear it).
"""

from __future__ import annotations

from typing import Final

from aisexec.net.limits import LATENESS_MAX, REPLAY_WINDOW

_MASK: Final = (1 << REPLAY_WINDOW) - 1


class ReplayWindow:
    """Takes every counter above `floor` once, in any order within REPLAY_WINDOW of the highest."""

    __slots__ = ("_floor", "_next_floor", "_rises_at", "_seen", "heard_at", "highest")

    def __init__(self, floor: int, now: float) -> None:
        self.heard_at = now
        """When a genuine frame came last."""
        self.highest = floor
        self._seen = 1
        """Bit n: the counter `highest` - n has been seen."""
        self._floor = floor
        self._next_floor = floor
        self._rises_at = now + LATENESS_MAX

    def is_new(self, counter: int, now: float) -> bool:
        """May a frame with this counter be looked at?"""
        if now >= self._rises_at:
            self._raise_floor(now)
        behind = self.highest - counter
        if behind < 0:
            return True
        return behind < REPLAY_WINDOW and counter > self._floor and not self._seen >> behind & 1

    def mark(self, counter: int, now: float) -> None:
        """It was genuine; never again.  Call it for counters that are new only."""
        self.heard_at = now
        ahead = counter - self.highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < REPLAY_WINDOW else 1
            self.highest = counter
        else:
            self._seen |= 1 << -ahead

    def _raise_floor(self, now: float) -> None:
        silent = now - self.heard_at >= LATENESS_MAX
        self._floor = self.highest if silent else self._next_floor
        self._next_floor = self.highest
        self._rises_at = now + LATENESS_MAX
