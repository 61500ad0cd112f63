"""What the members of a benchmark's group send each other: the twin of client/wire.h and pattern.c.

Numbers are in the byte order of the machine, times in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import NamedTuple

MAGIC = 0x48434E42
SIZE_MAX = 1_000_000
"""Bytes of the longest message."""
MEMBERS_MAX = 128
MULTIPLIER = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
PLACES = 4093
"""Places in the pattern where a message may begin."""

HEAD = struct.Struct("=IHHIIQQ")
PLAN = struct.Struct("=4I3Q")


class Kind(IntEnum):
    """What a message is."""

    RUN = 1
    DATA = 2
    END = 3
    REPORT = 4


class Mode(IntEnum):
    """How a member sends.

    FLOOD: as much as flow control takes.
    PING: the next one an interval after the delivery of the one before.
    RATE: one each interval.
    """

    FLOOD = 0
    PING = 1
    RATE = 2


class Senders(IntEnum):
    """The member that began the run, or every one."""

    ONE = 0
    ALL = 1


class Head(NamedTuple):
    """Begins every message; the check number between `kind` and `run` is left out."""

    kind: int
    run: int
    size: int
    number: int
    time: int


class Plan(NamedTuple):
    """What to do in a run; times in nanoseconds."""

    mode: int
    senders: int
    size: int
    warmup: int
    duration: int
    interval: int


class Report(NamedTuple):
    """What one member saw of a run; see REPORT_FIELDS in client/wire.h. Times in nanoseconds."""

    messages: int = 0
    window_messages: int = 0
    window_time: int = 0
    elapsed: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupt: int = 0
    digest: int = 0
    cpu: int = 0
    try_again: int = 0
    behind: int = 0
    boot: int = 0
    samples: int = 0
    p50: int = 0
    p90: int = 0
    p99: int = 0
    p999: int = 0
    longest: int = 0


REPORT = struct.Struct(f"={len(Report._fields)}Q")


def check_of(head: Head) -> int:
    """The check number of a head."""
    value = head.number * MULTIPLIER & MASK ^ head.time
    value = value * MULTIPLIER & MASK ^ (head.run << 32 | head.size)
    value = value * MULTIPLIER & MASK ^ head.kind
    return (value * MULTIPLIER & MASK) >> 48


def pack_head(head: Head) -> bytes:
    """A head with magic and check number."""
    return HEAD.pack(MAGIC, head.kind, check_of(head), head.run, head.size, head.number, head.time)


def unpack_head(message: bytes) -> Head | None:
    """The head of a whole message; None when it is not one of ours, or harmed."""
    if len(message) < HEAD.size:
        return None
    magic, kind, check, *rest = HEAD.unpack_from(message)
    head = Head(kind, *rest)
    intact = magic == MAGIC and head.size == len(message) and check == check_of(head)
    return head if intact else None


def pack_plan(plan: Plan) -> bytes:
    """Behind the head of RUN."""
    return PLAN.pack(plan.mode, plan.senders, plan.size, 0, plan.warmup, plan.duration, plan.interval)


def unpack_plan(body: bytes) -> Plan:
    """Raises struct.error."""
    mode, senders, size, _, *times = PLAN.unpack(body)
    return Plan(mode, senders, size, *times)


def _words() -> Iterator[int]:
    word = 1
    while True:
        # Knuth's MMIX generator.
        word = (word * 6364136223846793005 + 1442695040888963407) & MASK
        yield word


@cache
def pattern() -> bytes:
    """The bytes of which every content is a piece."""
    words = _words()
    count = (SIZE_MAX + PLACES + 7) // 8
    return struct.pack(f"={count}Q", *(next(words) for _ in range(count)))


def content(nodeid: int, number: int, size: int) -> bytes:
    """What `size` bytes of message `number` from a node have to be."""
    place = (number * 8 + nodeid) % PLACES
    return pattern()[place : place + size]


def next_digest(digest: int, nodeid: int, number: int) -> int:
    """Goes on over a delivery: equal at the end only where all came in the same order."""
    digest = (digest ^ nodeid) * MULTIPLIER & MASK
    digest = (digest ^ number) * MULTIPLIER & MASK
    return digest ^ digest >> 32


def boot_number(boot_id: str) -> int:
    """Of /proc/sys/kernel/random/boot_id: equal where CLOCK_MONOTONIC is the same."""
    value = 0
    for byte in boot_id.strip().encode():
        value = (value ^ byte) * MULTIPLIER & MASK
    return value
