"""Runs what feeds the compiled modules with bytes from outside, under the sanitizers.

    python -m tests.sanitize [--short] [pytest arguments...]

The twins of the compiled modules, the rings of the clients, the fuzzed decoders and simulated clusters.
--short takes a part of it.  Arguments for pytest replace the tests, and no clusters are simulated then.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.sanitize.build import SanitizeError, build, environment
from tests.sanitize.tree import ROOT

KEPT: Final = ROOT / ".sanitize"

SHORT: Final = ("tests/unit/test_twin_*.py", "tests/unit/test_ipc_ring.py")
SHORT_TARGETS: Final = (
    "ipc_ring",
    "ipc_event_batch",
    "cpg_intake",
    "cpg_multicasts",
    "totem_assembly",
    "totem_receive_run",
    "turn_frames",
)
SHORT_SEEDS: Final = "1-3"
LONG: Final = (
    *SHORT,
    "tests/fuzz/test_targets.py",
    "tests/unit/test_ipc_server.py",
    "tests/unit/test_turn.py",
    "tests/unit/test_net_udp*.py",
    "tests/unit/test_net_segmentation.py",
    "tests/golden",
)
MEMORY: Final = "tests/unit/test_ipc_server.py::test_two_hundred_connections_leave_nothing"
"""Measures memory, of which AddressSanitizer keeps what was freed."""
LONG_SEEDS: Final = "1-40"

WHERE: Final = """\
import importlib, pathlib, sys
for path in sorted(path for top in ("ipc", "aisexec") for path in pathlib.Path(top).rglob("_*.pyx")):
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    if b"__asan_init" not in pathlib.Path(module.__file__).read_bytes():
        sys.exit(f"{module.__file__} is not instrumented")
"""
"""For otherwise one could test the wrong modules and find nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 when something was found or a test failed; 2 when it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m tests.sanitize", description=__doc__)
    parser.add_argument("--short", action="store_true", help="less than a minute")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where to build, default .sanitize")
    options, rest = parser.parse_known_args(argv)
    try:
        copy = build(options.keep)
    except SanitizeError as error:
        print(f"make sanitize: {error}", file=sys.stderr)
        return 2
    status = 0
    with tempfile.TemporaryDirectory(prefix="aisexec-sanitize-") as directory:
        reports = Path(directory, "report")
        for command in commands(copy, short=options.short, rest=rest):
            done = subprocess.run(command, cwd=copy, env=environment(reports), check=False)
            if done.returncode:
                print(f"status {done.returncode} of: {' '.join(command)}", file=sys.stderr)
                status = 1
        for report in sorted(Path(directory).glob("report.*")):
            print(report.read_text(errors="replace"), file=sys.stderr)
            status = 1
    return status


def commands(copy: Path, *, short: bool, rest: Sequence[str]) -> list[list[str]]:
    """What is run, one after the other."""
    python = [sys.executable]
    # Reports on stderr must not be lost with the process.
    pytest = [*python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--durations=3", "--capture=sys"]
    found = [[*python, "-c", WHERE]]
    if rest:
        return [*found, [*pytest, *rest]]
    tests = [str(path) for pattern in (SHORT if short else LONG) for path in sorted(copy.glob(pattern))]
    found.append([*pytest, "--deselect", MEMORY, *tests])
    if short:
        found.append([*pytest, "tests/fuzz/test_targets.py", "-k", " or ".join(SHORT_TARGETS)])
    seeds = SHORT_SEEDS if short else LONG_SEEDS
    found.append([*python, "-m", "aisexec.sim", "--seeds", seeds])
    return found


if __name__ == "__main__":
    sys.exit(main())
