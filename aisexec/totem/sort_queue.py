"""Frames of one ring by sequence number, until every member has them."""

from __future__ import annotations

from aisexec.totem.limits import SORT_QUEUE_SIZE
from aisexec.totem.sequence import HALF, MASK, WINDOW, following, lt


class SortQueue:
    """A window of SORT_QUEUE_SIZE sequence numbers that starts at `head`.

    Also counts, for each missing number, at how many token visits it was missed.
    """

    def __init__(self) -> None:
        self.head = 0
        self.frames: dict[int, bytes] = {}
        self.misses: dict[int, int] = {}

    def __contains__(self, seq: int) -> bool:
        return seq in self.frames

    def __len__(self) -> int:
        return len(self.frames)

    def in_range(self, seq: int) -> bool:
        """`seq` lies in the window."""
        if self.head > HALF:
            return (seq - WINDOW - (self.head - WINDOW)) & MASK < SORT_QUEUE_SIZE
        return self.head <= seq < self.head + SORT_QUEUE_SIZE

    def get(self, seq: int) -> bytes | None:
        """The frame, or None when it is missing."""
        return self.frames.get(seq)

    def add(self, seq: int, frame: bytes) -> bool:
        """Keep a frame; False when it is there already or lies outside the window."""
        if seq in self.frames or not self.in_range(seq):
            return False
        self.frames[seq] = frame
        if self.misses:
            self.misses.pop(seq, None)
        return True

    def miss(self, seq: int) -> int:
        """Count one more visit at which `seq` was missing; returns the count."""
        count = self.misses.get(seq, 0) + 1
        self.misses[seq] = count
        return count

    def contiguous_from(self, aru: int) -> int:
        """The highest number up to which everything behind `aru` is present."""
        frames = self.frames
        step = following(aru)
        while step in frames:
            aru = step
            step = following(aru)
        return aru

    def release(self, first: int, last: int) -> None:
        """Drop first..last and move the window behind them."""
        seq = first
        while not lt(last, seq):
            self.frames.pop(seq, None)
            self.misses.pop(seq, None)
            seq = following(seq)
        self.head = following(last)
