"""Every test: `python -m tests`, as `make test` does.

Those without clusters run side by side, two at a time; then come those that want the machine alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Final

BESIDE: Final = ("tests/sim", "tests/golden", "tests/wire")
FIRST: Final = ("tests/unit", "tests/fuzz")
ALONE: Final = ("tests/quorum", "tests/peer", "tests/cluster")


def pytest(folders: tuple[str, ...], *options: str) -> list[str]:
    """The command for some folders."""
    return [sys.executable, "-m", "pytest", *options, *folders]


def main() -> int:
    """0 when all have passed."""
    with tempfile.TemporaryFile() as output:
        # Not from a shell's background: what it starts there ignores SIGINT, and tests send that.
        command = pytest(BESIDE, "-p", "no:cacheprovider")
        with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as beside:
            results = [subprocess.call(pytest(FIRST))]
            results.append(beside.wait())
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    if any(results):
        print("Some tests above have failed; those with clusters follow.", flush=True)
    results.append(subprocess.call(pytest(ALONE)))
    return int(any(results))


if __name__ == "__main__":
    sys.exit(main())
