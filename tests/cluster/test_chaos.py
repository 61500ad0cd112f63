"""Nodes die and come back all the time while programs talk: nobody is told anything that others are not."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.conftest import NewCluster
from tests.harness.config_file import Settings
from tests.harness.scenarios import Group, wait_traffic

SECONDS = float(os.environ.get("AISEXEC_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("AISEXEC_CHAOS_SEED", "1"))
MIX = "aaaaa"
SENDERS = (1, 2, 3)
PAUSE_US = 5000
"""Between two messages of a sender, far below the stalls that are looked for."""
LARGEST = 20_000

# Timeouts in milliseconds; the coefficient would make the token timeout depend on the number of nodes.
TOKEN = 1000
CONSENSUS = 1200
TOTEM: dict[str, object] = {"token": TOKEN, "token_coefficient": 0, "consensus": CONSENSUS}

STALL_MAX = (TOKEN + CONSENSUS) / 1000 + 1.0
"""Seconds: the loss of a node is noticed, agreed upon, and the ring has formed anew."""


@pytest.mark.timeout(SECONDS + 240)
def test_survivors_agree(new_cluster: NewCluster, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    cluster = new_cluster(MIX, Settings(totem=TOTEM))
    cluster.start()
    group = Group(cluster, tmp_path)
    for sender in SENDERS:
        group[sender].send(0, 1, LARGEST, sender, PAUSE_US)
    wait_traffic(group.programs.values())
    stalls = []
    end = time.monotonic() + SECONDS
    deaths = 0
    while time.monotonic() < end:
        begin = time.monotonic()
        # At most two at once: of three senders there is always one left, or every pause looked like a stall.
        victims = rng.sample(sorted(cluster.nodes), rng.choice([1, 1, 1, 2]))
        survivors = {node: group[node] for node in cluster.nodes if node not in victims}
        for victim in victims:
            cluster[victim].kill()
            group.node_killed(victim)
        deaths += len(victims)
        cluster.wait_formed(survivors)
        wait_traffic(survivors.values())
        for victim in victims:
            cluster[victim].start()
        cluster.wait_formed()
        for victim in victims:
            group.node_back(victim)
            if victim in SENDERS:
                group[victim].send(0, 1, LARGEST, victim, PAUSE_US)
        wait_traffic(group.programs.values())
        now = time.monotonic()
        stalls.append(max(program.history().longest_gap(begin, now) for program in survivors.values()))
    group.stop_sending()
    print(f"\nchaos: {deaths} deaths, longest stalls {', '.join(f'{stall:.2f} s' for stall in stalls)}")
    assert max(stalls) <= STALL_MAX
    histories = group.finish()
    assert deaths >= SECONDS / 15
    assert all(history.deliveries for history in histories[: len(MIX)])
