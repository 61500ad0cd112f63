"""How frames are cut into the runs of which each is one system call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aisexec.net._datagrams import CALL_BYTES_MAX, SEGMENTS_MAX


def runs(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut a batch into what one call can take, keeping the order."""
    start, count = 0, len(frames)
    while start < count:
        size = len(frames[start])
        most = min(count, start + SEGMENTS_MAX, start + max(1, CALL_BYTES_MAX // max(1, size)))
        end = start + 1
        while end < most and len(frames[end]) == size > 0:
            end += 1
        if end < most and 0 < len(frames[end]) < size:
            end += 1  # a shorter one ends the run
        yield frames[start:end]
        start = end
