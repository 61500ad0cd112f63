from collections.abc import Iterable
from typing import Generic, TypeVar

Kind = TypeVar("Kind")

class Timers(Generic[Kind]):
    """Deadlines in seconds; at most one of each kind.

    Of two that fall together, the kind named first runs first.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        """Raises ValueError for more kinds than there is room for."""
    def start(self, timer: Kind, deadline: float) -> None:
        """Arm or re-arm."""
    def stop(self, *timers: Kind) -> None:
        """Disarm; unarmed ones are left alone."""
    def running(self, timer: Kind) -> bool:
        """Is it armed?"""
    @property
    def armed(self) -> dict[Kind, float]:
        """What is armed, and for when."""
    def next(self) -> float | None:
        """The earliest deadline."""
    def pop_due(self, now: float) -> Kind | None:
        """Disarm and return the earliest timer whose deadline has come, if any."""
