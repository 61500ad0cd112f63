"""Pacemaker 2.1 on aisexec: nodes are seen, a group of resources is placed, moved and held back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drop_in.cluster import DropInCluster
from tests.drop_in.needs import missing
from tests.drop_in.pacemaker import GROUP, PATIENCE, Pacemaker
from tests.harness.config_file import Settings

TWO = os.environ.get("AISEXEC_PACEMAKER_TWO", "ss aa as").split()
THREE = os.environ.get("AISEXEC_PACEMAKER_THREE", "sss aaa aas").split()
"""Kinds of nodes (s stock corosync, a aisexec): stock alone shows that the test itself is right."""


def check_complaints(cluster: DropInCluster) -> None:
    """No executive of ours logged an error."""
    assert {node: node.complaints() for node in cluster.nodes.values() if node.complaints()} == {}


@pytest.fixture
def pacemaker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pacemaker]:
    """Pacemaker on all nodes of a cluster of the kinds of `request.param`, started."""
    mix: str = request.param
    if lacking := missing("pacemaker", mix):
        pytest.skip(lacking)
    two: dict[str, object] = {"two_node": 1} if len(mix) == 2 else {}
    with DropInCluster(mix, tmp_path, Settings(quorum=two)) as cluster:
        cluster.start()
        pacemaker = Pacemaker(cluster)
        pacemaker.configure()
        for nodeid in cluster.nodes:
            pacemaker.start(nodeid)
        yield pacemaker
        check_complaints(cluster)


def home_of(pacemaker: Pacemaker, name: str) -> int:
    """Node id of a node's name."""
    return next(nodeid for nodeid, node in pacemaker.cluster.nodes.items() if node.name == name)


def really_running(pacemaker: Pacemaker) -> dict[int, set[str]]:
    """Resources by the node they run on, by what their agents (Dummy) keep there."""
    return {
        nodeid: {path.stem.removeprefix("Dummy-") for path in node.machine.path("run").rglob("Dummy-*.state")}
        for nodeid, node in pacemaker.cluster.nodes.items()
        if node.machine.up
    }


def check_really_running(pacemaker: Pacemaker, home: int) -> None:
    """The whole group runs on `home` (0: nowhere), and nothing of it elsewhere."""
    found = really_running(pacemaker)
    assert found == {nodeid: set(GROUP) if nodeid == home else set() for nodeid in found}


@pytest.mark.parametrize("pacemaker", TWO, indirect=True)
def test_two_nodes(pacemaker: Pacemaker) -> None:
    cluster = pacemaker.cluster
    home = home_of(pacemaker, pacemaker.wait([1, 2]).home)
    check_really_running(pacemaker, home)
    other = 3 - home

    # The machine is gone, without a word.
    cluster[home].machine.cut_power()
    assert home_of(pacemaker, pacemaker.wait([other]).home) == other
    check_really_running(pacemaker, other)

    # It comes back, and takes nothing away.
    cluster[home].start()
    cluster.wait_together([1, 2])
    pacemaker.start(home)
    assert home_of(pacemaker, pacemaker.wait([1, 2]).home) == other

    # Stopped in order, first Pacemaker, then the executive: the other way round Pacemaker refuses.
    shut_down = ["corosync-cfgtool", "-H"]
    assert "Could not shutdown (error = 10)" in cluster[other].machine.run(shut_down)
    assert pacemaker.stop(other) == 0
    cluster[other].machine.run(shut_down)
    assert cluster[other].wait_ended() == 0
    assert home_of(pacemaker, pacemaker.wait([home]).home) == home
    check_really_running(pacemaker, home)


@pytest.mark.parametrize("pacemaker", THREE, indirect=True)
def test_three_nodes(pacemaker: Pacemaker) -> None:
    cluster = pacemaker.cluster
    home = home_of(pacemaker, pacemaker.wait([1, 2, 3]).home)
    check_really_running(pacemaker, home)

    cluster[home].machine.cut_power()
    left = sorted({1, 2, 3} - {home})
    second = home_of(pacemaker, pacemaker.wait(left).home)
    check_really_running(pacemaker, second)

    # One of three is not quorate: it must stop what it runs, and may not start what the others ran.
    first = next(nodeid for nodeid in left if nodeid != second)
    cluster[first].machine.cut_power()
    pacemaker.wait([second], running=False, quorate=False)
    check_really_running(pacemaker, home=0)

    for nodeid in (home, first):
        cluster[nodeid].start()
    cluster.wait_together([1, 2, 3])
    for nodeid in (home, first):
        pacemaker.start(nodeid)
    pacemaker.wait([1, 2, 3])


