"""Bad frames: counted by kind, logged once per sender and interval."""

from __future__ import annotations

from aisexec.totem.limits import ANOMALY_LOG_INTERVAL, ANOMALY_SENDERS_MAX
from aisexec.totem.stats import Stats

_OTHERS = "others"
_KINDS_MAX = 32
"""Places kept for the entries that further senders share, one a kind."""


class Anomalies:
    """Remembers who was logged when, for a bounded number of senders."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, kind: str, sender: str, detail: str, now: float) -> str | None:
        """Count one frame; the text to log, or None when this sender was logged a moment ago."""
        self._stats.dropped[kind] += 1
        self._stats.rx_msg_dropped += 1
        key = (kind, sender)
        if key not in self._logged and len(self._logged) >= ANOMALY_SENDERS_MAX - _KINDS_MAX:
            self._forget(now)
            if len(self._logged) >= ANOMALY_SENDERS_MAX - _KINDS_MAX:
                key = (kind, _OTHERS)  # senders' addresses can be invented
        last, suppressed = self._logged.get(key, (None, 0))
        if last is not None and now - last < ANOMALY_LOG_INTERVAL:
            self._logged[key] = (last, suppressed + 1)
            return None
        # Entered anew, so that the dictionary stays in the order of time.
        self._logged.pop(key, None)
        self._logged[key] = (now, 0)
        more = f" ({suppressed} more like it since the last report)" if suppressed else ""
        return f"Dropped a frame from {sender}: {detail}{more}"

    def _forget(self, now: float) -> None:
        for key, (last, _) in list(self._logged.items()):
            if now - last < ANOMALY_LOG_INTERVAL:
                break
            del self._logged[key]
