"""What the handles of all services understand."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Dispatch(IntEnum):
    """How much `dispatch` handles (cs_dispatch_flags_t)."""

    ONE = 1
    ALL = 2
    BLOCKING = 3
    ONE_NONBLOCKING = 4


class RingId(NamedTuple):
    """A configuration of totem: its representative's node id and a number that only grows."""

    nodeid: int
    seq: int
