"""A peer that floods: the ring of the others and their clients go on, memory and log stay bounded.

The flood comes from an address of the nodelist, so that every datagram has to be looked at.  The
executives run with real-time priority, as they do by default: without it, on a machine with more to do
than it can, the kernel's buffer overflows while they wait for a processor, and tokens are lost in it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator

import pytest

from aisexec.totem import wire
from aisexec.totem.limits import FRAME_SIZE_MAX, OVERSIZED_FRAMES_MAX
from aisexec.totem.types import RingId
from tests.conftest import need
from tests.harness import process
from tests.harness.cluster import Cluster
from tests.harness.greed import Flood, Latency, Probe, counters
from tests.harness.node import Node
from tests.harness.rings import Rings

MB = 1024 * 1024
RATE = 50_000
"""Datagrams a second."""
SLACK = 8 * MB
LINES_MAX = 20
MEDIAN_MAX, P99_MAX = 0.05, 0.9
QUERY_MEDIAN_MAX = 0.03
RECOVERY = 40.0
"""Seconds for the ring to be whole again after forged membership messages."""
STRANGER = 77
SOURCE, TARGET = 3, 1


def garbage(ring: RingId) -> Iterator[bytes]:
    """Nothing of a frame, the head of one, other versions."""
    rng = random.Random(1)
    for _ in range(100):
        yield rng.randbytes(60)
        yield struct.pack("<HB", wire.MAGIC, wire.VERSION) + rng.randbytes(30)


def old_tokens(ring: RingId) -> Iterator[bytes]:
    """Copies of a token that has long been here."""
    head = wire.header(wire.FrameType.ORF_TOKEN, SOURCE)
    yield wire.OrfToken(head, 0, 0, 0, 0, ring, 0, 0, 0, ()).pack()


def hold_cancels(ring: RingId) -> Iterator[bytes]:
    """Each asks the representative for its token."""
    head = wire.header(wire.FrameType.HOLD_CANCEL, SOURCE)
    yield wire.HOLD_CANCEL.pack(wire.HoldCancelFrame(head, ring))


def old_messages(ring: RingId) -> Iterator[bytes]:
    """Of our ring and from a member, delivered long ago."""
    for seq in range(1, 4):
        yield wire.pack_mcast_header(wire.Encapsulated.PLAIN, SOURCE, seq, 0, ring, 0) + bytes(1300)


def long_messages(ring: RingId) -> Iterator[bytes]:
    """In a member's name, with numbers that are to come: each is kept as long as the limits allow."""
    body = bytes(FRAME_SIZE_MAX - 4096)
    for seq in range(8000, 8000 + 2 * OVERSIZED_FRAMES_MAX):
        yield wire.pack_mcast_header(wire.Encapsulated.PLAIN, SOURCE, seq, 0, ring, 0) + body


def growing_joins(ring: RingId) -> Iterator[bytes]:
    """From a member, with ever other nodes."""
    for first in range(100, 3000, 7):
        nodes = (1, 2, 3, *range(first, first + 50))
        yield wire.Join(SOURCE, SOURCE, nodes, tuple(nodes[10:30]), ring.seq + 4).pack()


def merge_detects(ring: RingId) -> Iterator[bytes]:
    """Of a ring that is not there."""
    head = wire.header(wire.FrameType.MERGE_DETECT, STRANGER)
    yield wire.MERGE_DETECT.pack(wire.MergeDetectFrame(head, STRANGER, RingId(STRANGER, 8)))


def foreign_messages(ring: RingId) -> Iterator[bytes]:
    """Of another such ring."""
    other = STRANGER + 1
    for seq in range(1, 100):
        head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, other, seq, 0, RingId(other, 8), 0)
        yield head + bytes(500)


Frames = Callable[[RingId], Iterable[bytes]]


@pytest.fixture
def cluster(transport: str, rings: Rings) -> Cluster:
    need("aaa")
    return rings.get("aaa", transport)


def ring_of(cluster: Cluster) -> RingId:
    rep, seq = cluster.wait_formed().ring_id.split(".")
    return RingId(int(rep), int(seq, 16))


def report(what: str, sent: int, quiet: Latency, busy: Latency) -> None:
    print(f"\n{what}, {sent} datagrams\n    before: {quiet}\n    meanwhile: {busy}")


@pytest.mark.parametrize(
    ("transport", "frames"),
    [
        ("udp", garbage),
        ("udp", old_messages),
        ("udpu", garbage),
        ("udpu", old_messages),
        ("udpu", old_tokens),
        ("udpu", hold_cancels),
    ],
)
def test_flood_that_changes_nothing(frames: Frames, cluster: Cluster) -> None:
    node = cluster[TARGET]
    ring = ring_of(cluster)
    probe = Probe(node, "quiet")
    quiet = probe.measure(200)
    resident, mark = process.resident_bytes(node.pid), node.log.mark()
    flood = Flood(cluster[SOURCE], node, frames(ring), RATE)
    busy = probe.measure(300, 2)
    sent = flood.end()
    report(frames.__name__, sent, quiet, busy)
    text = node.log.text(mark)
    assert sent > RATE // 10
    assert ring_of(cluster) == ring, text
    assert busy.mcast.median < MEDIAN_MAX
    assert busy.mcast.p99 < P99_MAX
    assert busy.query.median < QUERY_MEDIAN_MAX
    assert process.resident_bytes(node.pid) - resident < SLACK
    assert len(text.splitlines()) < LINES_MAX, text
    if frames is garbage:
        assert counters(node)["stats.srp.rx_msg_dropped"] > sent // 10
        assert f"Dropped a frame from {cluster[SOURCE].host.address}" in text


def received(node: Node) -> int:
    """Frames so far."""
    return counters(node)["stats.net.received_frames"]


@pytest.mark.parametrize("transport", ["udpu"])
@pytest.mark.parametrize(
    ("frames", "rate", "growth_max"),
    [
        (long_messages, 2_000, OVERSIZED_FRAMES_MAX * FRAME_SIZE_MAX + 2 * SLACK),
        (growing_joins, 5_000, SLACK),
        (merge_detects, 5_000, SLACK),
        (foreign_messages, 5_000, SLACK),
    ],
)
def test_flood_that_breaks_the_ring(frames: Frames, rate: int, growth_max: int, cluster: Cluster) -> None:
    """Well-formed lies: nothing but authentication keeps them out.  They cost no more than their time."""
    node = cluster[TARGET]
    probe = Probe(node, "quiet")
    quiet = probe.measure(50)
    resident, mark = process.resident_bytes(node.pid), node.log.mark()
    flood = Flood(cluster[SOURCE], node, frames(ring_of(cluster)), rate)
    highest, measured = 0, []
    enough = received(node) + 2 * OVERSIZED_FRAMES_MAX
    while received(node) < enough:
        measured.append(probe.measure(5))
        highest = max(highest, process.resident_bytes(node.pid))
    sent = flood.end()
    cluster.wait_formed(timeout=RECOVERY)
    after = probe.measure(50)
    report(frames.__name__, sent, quiet, max(measured, key=lambda latency: latency.mcast.worst))
    print(f"    after: {after}; memory grew by {(highest - resident) / MB:.0f} MB")
    assert highest - resident < growth_max
    assert after.mcast.median < MEDIAN_MAX
    dropped = [line for line in node.log.text(mark).splitlines() if "Dropped a frame" in line]
    assert len(dropped) < LINES_MAX, "\n".join(dropped)
    assert all(each.running for each in cluster.nodes.values())
