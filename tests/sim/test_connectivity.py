"""Not everybody hears everybody: rings settle, are as large as can be, and merge when all is healed.

AISEXEC_CONNECTIVITY_GRAPHS is how many graphs are tried; `python -m tests.sim.connectivity_study` shows more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable

import pytest

from aisexec.totem import wire
from aisexec.totem.connectivity import Connectivity
from aisexec.totem.core import State
from tests.sim.checkers import check_all
from tests.sim.connectivity_study import Edge, both, study
from tests.sim.network import Network

GRAPHS = int(os.environ.get("AISEXEC_CONNECTIVITY_GRAPHS", "220"))
BATCHES = 11
"""One for each kind of graph: the kind goes by the seed."""


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_graphs_settle_and_heal(batch: int) -> None:
    for seed in range(batch, GRAPHS, BATCHES):
        outcome = study(seed, slices=(16.0, 16.0), nodes_max=5, heal_within=60.0)
        assert outcome.changes[1] <= 4, outcome
        assert outcome.largest >= outcome.best, outcome
        assert outcome.healed_after <= 30.0, outcome


def broken(nodes: int, cut: Iterable[Edge], seed: int = 0) -> Network:
    net = Network(range(1, nodes + 1), seed=seed)
    net.start()
    net.settle(range(1, nodes + 1))
    ways = set(cut)
    net.drop = lambda source, target, frame: (source, target) in ways
    return net


def rings(net: Network) -> dict[int, tuple[int, ...]]:
    return {n: node.totem.members for n, node in net.nodes.items()}


def histories(net: Network) -> dict[object, list[tuple[object, ...]]]:
    return {(n, 0): node.app.history for n, node in net.nodes.items()}


def warnings(net: Network, nodeid: int) -> list[str]:
    return [line for line in net.nodes[nodeid].log if "only partly connected" in line]


def test_link_between_two_of_three_in_one_direction() -> None:
    """corosync#750: 3 hears 1, and 1 does not hear 3."""
    net = broken(3, [(3, 1)])
    net.run(40)
    assert rings(net) == {1: (1, 2), 2: (1, 2), 3: (3,)}
    for node in net.nodes.values():
        assert node.totem.stats.broken_pairs == ((3, 1),)
    (line,) = warnings(net, 2)
    assert "node 1 does not hear node 3, only the other way round" in line
    assert "going on with 1 2, without 3" in line
    entered = {n: node.totem.stats.operational_entered for n, node in net.nodes.items()}
    net.run(30)
    for n, node in net.nodes.items():
        assert node.totem.stats.operational_entered <= entered[n] + 2
    net.heal()
    net.settle([1, 2, 3], within=20)
    assert any("All nodes hear each other again" in line for line in net.nodes[2].log)
    assert net.nodes[2].totem.stats.broken_pairs == ()
    check_all(histories(net))


def test_ten_nodes_with_a_sick_one() -> None:
    """corosync#760: nine nodes are not held up by one that half of them do not hear."""
    net = broken(10, both((4, n) for n in (1, 3, 6, 7, 9)))
    net.run(60)
    assert set(rings(net).values()) == {(1, 2, 3, 5, 6, 7, 8, 9, 10), (4,)}
    net.heal()
    net.settle(range(1, 11), within=60)
    check_all(histories(net))


def test_work_goes_on_in_the_ring_that_was_chosen() -> None:
    net = broken(4, both([(1, 4)]))
    net.run(40)
    assert rings(net)[2] == (1, 2, 3)
    for i in range(20):
        net.nodes[2].submit(b"%d" % i)
        net.nodes[4].submit(b"alone %d" % i)  # foreign frames all the time
        net.run(0.1)
    assert net.nodes[2].totem.stats.excluded_ignored > 0
    received = {
        n: [event[2] for event in net.nodes[n].app.history if event[0] == "D"] for n in (1, 2, 3)
    }
    assert received[1] == received[2] == received[3]
    assert received[1][-20:] == [b"%d" % i for i in range(20)]


