"""corosync-qdevice gives the vote of a corosync-qnetd to a node of ours, as it does to stock's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drop_in.cluster import DropInCluster
from tests.drop_in.needs import missing
from tests.drop_in.qdevice import QuorumDevice, configuration
from tests.harness.config_file import Settings

MIXES = os.environ.get("AISEXEC_QDEVICE_MIXES", "ss aa as").split()
THREE = os.environ.get("AISEXEC_QDEVICE_THREE", "sss aaa aas").split()
"""Kinds of nodes (s stock corosync, a aisexec): stock alone shows that the test itself is right."""


@pytest.fixture
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QuorumDevice]:
    """A cluster of the kinds of `request.param` with its device, all started and quorate.

    The device has the votes that make it worth all nodes but one.
    """
    mix: str = request.param
    votes = len(mix) - 1
    algorithm = "ffsplit" if votes == 1 else "lms"
    if lacking := missing("qdevice", mix):
        pytest.skip(lacking)
    with DropInCluster(mix, tmp_path, Settings(extra=configuration(algorithm, votes))) as cluster:
        device = QuorumDevice(cluster, tmp_path)
        device.start_server()
        cluster.start()
        for nodeid in cluster.nodes:
            device.start(nodeid)
        device.wait_votes(dict.fromkeys(cluster.nodes, (len(mix) + votes, True, "A,V,NMW")))
        yield device
        assert {node: node.complaints() for node in cluster.nodes.values() if node.complaints()} == {}


@pytest.mark.parametrize("device", MIXES, indirect=True)
@pytest.mark.parametrize("lost", [1, 2])
def test_device_keeps_the_last_node_quorate(device: QuorumDevice, lost: int) -> None:
    cluster, left = device.cluster, 3 - lost
    cluster[lost].machine.cut_power()
    device.wait_votes({left: (2, True, "A,V,NMW")})

    # Without the device, too, the last of three votes decides nothing.
    device.machine.cut_power()
    device.wait_votes({left: (1, False, "A,NV,NMW")})

    device.start_server()
    device.wait_votes({left: (2, True, "A,V,NMW")})
    cluster[lost].start()
    cluster.wait_together([1, 2])
    device.start(lost)
    device.wait_votes(dict.fromkeys((1, 2), (3, True, "A,V,NMW")))


@pytest.mark.parametrize("device", MIXES, indirect=True)
def test_device_decides_a_partition(device: QuorumDevice) -> None:
    cluster = device.cluster
    cluster.partition({1}, {2})
    # Both see the device; the algorithm prefers the lower of two equal halves.
    device.wait_votes({1: (2, True, "A,V,NMW"), 2: (1, False, "A,NV,NMW")})
    cluster.heal()
    device.wait_votes(dict.fromkeys((1, 2), (3, True, "A,V,NMW")))

    # Its daemon leaves in order.
    assert device.stop(2) == 0
    device.wait_votes({1: (3, True, "A,V,NMW"), 2: (2, True, "NR")})


@pytest.mark.parametrize("device", THREE, indirect=True)
def test_device_keeps_the_last_of_three_quorate(device: QuorumDevice) -> None:
    cluster = device.cluster
    cluster[1].machine.cut_power()
    device.wait_votes(dict.fromkeys((2, 3), (4, True, "A,V,NMW")))
    cluster[3].machine.cut_power()
    device.wait_votes({2: (3, True, "A,V,NMW")})
