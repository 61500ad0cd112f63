"""Compiled delivery of multicasts says to programs what the engine's plain Python says."""

from __future__ import annotations

import random

import pytest

from aisexec import messages
from aisexec.services.base import AnomalyError, Client
from aisexec.services.cpg import Cpg
from aisexec.services.cpg_joinlist import MCAST, PARTIAL_MCAST, PROCJOIN, PROCLEAVE
from aisexec.totem.assembly import Assembly
from aisexec.totem.packing import PACKET_HEAD
from ipc._event_batch import EventBatch
from ipc.cpg_layouts import DELIVER_MAX, BadMessageError, CpgRequest
from ipc.layout import Buffer, ShortBufferError
from tests.sim.executives import join_request
from tests.unit.service_support import StageContext

GROUPS = (b"g", b"h", b"", b"x" * 128, b"nul\0inside")
NODES = (1, 2, 3)


class Context(StageContext):
    """Ends a batch when something else is said, as the executive does."""

    def __init__(self, node: Node) -> None:
        super().__init__(1)
        self.node = node

    def event(self, client: int, *parts: Buffer) -> None:
        self.node.said()
        super().event(client, *parts)


class Node:
    """The engine of node 1 and what its programs are told."""

    def __init__(self, *, compiled: bool) -> None:
        self.context = Context(self)
        self.cpg = Cpg(self.context)
        self.assembly = Assembly(self._message, sink=self.cpg.multicasts if compiled else None)
        self.anomalies = 0

    def _message(self, nodeid: int, message: bytes) -> None:
        try:
            self.deliver(nodeid, message[5:])
        except (AnomalyError, BadMessageError, ShortBufferError):
            self.anomalies += 1

    def deliver(self, nodeid: int, message: bytes) -> None:
        function = messages.EXEC_HEADER.unpack(message).id & 0xFFFF
        entry = self.cpg.messages()[function]
        if len(message) < entry.size:
            raise AnomalyError("short")
        entry.handler(nodeid, message)

    def packet(self, nodeid: int, message: bytes) -> None:
        whole = b"\1\0\1\0a" + message
        head = PACKET_HEAD.struct.pack(0, 0, 0, 0, 1) + len(whole).to_bytes(2, "little")
        self.assembly.packet(nodeid, head + whole)

    def said(self) -> list[tuple[int, bytes]]:
        """Events by client; every client's are in order."""
        batches, self.context.batches = self.context.batches, []
        self.cpg.multicasts.batch = None
        for batch in batches:
            self._take(batch)
        return sorted(self.context.events, key=lambda event: event[0])

    def _take(self, batch: EventBatch) -> None:
        for clients, first, last in batch.runs():
            for index in range(first, last):
                for client in clients:
                    self.context.event(client, batch.event(index))


def proc(function: int, pid: int, group: bytes) -> bytes:
    header = messages.ExecHeader(messages.exec_id(2, function), messages.CPG_PROC.size)
    return messages.CPG_PROC.pack(messages.CpgProc(header, messages.GroupName(len(group), group), pid, 1))


def mcast(draw: random.Random) -> bytes:
    body = draw.randbytes(draw.choice((0, 1, 64, 2000)))
    function = MCAST if draw.random() < 0.95 else PARTIAL_MCAST
    header = messages.ExecHeader(messages.exec_id(2, function), messages.CPG_MCAST.size + len(body))
    group = draw.choice(GROUPS)
    name = messages.GroupName(len(group) if draw.random() < 0.97 else 129, group)
    msglen = len(body) if draw.random() < 0.95 else draw.choice((len(body) + 1, DELIVER_MAX + 1, 0))
    source = messages.Source(draw.choice(NODES), draw.randrange(9))
    message = messages.CPG_MCAST.pack(
        messages.CpgMcast(header, name, msglen, draw.randrange(1, 5), source)
    )
    return (message + body)[: draw.randrange(200) if draw.random() < 0.03 else None]


@pytest.mark.parametrize("seed", range(40))
def test_programs_are_told_the_same(seed: int) -> None:
    draw = random.Random(seed)
    pair = [Node(compiled=True), Node(compiled=False)]
    for client in range(6):
        group = draw.choice(GROUPS)
        for node in pair:
            node.cpg.connected(Client(client, client, 0, 0))
            handler = node.cpg.requests()[CpgRequest.JOIN].handler
            handler(Client(client, client, 0, 0), join_request(group, client))
            node.deliver(1, proc(PROCJOIN, client, group))
    for _ in range(200):
        nodeid, what = draw.choice(NODES), draw.random()
        message = mcast(draw)
        if what < 0.1:
            message = proc(draw.choice((PROCJOIN, PROCLEAVE)), draw.randrange(1, 9), draw.choice(GROUPS))
        elif what < 0.12:
            client = draw.randrange(6)
            for node in pair:
                if client in node.cpg._clients:
                    node.cpg.disconnected(Client(client, client, 0, 0))
            continue
        for node in pair:
            node.packet(nodeid, message)
    assert pair[0].said() == pair[1].said()
    assert pair[0].anomalies == pair[1].anomalies
    assert pair[0].context.events


def test_batches_end_where_other_events_come_between() -> None:
    batch = EventBatch()
    one, two = (1,), (1, 2)
    for receivers, event in ((one, b"a"), (one, b"b"), (two, b"c"), (one, b"")):
        batch.add(receivers, event)
    assert batch.runs() == [(one, 0, 2), (two, 2, 3), (one, 3, 4)]
    assert [batch.event(i) for i in range(len(batch))] == [b"a", b"b", b"c", b""]
    assert batch.size == 3
    with pytest.raises(IndexError):
        batch.event(4)
