from collections.abc import Iterator

BITS_MAX: int
"""What needs more bits counts with what needs as many."""

class Histogram:
    """How often which magnitude; cheap enough for the busiest places.

    counts[n]: how many numbers had n significant bits, so lay in 2**(n-1) .. 2**n - 1.
    """

    @property
    def counts(self) -> list[int]: ...
    def add(self, number: int) -> None:
        """Count a number that is not negative; OverflowError for one of more than 64 bits."""
    def __len__(self) -> int:
        """How many numbers were counted."""
    def items(self) -> Iterator[tuple[int, int]]:
        """(limit, how many numbers lay below it and not below the limit before), where there were any."""
