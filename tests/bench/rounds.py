"""The rounds: stock and ours in turn, A B A B, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.plan import (
    FAILOVER,
    HALF,
    KNET,
    LATENCY_SIZES,
    MEMORY,
    NODES,
    OURS,
    STOCK,
    Effort,
    Part,
    Point,
    flood,
    points,
)
from tests.bench.ring import Figures, Ring
from tools.bench.figures import BenchError, Spread

ATTEMPTS = 2
"""To form a ring."""
THREE_NODES = (Part.ONE, Part.ALL, Part.LATENCY, Part.MEMORY, Part.FAILOVER)
"""Parts that share a ring."""


@dataclass(frozen=True)
class Record:
    """What one run measured, by the name of its point."""

    round: int
    ring: str
    nodes: int
    part: Part
    point: str
    size: int
    figures: Figures


@dataclass
class Measured:
    """All of it, and everything that went wrong."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def spread(self, ring: str, nodes: int, part: Part, point: str, figure: str) -> Spread | None:
        """A figure of all rounds; None when there is none."""
        key = (ring, nodes, part, point)
        found = [
            record.figures[figure]
            for record in self.records
            if (record.ring, record.nodes, record.part, record.point) == key and figure in record.figures
        ]
        return Spread(tuple(found)) if found else None


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Runs the rounds of an effort."""

    def __init__(self, effort: Effort, make_ring: Callable[..., Ring] = Ring) -> None:
        self._effort = effort
        self._make_ring = make_ring
        self._round = 0
        self._halves: dict[int, float] = {}
        """Interval of half load in this round, by size."""
        self.measured = Measured()

    def run(self) -> Measured:
        """All rounds; what fails is told in `problems`."""
        for number in range(1, self._effort.rounds + 1):
            self._round = number
            self._halves = {}
            for kind in (STOCK, OURS):
                self._with_ring(self._three_nodes, {*THREE_NODES}, kind)
            self._with_ring(partial(self._points, part=Part.KNET), {Part.KNET}, KNET)
            for kind in (STOCK, OURS):
                body = partial(self._points, part=Part.LINK)
                self._with_ring(body, {Part.LINK}, kind, transport="udp", limited=True)
            for nodes in self._effort.curve if number <= self._effort.curve_rounds else ():
                for kind in (STOCK, OURS):
                    self._with_ring(partial(self._points, part=Part.CURVE), {Part.CURVE}, kind, nodes)
        return self.measured

    def _with_ring(
        self,
        body: Callable[[Ring], None],
        parts: set[Part],
        kind: str,
        nodes: int = NODES,
        *,
        transport: str = "udpu",
        limited: bool = False,
    ) -> None:
        """A ring of its own, if any of the parts is wanted; what fails is noted, and the bench goes on."""
        if not parts & self._effort.parts:
            return
        for attempt in range(ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="aisexec-bench-") as directory:
                formed = False
                try:
                    with self._make_ring(
                        kind, nodes, Path(directory), transport=transport, limited=limited
                    ) as ring:
                        formed = True
                        body(ring)
                    return
                except (AssertionError, BenchError) as error:
                    what = "" if formed else f", attempt {attempt + 1} to form a ring"
                    self._problem(f"{kind}, {nodes} nodes{what}: {error}")
                    if formed:
                        return

    def _three_nodes(self, ring: Ring) -> None:
        for part in (Part.ONE, Part.ALL):
            self._points(ring, part)
        if ring.kind == STOCK and self._wanted(Part.LATENCY):
            self._find_half_load(ring)
        self._points(ring, Part.LATENCY)
        if self._wanted(Part.MEMORY):
            self._keep(ring, Part.MEMORY, MEMORY, 0, {"megabytes": ring.resident()})
        if self._wanted(Part.FAILOVER):
            self._keep(ring, Part.FAILOVER, FAILOVER, 0, {"seconds": ring.failover()})

    def _wanted(self, part: Part) -> bool:
        return part in self._effort.parts

    def _problem(self, text: str) -> None:
        say(f"PROBLEM: {text}")
        self.measured.problems.append(f"round {self._round}: {text}")

    def _find_half_load(self, ring: Ring) -> None:
        """Half of what stock does in this round, of which both get the same."""
        part = Part.ONE if self._wanted(Part.ONE) else Part.LATENCY
        for size in LATENCY_SIZES:
            point = flood(part, size)
            if part == Part.LATENCY:
                self._point(ring, point)
            rates = self.measured.spread(STOCK, NODES, part, point.name, "rate")
            if rates is not None and rates.values[-1]:
                self._halves[size] = 1 / (HALF * rates.values[-1])

    def _points(self, ring: Ring, part: Part) -> None:
        if self._wanted(part):
            for point in points(part):
                self._point(ring, point)

    def _point(self, ring: Ring, point: Point) -> None:
        interval = self._halves.get(point.size) if point.interval is None else point.interval
        if interval is None:
            self._problem(f"{ring.kind}, {point.name}: stock's throughput is not known")
            return
        figures, problems = ring.measure(point, self._effort.seconds, self._effort.warmup, interval)
        for problem in problems:
            self._problem(f"{ring.kind}, {ring.nodes} nodes, {point.name}: {problem}")
        self._keep(ring, point.part, point.name, point.size, figures)

    def _keep(self, ring: Ring, part: Part, name: str, size: int, figures: Figures) -> None:
        self.measured.records.append(Record(self._round, ring.kind, ring.nodes, part, name, size, figures))
        shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items() if "share" not in key)
        say(f"round {self._round}  {ring.kind} x{ring.nodes}  {name}: {shown}")
