"""Unmodified programs over Debian's libcmap and libsam cannot tell our executive from corosync."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.node import Node
from tests.harness.programs import SOURCES, compiled
from tests.harness.wait import wait_until

HEADERS = Path("/usr/include/corosync")
TIMEOUT = 60.0
"""Seconds for a whole program."""
WAITING, WAITING_AGAIN = "waiting\n", "waiting again\n"
"""What programs print when it is the test's turn."""


class Run:
    """A program on a node, its output in a file."""

    def __init__(self, node: Node, path: Path, program: str, mode: str) -> None:
        self.path = path
        with path.open("w") as output:
            self.process = node.popen([compiled(program), mode], stdout=output, stderr=subprocess.STDOUT)

    def wait_for(self, line: str) -> None:
        """Until it is the test's turn."""
        wait_until(lambda: line in self.path.read_text(), TIMEOUT, lambda: self.path.read_text())

    def transcript(self) -> list[str]:
        """All it printed, when it has come to its good end."""
        self.process.wait(TIMEOUT)
        text = self.path.read_text()
        assert self.process.returncode == 0, text
        assert text.endswith("== end\n"), text
        return text.splitlines()


@pytest.mark.parametrize("library", ["cmap", "sam"])
def test_every_call_is_made(library: str) -> None:
    """The program covers the whole header."""
    need("a")
    header = re.sub(r"/\*.*?\*/", "", (HEADERS / f"{library}.h").read_text(), flags=re.DOTALL)
    calls = set(re.findall(rf"\bcs_error_t\s+({library}_\w+)\s*\(", header))
    assert len(calls) >= 10
    source = (SOURCES / f"{library}_conformance.c").read_text()
    assert {call for call in calls if f"{call}(" not in source} == set()


@pytest.mark.parametrize("library", ["cmap", "sam"])
def test_alone(library: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        transcripts.append(Run(cluster[1], tmp_path / mix, f"{library}_conformance", "alone").transcript())
    stock, ours = transcripts
    assert ours == stock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_executive_ends_under_its_client(
    number: signal.Signals, new_cluster: NewCluster, tmp_path: Path
) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        orphan = Run(cluster[1], tmp_path / mix, "cmap_conformance", "orphan")
        orphan.wait_for(WAITING)
        cluster[1].signal(number)
        transcripts.append(orphan.transcript())
    stock, ours = transcripts
    assert ours == stock


def test_supervised_program_waits_for_quorum(new_cluster: NewCluster, tmp_path: Path) -> None:
    """It is stopped when the quorum goes, and starts again when it comes back."""
    transcripts = []
    for mix in ("ss", "as"):
        cluster = new_cluster(mix)
        cluster.start()
        program = Run(cluster[1], tmp_path / mix, "sam_conformance", "quorum")
        program.wait_for(WAITING)
        cluster[2].stop()
        program.wait_for(WAITING_AGAIN)
        cluster[2].start()
        transcripts.append(program.transcript())
    stock, ours = transcripts
    assert ours == stock
