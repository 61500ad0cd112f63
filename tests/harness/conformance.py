"""Programs that print what every call of a library answered, run on nodes of either kind."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

from tests.harness.node import Node
from tests.harness.programs import SOURCES, compiled
from tests.harness.wait import wait_until

HEADERS = Path("/usr/include/corosync")
PROGRAM_TIMEOUT = 60.0
"""Seconds for a whole program."""


def calls_left_out(program: str, header: str, prefix: str, at_least: int) -> set[str]:
    """Functions of a library's header that the program does not call; there must be so many in it."""
    text = re.sub(r"/\*.*?\*/", "", (HEADERS / header).read_text(), flags=re.DOTALL)
    calls = set(re.findall(rf"\bcs_error_t\s+({prefix}\w+)\s*\(", text))
    assert len(calls) >= at_least
    source = (SOURCES / f"{program}.c").read_text()
    return {call for call in calls if f"{call}(" not in source}


class Run:
    """A program on a node, its output in a file."""

    def __init__(self, node: Node, path: Path, program: str, *arguments: str) -> None:
        self.path = path
        with path.open("w") as output:
            self.process = node.popen(
                [compiled(program), *arguments], stdout=output, stderr=subprocess.STDOUT
            )

    def wait_line(self, pattern: str) -> None:
        """Until it has printed a line in which the pattern is found; "^waiting$" gives the test its turn."""
        found = re.compile(pattern, re.MULTILINE)
        wait_until(
            lambda: found.search(self.path.read_text()) is not None,
            PROGRAM_TIMEOUT,
            lambda: f"{pattern} in\n{self.path.read_text()}",
        )

    def end(self) -> list[str]:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)
        return self.transcript()

    def transcript(self) -> list[str]:
        """All it printed, when it has come to its good end."""
        self.process.wait(PROGRAM_TIMEOUT)
        text = self.path.read_text()
        assert self.process.returncode == 0, text
        assert text.endswith("== end\n"), text
        return text.splitlines()
