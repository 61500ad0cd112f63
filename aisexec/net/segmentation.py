"""Many frames in one system call: UDP segmentation and receive offload (udp(7), linux/udp.h).

A run of frames of one size, of which the last may be shorter, is handed to the kernel as one buffer
that it cuts into datagrams; on the way back it hands up what arrived together as one buffer.  What is on
the wire does not differ, and a receiver without it sees ordinary datagrams.  Kernels, devices and routes
differ in what they can do, so every destination is tried and falls back by itself.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

SEGMENTS_MAX: Final = 64
"""Frames of one call: the limit of kernels before 6.9; newer ones take 128."""

CALL_BYTES_MAX: Final = 65507
"""Bytes of one call."""

RETRY_AFTER: Final = 60.0
"""Seconds until a destination that refused a run is given one again: its route may have changed."""

REFUSALS: Final = frozenset({errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""What a kernel says that cannot do it here: frames longer than the MTU, no checksum offload, ..."""

ANCILLARY_SIZE: Final = socket.CMSG_SPACE(4)

_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")

Ancillary = Sequence[tuple[int, int, bytes]]


def ask_for_joined(receiver: socket.socket) -> bool:
    """Let the kernel hand up frames that arrived together in one buffer; False when it cannot."""
    try:
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def segment_size(ancillary: Ancillary, size: int) -> int:
    """Bytes of each frame in a buffer of `size` bytes; the last one may be shorter."""
    for level, kind, value in ancillary:
        if level == SOL_UDP and kind == UDP_GRO and len(value) >= _GRO_SIZE.size:
            step = int(_GRO_SIZE.unpack_from(value)[0])
            return step if 0 < step < size else size
    return size


def runs(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut a batch into what one call can take, keeping the order."""
    start, count = 0, len(frames)
    while start < count:
        size = len(frames[start])
        most = min(count, start + SEGMENTS_MAX, start + max(1, CALL_BYTES_MAX // max(1, size)))
        end = start + 1
        while end < most and len(frames[end]) == size:
            end += 1
        if end < most and len(frames[end]) < size:
            end += 1  # a shorter one ends the run
        yield frames[start:end]
        start = end


def send_run(sender: socket.socket, run: Sequence[bytes], address: Any) -> int:
    """One call for frames as runs() yields them; bytes sent.  Raises OSError, see REFUSALS."""
    control = [(SOL_UDP, UDP_SEGMENT, _SIZE.pack(len(run[0])))]
    return sender.sendmsg(run, control, 0, address)


class Refusers:
    """Destinations to which frames go one by one for a while."""

    def __init__(self) -> None:
        self._until: dict[Any, float] = {}

    def refused(self, address: Any, now: float) -> None:
        """The kernel would not cut a run for it."""
        self._until[address] = now + RETRY_AFTER

    def takes_runs(self, address: Any, now: float) -> bool:
        """Is it worth trying?"""
        until = self._until.get(address)
        if until is None:
            return True
        if now < until:
            return False
        del self._until[address]
        return True
