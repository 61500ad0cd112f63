"""Many frames in one system call: UDP segmentation and receive offload (udp(7), linux/udp.h).

A run of frames of one size, of which the last may be shorter, is handed to the kernel as one buffer
that it cuts into datagrams; on the way back it hands up what arrived together as one buffer.  What is on
the wire does not differ, and a receiver without it sees ordinary datagrams.  Kernels, devices and routes
differ in what they can do, so every destination is tried and falls back by itself.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Final

from aisexec.net._datagrams import SOL_UDP, UDP_GRO

RETRY_AFTER: Final = 60.0
"""Seconds until a destination that refused a run is given one again: its route may have changed."""

REFUSALS: Final = frozenset({errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""What a kernel says that cannot do it here: frames longer than the MTU, no checksum offload, ..."""


def ask_for_joined(receiver: socket.socket) -> bool:
    """Let the kernel hand up frames that arrived together in one buffer; False when it cannot."""
    try:
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


class Refusers:
    """Destinations to which frames go one by one for a while."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __bool__(self) -> bool:
        """There are any."""
        return bool(self._until)

    def refused(self, address: bytes, now: float) -> None:
        """The kernel would not cut a run for it."""
        self._until[address] = now + RETRY_AFTER

    def takes_runs(self, address: bytes, clock: Callable[[], float]) -> bool:
        """Is it worth trying?"""
        until = self._until.get(address)
        if until is None:
            return True
        if clock() < until:
            return False
        del self._until[address]
        return True
