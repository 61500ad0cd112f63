"""The options of the command `aisexec-sim`, and what it says of itself."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

from aisexec.sim.plan import NODES_MAX
from aisexec.sim.run import EVENTS_MAX
from aisexec.sim.trace import WIDTH

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

USUAL_PROFILE = "mixed"

PATIENCE = 600.0
"""Seconds of processor time after which a run is ended."""

FAILURES_MAX = 10
"""Failing seeds after which no more are tried, unless --failures says otherwise."""

DESCRIPTION = """\
Runs a whole cluster in this process: N real executives on a virtual clock and a faulty virtual network,
all of it drawn from one seed. First faults, then all is healed; after that the cluster has to come
together, and what happened is compared with what Totem and closed process groups promise."""

EPILOG = f"""\
examples:
  aisexec-sim --seed 17                        one run
  aisexec-sim --seeds 10000 --jobs 2           many: seeds 1 to 10000 on two processors
  aisexec-sim --seed 17 --trace - | less -S    what happened, one column per node
  aisexec-sim --seed 17 --picture run.html     the same to look at in a browser
  aisexec-sim --plan aisexec-sim-17.plan       once more, exactly, from a (shrunken) plan
  aisexec-sim --seeds 200 --mutation NAME      does a checker notice this deliberate fault?

The same seed or plan and the same version give the same run and the same trace on every machine.
A run that does not come to rest ends after {EVENTS_MAX} events, one that hangs in a single event after
--patience seconds of processor time; both count as failed. Ctrl-C ends with what was done so far.

exit status: 0 all runs passed; 1 a run failed; 2 wrong command line, or a file cannot be read or written;
130 ended by Ctrl-C or SIGTERM and none had failed."""


class UsageError(Exception):
    """The command cannot be carried out; the text says why."""


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        "aisexec-sim",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to run")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="N", help="one run")
    which.add_argument("--seeds", metavar="A-B|N", help="the runs A to B, or 1 to N")
    which.add_argument("--plan", metavar="FILE", help="the run that a file describes; - reads standard input")
    what.add_argument("--nodes", type=_node_count, metavar="N", help=f"1 to {NODES_MAX}; else 2 to 8")
    what.add_argument(
        "--profile", default=USUAL_PROFILE, metavar="NAME", help="kind of faults; all: each in turn"
    )
    what.add_argument("--mutation", default="", metavar="NAME", help="put a deliberate fault into the code")
    look = parser.add_argument_group("what to see (of many runs: of the first one that fails)")
    look.add_argument("--trace", metavar="FILE", help="write the timeline; - is standard output")
    look.add_argument("--width", type=int, default=WIDTH, metavar="N", help="of the timeline, characters")
    look.add_argument("--picture", metavar="FILE", help="draw it, as FILE.svg or FILE.html")
    look.add_argument("--print-plan", action="store_true", help="print the plan and do not run it")
    look.add_argument("--json", action="store_true", help="print the outcome as JSON")
    how = parser.add_argument_group("how")
    how.add_argument("--jobs", type=_positive, default=1, metavar="J", help="processes for many runs")
    how.add_argument(
        "--failures", type=int, default=FAILURES_MAX, metavar="N", help="end after N failed (10); 0: never"
    )
    how.add_argument("--seconds", type=float, metavar="S", help="begin no more runs after S seconds")
    how.add_argument(
        "--patience", type=float, default=PATIENCE, metavar="S", help="processor time of one run (600 s)"
    )
    how.add_argument(
        "--shrink",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make the plan of a failed run smaller (the default)",
    )
    how.add_argument("--output", default=".", metavar="DIR", help="for shrunken plans (.)")
    lists = parser.add_argument_group("lists")
    lists.add_argument("--list-profiles", action="store_true", help="kinds of faults")
    lists.add_argument("--list-mutations", action="store_true", help="deliberate faults")
    lists.add_argument("--version", action="version", version=f"aisexec-sim {package_version()}")
    return parser


def package_version() -> str:
    """Ours; a seed means the same run only with the same version."""
    try:
        return version("aisexec")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _node_count(text: str) -> int:
    number = _positive(text)
    if number > NODES_MAX:
        raise argparse.ArgumentTypeError(f"{number} is more than {NODES_MAX}")
    return number


def seed_range(text: str) -> range:
    """"A-B" or "N" for 1 to N. Raises UsageError."""
    first, dash, last = text.partition("-")
    try:
        seeds = range(int(first), int(last) + 1) if dash else range(1, int(first) + 1)
    except ValueError:
        raise UsageError(f"--seeds {text}: give a number, or first-last such as 100-199") from None
    if not seeds:
        raise UsageError(f"--seeds {text}: there is no seed in this range")
    return seeds
