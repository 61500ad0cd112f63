"""Deadlines, one of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Kind = TypeVar("Kind")


class Timers(Generic[Kind]):
    """See aisexec/totem/_timers.pyi."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._order = {kind: place for place, kind in enumerate(kinds)}
        self._deadlines: dict[Kind, float] = {}

    def start(self, timer: Kind, deadline: float) -> None:
        self._deadlines[timer] = deadline

    def stop(self, *timers: Kind) -> None:
        for timer in timers:
            self._deadlines.pop(timer, None)

    def running(self, timer: Kind) -> bool:
        return timer in self._deadlines

    @property
    def armed(self) -> dict[Kind, float]:
        return dict(self._deadlines)

    def next(self) -> float | None:
        return min(self._deadlines.values(), default=None)

    def pop_due(self, now: float) -> Kind | None:
        if not self._deadlines:
            return None
        timer, deadline = min(self._deadlines.items(), key=lambda item: (item[1], self._order[item[0]]))
        if deadline > now:
            return None
        del self._deadlines[timer]
        return timer
