"""Log lines about trouble that may repeat a thousand times a second: one per interval, peer and kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aisexec.net.base import Log
from aisexec.net.limits import REPORT_INTERVAL, REPORT_SUBJECTS_MAX

_OTHERS: Final = "others"


class _Entry:
    __slots__ = ("next_time", "suppressed")

    def __init__(self) -> None:
        self.next_time = 0.0
        self.suppressed = 0


class Reports:
    """Rate limiter in front of the log.  `clock` gives monotonic seconds."""

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}

    def report(self, kind: str, subject: str, priority: int, text: str) -> None:
        """Log `text` unless a line about (kind, subject) was written within the interval."""
        entry = self._entry(kind, subject)
        now = self._clock()
        if now < entry.next_time:
            entry.suppressed += 1
            return
        repeats = f" ({entry.suppressed} more of these since the last line)" if entry.suppressed else ""
        entry.next_time = now + REPORT_INTERVAL
        entry.suppressed = 0
        self._log(priority, text + repeats)

    def _entry(self, kind: str, subject: str) -> _Entry:
        entry = self._entries.get((kind, subject))
        if entry is None:
            # A sender can invent as many source addresses as it likes.
            if len(self._entries) >= REPORT_SUBJECTS_MAX:
                subject = _OTHERS
            entry = self._entries.setdefault((kind, subject), _Entry())
        return entry
