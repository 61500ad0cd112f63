"""Deadlines of services on the executive's clock, which is handed in: what is due is called in order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from aisexec.limits import SERVICE_TIMERS_MAX


class Alarm:
    """One call that is to come."""

    __slots__ = ("_callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self._callback: Callable[[], None] | None = callback

    @property
    def pending(self) -> bool:
        """Not called and not cancelled yet."""
        return self._callback is not None

    def calls(self, callback: Callable[[], None]) -> bool:
        """Is it pending, for this callback?"""
        return self._callback == callback

    def cancel(self) -> None:
        """It will not be called.  Harmless when it is over."""
        self._callback = None

    def ring(self) -> None:
        """Call it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Alarms:
    """All that are pending, the earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = 0

    def start(self, due: float, callback: Callable[[], None]) -> Alarm:
        """Have `callback` called at `due`, a time of the executive's clock in seconds.

        From SERVICE_TIMERS_MAX on who has an alarm for the same callback gets that one: no service can
        keep the others from theirs.  Services have a fixed number of callbacks each.
        """
        if len(self._heap) >= SERVICE_TIMERS_MAX:
            self._forget_cancelled()
            for _, _, known in self._heap if len(self._heap) >= SERVICE_TIMERS_MAX else ():
                if known.calls(callback):
                    return known
        self._count += 1
        alarm = Alarm(due, callback)
        heapq.heappush(self._heap, (due, self._count, alarm))
        return alarm

    def next(self) -> float | None:
        """When the first one is due."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Call what is due; what is started meanwhile waits for the next time, even if due."""
        due = deque[tuple[float, int, Alarm]]()
        while (first := self.next()) is not None and first <= now:
            due.append(heapq.heappop(self._heap))
        try:
            while due:
                due.popleft()[2].ring()
        finally:
            for entry in due:  # when one has failed, the others are still due
                heapq.heappush(self._heap, entry)

    def _forget_cancelled(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].pending]
        heapq.heapify(self._heap)
