"""How long the token was held and the loop was away from its sockets; told what happens."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import pairwise

from aisexec.timing import LONG, SAMPLE_AGE_MAX, TOKENS_KEPT, Cause, LoopStats, TokenStats
from ipc._histogram import Histogram


class Timing:
    """Told what happens; knows how long it took."""

    def __init__(
        self,
        collecting: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        """collecting: seconds spent on collections so far; cpu: seconds of processor time so far."""
        self.token = TokenStats()
        self.loop = LoopStats()
        self._collecting = collecting
        self._clock = clock
        self._cpu = cpu
        self._woke_at = clock()
        self._sampled_at = float("-inf")
        self._sampled_cpu = 0.0
        self._sampled_collecting = 0.0
        self._token_at: float | None = None
        self._passed = False
        self._visits: deque[tuple[float, float, int]] = deque(maxlen=TOKENS_KEPT)

    def wakes(self) -> None:
        """The loop has looked at its sockets and begins to work."""
        self._woke_at = now = self._clock()
        if now - self._sampled_at > SAMPLE_AGE_MAX:
            self._sampled_at = now
            self._sampled_cpu = self._cpu()
            self._sampled_collecting = self._collecting()

    def sleeps(self) -> None:
        """The loop has done everything and looks at its sockets again."""
        self._took(self._clock() - self._woke_at, self.loop.gap_us, self.loop.gap_us_longest)

    def token_came(self, now: float) -> None:
        """`now`: when it was read; told twice in a turn, the first time counts."""
        if self._token_at is None:
            self._token_at = now

    def token_passed(self, backlog: int) -> None:
        """Something was sent to the next node: the token, if one has just come.

        backlog: frames that waited when it came.
        """
        came = self._token_at
        if came is None:
            return
        self._token_at = None
        self._passed = True
        seconds = self._clock() - came
        self._visits.append((came, seconds, backlog))
        self._took(seconds, self.token.token_hold_us, self.token.token_hold_us_longest)

    def turn_over(self) -> bool:
        """Was the token passed on?  If not, it is kept on purpose."""
        passed, self._passed = self._passed, False
        self._token_at = None
        return passed

    def token_means(self) -> Iterator[tuple[str, int]]:
        """Corosync's means of the last tokens: milliseconds of a rotation and of a visit, and the backlog."""
        visits = self._visits
        if len(visits) > 1:
            rotations = [later[0] - earlier[0] for earlier, later in pairwise(visits)]
            yield "mtt_rx_token", round(1000 * sum(rotations) / len(rotations))
            yield "avg_token_workload", round(1000 * sum(held for _, held, _ in visits) / len(visits))
            yield "avg_backlog_calc", round(sum(backlog for _, _, backlog in visits) / len(visits))

    def _took(self, seconds: float, histogram: Histogram, longest: Counter[Cause]) -> None:
        us = int(seconds * 1e6)
        histogram.add(us)
        if seconds >= LONG:
            cause = self._cause(seconds)
            longest[cause] = max(longest[cause], us)

    def _cause(self, seconds: float) -> Cause:
        if self._collecting() - self._sampled_collecting >= seconds / 2:
            return Cause.COLLECTION
        away = self._clock() - self._sampled_at - (self._cpu() - self._sampled_cpu)
        return Cause.NOT_SCHEDULED if away >= seconds / 2 else Cause.HANDLER
