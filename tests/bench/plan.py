"""What is measured, and what has to come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tools.bench.wire import Mode, Senders

STOCK, OURS, KNET = "corosync", "aisexec", "corosync-knet"
RINGS = (STOCK, OURS, KNET)
"""KNET is stock on its default transport, without encryption."""

NODES = 3
SIZES = (64, 320, 1600, 8000, 40_000, 200_000, 1_000_000)
ALL_SIZES = (64, 8000)
LATENCY_SIZES = (64, 8000)
KNET_SIZES = (40_000, 200_000, 1_000_000)
CURVE = (2, 4, 8, 16)
CURVE_SIZES = (64, 8000)
IDLE_INTERVAL = 0.02
"""Seconds between messages, long enough for the token to be held."""
LINK_SIZE = 8000
LINK_BITS = 100_000_000
"""Bits a second of the limited link, in each direction of each node."""
HALF = 0.5
"""Share of stock's throughput that `half load` offers to both."""

MEMORY = "resident memory"
FAILOVER = "failover"
"""Names of points that are not runs of the clients."""


class Part(StrEnum):
    """What can be asked for alone."""

    ONE = "one"
    ALL = "all"
    LATENCY = "latency"
    FAILOVER = "failover"
    MEMORY = "memory"
    KNET = "knet"
    CURVE = "curve"
    LINK = "link"


class Point(NamedTuple):
    """One run of the clients.

    interval: seconds between messages; None with Mode.RATE: half of stock's throughput.
    """

    part: Part
    mode: Mode
    size: int
    senders: Senders = Senders.ONE
    interval: float | None = 0.0

    @property
    def name(self) -> str:
        """`throughput, one sender, 64 bytes` and the like; the same in every round."""
        match self.mode:
            case Mode.FLOOD:
                kind = f"throughput, {self.senders.name.lower()} sending"
            case Mode.PING:
                kind = "latency, idle ring" if self.interval else "latency, one at a time"
            case Mode.RATE:
                kind = "latency, half load"
        return f"{kind}, {self.size} bytes"


def flood(part: Part, size: int, senders: Senders = Senders.ONE) -> Point:
    """As much as possible."""
    return Point(part, Mode.FLOOD, size, senders)


def points(part: Part) -> list[Point]:
    """Of one ring; FAILOVER and MEMORY are not runs of the clients."""
    match part:
        case Part.ONE:
            return [flood(part, size) for size in SIZES]
        case Part.ALL:
            return [flood(part, size, Senders.ALL) for size in ALL_SIZES]
        case Part.LATENCY:
            return [
                *(Point(part, Mode.PING, size) for size in LATENCY_SIZES),
                Point(part, Mode.PING, LATENCY_SIZES[0], interval=IDLE_INTERVAL),
                *(Point(part, Mode.RATE, size, interval=None) for size in LATENCY_SIZES),
            ]
        case Part.KNET:
            return [flood(part, size) for size in KNET_SIZES]
        case Part.CURVE:
            return [flood(part, size, Senders.ALL) for size in CURVE_SIZES]
        case Part.LINK:
            return [flood(part, LINK_SIZE)]
        case _:
            return []


@dataclass(frozen=True)
class Effort:
    """How long and how often.

    seconds, warmup: of each run; rounds: of everything; curve: how many nodes, and how often.
    """

    seconds: float = 3.0
    warmup: float = 1.0
    rounds: int = 5
    curve: tuple[int, ...] = CURVE
    curve_rounds: int = 3
    parts: frozenset[Part] = frozenset(Part)


QUICK = Effort(seconds=0.8, warmup=0.2, rounds=1, curve=(2, 4), curve_rounds=1)
"""About two minutes: to see whether everything works; its figures are noise."""


class Goal(NamedTuple):
    """What a ratio has to be at least or at most."""

    ratio: float
    at_least: bool = True

    def reached(self, ratio: float) -> bool:
        """Rounded as printed."""
        return round(ratio, 2) >= self.ratio if self.at_least else round(ratio, 2) <= self.ratio

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.ratio:g}"


def throughput_goal(point: Point) -> Goal:
    """Messages a second, ours to stock's."""
    if point.senders == Senders.ALL:
        return Goal(2.0 if point.size < 1600 else 2.5)
    if point.size < 1600:
        return Goal(2.0)
    return Goal(2.5 if point.size < 40_000 else 3.0)


CPU_GOAL = Goal(0.6, at_least=False)
MEDIAN_GOAL = Goal(1.0, at_least=False)
P99_GOAL = Goal(1.2, at_least=False)
KNET_GOAL = Goal(1.7)
CURVE_GOAL = Goal(1.0)
LINK_GOAL = Goal(0.92)
"""Payload to the link's bits."""
