"""Rings with encryption: strangers, other keys, and traffic recorded and sent again, on real networks."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import NewCluster
from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.eavesdropper import Eavesdropper
from tests.harness.node import Node
from tests.harness.scenarios import Group, wait_traffic
from tests.harness.wait import wait_until

LINE = 15
"""Seconds for a line to be in the log: it comes with a JOIN."""


@pytest.fixture
def keys(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("authkey", "another")]
    for path in made:
        path.write_bytes(os.urandom(256))
        path.chmod(0o400)
    return made


def secured(transport: str, **totem: object) -> Settings:
    return Settings(transport, {"token": 1000, "secauth": "on", **totem}, logging={"debug": "on"})


def change(node: Node, pattern: str, replacement: str) -> None:
    """In the configuration; counts at its next start."""
    text, count = re.subn(pattern, replacement, node.configuration.read_text())
    assert count == 1
    node.configuration.write_text(text)


def gathered(node: Node, since: int) -> str:
    """Lines about a membership being looked for or formed."""
    lines = node.log.text(since).splitlines()
    return "\n".join(line for line in lines if re.search("entering GATHER|A new membership", line))


def whole(cluster: Cluster, group: Group, marks: dict[int, int]) -> None:
    """Messages go through, and nobody has looked for a new membership."""
    group.send_all(20, 10, 2000)
    group.wait_sent()
    for nodeid, node in cluster.nodes.items():
        assert not gathered(node, marks[nodeid])


def marks(cluster: Cluster) -> dict[int, int]:
    return {nodeid: node.log.mark() for nodeid, node in cluster.nodes.items()}


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_recorded_traffic_changes_nothing(
    transport: str, new_cluster: NewCluster, keys: list[Path], tmp_path: Path
) -> None:
    """Nodes with different libraries; everything they say is recorded, and sent again to all of them."""
    cluster = new_cluster("aaa", secured(transport, keyfile=keys[0]))
    change(cluster[2], "version: 2", "version: 2\n    crypto_model: pycryptodome")
    with Eavesdropper(cluster.network) as eavesdropper:
        ring = cluster.start()
        group = Group(cluster, tmp_path)
        group.send_all(100, 10, 3000)
        group.wait_sent()
        assert eavesdropper.count() > 300
        assert eavesdropper.find(group.name) == 0
        assert "(pycryptodome) crypto: aes256" in cluster[2].log.text()

        # Into the ring it is from.
        before = marks(cluster)
        group.send_all(0, 100, 1000, 2000)
        assert eavesdropper.replay() > 500
        wait_traffic(group.programs.values())
        group.stop_sending()
        whole(cluster, group, before)
        assert {node.membership() for node in cluster.nodes.values()} == {ring}
        for node in cluster.nodes.values():
            assert len(re.findall("somebody replays", node.log.text(before[node.nodeid]))) <= 8

        # Into a ring with a node that has forgotten everything, its ring ids too.
        group.finish()
        cluster[2].kill()
        cluster.wait_formed((1, 3))
        for file in cluster[2].state_dir.iterdir():
            file.unlink()
        cluster[2].start()
        assert eavesdropper.replay() > 500
        cluster.wait_formed()
        group = Group(cluster, tmp_path)
        before = marks(cluster)
        assert eavesdropper.replay() > 500
        whole(cluster, group, before)

        # Into a new ring of the same nodes.
        group.finish()
        for node in cluster.nodes.values():
            node.kill()
            for file in node.state_dir.iterdir():
                file.unlink()
        for node in cluster.nodes.values():
            node.start()
        assert eavesdropper.replay() > 500
        cluster.wait_formed()
        group = Group(cluster, tmp_path)
        before = marks(cluster)
        assert eavesdropper.replay() > 500
        whole(cluster, group, before)
        group.finish()
    for node in cluster.nodes.values():
        assert not re.search("Traceback|invalid digest", node.log.text())


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_two_keys_make_two_rings(
    transport: str, new_cluster: NewCluster, keys: list[Path], tmp_path: Path
) -> None:
    """Although every node has all of them in its nodelist."""
    cluster = new_cluster("aaaa", secured(transport, keyfile=keys[0]))
    for nodeid in (3, 4):
        change(cluster[nodeid], str(keys[0]), str(keys[1]))
    for node in cluster.nodes.values():
        node.start()
    cluster.wait_formed((1, 2))
    cluster.wait_formed((3, 4))
    for node in cluster.nodes.values():
        # The representative of the other ring looks for others all the time.
        address = re.escape(cluster[3 if node.nodeid < 3 else 1].host.address)
        says = f"invalid digest... ignoring. It came from {address}, whose key differs from the key of"
        node.log.wait_for(says, LINE)
        assert len(re.findall(says, node.log.text())) == 1
    before = marks(cluster)
    groups = [Group(cluster, tmp_path, nodeids) for nodeids in ((1, 2), (3, 4))]
    for group in groups:
        group.send_all(100, 10, 2000)
    for group in groups:
        group.wait_sent()
        group.finish()
    for nodeid, node in cluster.nodes.items():
        assert not gathered(node, before[nodeid])

    # With the right key it joins.
    cluster[2].stop()
    change(cluster[2], str(keys[0]), str(keys[1]))
    cluster[2].start()
    cluster.wait_formed((2, 3, 4))


def test_unencrypted_nodes_are_told_and_named(new_cluster: NewCluster, keys: list[Path]) -> None:
    """Nodes 1 and 2 encrypt, node 3 and stock corosync do not: two rings, and a line on every side."""
    cluster = new_cluster("aaas", secured("udpu", keyfile=keys[0]))
    for nodeid in (3, 4):
        change(cluster[nodeid], "secauth: on", "secauth: off")
    for node in cluster.nodes.values():
        node.start()
    cluster.wait_formed((1, 2))
    cluster.wait_formed((3, 4))
    # The representatives, nodes 1 and 3, look for others all the time.
    for nodeid in (1, 2):
        cluster[nodeid].log.wait_for(
            r"from 10\.77\.0\.3 that cannot be used: it is not encrypted .*corosync 3", LINE
        )
    cluster[3].log.wait_for(
        r"Dropped a frame from 10\.77\.0\.1: it is encrypted or authenticated by aisexec", LINE
    )
    cluster[4].log.wait_for(r"Message received from 10\.77\.0\.1.* has bad magic number", LINE)
    cluster[3].log.wait_for("warning: frames are neither encrypted nor authenticated", LINE)
    assert wait_until(lambda: cluster[1].membership() != cluster[3].membership(), LINE, "two rings")
