"""An unmodified program over Debian's libcpg cannot tell our executive from corosync."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.needs import CPG_HEADER
from tests.harness.node import Node
from tests.harness.programs import SOURCES, compiled
from tests.harness.wait import wait_until

PROGRAM = "cpg_conformance"
TIMEOUT = 60.0
"""Seconds for the whole program."""
WAITING = "waiting\n"
"""What the program prints when it is the test's turn."""


class Run:
    """The program on a node, its output in a file."""

    def __init__(self, node: Node, path: Path, arguments: Sequence[str]) -> None:
        self.path = path
        with path.open("w") as output:
            self.process = node.popen(
                [compiled(PROGRAM), *arguments], stdout=output, stderr=subprocess.STDOUT
            )

    def wait_waiting(self) -> None:
        """Until it is the test's turn."""
        wait_until(lambda: WAITING in self.path.read_text(), TIMEOUT, lambda: self.path.read_text())

    def transcript(self) -> list[str]:
        """All it printed, when it has come to its good end."""
        self.process.wait(TIMEOUT)
        text = self.path.read_text()
        assert self.process.returncode == 0, text
        assert text.endswith("== end\n")
        return text.splitlines()


def test_every_call_is_made() -> None:
    """The program covers the whole header."""
    need("a")
    header = re.sub(r"/\*.*?\*/", "", CPG_HEADER.read_text(), flags=re.DOTALL)
    calls = set(re.findall(r"\bcs_error_t\s+(cpg_\w+)\s*\(", header))
    assert len(calls) >= 20
    source = (SOURCES / f"{PROGRAM}.c").read_text()
    assert {call for call in calls if f"{call}(" not in source} == set()


def test_alone(new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        transcripts.append(Run(cluster[1], tmp_path / mix, ["alone"]).transcript())
    stock, ours = transcripts
    assert ours == stock


@pytest.mark.parametrize("mix", ["aa", "sa", "as"])
def test_two_nodes(mix: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for kinds in ("ss", mix):
        cluster = new_cluster(kinds)
        cluster.start()
        first = Run(cluster[1], tmp_path / f"{kinds}.first", ["first", "talk"])
        first.wait_waiting()
        second = Run(cluster[2], tmp_path / f"{kinds}.second", ["second", "talk"])
        transcripts.append((first.transcript(), second.transcript()))
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
        orphan = Run(cluster[1], tmp_path / mix, ["orphan"])
        orphan.wait_waiting()
        cluster[1].signal(number)
        transcripts.append(orphan.transcript())
    stock, ours = transcripts
    assert ours == stock
