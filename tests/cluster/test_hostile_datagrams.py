"""Datagrams that no node sends: dropped, logged once per kind and sender, and the ring stays as it is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import NewCluster
from tests.harness import process
from tests.harness.config_file import Settings
from tests.harness.scenarios import Group, wait_traffic
from tests.harness.wait import wait_until

PORT = 5405
ROUNDS = 4
KINDS = ("too few for a header", "is not Totem's", "not compatible", "byte order", "is unknown", "limit")
LINES_MAX = 40
"""Kinds of faults there are, one line each in the log's interval: not one for each datagram."""
GROWTH_MAX = 8 * 1024 * 1024


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_ring_does_not_mind(transport: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster("aaa", Settings(transport=transport))
    ring = cluster.start()
    group = Group(cluster, tmp_path)
    group.send_all(0, 1, 2000, 2000)
    wait_traffic(group.programs.values())
    target = cluster[1]
    mark = target.log.mark()
    resident = process.resident_bytes(target.pid)
    rep, seq = ring.ring_id.split(".")
    program = [sys.executable, "-m", "tests.harness.hostile_frames"]
    arguments = [*program, target.host.address, str(PORT), rep, seq]
    sent = sum(int(cluster[3].run(arguments)) for _ in range(ROUNDS))
    assert sent > 1000 * ROUNDS
    wait_until(lambda: "Dropped a frame" in target.log.text(mark), 10, "a line about the frames")
    wait_traffic(group.programs.values())
    assert {node.membership() for node in cluster.nodes.values()} == {ring}
    group.stop_sending()
    group.finish()
    text = target.log.text(mark)
    lines = [line for line in text.splitlines() if "Dropped a frame" in line]
    assert 1 <= len(lines) <= LINES_MAX, "\n".join(lines)
    for kind in KINDS:
        assert any(kind in line for line in lines), f"{kind}: " + "\n".join(lines)
    assert all(f"from {cluster[3].host.address}: " in line for line in lines)
    assert not re.search("Traceback|A new membership", text)
    assert process.resident_bytes(target.pid) - resident < GROWTH_MAX


def test_stranger_is_not_heard(new_cluster: NewCluster) -> None:
    """With udpu only the nodelist's addresses count: one line names the others."""
    cluster = new_cluster("aaa")
    ring = cluster.start()
    target = cluster[1]
    stranger = "10.77.0.66"
    cluster[3].host.ip("address", "add", f"{stranger}/24", "dev", "eth0")
    mark = target.log.mark()
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind((sys.argv[1], 0))\n"
        "for _ in range(1000): s.sendto(b'hello', (sys.argv[2], 5405))\n"
    )
    cluster[3].run([sys.executable, "-c", script, stranger, target.host.address])
    target.log.wait_for(f"Packet rejected from {stranger}", 10, mark)
    lines = [line for line in target.log.text(mark).splitlines() if stranger in line]
    assert len(lines) == 1
    assert {node.membership() for node in cluster.nodes.values()} == {ring}
