"""Saying the same thing at most once per interval and sender.  Pure: time is a parameter."""

from __future__ import annotations

from collections.abc import Hashable

KEYS_MAX = 1024
"""Senders told apart; further ones of the same interval share one entry, so memory is bounded."""

_OTHERS = ("", "others")


class RateLimit:
    """One permission per key and interval; counts what was kept back."""

    def __init__(self, interval: float, keys_max: int = KEYS_MAX) -> None:
        """interval: seconds between two permissions of a key."""
        self.interval = interval
        self.keys_max = keys_max
        self._entries: dict[Hashable, tuple[float, int]] = {}

    def allow(self, key: Hashable, now: float) -> int | None:
        """None: stay silent.  Otherwise speak; the number is how often you were silent before."""
        if key not in self._entries and self._is_crowded(now):
            self._forget(now)
            if self._is_crowded(now):
                key = _OTHERS
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = (now, 0)
            return 0
        since, silent = entry
        if now - since < self.interval:
            self._entries[key] = (since, silent + 1)
            return None
        # Entered anew, so that the dictionary stays in the order of time.
        del self._entries[key]
        self._entries[key] = (now, 0)
        return silent

    def _is_crowded(self, now: float) -> bool:
        """A key without an entry has none of its own, or may just have spoken as one of the others."""
        others = self._entries.get(_OTHERS)
        return len(self._entries) >= self.keys_max or (others is not None and now - others[0] < self.interval)

    def _forget(self, now: float) -> None:
        for key, (since, _) in list(self._entries.items()):
            if now - since < self.interval:
                break
            del self._entries[key]
