"""The cpg engine by itself: its table, its lists, and what synchronisation does to them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aisexec import limits, messages
from aisexec.services.base import AnomalyError, Client
from aisexec.services.cpg import Cpg
from aisexec.services.cpg_iteration import snapshot
from aisexec.services.cpg_joinlist import DOWNLIST, JOINLIST, MCAST, PROCJOIN, PROCLEAVE, pack_joinlist
from aisexec.services.cpg_processes import Process, ProcessTable
from aisexec.totem.types import RingId
from ipc import cpg_layouts as cpg
from ipc.cpg_layouts import CpgEvent, CpgRequest, IterationType, Reason
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER
from tests.sim.executives import join_request, mcast_request
from tests.unit.service_support import StageContext


class Node:
    """The engine of node 1."""

    def __init__(self) -> None:
        self.context = StageContext(1)
        self.cpg = Cpg(self.context)
        self.seq = 1

    def join(self, client: int, pid: int, group: bytes = b"g") -> None:
        self.cpg.connected(Client(client, pid, 0, 0))
        self.request(client, CpgRequest.JOIN, join_request(group, pid))
        self.deliver(1, PROCJOIN, self.context.sent[-1])

    def request(self, client: int, call: int, message: bytes) -> None:
        self.cpg.requests()[call].handler(Client(client, 0, 0, 0), message)

    def deliver(self, nodeid: int, function: int, message: bytes) -> None:
        self.cpg.messages()[function].handler(nodeid, message)

    def process(self, function: int, nodeid: int, pid: int, group: bytes = b"g", reason: int = 1) -> None:
        header = messages.ExecHeader(messages.exec_id(2, function), messages.CPG_PROC.size)
        name = messages.GroupName(len(group), group)
        proc = messages.CpgProc(header, name, pid, reason)
        self.deliver(nodeid, function, messages.CPG_PROC.pack(proc))

    def ring(
        self,
        members: Sequence[int],
        trans: Sequence[int],
        joinlists: Sequence[Process] = (),
    ) -> list[bytes]:
        """A synchronised ring; returns what we sent in it."""
        self.seq += 4
        self.cpg.sync_init(trans, members, RingId(1, self.seq))
        start = len(self.context.sent)
        while not self.cpg.sync_process():
            pass
        sent = self.context.sent[start:]
        for message in sent:
            self.deliver(1, messages.EXEC_HEADER.unpack(message).id & 0xFFFF, message)
        for nodeid in members:
            own = [p for p in joinlists if p.nodeid == nodeid]
            if own:
                self.deliver(nodeid, JOINLIST, pack_joinlist(own))
        self.cpg.sync_activate()
        self.cpg.synchronised()
        return sent

    def waits(self) -> bool:
        return self.cpg.wants_token

    def views(self, client: int) -> list[cpg.Confchg]:
        mine = [event for owner, event in self.context.events if owner == client]
        return [
            cpg.unpack_confchg(event)
            for event in mine
            if RESPONSE_HEADER.unpack(event).id == CpgEvent.CONFCHG
        ]


# Tables.


def test_table_finds_by_group_and_node() -> None:
    table = ProcessTable()
    processes = [Process(2, 5, b"a"), Process(1, 9, b"a"), Process(1, 2, b"b"), Process(2, 4, b"a")]
    assert all(table.add(p) for p in processes)
    assert not table.add(Process(2, 5, b"a"))
    assert len(table) == 4
    assert list(table) == sorted(processes)
    assert table.members(b"a") == [Process(1, 9, b"a"), Process(2, 4, b"a"), Process(2, 5, b"a")]
    assert table.members(b"?") == table.members(None) == []
    assert table.on_node(2) == [Process(2, 4, b"a"), Process(2, 5, b"a")]
    assert table.has_member_on(b"b", 1)
    assert not table.has_member_on(b"b", 2)
    table.remove([Process(1, 2, b"b"), Process(7, 7, b"?"), Process(1, 9, b"?")])
    assert not table.has_member_on(b"b", 1)
    assert len(table) == 3
    table.remove(list(table))
    assert len(table) == 0
    assert Process(2, 5, b"a") not in table


def test_a_process_is_listed_in_its_groups_as_it_joined_them() -> None:
    table = ProcessTable()
    joined = [Process(1, 7, group) for group in (b"z", b"a", b"m")]
    for process in (*joined, Process(1, 3, b"m")):
        table.add(process)
    assert list(table) == table.on_node(1) == [Process(1, 3, b"m"), *joined]
    table.remove([joined[0]])
    table.add(joined[0])
    assert list(table) == [Process(1, 3, b"m"), joined[1], joined[2], joined[0]]


def corosync_order(processes: Sequence[Process]) -> list[Process]:
    """Entry by entry as corosync builds it."""
    entries: list[Process] = []
    for process in processes:
        known = [i for i, entry in enumerate(entries) if entry.group == process.group]
        entries.insert(known[0] + 1 if known else 0, process)
    return entries


def test_iterations_are_in_the_order_of_corosync() -> None:
    processes = [Process(n, p, g) for n in (1, 2, 3) for p, g in ((1, b"a"), (2, b"b"), (3, b"a"))]
    assert snapshot(processes, IterationType.ALL, b"") == corosync_order(processes)
    only = [p for p in processes if p.group == b"a"]
    assert snapshot(processes, IterationType.ONE_GROUP, b"a") == corosync_order(only)
    assert snapshot(processes, IterationType.ONE_GROUP, None) == []
    assert snapshot(processes, IterationType.NAME_ONLY, b"") == [Process(0, 0, b"b"), Process(0, 0, b"a")]


# Membership.


def test_states_follow_the_messages_not_the_requests() -> None:
    node = Node()
    node.cpg.connected(Client(1, 10, 0, 0))
    node.request(1, CpgRequest.JOIN, join_request(b"g", 10))
    assert len(node.cpg.processes) == 0
    assert node.views(1) == []
    node.deliver(1, PROCJOIN, node.context.sent[-1])
    assert node.views(1)[0].members == (cpg.Address(1, 10, 0),)
    node.deliver(1, PROCJOIN, node.context.sent[-1])  # once more: nothing new
    assert len(node.views(1)) == 1


def test_reason_of_a_join_is_ours_to_say_and_that_of_a_leave_the_senders() -> None:
    node = Node()
    node.join(1, 10)
    node.process(PROCJOIN, 2, 20, reason=99)
    assert node.views(1)[-1].joined == (cpg.Address(2, 20, Reason.JOIN),)
    node.process(PROCLEAVE, 2, 20, reason=Reason.PROCDOWN)
    assert node.views(1)[-1].left == (cpg.Address(2, 20, Reason.PROCDOWN),)
    node.process(PROCLEAVE, 2, 20)
    assert len(node.views(1)) == 3


def test_join_that_finds_no_room_changes_nothing() -> None:
    node = Node()
    node.cpg.connected(Client(1, 10, 0, 0))
    node.context.room = 0
    node.request(1, CpgRequest.JOIN, join_request(b"g", 10))
    assert RESPONSE_HEADER.unpack(node.context.answers[-1][1]).error == CsError.TRY_AGAIN
    node.context.room = 1
    node.request(1, CpgRequest.JOIN, join_request(b"g", 10))
    assert RESPONSE_HEADER.unpack(node.context.answers[-1][1]).error == CsError.OK


def test_leave_of_a_dead_program_waits_for_room() -> None:
    node = Node()
    node.join(1, 10)
    node.join(2, 11)
    node.context.room = 0
    node.cpg.disconnected(Client(1, 10, 0, 0))
    node.cpg.disconnected(Client(2, 11, 0, 0))
    assert node.waits()
    node.context.room = 1
    node.cpg.token_passed()
    assert node.waits()
    node.context.room = 1
    node.cpg.token_passed()
    assert not node.waits()
    pids = [messages.CPG_PROC.unpack(m).pid for m in node.context.sent[-2:]]
    assert pids == [10, 11]


def test_leave_of_a_dead_program_waits_for_the_end_of_synchronisation() -> None:
    node = Node()
    node.join(1, 10)
    node.cpg.sync_init((1,), (1, 2), RingId(1, 9))
    assert node.cpg.sync_process()
    count = len(node.context.sent)
    node.cpg.disconnected(Client(1, 10, 0, 0))
    node.cpg.token_passed()
    assert len(node.context.sent) == count
    assert not node.waits()
    node.cpg.sync_abort()
    node.cpg.sync_init((1,), (1,), RingId(1, 13))
    node.cpg.sync_process()
    node.cpg.sync_activate()
    node.cpg.synchronised()
    assert messages.EXEC_HEADER.unpack(node.context.sent[-1]).id == messages.exec_id(2, PROCLEAVE)


def test_long_lists_are_cut_to_what_the_library_can_hold() -> None:
    node = Node()
    node.join(1, 1)
    for pid in range(200):
        node.process(PROCJOIN, 2, 1000 + pid)
    assert len(node.views(1)[-1].members) == limits.CLIENT_EVENT_LIST_MAX
    node.ring((1,), (1,))
    node.ring((1, 2), (1,), [Process(2, 1000 + pid, b"g") for pid in range(200)])
    assert len(node.views(1)[-1].joined) == limits.CLIENT_EVENT_LIST_MAX
    assert len(node.cpg.processes) == 201


# Multicasts.


def test_message_of_a_node_without_member_is_dropped() -> None:
    node = Node()
    node.join(1, 10)
    node.request(1, CpgRequest.MCAST, mcast_request(b"hello"))
    message = node.context.sent[-1]
    node.deliver(1, MCAST, message)
    assert node.context.events[-1][1].endswith(b"hello")
    count = len(node.context.events)
    with pytest.raises(AnomalyError, match="no known member"):
        node.deliver(2, MCAST, message)
    node.process(PROCJOIN, 2, 77)  # any process of the node will do, as with corosync
    node.deliver(2, MCAST, message)
    assert len(node.context.events) == count + 2


def test_messages_that_lie_about_their_lengths_are_bad() -> None:
    node = Node()
    node.join(1, 10)
    node.request(1, CpgRequest.MCAST, mcast_request(b"hello"))
    message = node.context.sent[-1]
    with pytest.raises(cpg.BadMessageError):
        node.deliver(1, MCAST, message[:-1])
    with pytest.raises(AnomalyError, match="group name of 129 bytes"):
        node.deliver(1, MCAST, message[:16] + b"\x81" + message[17:])
    joins = pack_joinlist([Process(2, 1, b"g")])
    node.deliver(2, JOINLIST, joins[:-1])
    node.deliver(2, JOINLIST, joins[:8] + b"\xff\xff\xff\xff" + joins[12:])
    node.deliver(2, JOINLIST, joins[:8] + b"\xff\xff\xff\x7f" + joins[12:])
    with pytest.raises(AnomalyError):
        node.deliver(2, JOINLIST, joins[:32] + b"\x81" + joins[33:])


def test_processes_and_join_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisexec.services.cpg.PROCESSES_MAX", 5)
    node = Node()
    for pid in range(5):
        node.process(PROCJOIN, 2, pid)
    with pytest.raises(AnomalyError, match="more than 5"):
        node.process(PROCJOIN, 2, 5)
    node.deliver(2, JOINLIST, pack_joinlist([Process(2, pid, b"g") for pid in range(5)]))
    with pytest.raises(AnomalyError, match="more than 5"):
        node.deliver(2, JOINLIST, pack_joinlist([Process(2, 9, b"g")]))


def test_iterations_of_a_client_are_bounded() -> None:
    node = Node()
    node.join(1, 10)
    size = cpg.ITERATION_INITIALIZE_REQUEST.size
    layout = cpg.ITERATION_INITIALIZE_REQUEST
    ask = layout.pack(cpg.IterationInitializeRequest(5, size, 3432, b"junk", IterationType.ALL))
    answers = []
    for _ in range(limits.ITERATIONS_PER_CLIENT_MAX + 1):
        node.request(1, CpgRequest.ITERATION_INITIALIZE, ask)
        answers.append(cpg.ITERATION_INITIALIZE_RESPONSE.unpack(node.context.answers[-1][1]))
    assert {a.error for a in answers[:-1]} == {CsError.OK}
    assert len({a.iteration_handle for a in answers[:-1]}) == limits.ITERATIONS_PER_CLIENT_MAX
    assert answers[-1].error == CsError.NO_RESOURCES


# Synchronisation.


def test_downlist_and_joinlist_are_sent_once_each() -> None:
    node = Node()
    assert [messages.EXEC_HEADER.unpack(m).id & 0xFFFF for m in node.ring((1, 2), ())] == [DOWNLIST]
    node.join(1, 10)
    node.cpg.sync_init((1,), (1,), RingId(1, 99))
    node.context.room = 0
    assert not node.cpg.sync_process()
    node.context.room = 1
    assert not node.cpg.sync_process()
    node.context.room = 1
    assert node.cpg.sync_process()
    downlist, joinlist = node.context.sent[-2:]
    head = messages.CPG_DOWNLIST.unpack(downlist)
    assert (head.old_members, head.left_nodes, head.nodeids[:2]) == (2, 1, (2, 0))
    assert len(joinlist) == 24 + 144


def test_lost_nodes_take_their_processes_along_in_one_view() -> None:
    node = Node()
    node.ring((1, 2, 3), ())
    node.join(1, 10)
    for nodeid, pid in ((2, 20), (3, 30), (3, 31)):
        node.process(PROCJOIN, nodeid, pid)
    node.ring((1,), (1,))
    view = node.views(1)[-1]
    assert view.members == (cpg.Address(1, 10, 0),)
    assert {a.reason for a in view.left} == {Reason.NODEDOWN}
    assert [a[:2] for a in view.left] == [(2, 20), (3, 30), (3, 31)]
    assert list(node.cpg.processes) == [Process(1, 10, b"g")]


def test_merged_nodes_bring_their_processes_latest_entry_first() -> None:
    node = Node()
    node.ring((1,), ())
    node.join(1, 10)
    node.ring((1, 2, 3), (1,), [Process(2, 20, b"g"), Process(2, 21, b"g"), Process(3, 30, b"g")])
    view = node.views(1)[-1]
    assert [a[:2] for a in view.joined] == [(3, 30), (2, 21), (2, 20)]
    assert {a.reason for a in view.joined} == {Reason.NODEUP}
    assert len(view.members) == 4


def test_processes_that_their_node_no_longer_lists_are_dropped() -> None:
    node = Node()
    node.ring((1, 2), ())
    node.join(1, 10)
    node.process(PROCJOIN, 2, 20)
    node.process(PROCJOIN, 2, 21)
    node.ring((1, 2), (1, 2), [Process(2, 21, b"g")])
    assert node.views(1)[-1].left == (cpg.Address(2, 20, Reason.PROCDOWN),)
    assert Process(1, 10, b"g") in node.cpg.processes


def test_aborted_synchronisation_leaves_everything_as_it_was() -> None:
    node = Node()
    node.ring((1, 2), ())
    node.join(1, 10)
    node.process(PROCJOIN, 2, 20)
    node.cpg.sync_init((1,), (1,), RingId(1, 50))
    node.cpg.sync_process()
    node.deliver(3, JOINLIST, pack_joinlist([Process(3, 30, b"g")]))
    node.cpg.sync_abort()
    assert len(node.cpg.processes) == 2
    assert len(node.views(1)) == 2
    node.ring((1, 3), (1,))
    assert [list(v.left) for v in node.views(1)[2:]] == [[cpg.Address(2, 20, Reason.NODEDOWN)]]
    assert list(node.cpg.processes) == [Process(1, 10, b"g")]


# Limits.


def test_thousands_of_processes_take_several_join_lists() -> None:
    """Each a message of bounded size, one a token visit; together they are everybody."""
    node = Node()
    count = 2 * limits.JOINLIST_ENTRIES_MAX + 5
    node.context.room = 10 * count
    for number in range(count):
        node.join(number + 1, number + 1, b"g%d" % number)
    sent = node.ring([1], [])
    lists = [m for m in sent if messages.EXEC_HEADER.unpack(m).id & 0xFFFF == JOINLIST]
    assert [(len(m) - 24) // 144 for m in lists] == [limits.JOINLIST_ENTRIES_MAX] * 2 + [5]
    other = Node()
    other.context.nodeid = 2
    other.cpg.sync_init([2], [1, 2], RingId(1, 99))
    for message in lists:
        other.deliver(1, JOINLIST, message)
    other.cpg.sync_activate()
    assert len(other.cpg.processes) == count


def test_join_lists_start_over_with_each_synchronisation() -> None:
    node = Node()
    node.join(1, 10)
    node.context.room = 1
    node.cpg.sync_init([1], [1], RingId(1, 9))
    assert not node.cpg.sync_process()
    node.context.room = 5
    node.cpg.sync_init([1], [1], RingId(1, 13))
    assert node.cpg.sync_process()
    assert node.cpg.sync_process()  # called again, it has nothing more to say
    kinds = [messages.EXEC_HEADER.unpack(m).id & 0xFFFF for m in node.context.sent[-3:]]
    assert kinds == [DOWNLIST, DOWNLIST, JOINLIST]


def errors(node: Node, client: int) -> list[int]:
    return [RESPONSE_HEADER.unpack(answer).error for owner, answer in node.context.answers if owner == client]


def test_full_table_refuses_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisexec.services.cpg.PROCESSES_MAX", 3)
    node = Node()
    for number in (1, 2):
        node.join(number, number)
    node.cpg.connected(Client(3, 3, 0, 0))
    node.request(3, CpgRequest.JOIN, join_request(b"g", 3))
    node.process(PROCJOIN, 2, 20)  # comes first
    with pytest.raises(AnomalyError, match="more than 3"):
        node.process(PROCJOIN, 1, 3)
    assert [client for client, _ in node.context.closed] == [3]
    node.cpg.connected(Client(4, 4, 0, 0))
    node.request(4, CpgRequest.JOIN, join_request(b"g", 4))
    assert errors(node, 4) == [CsError.NO_RESOURCES]


def test_a_crowd_joins_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every join is an event for every member, and all of them come with one token."""
    monkeypatch.setattr("aisexec.services.cpg.JOIN_EVENTS_MAX", 50)
    node = Node()
    for number in range(1, 21):
        node.cpg.connected(Client(number, number, 0, 0))
        node.request(number, CpgRequest.JOIN, join_request(b"g", number))
    answers = [errors(node, number)[0] for number in range(1, 21)]
    under_way = answers.count(CsError.OK)
    assert under_way**2 >= 50 > (under_way - 1) ** 2
    assert set(answers[under_way:]) == {CsError.TRY_AGAIN}
    assert node.cpg.counters()["joins_put_off"] == 20 - under_way
    for message in list(node.context.sent):
        node.deliver(1, PROCJOIN, message)
    node.request(20, CpgRequest.JOIN, join_request(b"g", 20))
    assert errors(node, 20)[-1] == CsError.OK


