"""Frames of one ring by sequence number, in plain Python."""

from __future__ import annotations

from aisexec.totem import wire
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

    def ordered(self, after: int, to: int, safe_only: bool, safe: int) -> list[bytes]:
        """What may be delivered of after+1 .. to."""
        found = []
        seq = after
        while seq != to:
            seq = following(seq)
            frame = self.frames.get(seq)
            if frame is None or (safe_only and wire.MCAST.unpack(frame).guarantee == 1 and lt(safe, seq)):
                break
            found.append(frame)
        return found

    def take_run(
        self,
        frames: list[tuple[bytes, str]],
        start: int,
        rep: int,
        ring_seq: int,
        members: frozenset[int],
        size_max: int,
        high: int,
    ) -> tuple[int, int]:
        """Keep ordinary mcast frames of a ring from frames[start] on, up to the first other frame."""
        for taken, (frame, _) in enumerate(frames[start:]):
            if not wire.MCAST_SIZE <= len(frame) <= size_max:
                return taken, high
            head = wire.MCAST.unpack(frame)
            ordinary = (wire.MAGIC, wire.VERSION, wire.FrameType.MCAST, wire.Encapsulated.PLAIN)
            if head.header[:4] != ordinary or head.ring_id != (rep, ring_seq):
                return taken, high
            if head.system_from not in members or head.header.nodeid != head.system_from:
                return taken, high
            if self.add(head.seq, frame) and lt(high, head.seq):
                high = head.seq
        return len(frames) - start, high
