"""What the handles of all services understand."""

from __future__ import annotations

from enum import IntEnum


class Dispatch(IntEnum):
    """How much `dispatch` handles (cs_dispatch_flags_t)."""

    ONE = 1
    ALL = 2
    BLOCKING = 3
    ONE_NONBLOCKING = 4
