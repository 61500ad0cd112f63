"""aisexec beside stock corosync: the same client, the same nodes, in turn.

    make bench        or: python -m tests.bench [--quick] [--rounds N] [--only PART...] [--output DIRECTORY]

Needs root, and Debian's corosync and libcpg-dev.  Writes bench.json, bench.md and bench.svg.  The exit
status is 1 when a message was lost, doubled, changed or out of order, or a ring did not form.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report
from tests.bench.plan import QUICK, Effort, Part
from tests.bench.rounds import Bench
from tests.harness.needs import missing
from tests.harness.node import ROOT

DIRECTORY = ROOT / "build" / "bench"


def parse(argv: Sequence[str] | None) -> tuple[Effort, Path]:
    """The command line."""
    parser = argparse.ArgumentParser(
        "tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, about two minutes")
    parser.add_argument("--rounds", type=int, help="rounds of everything")
    parser.add_argument("--seconds", type=float, help="of each run")
    parser.add_argument("--warmup", type=float, help="seconds before each run that are not measured")
    parser.add_argument("--nodes", type=int, nargs="+", help="ring sizes of the curve")
    parser.add_argument("--curve-rounds", type=int, help="rounds of the curve")
    parser.add_argument("--only", type=Part, choices=list(Part), nargs="+", help="only these parts")
    parser.add_argument("--output", type=Path, default=DIRECTORY, help="directory for the results")
    arguments = parser.parse_args(argv)
    effort = QUICK if arguments.quick else Effort()
    given = {
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "warmup": arguments.warmup,
        "curve": tuple(arguments.nodes) if arguments.nodes else None,
        "curve_rounds": arguments.curve_rounds,
        "parts": frozenset(arguments.only) if arguments.only else None,
    }
    known = {key: value for key, value in given.items() if value is not None}
    return dataclasses.replace(effort, **known), arguments.output


def main(argv: Sequence[str] | None = None) -> int:
    """`make bench`."""
    effort, directory = parse(argv)
    lacking = missing("sa")
    if lacking:
        print(lacking, file=sys.stderr)
        return 1
    described = report.machine()
    bench = Bench(effort)
    try:
        bench.run()
    except KeyboardInterrupt:
        bench.measured.problems.append("interrupted")
    print(report.write(directory, bench.measured, effort, described))
    print(f"written to {directory}", file=sys.stderr)
    return 1 if bench.measured.problems else 0


if __name__ == "__main__":
    sys.exit(main())
