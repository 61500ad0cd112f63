"""Frames that nobody should send: the ring stays up, every fault is counted, the log stays quiet."""

from __future__ import annotations

import random
import struct

import pytest

from aisexec.totem import wire
from aisexec.totem.limits import OVERSIZED_FRAMES_MAX
from aisexec.totem.types import RingId
from tests.sim.network import Network
from tests.wire.pcap import CAPTURES, datagrams

NO_ENTRY = wire.CommitEntry(RingId(0, 0), 0, 0, 0)


def mutate(rng: random.Random, frame: bytes) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 1:
            del data[rng.randrange(len(data) + 1) :]
        elif kind == 2 and len(data) >= 4:
            at = rng.randrange(len(data) - 3)
            value = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 385])
            data[at : at + 4] = struct.pack("<I", value)
        elif kind == 3:
            data += rng.randbytes(rng.randrange(64))
        else:
            data += bytes(2000)
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_frames_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    frames = [d.payload for name in CAPTURES.glob("*.pcap") for d in datagrams(name.stem)]
    net = Network([1, 2, 3], seed=seed)
    net.start()
    net.settle([1, 2, 3])
    for _ in range(4000):
        node = net.nodes[rng.choice([1, 2, 3])]
        frame = bytearray(mutate(rng, rng.choice(frames)))
        if rng.random() < 0.3 and len(frame) > 45 and frame[3] in (0, 1, 5):
            offset = {0: 29, 1: 25, 5: 13}[frame[3]]  # make it one of our ring
            frame[offset : offset + 12] = struct.pack("<IQ", *node.totem.ring_id)
        node.totem.receive([(bytes(frame), "10.0.0.66")], net.now)
        node.carry_out()
        net.run(0.001)
    for node in net.nodes.values():
        core = node.totem._core
        assert len(core.proc) <= 384
        assert len(core.regular_q) <= 16384
        assert sum(node.totem.stats.dropped.values()) > 100
        complaints = [line for line in node.log if "Dropped a frame" in line]
        assert len(complaints) < 200


def test_random_bytes_are_counted_and_logged_once_per_sender() -> None:
    net = Network([1])
    net.start()
    net.settle([1])
    rng = random.Random(5)
    node = net.nodes[1]
    for _ in range(500):
        node.totem.receive([(rng.randbytes(rng.randrange(100)), "10.0.0.66")], net.now)
    node.carry_out()
    assert sum(node.totem.stats.dropped.values()) == 500
    assert 1 <= sum("10.0.0.66" in line for line in node.log) <= 4
    net.settle([1])


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"\x70\xc0\x03", "truncated"),
        (bytes.fromhex("fefe03010000000000") + bytes(40), "version"),
        (bytes.fromhex("c07003010000000000") + bytes(40), "byte_order"),
        (bytes.fromhex("70c004010000000000") + bytes(40), "version"),
        (bytes.fromhex("70c003090000000000") + bytes(40), "type"),
        (wire.Join(9, 9, (), (), 1 << 63).pack(), "limit"),
        (wire.Join(9, 9, (0,), (), 1).pack(), "nodeid"),
        (wire.Join(1, 1, (1,), (), 1).pack(), "duplicate nodeid"),
        (
            wire.JOIN.pack(wire.JoinFixed(wire.header(wire.FrameType.JOIN, 9), 9, 0xFFFFFFFF, 5, 1)),
            "limit",
        ),
        (wire.CommitToken(9, 0, RingId(9, 5), 0, 0, (3, 2), (NO_ENTRY, NO_ENTRY)).pack(), "nodeid"),
    ],
)
def test_each_kind_has_its_counter(frame: bytes, kind: str) -> None:
    net = Network([1])
    net.start()
    net.settle([1])
    node = net.nodes[1]
    node.totem.receive([(frame, "somebody")], net.now)
    assert node.totem.stats.dropped[kind] == 1
    assert node.totem.members == (1,)


def hear(net: Network, nodes: list[int], frame: bytes) -> None:
    for n in nodes:
        net.nodes[n].totem.receive([(frame, "10.0.0.66")], net.now)
        net.nodes[n].carry_out()


def test_a_forged_ring_number_does_not_stop_the_cluster() -> None:
    """Near the end of the range nobody could form a ring any more, not even after a restart."""
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    hear(net, [1, 2, 3], wire.Join(9, 9, (9,), (), 1 << 62).pack())
    net.kill(3)
    net.settle([1, 2])
    assert net.nodes[1].totem.ring_id.seq < 1000


