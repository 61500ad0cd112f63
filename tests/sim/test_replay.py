"""An attacker without the key who has recorded everything: what he sends again changes nothing."""

from __future__ import annotations

import random

import pytest

from aisexec.net.crypto import Verdict
from aisexec.net.limits import LATENESS_MAX, SILENCE_MAX
from aisexec.totem.wire import FrameType
from tests.sim.sealed import Captured, SealedNetwork

ALL = (1, 2, 3)


def formed(seed: int = 0) -> SealedNetwork:
    net = SealedNetwork(ALL, seed)
    net.start()
    net.settle(ALL)
    net.run(2 * LATENESS_MAX)
    return net


def gathers(net: SealedNetwork) -> dict[int, int]:
    """How often each node has looked for a new membership."""
    return {nodeid: node.totem.stats.gather_entered for nodeid, node in net.nodes.items()}


class Traffic:
    """Messages that every node sends, to be found at every other, once and in one order."""

    def __init__(self, net: SealedNetwork) -> None:
        self.net = net
        self.sent = 0
        self.from_here = {nodeid: len(node.app.history) for nodeid, node in net.nodes.items()}

    def send(self, count: int) -> None:
        for _ in range(count):
            for node in self.net.nodes.values():
                self.sent += node.submit(b"%d" % self.sent)
            self.net.run(0.01)

    def check(self) -> None:
        self.net.run(1.0)
        histories = []
        for nodeid, node in self.net.nodes.items():
            delivered = [event for event in node.app.history[self.from_here[nodeid] :] if event[0] == "D"]
            histories.append(delivered)
        assert all(history == histories[0] for history in histories)
        assert len(histories[0]) == self.sent == len(set(histories[0]))


@pytest.mark.parametrize("seed", range(5))
def test_whole_captures_into_the_ring_they_are_from(seed: int) -> None:
    net = formed(seed)
    traffic = Traffic(net)
    traffic.send(30)
    before, ring = gathers(net), net.nodes[1].totem.ring_id
    assert net.replay() > 300
    traffic.send(10)
    traffic.check()
    assert net.smuggled == []
    assert gathers(net) == before
    assert net.nodes[1].totem.ring_id == ring
    assert net.nodes[1].refused[Verdict.REPLAYED] > 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("everybody", [False, True])
def test_whole_captures_after_restarts(seed: int, everybody: bool) -> None:
    """Also of the receivers: they have no memory of what they had taken."""
    net = formed(seed)
    Traffic(net).send(20)
    rng = random.Random(seed)
    for nodeid in ALL if everybody else [rng.choice(ALL)]:
        net.kill(nodeid)
    if everybody:
        net.disk.clear()  # and the state directory is lost: ring ids begin again
    for nodeid in ALL:
        if not net.nodes[nodeid].alive:
            net.nodes[nodeid].restart()
            net.replay(limit=200, pause=0.0001)  # while they find each other
    net.settle(ALL)
    net.run(2 * LATENESS_MAX)
    traffic = Traffic(net)
    before = gathers(net)
    net.replay()
    traffic.send(10)
    traffic.check()
    assert net.smuggled == []
    assert gathers(net) == before


@pytest.mark.parametrize("kind", [FrameType.ORF_TOKEN, FrameType.JOIN, FrameType.COMMIT_TOKEN])
def test_single_frames(kind: FrameType) -> None:
    """The attacker cannot read them; here he knows by chance which is which."""
    net = formed()
    wanted: list[Captured] = []
    opened = {nodeid: net.nodes[nodeid].sealer.open for nodeid in ALL}
    for nodeid in ALL:

        def tell(datagram: bytes, now: float, nodeid: int = nodeid) -> bytes | Verdict:
            frame = opened[nodeid](datagram, now)
            if isinstance(frame, bytes) and frame[3] == kind:
                wanted.append(Captured(now, 0, nodeid, datagram, False))
            return frame

        net.nodes[nodeid].sealer.open = tell  # type: ignore[method-assign]
    net.partition([1], [2, 3])
    net.run(5)
    net.heal()
    net.settle(ALL)
    net.run(2 * LATENESS_MAX + 0.1)
    assert len(wanted) > 3
    before = gathers(net)
    for captured in list(wanted)[-100:]:
        for nodeid in ALL:
            net.inject(nodeid, captured.datagram)
        net.run(0.01)
    assert net.smuggled == []
    assert gathers(net) == before


def test_frames_that_a_partition_kept_from_us() -> None:
    """They were never taken here, so no window knows them; when the sides have met they come too late."""
    net = formed()
    net.partition([1], [2, 3])
    net.run(10)
    net.heal()
    net.settle(ALL)
    Traffic(net).send(10)
    net.run(2 * LATENESS_MAX + 1)
    before = gathers(net)
    assert net.replay(lambda captured: captured.held) > 100
    assert net.smuggled == []
    assert gathers(net) == before


def test_frames_of_a_node_that_is_gone() -> None:
    """Its last frames, kept from the others: they wait for an answer that nobody can give."""
    net = formed()
    net.partition([1], [2, 3])
    net.run(3)
    net.kill(1)
    net.heal()
    net.run(SILENCE_MAX)
    net.settle((2, 3))
    before = gathers(net)
    assert net.replay(lambda captured: captured.source == 1 and captured.held, to=(2, 3)) > 20
    assert net.smuggled == []
    assert gathers(net) == before
    net.nodes[1].restart()
    net.settle(ALL)


def test_two_keys_make_two_rings() -> None:
    net = SealedNetwork((1, 2, 3, 4), secrets={3: b"x" * 128, 4: b"x" * 128})
    net.start()
    net.run(5)
    assert net.settled((1, 2))
    assert net.settled((3, 4))
    before = gathers(net)
    net.run(10)
    net.replay(limit=500)
    assert gathers(net) == before
    assert net.smuggled == []
    assert all(node.refused[Verdict.INVALID] > 10 for node in net.nodes.values())


def time_to_join(seed: int) -> float:
    net = formed(seed)
    net.kill(2)
    net.settle((1, 3))
    started = net.now
    net.nodes[2].restart()
    net.settle(ALL)
    return net.now - started


def test_a_node_joins_as_fast_as_without_encryption() -> None:
    """Its first JOIN is lost to the handshake, and repeated behind it.

    Unless the repetition overtakes the answer, as it can here: then merge detection comes first.  And
    now and then two nodes agree before the third is heard, with encryption as without.
    """
    times = sorted(time_to_join(seed) for seed in range(20))
    assert times[6] < 0.1, times  # without the repetition none is


@pytest.mark.parametrize("seed", range(5))
def test_a_ring_forms_on_a_bad_network(seed: int) -> None:
    net = SealedNetwork(ALL, seed)
    net.loss = 0.2
    net.start()
    net.run(5)
    net.loss = 0.02
    net.settle(ALL)


def test_an_idle_ring_keeps_its_sessions() -> None:
    """After a long silence between two nodes the first message is taken at once."""
    net = formed()
    net.run(60)
    unproven = {nodeid: node.refused[Verdict.UNPROVEN] for nodeid, node in net.nodes.items()}
    traffic = Traffic(net)
    traffic.send(5)
    traffic.check()
    assert {nodeid: node.refused[Verdict.UNPROVEN] for nodeid, node in net.nodes.items()} == unproven
