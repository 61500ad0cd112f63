"""Executive messages: a node of ours in a stock node's place says what the stock node said.

The captures hold every message of a stock ring in total order.  All of them are delivered to an
executive that plays one of the nodes, and what it multicasts is compared with what that node sent.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from aisexec import messages
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem import wire
from aisexec.totem.assembly import Assembly
from aisexec.totem.types import Configuration, RingId
from ipc.layout import Layout
from tests.sim.executives import Memory
from tests.sim.network import FAST
from tests.wire.pcap import datagrams


class Sent(NamedTuple):
    """A message of the capture."""

    nodeid: int
    group: bytes
    body: bytes


def rings(name: str) -> dict[RingId, list[Sent]]:
    """What was multicast in each ring, in total order; copies and recovered messages left out."""
    packets: dict[RingId, dict[int, tuple[int, bytes]]] = {}
    for datagram in datagrams(name):
        frame = datagram.payload
        if wire.check_header(frame) is not wire.FrameType.MCAST:
            continue
        header, mcast = wire.HEADER.unpack(frame), wire.MCAST.unpack(frame)
        if header.encapsulated == wire.Encapsulated.PLAIN:
            ring = packets.setdefault(mcast.ring_id, {})
            ring[mcast.seq] = (header.nodeid, frame[wire.MCAST_SIZE :])
    return {ring: list(whole_messages(packets[ring])) for ring in sorted(packets, key=lambda r: r.seq)}


def whole_messages(packets: dict[int, tuple[int, bytes]]) -> Iterator[Sent]:
    found: list[Sent] = []

    def collect(nodeid: int, message: bytes) -> None:
        data = bytes(message)
        count, length = struct.unpack_from("<HH", data)
        assert count == 1
        found.append(Sent(nodeid, data[4 : 4 + length], data[4 + length :]))

    assembly = Assembly(collect)
    for seq in sorted(packets):
        nodeid, payload = packets[seq]
        assembly.packet(nodeid, memoryview(payload))
    yield from found


LAYOUTS: dict[int, Layout[Any]] = {
    messages.exec_id(0, 0): messages.CMAP_MCAST,
    messages.exec_id(1, 1): messages.CFG_KILL_NODE,
    messages.exec_id(2, 0): messages.CPG_PROC,
    messages.exec_id(2, 1): messages.CPG_PROC,
    messages.exec_id(2, 2): messages.CPG_JOINLIST_HEAD,
    messages.exec_id(2, 3): messages.CPG_MCAST,
    messages.exec_id(2, 5): messages.CPG_DOWNLIST,
    messages.exec_id(5, 0): messages.VOTE_NODE_INFO,
    messages.exec_id(5, 1): messages.VOTE_RECONFIGURE,
}
SYNC_LAYOUTS: dict[int, Layout[Any]] = {0: messages.BARRIER, 1: messages.SERVICE_BUILD}


def meaning(group: bytes, body: bytes) -> tuple[object, ...]:
    """All that counts in a message: no padding, no list entries beyond their number."""
    ident = messages.EXEC_HEADER.unpack(body).id
    layout = (SYNC_LAYOUTS if group == messages.GROUP_SYNC else LAYOUTS)[ident]
    head = layout.unpack(body)
    rest: list[object] = []
    if layout is messages.CPG_DOWNLIST:
        head = head._replace(nodeids=head.nodeids[: head.left_nodes])
    elif layout is messages.SERVICE_BUILD:
        entries, unused = (
            head.service_list[: head.service_list_entries],
            head.service_list[head.service_list_entries :],
        )
        mark = len(messages.COMPANION)
        assert not any(unused[:-mark])
        assert unused[-mark:] in ((0,) * mark, messages.COMPANION)
        head = head._replace(service_list=entries)
    elif layout is messages.CPG_JOINLIST_HEAD:
        for offset in range(layout.size, len(body), messages.CPG_JOINLIST_ENTRY.size):
            rest.append(messages.CPG_JOINLIST_ENTRY.unpack(body, offset))
    elif layout is messages.CMAP_MCAST:
        item = messages.CMAP_ITEM.unpack(body, layout.size)
        rest += [item, body[layout.size + messages.CMAP_ITEM.size :]]
    return (group, len(body), head, *rest)


class StageTotem:
    """Stands in for the ring: keeps what is sent, hands out tokens on demand."""

    def __init__(self) -> None:
        self.sent: deque[tuple[bytes, bytes]] = deque()
        self.token_wanted = False
        self.ring_id = RingId(0, 0)

    def submit(self, group: bytes, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        self.sent.append((group, b"".join(parts)))
        return True

    def call_when_token_passed(self) -> None:
        self.token_wanted = True

    def synchronised(self) -> None: ...

    def start(self, now: float) -> None: ...

    def explain_change(self) -> None: ...

    def take_effects(self) -> list[object]:
        return []


class Shadow:
    """An executive in the place of one node of a capture."""

    def __init__(self, nodeid: int) -> None:
        options = ExecutiveOptions(votequorum=True, quorum=QuorumOptions(expected_votes=3))
        self.nodeid = nodeid
        self.totem = StageTotem()
        self.executive = Executive(FAST, nodeid, 0, options, Memory())
        self.executive.totem = self.totem  # type: ignore[assignment]
        self.executive.start(0.0)
        self.said: list[int] = []

    def play(
        self, ring: RingId, members: tuple[int, ...], trans: tuple[int, ...], script: list[Sent]
    ) -> None:
        """One ring; raises AssertionError where our words differ from those of the node."""
        self.install(ring, members, trans)
        for nodeid, group, body in script:
            if nodeid == self.nodeid:
                self._compare(group, body)
            self.deliver(nodeid, group, body)

    def install(self, ring: RingId, members: tuple[int, ...], trans: tuple[int, ...]) -> None:
        self._do(self.executive.configuration, Configuration(True, trans, (), (), ring))
        self._do(self.executive.configuration, Configuration(False, members, (), (), ring))

    def deliver(self, nodeid: int, group: bytes, body: bytes) -> None:
        self._do(self.executive.deliver, group, nodeid, body)

    def _compare(self, group: bytes, body: bytes) -> None:
        ident = messages.EXEC_HEADER.unpack(body).id
        if group == messages.GROUP_SERVICES and ident not in UNPROMPTED:
            return  # asked for by a program or an operator
        assert self.totem.sent, f"node {self.nodeid} sent {ident:#x}, ours nothing"
        assert meaning(*self.totem.sent.popleft()) == meaning(group, body)
        self.said.append(ident if group == messages.GROUP_SERVICES else -1 - ident)

    def _do(self, call: Callable[..., None], *args: object) -> None:
        call(*args)
        while self.totem.token_wanted:
            self.totem.token_wanted = False
            self.executive.token_passed()


def rehearse(ring: RingId, shadows: Sequence[Shadow], trans: tuple[int, ...]) -> None:
    """A ring of ours only: everybody gets what any of them sends, until nobody has anything to say."""
    members = tuple(s.nodeid for s in shadows)
    for shadow in shadows:
        shadow.install(ring, members, trans)
    while any(s.totem.sent for s in shadows):
        for speaker in shadows:
            while speaker.totem.sent:
                group, body = speaker.totem.sent.popleft()
                for shadow in shadows:
                    shadow.deliver(speaker.nodeid, group, body)
    assert not any(s.executive.sync.running for s in shadows)


UNPROMPTED = {messages.exec_id(0, 0), messages.exec_id(2, 2), messages.exec_id(2, 5), messages.exec_id(5, 0)}
"""What a node says by itself (spec 13.7)."""


def members_of(scripts: dict[RingId, list[Sent]]) -> dict[RingId, tuple[int, ...]]:
    """Of each ring those who sent a service build for it.

    A ring that did not last has none of its own messages; its builds come with the next one's.
    """
    members: dict[RingId, set[int]] = {}
    for script in scripts.values():
        for nodeid, group, body in script:
            if group == messages.GROUP_SYNC and messages.EXEC_HEADER.unpack(body).id == 1:
                members.setdefault(messages.SERVICE_BUILD.unpack(body).ring_id, set()).add(nodeid)
    return {ring: tuple(sorted(members[ring])) for ring in sorted(members, key=lambda r: r.seq)}


@pytest.mark.parametrize(
    ("name", "nodeid"),
    [(name, nodeid) for name in ("udp-formation", "udpu-formation") for nodeid in (1, 2, 3)],
)
def test_forming_a_ring_sounds_like_stock(name: str, nodeid: int) -> None:
    shadow = Shadow(nodeid)
    last: dict[int, RingId] = {}
    scripts = rings(name)
    for ring, members in members_of(scripts).items():
        trans = tuple(n for n in members if last.get(n) == last.get(nodeid) is not None)
        if nodeid in members:
            shadow.play(ring, members, trans, scripts.get(ring, []))
        last.update(dict.fromkeys(members, ring))
    # At the least one whole synchronisation: service build, five barriers' worth of services.
    assert shadow.said.count(-2) >= 1
    assert shadow.said.count(-1) >= 4
    assert shadow.said.count(messages.exec_id(5, 0)) >= 3
    assert not shadow.totem.sent


@pytest.mark.parametrize(
    ("name", "first", "nodeids"),
    [
        ("udp-node-failure", RingId(1, 9), (1, 2)),
        ("udp-leave", RingId(1, 30), (1, 3)),
        ("udp-cpg-members-partition-merge", RingId(1, 13), (1, 2, 3)),
    ],
)
def test_changes_of_a_running_ring_sound_like_stock(
    name: str, first: RingId, nodeids: tuple[int, ...]
) -> None:
    shadows = {n: Shadow(n) for n in (1, 2, 3)}
    rehearse(first, list(shadows.values()), ())
    member = next((join for join in joinlist_entries(name)), None)
    if member is not None:  # node 2's program had joined before the capture begins
        header = messages.ExecHeader(messages.exec_id(2, 0), messages.CPG_PROC.size)
        join = messages.CPG_PROC.pack(messages.CpgProc(header, member.group, member.pid, 1))
        for shadow in shadows.values():
            shadow.deliver(2, messages.GROUP_SERVICES, join)
    last = dict.fromkeys((1, 2, 3), first)
    scripts = rings(name)
    for ring, members in members_of(scripts).items():
        for n in {1, 2, 3} - set(members):
            if n in nodeids:  # alone; the capture does not show it
                last[n] = RingId(n, ring.seq)
                rehearse(last[n], [shadows[n]], (n,))
        for n in set(members):
            trans = tuple(other for other in members if last[other] == last[n])
            shadows[n].play(ring, members, trans, scripts[ring])
        last.update(dict.fromkeys(members, ring))
    for n in nodeids:
        assert shadows[n].said.count(messages.exec_id(2, 5)) >= 1
        assert shadows[n].said.count(messages.exec_id(5, 0)) >= 2
        assert not shadows[n].totem.sent
    if member is not None:
        assert messages.exec_id(2, 2) in shadows[2].said
        tables = [list(s.executive.services[2].processes) for s in shadows.values()]  # type: ignore[attr-defined]
        assert tables == [[(2, member.pid, b"gA")]] * 3


def joinlist_entries(name: str) -> Iterator[messages.CpgJoinlistEntry]:
    for script in rings(name).values():
        for _, group, body in script:
            joinlist = messages.exec_id(2, 2)
            if group == messages.GROUP_SERVICES and messages.EXEC_HEADER.unpack(body).id == joinlist:
                yield messages.CPG_JOINLIST_ENTRY.unpack(body, messages.CPG_JOINLIST_HEAD.size)


@pytest.mark.parametrize("name", ["udp-cpg-members-partition-merge", "udp-admin", "udp-leave"])
def test_layouts_hold_every_word_of_stock_messages(name: str) -> None:
    """Taken apart and put together again: the same bytes but for padding."""
    kinds = set()
    for script in rings(name).values():
        for _, group, body in script:
            ident = messages.EXEC_HEADER.unpack(body).id
            layout = (SYNC_LAYOUTS if group == messages.GROUP_SYNC else LAYOUTS).get(ident)
            if layout is None:
                continue
            kinds.add((group, ident))
            again = layout.pack(layout.unpack(body))
            for start, end in leaves(layout):
                assert again[start:end] == body[start:end]
            header = messages.EXEC_HEADER.unpack(body)
            assert header.size == len(body)
    assert len(kinds) >= 5


def leaves(layout: Layout[Any], base: int = 0) -> Iterator[tuple[int, int]]:
    for field in layout.fields:
        inner = getattr(field.kind, "layout", None)
        if inner is not None:
            yield from leaves(inner, base + field.offset)
        else:
            yield base + field.offset, base + field.offset + field.size