def walk(node: Node, client: int, kind: IterationType = IterationType.ALL) -> int:
    size = cpg.ITERATION_INITIALIZE_REQUEST.size
    request = cpg.IterationInitializeRequest(CpgRequest.ITERATION_INITIALIZE, size, 1, b"g", kind)
    node.request(client, CpgRequest.ITERATION_INITIALIZE, cpg.ITERATION_INITIALIZE_REQUEST.pack(request))
    return int(cpg.ITERATION_INITIALIZE_RESPONSE.unpack(node.context.answers[-1][1]).iteration_handle)


def step(node: Node, client: int, handle: int) -> CsError:
    request = cpg.IterationRequest(CpgRequest.ITERATION_NEXT, cpg.ITERATION_REQUEST.size, handle)
    node.request(client, CpgRequest.ITERATION_NEXT, cpg.ITERATION_REQUEST.pack(request))
    return CsError(RESPONSE_HEADER.unpack(node.context.answers[-1][1]).error)


def test_entries_of_open_iterations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has most open loses all when somebody else needs room, and gets no more itself."""
    monkeypatch.setattr("aisexec.services.cpg_queries.ITERATION_ENTRIES_MAX", 20)
    node = Node()
    for number in (1, 2, 3, 4):
        node.join(number, number)
    greedy = [walk(node, 1) for _ in range(5)]
    assert all(greedy)
    assert walk(node, 1) == 0
    assert errors(node, 1)[-1] == CsError.NO_RESOURCES
    modest = walk(node, 2)
    assert modest
    assert step(node, 2, modest) is CsError.OK
    assert step(node, 1, greedy[0]) is CsError.LIBRARY
    assert any("process 1 dropped: 20 entries" in line for line in node.context.lines)
    assert node.cpg.counters()["iterations_dropped"] == 5
    for client in (1, 2, 3, 4):
        node.cpg.disconnected(Client(client, client, 0, 0))
    assert node.cpg._queries._entries == 0


def test_iterations_show_the_table_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    node.join(1, 1)
    node.join(2, 2)
    before = walk(node, 1)
    node.process(PROCJOIN, 2, 20)
    after = walk(node, 1)
    seen = [[step(node, 1, handle) for _ in range(4)] for handle in (before, after)]
    end = CsError.NO_SECTIONS
    assert [steps.index(end) for steps in seen] == [2, 3]
    ours, other, theirs = (Process(n, p, b"g") for n, p in ((1, 1), (1, 2), (2, 20)))
    assert node.cpg.processes.members(b"g") == [ours, other, theirs]
    node.process(PROCLEAVE, 1, 2)
    assert node.cpg.processes.members(b"g") == [ours, theirs]
