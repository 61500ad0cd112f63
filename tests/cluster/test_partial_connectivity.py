"""Real networks in which one node does not hear another: it is named, and the ring stands."""

from __future__ import annotations

from tests.conftest import NewCluster
from tests.harness.config_file import Settings

TOTEM: dict[str, object] = {"token": 400, "consensus": 500}

NOTICED = 60
"""Seconds until it is in the log; with these times it takes about ten."""

MENDED = 60
"""Seconds from the end of the fault to one ring; the longest back-off that can be reached by then."""


def test_link_that_works_in_one_direction(new_cluster: NewCluster) -> None:
    """corosync#750."""
    cluster = new_cluster("aaa", Settings("udpu", TOTEM))
    cluster.start()
    cluster.faults[1].deaf_to = {3}
    cluster.faults[1].apply()
    for nodeid in (1, 2):
        cluster[nodeid].log.wait_for("node 1 does not hear node 3", NOTICED)
    assert cluster.wait_formed([1, 2]).members == (1, 2)
    assert cluster.wait_formed([3]).members == (3,)
    cluster.heal()
    cluster.wait_formed(timeout=MENDED)
    cluster[2].log.wait_for("All nodes hear each other again: 1 2 3", NOTICED)


def test_stock_nodes_are_not_kept_from_merging(new_cluster: NewCluster) -> None:
    """They disturb each ring, as they always did; when the link is mended everybody is in one."""
    cluster = new_cluster("sas", Settings("udpu", TOTEM))
    cluster.start()
    cluster.faults[1].deaf_to = {3}
    cluster.faults[1].apply()
    since = cluster[2].log.mark()
    for _ in range(6):
        since += cluster[2].log.wait_for("A new membership", NOTICED, since).end()
    cluster.heal()
    cluster.wait_formed(timeout=MENDED)
