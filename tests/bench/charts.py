"""The picture: throughput, CPU, latency, and the curve over ring sizes."""

from __future__ import annotations

from tests.bench.plan import KNET, NODES, OURS, STOCK, Part, points
from tests.bench.rounds import Measured
from tests.bench.rows import LATENCY_NAMES
from tests.bench.svg import Chart, Line, document
from tools.bench.figures import Spread

NAMES = {STOCK: "corosync udpu", OURS: "aisexec udpu", KNET: "corosync knet"}


def picture(measured: Measured) -> str:
    """All of it as one SVG."""
    both = (STOCK, OURS)
    throughput = [over_sizes(measured, ring, Part.ONE, "megabytes") for ring in both]
    if any(record.ring == KNET for record in measured.records):
        throughput.append(over_sizes(measured, KNET, Part.KNET, "megabytes"))
    single, curve = points(Part.LATENCY)[0], points(Part.CURVE)[0]
    places = [(ring, where) for ring in both for where in ("self", "remote")]
    charts = [
        Chart("Throughput, one sender", "bytes of a message", "MB/s", throughput),
        Chart(
            "CPU of all executives, one sender",
            "bytes of a message",
            "seconds for a million messages",
            [over_sizes(measured, ring, Part.ONE, "cpu") for ring in both],
        ),
        Chart(
            f"L{single.name[1:]}",
            "percentile",
            "microseconds",
            [percentiles(measured, ring, single.name, where) for ring, where in places],
            labels=tuple(LATENCY_NAMES.values()),
        ),
        Chart(
            f"All sending {curve.size} bytes",
            "nodes on this machine",
            "messages/s",
            [over_nodes(measured, ring, curve.name) for ring in both],
            log_y=False,
        ),
    ]
    return document("aisexec beside stock corosync", charts)


def drawn(name: str, spreads: dict[float, Spread | None]) -> Line:
    """A line through the medians, with the extremes; zeros have no place on a logarithmic axis."""
    known = {x: spread for x, spread in spreads.items() if spread is not None and spread.least > 0}
    return Line(
        name,
        [(x, spread.median) for x, spread in known.items()],
        [(spread.least, spread.most) for spread in known.values()],
    )


def over_sizes(measured: Measured, ring: str, part: Part, figure: str) -> Line:
    """By bytes of a message."""
    spreads = {
        float(point.size): measured.spread(ring, NODES, part, point.name, figure) for point in points(part)
    }
    return drawn(NAMES[ring], spreads)


def over_nodes(measured: Measured, ring: str, point: str) -> Line:
    """By nodes of a ring."""
    sizes = sorted({record.nodes for record in measured.records if record.part == Part.CURVE})
    spreads = {float(nodes): measured.spread(ring, nodes, Part.CURVE, point, "rate") for nodes in sizes}
    return drawn(NAMES[ring], spreads)


def percentiles(measured: Measured, ring: str, point: str, where: str) -> Line:
    """Of latency, `self` or `remote`."""
    spreads = {
        float(x): measured.spread(ring, NODES, Part.LATENCY, point, f"{where}_{figure}")
        for x, figure in enumerate(LATENCY_NAMES, start=1)
    }
    return drawn(f"{ring}, {where}", spreads)
