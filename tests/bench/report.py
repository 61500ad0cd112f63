"""What came out, as Markdown, JSON and a picture."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from tests.bench.charts import picture
from tests.bench.plan import NODES, OURS, STOCK, Effort, Part, points
from tests.bench.rounds import Measured
from tests.bench.rows import rows
from tools.bench.figures import Spread


def number(value: float) -> str:
    """Three digits that matter, thousands with a separator."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(spread: Spread) -> str:
    """Median, and in brackets the extremes."""
    if len(spread.values) == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)}-{number(spread.most)})"


def markdown(measured: Measured, machine: Mapping[str, object]) -> str:
    """Tables to print and to keep."""
    lines = [
        "# aisexec beside stock corosync",
        "",
        *(f"* {key}: {value}" for key, value in machine.items()),
        "",
        "Medians of all rounds, in brackets the extremes.",
        "",
        "| | unit | corosync | aisexec | ratio | goal | reached |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for row in rows(measured):
        shown = "" if row.ratio is None else f"{row.ratio:.2f}"
        goal = str(row.goal or "")
        cells = (row.name, row.unit, cell(row.stock), cell(row.ours), shown, goal, row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_shares(measured)]
    lines += ["", "## Problems", "", *(f"* {problem}" for problem in measured.problems or ["none"])]
    return "\n".join(lines) + "\n"


def _shares(measured: Measured) -> Iterator[str]:
    """Who used the cores: what neither did is the kernel's work outside of processes, or somebody else."""
    yield "## Who used the machine"
    yield ""
    yield "Percent of all cores: executives / clients / everything else / idle."
    yield ""
    yield "| | corosync | aisexec |"
    yield "|---|---|---|"
    for part in (Part.ONE, Part.ALL, Part.LATENCY):
        for point in points(part):
            cells = [_share(measured, ring, part, point.name) for ring in (STOCK, OURS)]
            if all(cells):
                yield f"| {point.name} | {' | '.join(cells)} |"


def _share(measured: Measured, ring: str, part: Part, point: str) -> str:
    names = ("executives_share", "clients_share", "machine_share")
    spreads = [measured.spread(ring, NODES, part, point, name) for name in names]
    if None in spreads:
        return ""
    executives, clients, machine = (spread.median for spread in spreads if spread is not None)
    other = max(0.0, machine - executives - clients)
    shares = (executives, clients, other, max(0.0, 1 - machine))
    return " / ".join(f"{share:.0%}" for share in shares)


def machine() -> dict[str, object]:
    """What it was measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    corosync = subprocess.run(["corosync", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {cpu}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "corosync": corosync.splitlines()[0] if corosync else "unknown",
        "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def write(directory: Path, measured: Measured, effort: Effort, described: Mapping[str, object]) -> str:
    """bench.json, bench.md and bench.svg; returns the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    table = [
        {
            "name": row.name,
            "unit": row.unit,
            "corosync": row.stock.median,
            "aisexec": row.ours.median,
            "ratio": row.ratio,
            "goal": str(row.goal) if row.goal else None,
            "reached": row.verdict or None,
        }
        for row in rows(measured)
    ]
    everything = {
        "machine": dict(described),
        "effort": {**asdict(effort), "parts": sorted(effort.parts)},
        "table": table,
        "problems": measured.problems,
        "records": [asdict(record) for record in measured.records],
    }
    text = markdown(measured, described)
    (directory / "bench.json").write_text(json.dumps(everything, indent=1) + "\n")
    (directory / "bench.md").write_text(text)
    (directory / "bench.svg").write_text(picture(measured))
    return text
