"""Events of one turn, one behind the other in memory, until they are written to the clients' rings.

Compiled services append to it without making an object for each event; `Ring.write_batch` takes them
from it in the same way.
"""

class EventBatch:
    """Events and who gets them.  It grows as long as its maker lets it."""

    def add(self, receivers: tuple[int, ...], event: bytes) -> None:
        """Append an event for these clients."""

    def __len__(self) -> int:
        """Events."""

    @property
    def size(self) -> int:
        """Bytes of all events."""

    def event(self, index: int) -> bytes:
        """One of them; raises IndexError."""

    def runs(self) -> list[tuple[tuple[int, ...], int, int]]:
        """(receivers, first, last + 1) of neighbours with the same receivers."""
