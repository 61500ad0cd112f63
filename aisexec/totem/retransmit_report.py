"""A storm of retransmits in one line: who asks, what is missing, for how long, and whether it matters.

A message that is lost is asked for in the token and sent again, which nobody needs to hear of.  What is
told is when it goes on: at most one line in an interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from aisexec.totem.limits import RETRANSMIT_REPORT_SEQS_MAX, SORT_QUEUE_SIZE
from aisexec.totem.sequence import distance
from aisexec.totem.settings import Settings
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING, RingId
from aisexec.totem.wire import OrfToken

STORM_VISITS: Final = 5
STORM_MESSAGES: Final = 20
"""Visits of the token with requests, or messages asked for, in an interval that are worth a line."""

SHOWN: Final = 8
"""Sequence numbers named in a line."""

LOSS_THAT_MATTERS: Final = 0.05
"""Share of an interval's messages that had to be sent again, from which on throughput suffers."""


class RetransmitReport:
    """What one node sees of the requests in the token."""

    def __init__(self, me: int) -> None:
        self._me = me
        self._ring_id = RingId(0, 0)
        self._last = 0.0
        self._missing: dict[int, float] = {}
        """Asked for at the last visit with requests, and since when."""
        self._begin(0.0, 0)

    def _begin(self, now: float, seq: int) -> None:
        self._since = now
        self._first_seq = self._seq = self._aru = seq
        self._visits = 0
        self._askers: Counter[int] = Counter()
        self._asked: dict[int, None] = {}
        self._more = False
        self._resent = 0
        self._longest = 0.0
        """Seconds for which a message was asked for."""
        if not self._missing:
            self._last = now

    def note(self, token: OrfToken, requested: Sequence[int], resent: int, now: float) -> bool:
        """A visit of a token that has requests.  True: nothing was going on before, have `report` called.

        token: as it came.  requested: what it is asked for when it goes.  resent: what we could send again.
        """
        ring_id, seq = token.ring_id, token.seq
        requested = [*(item.seq for item in token.rtr_list), *requested]
        fresh = not self._visits
        if ring_id != self._ring_id:
            self._ring_id = ring_id
            self._missing.clear()
            self._begin(now, seq)
        elif fresh:
            self._begin(now, seq)
        missing = {n: self._missing.get(n, now) for n in requested}
        for n, since in self._missing.items():
            if n not in missing:  # it has come since the last visit, so for so long it was asked for at least
                self._longest = max(self._longest, self._last - since)
        self._missing = missing
        self._visits += 1
        self._askers[token.aru_addr] += 1
        self._resent += resent
        self._seq, self._aru, self._last = seq, token.aru, now
        for n in requested:
            if len(self._asked) < RETRANSMIT_REPORT_SEQS_MAX:
                self._asked[n] = None
            elif n not in self._asked:
                self._more = True
        return fresh

    def report(self, settings: Settings, stalled: int, now: float) -> tuple[int, str] | None:
        """What was in the interval that ends, priority and text; None when there is nothing to tell.

        stalled: visits of the token at which its aru has not moved.
        """
        patience = settings.token / 2
        if not self._visits:
            return None
        visits, self._visits = self._visits, 0
        over = now - self._last > patience / 2
        waiting = 0.0 if over or not self._missing else now - min(self._missing.values())
        longest = max(self._longest, self._last - min(self._missing.values(), default=self._last))
        if over:
            self._missing.clear()
        few = visits < STORM_VISITS and len(self._asked) < STORM_MESSAGES
        if few and waiting < patience:
            return None
        if waiting >= patience or stalled > settings.fail_recv_const // 2:
            priority, verdict = LOG_WARNING, self._standstill(waiting, stalled, settings.fail_recv_const)
        elif longest >= patience:
            priority = LOG_WARNING
            verdict = f"It mattered: one was missing for {longest:.2f} s before it came."
        else:
            priority, verdict = self._nuisance(longest)
        times = f"{visits} visit{'s' * (visits > 1)}"
        return priority, (
            f"Retransmits for {self._last - self._since:.2f} s, at {times} of the token:"
            f" {self._who()} for {self._what()}; this node has sent {self._resent} again. {verdict}"
        )

    @property
    def active(self) -> bool:
        """There was something in this interval."""
        return self._visits > 0

    def _who(self) -> str:
        known = [n for n, _ in self._askers.most_common() if n]
        if not known:
            return "somebody asks"
        if known == [self._me]:
            return "this node asks"
        words = " ".join(f"{n} (this node)" if n == self._me else str(n) for n in sorted(known))
        return f"node {words} asks" if len(known) == 1 else f"nodes {words} ask"

    def _what(self) -> str:
        seqs = list(self._asked)
        more = "+" if self._more else ""
        shown = " ".join(f"{n:x}" for n in seqs[:SHOWN])
        if len(seqs) > SHOWN:
            shown += " ..."
        return f"{len(seqs)}{more} message{'s' * (len(seqs) > 1)} ({shown})"

    def _standstill(self, waiting: float, stalled: int, limit: int) -> str:
        text = (
            f"It matters: one is missing for {waiting:.2f} s already, and what comes behind it is not"
            " delivered where it is missing."
        )
        if stalled > limit // 2:
            text += (
                f" For {stalled} visits there was no progress; at {limit} (fail_recv_const) the node that is"
                " behind leaves the ring."
            )
        return text

    def _nuisance(self, longest: float) -> tuple[int, str]:
        ahead = distance(self._aru, self._seq)
        if ahead > SORT_QUEUE_SIZE // 2:
            return LOG_WARNING, (
                f"It matters: {ahead} messages wait for it; from {SORT_QUEUE_SIZE} on nobody may send."
            )
        sent = distance(self._first_seq, self._seq)
        share = len(self._asked) / sent if sent else 0.0
        if sent >= RETRANSMIT_REPORT_SEQS_MAX and share >= LOSS_THAT_MATTERS:
            return LOG_WARNING, (
                f"It costs throughput: {100 * share:.0f} % of the messages were lost, and asked for during"
                f" {longest:.2f} s at most. Look at the network, its buffers, and the processor time of the"
                " node that asks."
            )
        return LOG_NOTICE, f"It does not matter: none was asked for longer than {longest:.2f} s."
