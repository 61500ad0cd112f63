"""Log lines that a peer can provoke: one per cause and interval, the rest counted."""

from __future__ import annotations

import syslog
from collections.abc import Callable
from time import monotonic

from ipc.limits import CAUSES_MAX, LOG_INTERVAL

Log = Callable[[int, str], None]

ERROR = syslog.LOG_ERR
WARNING = syslog.LOG_WARNING
NOTICE = syslog.LOG_NOTICE
INFO = syslog.LOG_INFO
DEBUG = syslog.LOG_DEBUG


OTHERS = "others"
"""What further causes share when there are CAUSES_MAX of them at a time."""


class LimitedLog:
    """Forwards to `log(priority, text)`."""

    def __init__(self, log: Log, interval: float = LOG_INTERVAL) -> None:
        self._log = log
        self._interval = interval
        self._quiet_until: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def __call__(self, priority: int, text: str) -> None:
        """Log always."""
        self._log(priority, text)

    def limited(self, cause: str, priority: int, text: str) -> None:
        """Log unless the same cause was logged within the interval (seconds); say what was left out."""
        now = monotonic()
        if len(self._quiet_until) >= CAUSES_MAX and cause not in self._quiet_until:
            self._forget(now)
            if len(self._quiet_until) >= CAUSES_MAX:
                cause = OTHERS  # a program can have as many processes as it likes
        if now < self._quiet_until.get(cause, 0.0):
            self._suppressed[cause] = self._suppressed.get(cause, 0) + 1
            return
        self._quiet_until[cause] = now + self._interval
        missed = self._suppressed.pop(cause, 0)
        self._log(priority, f"{text} ({missed} more like this before)" if missed else text)

    def _forget(self, now: float) -> None:
        """Causes that may speak again."""
        self._quiet_until = {cause: until for cause, until in self._quiet_until.items() if until > now}
        self._suppressed = {cause: n for cause, n in self._suppressed.items() if cause in self._quiet_until}
