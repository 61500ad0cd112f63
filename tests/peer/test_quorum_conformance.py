"""Unmodified programs over Debian's libquorum and libvotequorum cannot tell our executive from corosync."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.config_file import Settings
from tests.harness.conformance import HEADERS, PROGRAM_TIMEOUT, Run, calls_left_out
from tests.harness.node import Node
from tests.harness.wait import wait_until

QUORUM, VOTEQUORUM = "quorum_conformance", "votequorum_conformance"
READY = "ready to provide service"
WITH_DEVICE = Settings(device={"model": "net", "votes": 2, "timeout": 700, "sync_timeout": 700})
WITHOUT_PROVIDER = Settings(quorum={"provider": None})


def wait_ready(node: Node) -> None:
    """Until programs are let in; a log without a provider has no members."""
    wait_until(lambda: READY in node.log.text(0), PROGRAM_TIMEOUT, f"{node} is ready")


@pytest.mark.parametrize(
    ("program", "header"), [(QUORUM, "quorum.h"), (VOTEQUORUM, "votequorum.h")]
)
def test_every_call_is_made(program: str, header: str) -> None:
    """The program covers the whole header."""
    if not (HEADERS / header).exists():
        pytest.skip(f"needs packages: lib{header.removesuffix('.h')}-dev")
    assert calls_left_out(program, header, "", 10) == set()


@pytest.mark.parametrize(
    ("runs", "settings"),
    [
        ([(QUORUM, "alone"), (VOTEQUORUM, "alone")], Settings()),
        ([(VOTEQUORUM, "device")], WITH_DEVICE),
        ([(QUORUM, "alone"), (VOTEQUORUM, "absent")], WITHOUT_PROVIDER),
    ],
    ids=["alone", "device", "no provider"],
)
def test_alone(
    runs: list[tuple[str, str]], settings: Settings, new_cluster: NewCluster, tmp_path: Path
) -> None:
    need("s")
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix, settings)
        cluster[1].start()
        wait_ready(cluster[1])
        transcript = []
        for program, mode in runs:
            transcript += Run(cluster[1], tmp_path / f"{mix}.{program}", program, mode).transcript()
        transcripts.append(transcript)
    stock, ours = transcripts
    assert ours == stock


def by_connection(views: list[str]) -> list[str]:
    """What came on one connection behind each other: between the two there is no order."""
    return sorted(views, key=lambda line: line.startswith("  model 0"))


def test_two_nodes(new_cluster: NewCluster, tmp_path: Path) -> None:
    """Orders change both nodes; views and votes are told while a node dies, leaves and comes back."""
    transcripts = []
    for kinds in ("ss", "sa", "as", "aa"):
        cluster = new_cluster(kinds, Settings(totem={"token": 500}, quorum={"last_man_standing": 1}))
        cluster.start()
        views = Run(cluster[1], tmp_path / f"{kinds}.views", QUORUM, "watch")
        votes = Run(cluster[1], tmp_path / f"{kinds}.votes", VOTEQUORUM, "watch")
        for run in (views, votes):
            run.wait_line("^waiting$")
        cluster[2].kill()
        for run in (views, votes):
            run.wait_line("quorate=0")
        cluster[2].start()
        cluster.wait_formed()
        pair = Run(cluster[1], tmp_path / f"{kinds}.pair", VOTEQUORUM, "pair").transcript()
        states = [
            Run(node, tmp_path / f"{kinds}.state{node.nodeid}", VOTEQUORUM, "state", "3").transcript()
            for node in cluster.nodes.values()
        ]
        cluster[2].stop()
        cluster.wait_formed([1])
        transcripts.append([by_connection(views.end()), votes.end(), pair, *states])
        cluster.close()
        assert transcripts[-1] == transcripts[0], kinds


@pytest.mark.parametrize("program", [QUORUM, VOTEQUORUM])
def test_executive_ends_under_its_client(program: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts = []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        orphan = Run(cluster[1], tmp_path / f"{mix}.{program}", program, "orphan")
        orphan.wait_line("^waiting$")
        cluster[1].signal(signal.SIGTERM)
        transcripts.append(orphan.transcript())
    stock, ours = transcripts
    assert ours == stock