def test_a_forged_message_count_does_not_silence_the_ring() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    core = net.nodes[2].totem._core
    token = wire.OrfToken(
        wire.header(wire.FrameType.ORF_TOKEN, 1),
        core.my_last_seq,
        core.my_token_seq + 100,
        core.my_aru,
        0,
        core.ring_id,
        0,
        1000,
        0,
        (),
    )
    hear(net, [2], token.pack())
    before = len(net.nodes[1].app.history)
    net.nodes[1].submit(b"still heard")
    assert net.run_until(
        lambda: any(e[0] == "D" for e in net.nodes[1].app.history[before:]), net.now + 10
    )


def test_forged_lists_of_failed_nodes_stay_bounded() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    for base in (1000, 2000):
        join = wire.Join(2, 2, (1, 2, 3), tuple(range(base, base + 300)), 1 << 20)
        hear(net, [1], join.pack())
    assert len(net.nodes[1].totem._core.failed) <= 384
    net.settle([1, 2, 3])


def test_forged_lists_and_strangers_together_stay_bounded() -> None:
    """Whoever is only known as failed counts as well: in the end all the others fail, too."""
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    core = net.nodes[1].totem._core
    hear(net, [1], wire.Join(2, 2, (1, 2, 3), tuple(range(1000, 1380)), core.ring_id.seq + 4).pack())
    strangers = range(5000, 5400)
    for nodeid in strangers:
        head = wire.header(wire.FrameType.MERGE_DETECT, nodeid)
        hear(net, [1], wire.MERGE_DETECT.pack(wire.MergeDetectFrame(head, nodeid, RingId(nodeid, 8))))
    hear(net, [1], wire.Join(2, 2, (1, 2, 3, *strangers[:370]), (), core.ring_id.seq + 4).pack())
    longest = 0

    def settled() -> bool:
        nonlocal longest
        longest = max(longest, len(core.failed))
        return net.nodes[1].totem.members == (1, 2, 3) and core.state.value == "OPERATIONAL"

    net.run(0.1)
    assert net.run_until(settled, net.now + 60)
    assert longest <= 384


def test_long_frames_take_no_more_memory_than_a_window_of_ours() -> None:
    """In the name of a member, with numbers that are to come: kept, but not sixteen thousand of them."""
    net = Network([1, 2])
    net.start()
    net.settle([1, 2])
    core = net.nodes[1].totem._core
    first = core.my_high_seq + 2
    for seq in range(first, first + 3000):
        head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, 2, seq, 0, core.ring_id, 0)
        net.nodes[1].totem.receive([(head + bytes(60000), "10.0.0.66")], net.now)
    kept = [len(frame) for frame in core.regular_q.frames.values()]
    assert sum(size > core.usual_size for size in kept) <= OVERSIZED_FRAMES_MAX
    assert core.stats.dropped["limit"] >= 3000 - OVERSIZED_FRAMES_MAX
    head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, 2, first + 3000, 0, core.ring_id, 0)
    net.nodes[1].totem.receive([(head + bytes(1000), "10.0.0.66")], net.now)
    assert first + 3000 in core.regular_q
    net.nodes[1].carry_out()
    net.settle([1, 2])


def test_a_flood_of_hold_cancels_finds_no_echo() -> None:
    net = Network([1, 2, 3])
    net.start()
    net.settle([1, 2, 3])
    node = net.nodes[1]
    core = node.totem._core
    cancel = wire.HoldCancelFrame(wire.header(wire.FrameType.HOLD_CANCEL, 77), core.ring_id)
    sent = core.stats.orf_token_tx
    node.totem.receive([(wire.HOLD_CANCEL.pack(cancel), "10.0.0.66")] * 1000, net.now)
    assert core.stats.orf_token_tx - sent <= 6
    node.carry_out()
    node.submit(b"still heard")
    assert net.run_until(lambda: any(e[0] == "D" for e in net.nodes[3].app.history), net.now + 10)
    net.settle([1, 2, 3])


def test_messages_of_strangers_are_not_kept() -> None:
    net = Network([1, 2])
    net.start()
    net.settle([1, 2])
    core = net.nodes[1].totem._core
    head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, 77, core.my_high_seq + 1, 0, core.ring_id, 0)
    hear(net, [1], head + bytes(100))
    assert core.stats.dropped["nodeid"] == 1
    net.settle([1, 2])
