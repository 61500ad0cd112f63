"""Frames of one ring by sequence number, until every member has them."""

from collections.abc import Sequence

class SortQueue:
    """A window of SORT_QUEUE_SIZE sequence numbers that starts at `head`.

    Also counts, for each missing number, at how many token visits it was missed.
    """

    head: int
    """May be set while nothing is kept."""

    @property
    def frames(self) -> dict[int, bytes]:
        """A copy, in order, for tests and dumps."""

    @property
    def miss_count(self) -> int:
        """Numbers that have been missed at some visit."""

    def __contains__(self, seq: int) -> bool: ...
    def __len__(self) -> int: ...
    def in_range(self, seq: int) -> bool:
        """`seq` lies in the window."""

    def get(self, seq: int) -> bytes | None:
        """The frame, or None when it is missing."""

    def add(self, seq: int, frame: bytes) -> bool:
        """Keep a frame; False when it is there already or lies outside the window."""

    def add_run(self, seq: int, frames: list[bytes]) -> None:
        """Keep frames numbered from `seq` on."""

    def miss(self, seq: int) -> int:
        """Count one more visit at which `seq` was missing; returns the count."""

    def contiguous_from(self, aru: int) -> int:
        """The highest number up to which everything behind `aru` is present."""

    def release(self, first: int, last: int) -> None:
        """Drop first..last and move the window behind them."""

    def ordered(self, after: int, to: int, safe_only: bool, safe: int) -> list[bytes]:
        """What may be delivered of after+1 .. to: up to the first hole.

        With `safe_only` it ends as well before a message that asks for safe delivery and has a
        number behind `safe`.
        """

    def take_run(
        self,
        frames: Sequence[tuple[bytes, str]],
        start: int,
        rep: int,
        ring_seq: int,
        members: frozenset[int],
        size_max: int,
        high: int,
    ) -> tuple[int, int]:
        """Keep ordinary mcast frames of a ring from frames[start] on, up to the first other frame.

        Returns how many they were, those that were there already included, and the new high_seq.
        Ordinary are plain messages of at most size_max bytes, sent by a member for itself.
        """
