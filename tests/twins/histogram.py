"""How often which magnitude: counts by powers of two, cheap enough for the busiest places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BITS_MAX: Final = 32
"""What needs more bits counts with what needs as many."""


class Histogram:
    """counts[n]: how many numbers had n significant bits, so lay in 2**(n-1) .. 2**n - 1."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * (BITS_MAX + 1)

    def add(self, number: int) -> None:
        """Count a number that is not negative."""
        try:
            self.counts[number.bit_length()] += 1
        except IndexError:
            self.counts[BITS_MAX] += 1

    def __len__(self) -> int:
        """How many numbers were counted."""
        return sum(self.counts)

    def items(self) -> Iterator[tuple[int, int]]:
        """(limit, how many numbers lay below it and not below the limit before), where there were any."""
        return ((1 << bits, count) for bits, count in enumerate(self.counts) if count)
