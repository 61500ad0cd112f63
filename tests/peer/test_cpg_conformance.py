"""An unmodified program over Debian's libcpg cannot tell our executive from corosync."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.conformance import Run, calls_left_out

PROGRAM = "cpg_conformance"


def test_every_call_is_made() -> None:
    """The program covers the whole header."""
    need("a")
    assert calls_left_out(PROGRAM, "cpg.h", "cpg_", 20) == set()


def test_alone(new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        transcripts.append(Run(cluster[1], tmp_path / mix, PROGRAM, "alone").transcript())
    stock, ours = transcripts
    assert ours == stock


@pytest.mark.parametrize("mix", ["aa", "sa", "as"])
def test_two_nodes(mix: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for kinds in ("ss", mix):
        cluster = new_cluster(kinds)
        cluster.start()
        first = Run(cluster[1], tmp_path / f"{kinds}.first", PROGRAM, "first", "talk")
        first.wait_line("^waiting$")
        second = Run(cluster[2], tmp_path / f"{kinds}.second", PROGRAM, "second", "talk")
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
        orphan = Run(cluster[1], tmp_path / mix, PROGRAM, "orphan")
        orphan.wait_line("^waiting$")
        cluster[1].signal(number)
        transcripts.append(orphan.transcript())
    stock, ours = transcripts
    assert ours == stock
