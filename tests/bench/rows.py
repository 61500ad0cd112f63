"""Ours beside stock's, figure by figure, with what has to come out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.plan import (
    CPU_GOAL,
    CURVE_GOAL,
    FAILOVER,
    KNET,
    KNET_GOAL,
    LINK_BITS,
    LINK_GOAL,
    MEDIAN_GOAL,
    MEMORY,
    NODES,
    OURS,
    P99_GOAL,
    STOCK,
    Goal,
    Part,
    points,
    throughput_goal,
)
from tests.bench.rounds import Measured
from tools.bench.figures import Spread, ratio
from tools.bench.wire import Mode

LATENCY_NAMES = {"p50": "p50", "p99": "p99", "p999": "p99.9"}


class Row(NamedTuple):
    """A figure of ours beside stock's."""

    name: str
    unit: str
    stock: Spread
    ours: Spread
    goal: Goal | None = None
    fixed_ratio: float | None = None
    """Where the goal is not about the ratio of the medians."""

    @property
    def ratio(self) -> float | None:
        """Ours to stock's."""
        return ratio(self.ours, self.stock) if self.fixed_ratio is None else self.fixed_ratio

    @property
    def verdict(self) -> str:
        """yes, no, or nothing when nothing is asked."""
        if self.goal is None or self.ratio is None:
            return ""
        return "yes" if self.goal.reached(self.ratio) else "no"


def rows(measured: Measured) -> Iterator[Row]:
    """Of everything that was measured with both."""
    for part in (Part.ONE, Part.ALL):
        yield from _throughput(measured, part)
    yield from _against_knet(measured)
    yield from _latency(measured)
    yield from _cpu(measured)
    for part, name, figure, unit in (
        (Part.FAILOVER, FAILOVER, "seconds", "s"),
        (Part.MEMORY, MEMORY, "megabytes", "MB"),
    ):
        yield from _row(measured, part, name, figure, name, unit)
    yield from _link(measured)
    yield from _curve(measured)


def _row(
    measured: Measured,
    part: Part,
    point: str,
    figure: str,
    name: str,
    unit: str,
    goal: Goal | None = None,
    nodes: int = NODES,
) -> Iterator[Row]:
    stock = measured.spread(STOCK, nodes, part, point, figure)
    ours = measured.spread(OURS, nodes, part, point, figure)
    if stock is not None and ours is not None:
        yield Row(name, unit, stock, ours, goal)


def _throughput(measured: Measured, part: Part) -> Iterator[Row]:
    for point in points(part):
        figure, unit = ("rate", "msg/s") if point.size < 40_000 else ("megabytes", "MB/s")
        yield from _row(measured, part, point.name, figure, point.name, unit, throughput_goal(point))


def _against_knet(measured: Measured) -> Iterator[Row]:
    for point, same in zip(
        points(Part.KNET), (p for p in points(Part.ONE) if p.size >= 40_000), strict=True
    ):
        knet = measured.spread(KNET, NODES, Part.KNET, point.name, "megabytes")
        ours = measured.spread(OURS, NODES, Part.ONE, same.name, "megabytes")
        if knet is not None and ours is not None:
            yield Row(f"stock on knet: {point.name}", "MB/s", knet, ours, KNET_GOAL)


def _latency(measured: Measured) -> Iterator[Row]:
    for point in points(Part.LATENCY):
        for where in ("self", "remote"):
            for figure, text in LATENCY_NAMES.items():
                if point.interval and figure == "p999":
                    continue  # of too few messages
                goals = {"p50": MEDIAN_GOAL, "p99": P99_GOAL} if point.mode == Mode.PING else {}
                name = f"{point.name}, {where}, {text}"
                yield from _row(
                    measured, Part.LATENCY, point.name, f"{where}_{figure}", name, "us", goals.get(figure)
                )


def _cpu(measured: Measured) -> Iterator[Row]:
    for part in (Part.ONE, Part.ALL):
        for point in points(part):
            name = point.name.replace("throughput", "CPU of executives")
            yield from _row(measured, part, point.name, "cpu", name, "s/million", CPU_GOAL)


def _link(measured: Measured) -> Iterator[Row]:
    for point in points(Part.LINK):
        for row in _row(measured, Part.LINK, point.name, "megabytes", point.name, "MB/s"):
            share = row.ours.median * 8e6 / LINK_BITS
            name = f"link of {LINK_BITS // 1_000_000} Mbit/s, udp, {point.size} bytes (goal: share of link)"
            yield row._replace(name=name, goal=LINK_GOAL, fixed_ratio=share)


def _curve(measured: Measured) -> Iterator[Row]:
    sizes = sorted({record.nodes for record in measured.records if record.part == Part.CURVE})
    for point in points(Part.CURVE):
        found: dict[int, Row] = {}
        for nodes in sizes:
            name = f"{nodes} nodes: {point.name}"
            for row in _row(measured, Part.CURVE, point.name, "rate", name, "msg/s", nodes=nodes):
                found[nodes] = row
                yield row
        if len(found) > 1:
            least, most = found[min(found)], found[max(found)]
            stock, ours = ratio(most.stock, least.stock), ratio(most.ours, least.ours)
            if stock and ours:
                name = f"kept from {min(found)} to {max(found)} nodes: {point.name}"
                yield Row(name, "", Spread((stock,)), Spread((ours,)), CURVE_GOAL)
