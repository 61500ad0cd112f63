"""Being on another host of a test network for a while."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from tests.harness.node import Node

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(node: Node) -> Iterator[None]:
    """The calling thread is in the node's network namespace: connections made here lead to its executive."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{node.host.name}") as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(own.fileno(), CLONE_NEWNET) == 0