def test_healing_is_noticed_before_the_back_off_ends() -> None:
    net = broken(3, both([(1, 3)]))
    net.run(200)
    excluded = net.nodes[2].totem._core.connectivity.excluded[3]
    assert excluded.opens_at - net.now > 40
    net.heal()
    net.settle([1, 2, 3], within=25)


def test_a_new_node_joins_while_others_are_excluded() -> None:
    net = broken(4, both([(1, 3)]))
    net.kill(4)
    net.run(60)
    assert rings(net)[1] == (1, 2)
    net.nodes[4].restart()
    net.settle([1, 2, 4], within=15)


def test_forged_lists_do_harm_for_a_short_time_only() -> None:
    """Somebody says in the name of 3, for a minute, that it hears nobody and has given up all."""
    net = broken(3, [])
    lies = [
        wire.Join(3, 3, (3,), (), 1000),
        wire.Join(3, 3, (1, 2, 3), (1, 2), 1000),
        wire.Join(1, 1, (1, 3), (2,), 1000),
        wire.Join(7, 7, tuple(range(100, 400)), (), 1000),
    ]
    rng = random.Random(1)
    for _ in range(600):
        for node in net.nodes.values():
            lie = rng.choice(lies)
            if lie.system_from != node.nodeid:
                node.totem.receive([(lie.pack(), "10.0.0.66")], net.now)
                node.carry_out()
        net.run(0.1)
    connectivity = net.nodes[1].totem._core.connectivity
    assert len(connectivity.excluded) < 10
    net.settle([1, 2, 3], within=connectivity.rejoin_bound)


@pytest.mark.parametrize("seed", range(16))
def test_whole_networks_see_no_difference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With loss, crashes, restarts and partitions not a frame, not a moment differs: nobody is suspected."""

    def trace() -> tuple[list[tuple[float, int, int, bytes]], int]:
        net = Network(range(1, 6), seed=seed)
        sent: list[tuple[float, int, int, bytes]] = []
        original = net.transmit

        def record(source: int, target: int, frame: bytes) -> None:
            sent.append((net.now, source, target, frame))
            original(source, target, frame)

        monkeypatch.setattr(net, "transmit", record)
        net.loss = 0.05
        net.start()
        ordinary_faults(net, random.Random(seed))
        return sent, sum(node.totem.stats.surveys for node in net.nodes.values())

    sent, surveys = trace()
    assert surveys == 0
    monkeypatch.setattr(Connectivity, "survey_begins", lambda *_: False)
    monkeypatch.setattr(Connectivity, "shuts_out", lambda *_: False)
    monkeypatch.setattr(Connectivity, "shuts_out_join", lambda *_: False)
    monkeypatch.setattr(Connectivity, "may_announce", lambda self, i_am_rep, now: i_am_rep)
    assert trace()[0] == sent


def ordinary_faults(net: Network, rng: random.Random) -> None:
    nodeids = list(net.nodes)
    for _ in range(8):
        victim = rng.choice(nodeids)
        if not net.nodes[victim].alive:
            net.nodes[victim].restart()
        elif rng.random() < 0.4:
            net.kill(victim)
        elif rng.random() < 0.4:
            side = rng.sample(nodeids, 2)
            net.partition(side, [n for n in nodeids if n not in side])
        else:
            net.heal()
        for node in net.nodes.values():
            if node.alive:
                node.submit(bytes(rng.randrange(3000)))
        net.run(rng.uniform(0.5, 4))


def test_a_node_that_does_not_survey_is_met_halfway() -> None:
    """One node behaves as stock does: links are whole, and the others suspect them for a while."""
    net = broken(3, [])
    for n in (2, 3):
        net.nodes[n].totem._core.connectivity.suspected = True
    net.nodes[1].totem._core.connectivity._weigh = lambda *_: None  # type: ignore[method-assign]
    net.kill(3)
    net.settle([1, 2], within=5)
    net.nodes[3].restart()
    net.settle([1, 2, 3], within=5)
    net.run(5)
    assert net.settled([1, 2, 3])
    assert all(node.totem._core.state is State.OPERATIONAL for node in net.nodes.values())
