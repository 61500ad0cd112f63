"""When garbage is collected: right after the token has been passed on, and never otherwise.

A collection stops everything, the longer the more objects there are.  What start-up has made is
frozen, so no collection looks at it any more.  What is made later is collected in small portions, at
the moment at which the token will not be back for the longest time.  Python's own rule stays as a net
below that, for a node that has no token for long.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from ipc._histogram import Histogram

YOUNG: Final = 2_000
"""Objects made and not freed since the last collection, at which the young ones are collected."""
MIDDLE_EVERY: Final = 16
"""Collections of young objects after which those that survived one are collected with them."""
FULL_EVERY: Final = 16
"""Collections of these after which all is collected, ..."""
FULL_SHARE: Final = 0.002
"""... but not so often that full collections take more than this share of the time."""
NET: Final = (50_000, 50, 50)
"""Python's own thresholds: it collects when this many objects have been made and no token has come."""

Phase = Literal["start", "stop"]


@dataclass(slots=True)
class GarbageStats:
    """Of collections since start-up, Python's own ones included."""

    collections: int = 0
    full: int = 0
    not_after_token: int = 0
    """Python's own."""
    objects: int = 0
    """Found to be garbage in cycles."""
    us: int = 0
    """Microseconds in all."""
    longest_us: int = 0
    us_each: Histogram = field(default_factory=Histogram)


class Garbage:
    """Takes over from Python between `start` and `stop`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """clock: seconds."""
        self.stats = GarbageStats()
        self.seconds = 0.0
        """Spent in collections so far."""
        self._clock = clock
        self._began = 0.0
        self._ours = False
        self._young = 0
        self._middle = 0
        self._full_took = 0.0
        self._full_ended = 0.0
        self._thresholds = gc.get_threshold()
        self._running = False

    def start(self) -> None:
        """At the end of start-up: keep what is there out of every later collection."""
        gc.collect()
        gc.freeze()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*NET)
        gc.callbacks.append(self._collection)
        self._full_ended = self._clock()
        self._running = True

    def stop(self) -> None:
        """As it was before."""
        if self._running:
            self._running = False
            gc.callbacks.remove(self._collection)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def token_passed(self) -> None:
        """A good moment: collect if there is enough to collect."""
        if self._running and gc.get_count()[0] >= YOUNG:
            self._collect()

    def _collect(self) -> None:
        self._young += 1
        generation = 0
        if self._young >= MIDDLE_EVERY:
            self._young = 0
            self._middle += 1
            generation = 1
            if self._middle >= FULL_EVERY and self._full_is_due():
                self._middle = 0
                generation = 2
        self._ours = True
        try:
            gc.collect(generation)
        finally:
            self._ours = False

    def _full_is_due(self) -> bool:
        return self._clock() - self._full_ended >= self._full_took / FULL_SHARE

    def _collection(self, phase: Phase, info: dict[str, int]) -> None:
        now = self._clock()
        if phase == "start":
            self._began = now
            return
        took = now - self._began
        self.seconds += took
        stats, us = self.stats, int(took * 1e6)
        stats.collections += 1
        stats.objects += info["collected"]
        stats.us += us
        stats.longest_us = max(stats.longest_us, us)
        stats.us_each.add(us)
        if not self._ours:
            stats.not_after_token += 1
        if info["generation"] == 2:
            stats.full += 1
            self._full_took, self._full_ended = took, now
