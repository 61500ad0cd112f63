"""What `_timing` finds out: how long the token was held and the loop was away, and what was to blame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ipc._histogram import Histogram

SAMPLE_AGE_MAX: Final = 0.001
"""Seconds: processor time is asked for no more often than this, it costs a system call."""
LONG: Final = 0.001
"""Seconds from which on it is asked what took so long."""
TOKENS_KEPT: Final = 100
"""TOTEM_TOKEN_STATS_MAX of corosync: its means are of so many tokens."""


class Cause(StrEnum):
    """What took most of the time."""

    COLLECTION = "collection"
    """Garbage was collected."""
    NOT_SCHEDULED = "not scheduled"
    """We had no processor: others ran, or we waited for the kernel."""
    HANDLER = "slow handler"
    """We were at work."""


@dataclass(slots=True)
class TokenStats:
    """Under stats.srp; microseconds from the token's arrival in this process until it was passed on.

    A token that an idle ring holds on purpose does not count.
    """

    token_hold_us: Histogram = field(default_factory=Histogram)
    token_hold_us_longest: Counter[Cause] = field(default_factory=Counter)


@dataclass(slots=True)
class LoopStats:
    """Under stats.loop; microseconds from one look at the sockets to the next, without the waiting."""

    gap_us: Histogram = field(default_factory=Histogram)
    gap_us_longest: Counter[Cause] = field(default_factory=Counter)
    frames_per_receive: Histogram = field(default_factory=Histogram)
