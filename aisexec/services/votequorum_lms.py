"""last_man_standing: some time after nodes have gone, fewer votes are expected (votequorum(5))."""

from __future__ import annotations

from collections.abc import Callable

from aisexec.services.base import Context
from aisexec.services.timers import Alarm
from aisexec.services.votequorum_state import Ballot, TieBreaker, Voter
from aisexec.services.votequorum_tie_breaker import has_lowest
from aisexec.totem.types import LOG_WARNING


class LastManStanding:
    """Runs the window after which it is counted anew."""

    def __init__(self, context: Context, ballot: Ballot, recount: Callable[[], None]) -> None:
        """recount: expect the votes of those who are there."""
        self._context = context
        self._ballot = ballot
        self._recount = recount
        self._window: Alarm | None = None

    def ring_changed(self, members: int, someone_left: bool) -> None:
        """Before the new ring is counted: `members` nodes are in it."""
        ballot = self._ballot
        if not ballot.last_man_standing:
            return
        enough = members >= ballot.quorum and someone_left
        tie = members <= ballot.quorum and ballot.tie_breaker is not TieBreaker.NONE and has_lowest(ballot)
        if enough or tie:
            self._stop()
            delay = ballot.options.last_man_standing_window / 1000
            self._window = self._context.call_later(delay, self._window_over)

    def check(self, node: Voter) -> None:
        """It only works when every node has one vote."""
        if self._ballot.last_man_standing and node.votes > 1:
            self._context.log(
                LOG_WARNING,
                "Last Man Standing feature is supported only when all"
                "cluster nodes votes are set to 1. Disabling LMS.",
            )
            self._ballot.last_man_standing = False
            self._stop()

    def _window_over(self) -> None:
        self._window = None
        if self._ballot.quorate:
            self._recount()

    def _stop(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None
