"""Unmodified programs over Debian's libcmap and libsam cannot tell our executive from corosync."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.conformance import Run, calls_left_out


@pytest.mark.parametrize("library", ["cmap", "sam"])
def test_every_call_is_made(library: str) -> None:
    """The program covers the whole header."""
    need("a")
    assert calls_left_out(f"{library}_conformance", f"{library}.h", f"{library}_", 10) == set()


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
        orphan.wait_line("^waiting$")
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
        program.wait_line("^waiting$")
        cluster[2].stop()
        program.wait_line("^waiting again$")
        cluster[2].start()
        transcripts.append(program.transcript())
    stock, ours = transcripts
    assert ours == stock