@pytest.mark.parametrize("pacemaker", TWO, indirect=True)
def test_executive_is_killed(pacemaker: Pacemaker) -> None:
    cluster = pacemaker.cluster
    home = home_of(pacemaker, pacemaker.wait([1, 2]).home)
    other = 3 - home
    cluster[home].kill()
    assert home_of(pacemaker, pacemaker.wait([other]).home) == other

    # Pacemaker's first daemon tries to connect again, and starts the others anew.
    cluster[home].start()
    cluster.wait_together([1, 2])
    # What it left running there is found; what then runs twice is stopped and started once.
    cluster.wait_for(
        lambda: sorted(map(len, really_running(pacemaker).values())) == [0, len(GROUP)],
        PATIENCE,
        "the group runs once",
    )
    check_really_running(pacemaker, home_of(pacemaker, pacemaker.wait([1, 2]).home))


@pytest.mark.parametrize("pacemaker", THREE, indirect=True)
def test_partition(pacemaker: Pacemaker) -> None:
    cluster = pacemaker.cluster
    home = home_of(pacemaker, pacemaker.wait([1, 2, 3]).home)
    others = sorted({1, 2, 3} - {home})
    cluster.partition({home}, others)
    pacemaker.wait([home], running=False, quorate=False)
    second = home_of(pacemaker, pacemaker.wait(others).home)
    check_really_running(pacemaker, second)
    cluster.heal()
    home = home_of(pacemaker, pacemaker.wait([1, 2, 3]).home)
    check_really_running(pacemaker, home)


@pytest.mark.parametrize("mix", THREE)
def test_node_is_added(mix: str, tmp_path: Path) -> None:
    if lacking := missing("pacemaker", mix):
        pytest.skip(lacking)
    with DropInCluster(mix, tmp_path) as cluster:
        cluster.configure([1, 2])
        cluster.start([1, 2])
        pacemaker = Pacemaker(cluster)
        pacemaker.configure()
        for nodeid in (1, 2):
            pacemaker.start(nodeid)
        home = home_of(pacemaker, pacemaker.wait([1, 2]).home)

        # The third of three in the new file: the others take it in while they run.
        cluster.configure([1, 2, 3])
        cluster[1].machine.run(["corosync-cfgtool", "-R"])
        cluster[3].start()
        cluster.wait_together([1, 2, 3])
        pacemaker.start(3)
        assert home_of(pacemaker, pacemaker.wait([1, 2, 3]).home) == home

        cluster[home].machine.cut_power()
        pacemaker.wait({1, 2, 3} - {home})
        check_complaints(cluster)


def test_nodes_are_replaced_one_by_one(tmp_path: Path) -> None:
    """From stock to ours and back, on what is in /var/lib and /etc, while the cluster goes on."""
    if lacking := missing("pacemaker", "sa"):
        pytest.skip(lacking)
    with DropInCluster("ss", tmp_path, Settings(quorum={"two_node": 1})) as cluster:
        cluster.start()
        pacemaker = Pacemaker(cluster)
        pacemaker.configure()
        for nodeid in cluster.nodes:
            pacemaker.start(nodeid)
        pacemaker.wait([1, 2])
        for nodeid, kind in ((1, "a"), (2, "a"), (1, "s")):
            other = 3 - nodeid
            assert pacemaker.stop(nodeid) == 0
            assert cluster[nodeid].stop() == 0
            # In order: the other one did not stop anything for want of quorum.
            assert home_of(pacemaker, pacemaker.wait([other]).home) == other
            cluster[nodeid].kind = kind
            cluster[nodeid].start()
            cluster.wait_together([1, 2])
            pacemaker.start(nodeid)
            assert home_of(pacemaker, pacemaker.wait([1, 2]).home) == other
        assert "aisexec" in cluster[2].machine.path("var/log/corosync/executive").read_text()
