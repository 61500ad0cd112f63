"""One short look at each of what stands on the executive; tests/drop_in goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drop_in.cluster import DropInCluster
from tests.drop_in.needs import missing
from tests.drop_in.pacemaker import Pacemaker
from tests.drop_in.qdevice import QuorumDevice, configuration
from tests.harness.config_file import Settings

MIX = "as"


def test_pacemaker_moves_a_group_of_resources(tmp_path: Path) -> None:
    if lacking := missing("pacemaker", MIX):
        pytest.skip(lacking)
    with DropInCluster(MIX, tmp_path, Settings(quorum={"two_node": 1})) as cluster:
        cluster.start()
        pacemaker = Pacemaker(cluster)
        pacemaker.configure()
        for nodeid in cluster.nodes:
            pacemaker.start(nodeid)
        pacemaker.wait([1, 2])
        cluster[2].machine.cut_power()
        assert pacemaker.wait([1]).home == "node1"
        assert cluster[1].complaints() == []


def test_quorum_device_gives_its_vote(tmp_path: Path) -> None:
    if lacking := missing("qdevice", MIX):
        pytest.skip(lacking)
    with DropInCluster(MIX, tmp_path, Settings(extra=configuration())) as cluster:
        device = QuorumDevice(cluster, tmp_path)
        device.start_server()
        cluster.start()
        for nodeid in cluster.nodes:
            device.start(nodeid)
        device.wait_votes(dict.fromkeys(cluster.nodes, (3, True, "A,V,NMW")))
        cluster[2].machine.cut_power()
        device.wait_votes({1: (2, True, "A,V,NMW")})
        assert cluster[1].complaints() == []
