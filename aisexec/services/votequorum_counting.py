"""Counting: how many votes there are, how many are needed, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aisexec.icmap import u8, u32
from aisexec.limits import LOG_INTERVAL
from aisexec.ratelimit import RateLimit
from aisexec.services.base import Context
from aisexec.services.votequorum_state import VOTES_MAX, Ballot, Flag, signed
from aisexec.services.votequorum_tie_breaker import breaks_tie, has_master
from aisexec.totem.types import LOG_DEBUG, LOG_NOTICE

WAITING_LINES_MAX: Final = 16
"""Counts of votes told apart while all are waited for: a forged vote changes them, too."""


class Counting:
    """Keeps quorum and quorate of a ballot up to date."""

    def __init__(
        self,
        context: Context,
        ballot: Ballot,
        *,
        on_verdict: Callable[[], None],
        on_expected_votes: Callable[[], None],
    ) -> None:
        """on_verdict: quorate has changed outside a synchronisation."""
        self._context = context
        self._ballot = ballot
        self._on_verdict = on_verdict
        self._on_expected_votes = on_expected_votes
        self._waiting = RateLimit(LOG_INTERVAL, WAITING_LINES_MAX)

    def recalculate(self, *, allow_decrease: bool, by_current_nodes: bool = False) -> None:
        """by_current_nodes: expect as many votes as there are nodes now (leaving, last man standing)."""
        ballot = self._ballot
        present = ballot.roll.members
        total = sum(node.votes for node in present) + ballot.roll.device.votes
        count = (len(present) + bool(ballot.roll.device.votes)) if by_current_nodes else 0
        if total > ballot.us.expected_votes:
            ballot.us.expected_votes = min(total, VOTES_MAX)
            self._on_expected_votes()
        if ballot.tracking and ballot.us.expected_votes > ballot.tracked_votes:
            self.track(ballot.us.expected_votes)
        ballot.quorum, total = self.needed(allow_decrease=allow_decrease, expected=count)
        self.expect(count)
        self._judge(total)

    def needed(
        self, *, allow_decrease: bool, expected: int = 0, downscale: bool = True
    ) -> tuple[int, int]:
        """(votes needed, votes there are) if `expected` votes were expected; 0: what the members expect."""
        ballot = self._ballot
        if ballot.allow_downscale and downscale and allow_decrease and expected:
            expected = max(ballot.configured_votes, expected)
        present = ballot.roll.members
        total = sum(node.votes for node in present)
        count = len(present)
        if ballot.device_casts:
            total += ballot.roll.device.votes
            count += 1
        highest = expected or max((node.expected_votes for node in present), default=0)
        quorum = max((highest + 2) // 2, (total + 2) // 2)
        if not allow_decrease:
            quorum = max(ballot.quorum, quorum)
        if ballot.two_node and count <= 2:
            quorum = 1
        return quorum, total

    def expect(self, votes: int) -> None:
        """From now on all members expect so many votes; 0 changes nothing."""
        if votes:
            for node in self._ballot.roll.members:
                node.expected_votes = votes

    def track(self, votes: int) -> None:
        """Remember the most that was ever expected, over restarts, too (expected_votes_tracking)."""
        self._ballot.tracked_votes = votes
        self._context.map.set("runtime.votequorum.ev_tracking_barrier", u32(votes))
        self._context.store_expected_votes(votes)

    def wait(self, waiting: bool) -> None:
        """Begin or end to wait for all (wait_for_all)."""
        ballot = self._ballot
        ballot.waiting = waiting
        if waiting:
            ballot.us.flags |= Flag.WAIT_FOR_ALL
        else:
            ballot.us.flags &= ~Flag.WAIT_FOR_ALL
        self._context.map.set("runtime.votequorum.wait_for_all_status", u8(waiting))

    def _judge(self, total: int) -> None:
        ballot = self._ballot
        if ballot.wait_for_all and ballot.waiting:
            if total != ballot.us.expected_votes:
                self._log_waiting(total, ballot.us.expected_votes)
                return
            self.wait(False)
        quorate = total >= ballot.quorum
        if quorate:
            self._note_extremes()
        quorate = quorate or breaks_tie(ballot, total) or (ballot.master_wins and has_master(ballot))
        self._settle(quorate)

    def _log_waiting(self, votes: int, expected: int) -> None:
        if self._waiting.allow((votes, expected), self._context.now) is not None:
            self._context.log(
                LOG_NOTICE,
                "Waiting for all cluster members. Current votes:"
                f" {votes} expected_votes: {expected}",
            )

    def _settle(self, quorate: bool) -> None:
        ballot = self._ballot
        was, ballot.quorate = ballot.quorate, quorate
        if quorate:
            ballot.us.flags |= Flag.QUORATE
        else:
            ballot.us.flags &= ~Flag.QUORATE
        if ballot.wait_for_all:
            self.wait(not quorate)
        if was == quorate:
            return
        what = "regained, resuming" if quorate else "lost, blocking"
        self._context.log(LOG_DEBUG, f"quorum {what} activity")
        if not ballot.syncing:
            self._on_verdict()

    def _note_extremes(self) -> None:
        ballot = self._ballot
        ids = [signed(node.nodeid) for node in (ballot.us, *ballot.roll.members)]
        ballot.lowest, ballot.highest = min(ids), max(ids)
        for name, nodeid in (("lowest", ballot.lowest), ("highest", ballot.highest)):
            self._context.map.set(f"runtime.votequorum.{name}_node_id", u32(nodeid % (1 << 32)))
