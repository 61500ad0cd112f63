"""The log explains: why a membership changed and how long it took, and whether retransmits matter."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import NewCluster
from tests.harness.config_file import Settings
from tests.harness.node import Node
from tests.harness.programs import HistoryProgram

FAST = Settings(totem={"token": 400, "token_coefficient": 0})


def told(node: Node, pattern: str, since: int) -> str:
    """The line about a membership change that has this in it."""
    match = node.log.wait_for(rf"Membership change complete: .*{pattern}.*", 20, since)
    return match[0]


def seconds(line: str) -> float:
    match = re.search(r"([\d.]+) s without service", line)
    assert match is not None
    return float(match[1])


def test_every_membership_change_is_explained_in_one_line(new_cluster: NewCluster) -> None:
    cluster = new_cluster("aas", FAST)
    cluster.start()
    one, two, three = cluster[1], cluster[2], cluster[3]

    mark = one.log.mark()
    three.kill()
    line = told(one, "left: 3", mark)
    assert re.search(r"ring \S+ of nodes 1 2; left: 3 \((no answer to our JOINs|given up by node 2)", line)
    # Token time-out and consensus, no more than the machine's other work adds.
    assert 0.8 < seconds(line) < 5
    cluster.wait_formed([1, 2])

    mark = one.log.mark()
    three.start()
    assert re.search(r"joined: 3 \(back after [\d.]+ s\)", told(one, "joined: 3", mark))
    cluster.wait_formed()

    mark = one.log.mark()
    two.stop()
    line = told(one, "left: 2", mark)
    assert "left: 2 (left cleanly); " in line
    assert "without service since node 2 said that it leaves" in line
    assert seconds(line) < 0.8
    cluster.wait_formed([1, 3])
    two.start()
    cluster.wait_formed()

    mark = one.log.mark()
    three.run(["corosync-cfgtool", "-k", "2"])
    assert "left: 2 (killed by order of node 3); " in told(one, "left: 2", mark)
    two.wait()
    cluster.wait_formed([1, 3])
    two.start()
    cluster.wait_formed()

    mark = one.log.mark()
    for nodeid in (2, 3):
        cluster.faults[nodeid].deaf_to = {1}
        cluster.faults[nodeid].apply()
    cluster.faults[1].deaf_to = {2, 3}
    cluster.faults[1].apply()
    line = told(one, "left: 2 3", mark)
    assert "all at once: perhaps it is this node that is cut off" in line


def test_a_storm_of_retransmits_is_one_line(new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster("aaa", Settings())
    cluster.start()
    one = cluster[1]
    program = HistoryProgram(one, "storm", tmp_path)
    program.wait_ready()
    mark = one.log.mark()
    cluster.faults[3].drop_percent = 5
    cluster.faults[3].apply()
    program.send(1_000_000, 64, 1000, seed=1)
    line = one.log.wait_for(r"Retransmits for .*", 40, mark)[0]
    program.stop_sending()
    assert re.search(r"node(s [\d ]*)? 3 asks? for \d+\+? messages \([0-9a-f]", line)
    assert re.search(r"It (matters|does not matter|costs throughput)[:.]", line)
    assert one.log.text(mark).count("Retransmits for") == 1
