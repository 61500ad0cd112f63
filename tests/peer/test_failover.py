"""With stock's default timeouts the group goes on as soon after a node's death as with stock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import NewCluster
from tests.harness.config_file import Settings
from tests.harness.scenarios import Group, wait_traffic

TOKEN = 3.0 + 0.65
"""Seconds, corosync.conf(5): token 3000 plus token_coefficient 650 for each node beyond two."""
CONSENSUS = 1.2 * TOKEN
TOLERANCE = 0.3
PAUSE_US = 2000


class Failover:
    """A cluster whose programs talk, up to the death of a node and beyond."""

    def __init__(self, mix: str, new_cluster: NewCluster, directory: Path) -> None:
        self.cluster = new_cluster(mix, Settings(totem={}))
        self.cluster.start()
        self.group = Group(self.cluster, directory / mix)
        # A token that is under way all the time: where it was held when the node died is not measured.
        self.group.send_all(0, 1, 500, PAUSE_US)
        wait_traffic(self.group.programs.values())
        self.killed_at = 0.0

    def kill(self, nodeid: int) -> None:
        self.killed_at = time.monotonic()
        self.cluster[nodeid].kill()

    def stall(self, nodeid: int) -> float:
        """Seconds that the survivors were without messages, the longest of them."""
        self.group.node_killed(nodeid)
        self.cluster.wait_formed(self.group.programs)
        wait_traffic(self.group.programs.values())
        now = time.monotonic()
        self.group.stop_sending()
        # The moment of death may lie in the middle of a pause between two messages.
        return max(
            program.history().longest_gap(self.killed_at, now) for program in self.group.programs.values()
        )


@pytest.mark.parametrize("victim", [1, 3])
def test_failover_takes_as_long_as_stock(victim: int, new_cluster: NewCluster, tmp_path: Path) -> None:
    stock, ours = (Failover(mix, new_cluster, tmp_path) for mix in ("sss", "aaa"))
    stock.kill(victim)
    ours.kill(victim)
    stock_stall, our_stall = stock.stall(victim), ours.stall(victim)
    print(f"\nfailover: stock {stock_stall:.2f} s, ours {our_stall:.2f} s")
    assert stock_stall == pytest.approx(TOKEN + CONSENSUS, abs=1.0)
    assert our_stall == pytest.approx(stock_stall, abs=TOLERANCE)
