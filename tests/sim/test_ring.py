"""The ring on a faulty virtual network: it forms, orders, recovers."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.sim.checkers import check_all
from tests.sim.network import Network


def deliveries(net: Network, nodeid: int) -> list[tuple[object, ...]]:
    return [event for event in net.nodes[nodeid].app.history if event[0] == "D"]


def has_delivered(net: Network, nodeid: int, count: int) -> bool:
    return len(deliveries(net, nodeid)) >= count


def histories(net: Network) -> dict[object, list[tuple[object, ...]]]:
    result: dict[object, list[tuple[object, ...]]] = {}
    for nodeid, node in net.nodes.items():
        for life, app in enumerate([*node.past, node.app]):
            result[nodeid, life] = app.history
    return result


def test_single_node_forms_a_ring_and_delivers_to_itself() -> None:
    net = Network([7])
    net.start()
    net.settle([7])
    net.nodes[7].submit(b"hello")
    assert net.run_until(lambda: bool(deliveries(net, 7)), net.now + 1)
    assert deliveries(net, 7) == [("D", 7, b"hello")]
    assert net.disk[7] > 0


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_nodes_form_one_ring_with_one_id(count: int) -> None:
    net = Network(range(1, count + 1))
    net.start()
    net.settle(range(1, count + 1))
    assert len({node.totem.ring_id for node in net.nodes.values()}) == 1
    assert net.nodes[1].totem.ring_id.rep == 1


def test_all_deliver_the_same_order() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    for i in range(200):
        for n in (1, 2, 3):
            assert net.nodes[n].submit(b"%d/%d" % (n, i))
    assert net.run_until(lambda: all(len(deliveries(net, n)) == 600 for n in (1, 2, 3)), net.now + 30)
    assert deliveries(net, 1) == deliveries(net, 2) == deliveries(net, 3)


def test_large_messages_are_cut_and_joined() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    message = random.Random(1).randbytes(1_000_000)
    net.nodes[2].submit(message)
    net.nodes[2].submit(b"behind")
    assert net.run_until(lambda: all(len(deliveries(net, n)) == 2 for n in (1, 2, 3)), net.now + 60)
    for n in (1, 2, 3):
        assert deliveries(net, n) == [("D", 2, message), ("D", 2, b"behind")]


def test_idle_ring_holds_the_token_and_wakes_at_once() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.run(5)
    before = net.nodes[1].totem.stats.orf_token_tx
    net.run(10)
    rotations = net.nodes[1].totem.stats.orf_token_tx - before
    assert rotations < 10 / net.settings.hold * 1.2
    for n in (3, 1):
        at = net.now
        arrived = len(deliveries(net, 2)) + 1
        net.nodes[n].submit(b"wake")
        assert net.run_until(partial(has_delivered, net, 2, arrived), net.now + 1)
        assert net.now - at < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_lost_frames_are_sent_again(seed: int) -> None:
    net = Network([1, 2, 3], seed=seed)
    net.start()
    net.settle([1, 2, 3])
    net.loss = 0.03
    for i in range(100):
        for n in (1, 2, 3):
            net.nodes[n].submit(b"%d/%d " % (n, i) + bytes(500))
    net.run(20)
    net.loss = 0
    net.settle([1, 2, 3])
    net.run(5)
    for n in (1, 2, 3):
        assert set(deliveries(net, n)) == set(deliveries(net, 1))
    assert len(deliveries(net, 1)) == 300
    check_all(histories(net))


def test_dead_node_is_left_behind_and_comes_back() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.kill(3)
    at = net.now
    net.settle([1, 2])
    lost = net.now - at
    assert net.settings.consensus < lost < net.settings.token + net.settings.consensus + 0.2
    net.nodes[3].restart()
    net.settle([1, 2, 3])
    last = [e for e in net.nodes[1].app.history if e[0] == "R"][-1]
    assert last[4] == (3,)
    check_all(histories(net))


def test_leave_is_quick() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.nodes[3].totem.leave(net.now)
    net.nodes[3].carry_out()
    net.kill(3)
    at = net.now
    net.settle([1, 2])
    assert net.now - at < 0.5


def test_partition_and_merge() -> None:
    net = Network([1, 2, 3, 4, 5])
    net.start()
    net.settle([1, 2, 3, 4, 5])
    net.partition([1, 2], [3, 4, 5])
    net.settle([1, 2])
    net.settle([3, 4, 5])
    net.heal()
    net.settle([1, 2, 3, 4, 5])
    transitional = [e for e in net.nodes[4].app.history if e[0] == "T"][-1]
    assert transitional[2] == (3, 4, 5)
    assert check_all(histories(net)) > 0


def test_paused_node_does_not_disturb_twice() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.freeze(2)
    net.settle([1, 3])
    net.run(2)
    net.thaw(2)
    net.settle([1, 2, 3])
    check_all(histories(net))


def test_old_messages_are_recovered_from_survivors() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.drop = lambda source, target, frame: target == 3 and frame[3] == 1
    for i in range(6):
        net.nodes[1].submit(b"precious %d" % i + bytes(1000))
    assert net.run_until(lambda: len(deliveries(net, 2)) == 6, net.now + 1)
    net.kill(1)
    net.heal()
    net.settle([2, 3])
    assert deliveries(net, 3) == deliveries(net, 2)
    order = [e[0] for e in net.nodes[3].app.history]
    assert order.index("D") < len(order) - order[::-1].index("T") - 1
    check_all(histories(net))


def test_safe_message_waits_for_everybody() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    net.drop = lambda source, target, frame: target == 3 and frame[3] == 1
    net.nodes[1].submit(b"agreed")
    net.nodes[1].submit(b"safe", safe=True)
    net.nodes[1].submit(b"after")
    net.run(0.05)
    assert deliveries(net, 2) == [("D", 1, b"agreed")]
    net.heal()
    assert net.run_until(lambda: len(deliveries(net, 3)) == 3, net.now + 2)
    assert deliveries(net, 3) == [("D", 1, b"agreed"), ("D", 1, b"safe"), ("D", 1, b"after")]
    assert net.run_until(lambda: len(deliveries(net, 2)) == 3, net.now + 2)


@pytest.mark.parametrize("seed", range(30))
def test_random_faults(seed: int) -> None:
    """Loss, kills, restarts, pauses and partitions under load; then all heals."""
    rng = random.Random(seed)
    nodeids = list(range(1, rng.randint(3, 6)))
    net = Network(nodeids, seed=seed)
    net.start()
    counter = 0
    for _ in range(12):
        for n in nodeids:
            node = net.nodes[n]
            if node.alive and not node.frozen:
                for _ in range(rng.randint(0, 30)):
                    counter += 1
                    size = rng.choice([5, 200, 1395, 4000, 30000])
                    node.submit(b"%d:%d:" % (n, counter) + bytes(size), safe=rng.random() < 0.1)
        action = rng.randrange(6)
        victim = rng.choice(nodeids)
        node = net.nodes[victim]
        if action == 0 and node.alive and not node.frozen:
            net.kill(victim)
        elif action == 1 and not node.alive:
            node.restart()
        elif action == 2:
            cut = rng.randint(1, len(nodeids) - 1) if len(nodeids) > 1 else 1
            shuffled = rng.sample(nodeids, len(nodeids))
            net.partition(shuffled[:cut], shuffled[cut:])
        elif action == 3:
            net.heal()
        elif action == 4:
            net.loss = rng.choice([0, 0.01, 0.1])
        elif node.frozen:
            net.thaw(victim)
        elif node.alive:
            net.freeze(victim)
        net.run(rng.uniform(0.01, 3))
    net.loss = 0
    net.heal()
    for n in nodeids:
        if net.nodes[n].frozen:
            net.thaw(n)
        if not net.nodes[n].alive:
            net.nodes[n].restart()
    net.settle(nodeids, within=60)
    net.run(5)
    assert net.settled(nodeids)
    for n in nodeids:
        net.nodes[n].submit(b"last %d" % n)
    assert net.run_until(
        lambda: all(
            sum(m[2].startswith(b"last") for m in deliveries(net, n)) == len(nodeids)  # type: ignore[attr-defined]
            for n in nodeids
        ),
        net.now + 60,
    )
    check_all(histories(net))
