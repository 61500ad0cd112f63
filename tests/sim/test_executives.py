"""Executives on a faulty virtual network serve closed process groups to simulated programs."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest

from aisexec.executive import ExecutiveOptions
from aisexec.messages import BARRIER, SERVICE_BUILD
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem.types import Configuration, RingId
from ipc import cpg_layouts as cpg
from ipc.cpg_layouts import Guarantee, IterationType, JoinFlag, PartialType, Reason
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER
from tests.sim.checkers import check_groups, check_views
from tests.sim.executives import (
    Cluster,
    ExecutiveNode,
    Program,
    fragment_request,
    join_request,
    mcast_request,
    pack,
    started,
)

VOTING = ExecutiveOptions(votequorum=True, quorum=QuorumOptions(expected_votes=3))


def joined(net: Cluster, *places: tuple[int, int], group: bytes = b"g") -> list[Program]:
    """Programs (nodeid, pid) in a group, each having seen all that joined."""
    programs = [net.nodes[nodeid].connect(pid) for nodeid, pid in places]
    for program in programs:
        assert program.join(group) is CsError.OK
    until(net, lambda: all(p.members == sorted(places) for p in programs))
    return programs


def until(net: Cluster, condition: object, within: float = 20.0) -> None:
    assert callable(condition)
    assert net.run_until(condition, net.now + within), [
        [p.history[-4:] for p in node.programs.values()] for node in net.nodes.values()
    ]


def reasons(entries: Sequence[cpg.Address]) -> set[int]:
    return {entry.reason for entry in entries}


# --------------------------------------------------------------------------- one group, quiet ring


def test_join_mcast_leave() -> None:
    net = started([1, 2, 3])
    a, b = net.nodes[1].connect(10), net.nodes[2].connect(20)
    assert a.join(b"group") is CsError.OK
    until(net, lambda: bool(a.views))
    assert a.views == [(((1, 10),), (), (cpg.Address(1, 10, Reason.JOIN),))]
    assert b.join(b"group") is CsError.OK
    until(net, lambda: len(a.views) == 2 and bool(b.views))
    assert a.views[1] == b.views[0] == (((1, 10), (2, 20)), (), (cpg.Address(2, 20, Reason.JOIN),))
    for i in range(50):
        (a, b)[i % 2].mcast(b"%d" % i)
    until(net, lambda: len(a.messages) == len(b.messages) == 50)
    assert a.messages == b.messages
    assert [m for m in a.messages if int(m) % 2] == [b"%d" % i for i in range(1, 50, 2)]
    assert b.leave() is CsError.OK
    until(net, lambda: len(a.views) == 3 and len(b.views) == 2)
    assert a.views[2] == b.views[1] == (((1, 10),), (cpg.Address(2, 20, Reason.LEAVE),), ())
    assert b.leave() is CsError.NOT_EXIST
    a.mcast(b"b does not get this")
    until(net, lambda: len(a.messages) == 51)
    net.run(1)
    assert len(b.messages) == 50
    assert b.join(b"group") is CsError.OK  # the same connection again
    until(net, lambda: a.members == [(1, 10), (2, 20)])


@pytest.mark.parametrize("size", [0, 1, 1395, 1396, 5000, 65536, cpg.ATOMIC_MESSAGE_MAX])
def test_messages_of_all_sizes_arrive_whole(size: int) -> None:
    net = started([1, 2])
    a, b = joined(net, (1, 10), (2, 20))
    message = random.Random(size).randbytes(size)
    a.mcast(message)
    b.mcast(message[::-1])
    until(net, lambda: len(a.messages) == len(b.messages) == 2)
    assert sorted(a.messages) == sorted([message, message[::-1]])
    assert a.messages == b.messages


def test_groups_do_not_mix_and_senders_need_no_answer() -> None:
    net = started([1, 2])
    a, b = joined(net, (1, 10), (2, 20), group=b"one")
    c, d = joined(net, (1, 11), (2, 21), group=b"two")
    a.mcast(b"for one")
    d.mcast(b"for two")
    until(net, lambda: all(len(p.messages) == 1 for p in (a, b, c, d)))
    assert a.messages == b.messages == [b"for one"]
    assert c.messages == d.messages == [b"for two"]
    assert not any(p.answers for p in (a, b, c, d))


def test_a_message_may_follow_the_join_at_once() -> None:
    net = started([1, 2])
    a, b = net.nodes[1].connect(10), net.nodes[2].connect(20)
    assert b.join(b"g") is CsError.OK
    until(net, lambda: b.members == [(2, 20)])
    assert a.join(b"g") is CsError.OK
    a.mcast(b"early")
    until(net, lambda: bool(b.messages) and bool(a.messages))
    assert [e[0] for e in a.history if e[0] in "VD"][-1] == "D"


def test_fragments_keep_their_order_and_a_view_interrupts_them() -> None:
    net = started([1, 2])
    a, b = joined(net, (1, 10), (2, 20))
    assert a.fragment(PartialType.CONTINUED, b"?", 9000) is CsError.INTERRUPT
    assert a.fragment(PartialType.FIRST, b"x" * 3000, 9000) is CsError.OK
    assert a.fragment(PartialType.CONTINUED, b"y" * 3000, 9000) is CsError.OK
    assert a.fragment(PartialType.LAST, b"z" * 3000, 9000) is CsError.OK
    until(net, lambda: sum(e[0] == "P" for e in b.history) == 3)
    parts = [e for e in b.history if e[0] == "P"]
    assert [p[2] for p in parts] == [PartialType.FIRST, PartialType.CONTINUED, PartialType.LAST]
    assert b"".join(p[3] for p in parts) == b"x" * 3000 + b"y" * 3000 + b"z" * 3000
    assert {p[4] for p in parts} == {9000}
    assert a.fragment(PartialType.FIRST, b"x" * 10, 20) is CsError.OK
    joined_later = net.nodes[2].connect(21)
    assert joined_later.join(b"g") is CsError.OK
    until(net, lambda: len(a.members) == 3)
    assert a.fragment(PartialType.LAST, b"y" * 10, 20) is CsError.INTERRUPT
    assert a.fragment(PartialType.FIRST, b"x" * 10, 20) is CsError.OK
    assert a.fragment(PartialType.LAST, b"y" * 10, 20) is CsError.OK


@pytest.mark.parametrize(
    "fragments",
    [
        [(PartialType.FIRST, 30, 20)],
        [(PartialType.FIRST, 15, 20), (PartialType.LAST, 15, 20)],
        [(PartialType.FIRST, 10, 20), (PartialType.LAST, 10, 4000)],
        [(PartialType.FIRST, 10, 20), (7, 10, 20)],
    ],
)
def test_fragments_that_would_overrun_receivers_close_the_sender(
    fragments: list[tuple[int, int, int]],
) -> None:
    """libcpg copies fragments behind each other into a buffer of the announced size, unchecked."""
    net = started([1])
    (a, b) = joined(net, (1, 10), (1, 11))
    for place, size, total in fragments:
        a.send(fragment_request(place, bytes(size), total))
        net.run(0.5)
    assert "fragment" in a.closed
    until(net, lambda: b.members == [(1, 11)])
    assert sum(len(e[3]) for e in b.history if e[0] == "P") <= 20


def test_two_clients_of_one_process() -> None:
    net = started([1, 2])
    a1, a2 = net.nodes[1].connect(10), net.nodes[1].connect(10)
    assert a1.join(b"g") is CsError.OK
    assert a2.join(b"g") is CsError.EXIST
    assert a2.join(b"other") is CsError.OK
    until(net, lambda: a1.members == [(1, 10)] and a2.members == [(1, 10)])
    assert a1.join(b"third") is CsError.EXIST  # one group a connection
    a2.exit()
    until(net, lambda: not net.nodes[2].cpg.processes.members(b"other"))
    assert a1.members == [(1, 10)]
    assert len(a1.views) == 1


def test_join_and_leave_while_another_is_under_way() -> None:
    net = started([1, 2])
    a = net.nodes[1].connect(10)
    a.send(join_request(b"g", 10))
    a.send(pack(cpg.LEAVE_REQUEST, cpg.CpgRequest.LEAVE, cpg.LEAVE_REQUEST.size, 1, b"g", 10))
    until(net, lambda: len(a.answers) == 2)
    assert [RESPONSE_HEADER.unpack(m).error for m in a.answers] == [CsError.OK, CsError.BUSY]
    a.answers.clear()
    a.group = b"g"
    until(net, lambda: bool(a.views))
    assert a.leave() is CsError.OK
    a.send(join_request(b"h", 10))
    assert RESPONSE_HEADER.unpack(a.answers.popleft()).error == CsError.BUSY
    # The same process from another connection, while its leave has not come round.
    b = net.nodes[1].connect(10)
    b.send(join_request(b"g", 10))
    assert RESPONSE_HEADER.unpack(b.answers.popleft()).error == CsError.EXIST
    until(net, lambda: len(a.views) == 2)
    assert b.join(b"g") is CsError.OK


def test_a_finalized_connection_gets_no_events_and_its_process_can_come_back() -> None:
    net = started([1])
    a, b = joined(net, (1, 10), (1, 11))
    assert a.error(cpg.pack_request(cpg.CpgRequest.FINALIZE)) is CsError.OK
    b.mcast(b"too late for a")
    until(net, lambda: bool(b.messages))
    assert not a.messages
    again = net.nodes[1].connect(10)
    assert again.join(b"g") is CsError.TRY_AGAIN  # until the old connection is closed and has left
    a.exit()
    until(net, lambda: b.members == [(1, 11)])
    assert again.join(b"g") is CsError.OK


def test_membership_and_iteration() -> None:
    net = started([1, 2])
    joined(net, (1, 10), (2, 20), (2, 21), group=b"first")
    joined(net, (1, 11), (2, 22), group=b"second")
    viewer = net.nodes[2].connect(99)
    assert viewer.membership(b"first") == [(1, 10), (2, 20), (2, 21)]
    assert viewer.membership(b"nobody") == []
    assert sorted(viewer.iterate(IterationType.NAME_ONLY)) == [(b"first", 0, 0), (b"second", 0, 0)]
    assert sorted(viewer.iterate(IterationType.ONE_GROUP, b"second")) == [
        (b"second", 1, 11),
        (b"second", 2, 22),
    ]
    everything = viewer.iterate(IterationType.ALL)
    assert len(everything) == 5
    names = [entry[0] for entry in everything]
    assert names in ([b"first"] * 3 + [b"second"] * 2, [b"second"] * 2 + [b"first"] * 3)
    with pytest.raises(ValueError, match="7"):
        viewer.iterate(9)
    answer = cpg.LOCAL_GET_RESPONSE.unpack(viewer.call(cpg.pack_request(cpg.CpgRequest.LOCAL_GET)))
    assert (answer.error, answer.local_nodeid) == (CsError.OK, 2)


def test_initial_totem_configuration_is_sent_when_asked_for() -> None:
    net = started([1, 2])
    plain, asking = net.nodes[1].connect(10), net.nodes[1].connect(11)
    ring = net.nodes[1].stack.ring_id
    assert plain.join(b"g") is CsError.OK
    assert asking.join(b"g", JoinFlag.DELIVER_INITIAL_TOTEM_CONF) is CsError.OK
    until(net, lambda: any(e[0] == "T" for e in asking.history))
    net.run(1)
    assert [e for e in asking.history if e[0] == "T"] == [("T", tuple(ring), (1, 2))]
    assert not any(e[0] == "T" for e in plain.history)
    net.kill(2)
    net.settle([1])
    now = ("T", tuple(net.nodes[1].stack.ring_id), (1,))
    assert [e for e in plain.history if e[0] == "T"] == [now]  # from then on everybody is told
    assert asking.history[-2] == now or asking.history[-1] == now


def test_zero_copy_messages() -> None:
    net = started([1])
    a, b = joined(net, (1, 10), (1, 11))
    node = net.nodes[1]
    node.memory.files["/dev/shm/corosync_zerocopy-1"] = buffer = bytearray(1000)
    path = b"/dev/shm/corosync_zerocopy-1"
    alloc, execute, free = cpg.CpgRequest.ZC_ALLOC, cpg.CpgRequest.ZC_EXECUTE, cpg.CpgRequest.ZC_FREE
    assert a.error(pack(cpg.ZC_ALLOC_REQUEST, alloc, cpg.ZC_ALLOC_REQUEST.size, 1000, path)) is CsError.OK
    cookie = cpg.ZC_HEADER.unpack(buffer).server_address
    inner = mcast_request(b"zero copies")
    buffer[cpg.ZC_MCAST_OFFSET : cpg.ZC_MCAST_OFFSET + len(inner)] = inner
    run = pack(cpg.ZC_EXECUTE_REQUEST, execute, cpg.ZC_EXECUTE_REQUEST.size, cookie)
    assert a.error(run) is CsError.OK
    until(net, lambda: a.messages == b.messages == [b"zero copies"])
    c = node.connect(12)
    node.memory.buffers[c.id, 5] = buffer
    outsider = pack(cpg.ZC_EXECUTE_REQUEST, execute, cpg.ZC_EXECUTE_REQUEST.size, 5)
    assert c.error(outsider) is CsError.NOT_EXIST
    release = pack(cpg.ZC_FREE_REQUEST, free, cpg.ZC_FREE_REQUEST.size, 1000, cookie)
    assert a.error(release) is CsError.OK
    a.send(run)
    assert "zero-copy" in a.closed
    b.send(pack(cpg.ZC_ALLOC_REQUEST, alloc, cpg.ZC_ALLOC_REQUEST.size, 1000, b"/etc/passwd"))
    assert "refused" in b.closed


@pytest.mark.parametrize("size", [cpg.DELIVER_MAX, cpg.DELIVER_MAX + 1])
def test_zero_copy_messages_that_receivers_could_not_read_are_refused(size: int) -> None:
    net = started([1])
    a, b = joined(net, (1, 10), (1, 11))
    buffer = bytearray(cpg.ZC_PAYLOAD_OFFSET + size)
    net.nodes[1].memory.buffers[a.id, 1] = buffer
    head = pack(cpg.MCAST_REQUEST, cpg.CpgRequest.MCAST, 40, 0, Guarantee.AGREED, size)
    buffer[cpg.ZC_MCAST_OFFSET : cpg.ZC_MCAST_OFFSET + len(head)] = head
    run = pack(cpg.ZC_EXECUTE_REQUEST, cpg.CpgRequest.ZC_EXECUTE, cpg.ZC_EXECUTE_REQUEST.size, 1)
    if size > cpg.DELIVER_MAX:
        assert a.error(run) is CsError.TOO_BIG
        b.mcast(b"after it")
        until(net, lambda: a.messages == b.messages == [b"after it"])
    else:
        assert a.error(run) is CsError.OK
        until(net, lambda: [len(m) for m in b.messages] == [size])


def test_safe_messages_wait_for_every_node() -> None:
    net = started([1, 2, 3])
    a, b, c = joined(net, (1, 10), (2, 20), (3, 30))
    net.drop = lambda source, target, frame: target == 3 and frame[3] == 1
    a.mcast(b"agreed")
    a.mcast(b"safe", Guarantee.SAFE)
    a.mcast(b"after", Guarantee.FIFO)
    net.run(0.05)
    assert b.messages == [b"agreed"]
    assert c.messages == []
    net.heal()
    until(net, lambda: a.messages == b.messages == c.messages == [b"agreed", b"safe", b"after"])


# --------------------------------------------------------------------------- faults


def test_dead_process_leaves_with_its_reason() -> None:
    net = started([1, 2])
    a, b = joined(net, (1, 10), (2, 20))
    b.mcast(b"last words")
    b.exit()
    until(net, lambda: a.members == [(1, 10)])
    assert a.messages == [b"last words"]
    assert a.views[-1] == (((1, 10),), (cpg.Address(2, 20, Reason.PROCDOWN),), ())
    assert not net.nodes[2].programs


def test_process_that_dies_before_its_join_came_round() -> None:
    net = started([1, 2])
    (a,) = joined(net, (1, 10))
    b = net.nodes[2].connect(20)
    b.send(join_request(b"g", 20))
    b.exit()
    until(net, lambda: len(a.views) == 3)
    assert [reasons(view[1] + view[2]) for view in a.views[1:]] == [{Reason.JOIN}, {Reason.PROCDOWN}]


def test_dead_node_and_its_return() -> None:
    net = started([1, 2, 3])
    a, b, *_ = joined(net, (1, 10), (2, 20), (3, 30), (3, 31))
    net.kill(3)
    net.settle([1, 2])
    gone = (cpg.Address(3, 30, Reason.NODEDOWN), cpg.Address(3, 31, Reason.NODEDOWN))
    assert a.views[-1] == b.views[-1] == (((1, 10), (2, 20)), gone, ())
    net.nodes[3].restart()
    net.settle([1, 2, 3])
    assert a.members == [(1, 10), (2, 20)]
    again = net.nodes[3].connect(30)
    assert again.membership(b"g") == [(1, 10), (2, 20)]  # before it joins anything
    assert again.join(b"g") is CsError.OK
    until(net, lambda: a.members == b.members == again.members == [(1, 10), (2, 20), (3, 30)])
    a.mcast(b"welcome")
    until(net, lambda: again.messages == [b"welcome"])


def test_quick_restart_is_a_node_going_down() -> None:
    """The node is back before anybody has noticed: its processes are gone all the same."""
    net = started([1, 2, 3])
    a, _, _ = joined(net, (1, 10), (2, 20), (3, 30))
    net.kill(3)
    net.run(0.01)
    net.nodes[3].restart()
    net.settle([1, 2, 3])
    until(net, lambda: a.members == [(1, 10), (2, 20)])
    assert reasons(a.views[-1][1]) == {Reason.NODEDOWN}


def test_orderly_leave_of_a_node() -> None:
    net = started([1, 2, 3])
    a, b, _ = joined(net, (1, 10), (2, 20), (3, 30))
    net.leave(3)
    until(net, lambda: a.members == b.members == [(1, 10), (2, 20)], within=0.5)
    assert reasons(a.views[-1][1]) == {Reason.NODEDOWN}


def test_partition_and_merge_of_one_group() -> None:
    net = started([1, 2, 3, 4])
    a, b, c, d = joined(net, (1, 10), (2, 20), (3, 30), (4, 40))
    net.partition([1, 2], [3, 4])
    net.settle([1, 2])
    net.settle([3, 4])
    assert a.views[-1] == b.views[-1]
    assert c.views[-1] == d.views[-1]
    assert a.members == [(1, 10), (2, 20)]
    assert c.members == [(3, 30), (4, 40)]
    assert reasons(a.views[-1][1]) == reasons(c.views[-1][1]) == {Reason.NODEDOWN}
    newcomer = net.nodes[2].connect(21)
    assert newcomer.join(b"g") is CsError.OK
    d.exit()
    a.mcast(b"only here")
    until(net, lambda: a.messages == b.messages == [b"only here"] and c.members == [(3, 30)])
    net.heal()
    net.settle([1, 2, 3, 4])
    everybody = [(1, 10), (2, 20), (2, 21), (3, 30)]
    assert a.members == b.members == c.members == newcomer.members == everybody
    assert reasons(a.views[-1][2]) == reasons(c.views[-1][2]) == {Reason.NODEUP}
    # corosync lists who came in the reverse order of the join lists.
    came = [entry[:2] for entry in c.views[-1][2]]
    assert came in ([(2, 21), (2, 20), (1, 10)], [(1, 10), (2, 21), (2, 20)])
    assert not any(m for m in c.messages)
    check_groups({p.id + 100 * p.node.nodeid: p.history for p in (a, b, c, newcomer)})


def test_process_that_dies_while_services_are_synchronised_is_not_brought_back() -> None:
    """Its node's join list still names it, and the other side must not add it for good."""
    net = started([1, 2, 3])
    a, b, c = joined(net, (1, 10), (2, 20), (3, 30))
    net.partition([1], [2, 3])
    net.settle([1])
    net.settle([2, 3])
    net.heal()
    until(net, lambda: net.nodes[2].executive.sync.running and net.nodes[2].stack.members == (1, 2, 3))
    seen: list[bool] = []
    original = net.nodes[2].cpg.sync_process

    def die_now() -> bool:
        done = original()
        if not seen:
            seen.append(True)
            net.nodes[2].executive.client_closed(b.id, net.now)
        return done

    net.nodes[2].cpg.sync_process = die_now  # type: ignore[method-assign]
    net.settle([1, 2, 3])
    assert seen
    until(net, lambda: a.members == c.members == [(1, 10), (3, 30)])
    for node in net.nodes.values():
        assert node.cpg.processes.members(b"g") == [(1, 10, b"g"), (3, 30, b"g")]
    assert reasons(a.views[-1][1]) == {Reason.PROCDOWN}
    check_views("a", a.history)


def test_node_that_was_away_while_synchronisation_failed_has_left() -> None:
    """What a node delivered on its own must not be hidden by a synchronisation that was cut short."""
    net = started([1, 2, 3])
    a, *_ = joined(net, (1, 10), (2, 20), (3, 30))
    sync = net.nodes[1].executive.sync
    change = net.nodes[1].executive.configuration
    ring = RingId(1, 1 << 40)
    first = len(a.views)
    for step, (trans, members) in enumerate([((1,), (1,)), ((1,), (1, 2)), ((1, 2), (1, 2))]):
        at = RingId(ring.rep, ring.seq + 4 * step)
        change(Configuration(True, trans, (), (), at))
        change(Configuration(False, members, (), (), at))
    assert sync.running
    assert net.nodes[1].cpg.left_nodes == (2, 3)
    assert len(a.views) == first


# --------------------------------------------------------------------------- bad clients and full queues


def test_full_queue_holds_requests_back_and_loses_nothing() -> None:
    net = started([1, 2])
    a, b = joined(net, (1, 10), (2, 20))
    node = net.nodes[1]
    net.drop = lambda source, target, frame: True
    sent = [b"%d " % i + bytes(60000) for i in range(120)]
    for message in sent:
        a.mcast(message)
    assert a.waiting  # more than the queue holds
    assert not node.executive.has_room_for("cpg", a.waiting[0])
    assert node.executive.flow_level() == 0  # the queue is far from full
    # Handed in regardless: answered with TRY_AGAIN where the call has an answer.
    node.executive.client_request(a.id, mcast_request(bytes(60000)), net.now)
    node.executive.client_request(a.id, fragment_request(1, bytes(60000), 60000), net.now)
    node.carry_out()
    assert [RESPONSE_HEADER.unpack(m).error for m in a.answers] == [CsError.TRY_AGAIN]
    net.heal()
    until(net, lambda: len(b.messages) >= len(sent), within=60)
    until(net, lambda: not a.waiting)
    assert b.messages == sent
    assert a.messages == sent


def test_asking_is_never_held_back() -> None:
    net = started([1, 2])
    (a,) = joined(net, (1, 10))
    net.partition([1], [2])
    until(net, lambda: net.nodes[1].executive.sync.running)
    assert not net.nodes[1].executive.has_room_for("cpg", mcast_request(b"x"))
    assert a.membership(b"g") == [(1, 10)]
    assert a.waiting == a.answers == type(a.waiting)()


@pytest.mark.parametrize("seed", range(3))
def test_requests_of_wrong_sizes_and_ids_hurt_only_their_sender(seed: int) -> None:
    rng = random.Random(seed)
    net = started([1, 2])
    (good,) = joined(net, (2, 20))
    templates = [
        join_request(b"g", 10),
        mcast_request(b"hello"),
        fragment_request(1, b"part", 8),
        *(bytes(call.request.size) for call in cpg.CALLS.values()),
    ]
    node = net.nodes[1]
    for _ in range(400):
        bad = node.connect(rng.randrange(1, 50))
        for _ in range(3):
            request = bytearray(rng.choice(templates))
            request[0:4] = struct.pack("<i", rng.choice([*range(14), -1, 99, -(2**31)]))
            request[8:12] = struct.pack("<i", len(request))
            for _ in range(rng.randrange(4)):
                at = rng.randrange(16, len(request)) if len(request) > 16 else 8
                request[at] = rng.randrange(256)
            if rng.random() < 0.3:
                del request[rng.randrange(len(request)) :]
            bad.send(bytes(request))
            if bad.closed:
                break
        if not bad.closed:
            bad.exit()
    until(net, net.drained)
    good.mcast(b"still here")
    until(net, lambda: b"still here" in good.messages)
    net.run(1)
    assert [p for p in net.nodes[2].cpg.processes if p.nodeid == 1] == []
    assert len(node.log) < 3000


def test_requests_that_make_no_sense_are_answered_with_an_error() -> None:
    net = started([1])
    a = net.nodes[1].connect(10)
    assert a.error(struct.pack("<i4xi4x", 99, 16)) is CsError.INVALID_PARAM
    long_name = pack(cpg.JOIN_REQUEST, 0, cpg.JOIN_REQUEST.size, 129, b"g" * 128, 10, 0)
    assert a.error(long_name) is CsError.NAME_TOO_LONG
    ask = pack(cpg.MEMBERSHIP_GET_REQUEST, 3, cpg.MEMBERSHIP_GET_REQUEST.size, 129, b"g" * 128)
    assert cpg.unpack_membership(a.call(ask)) == ()
    assert a.error(fragment_request(1, bytes(1 << 21), 1 << 22)) is CsError.INVALID_PARAM
    a.send(pack(cpg.MCAST_REQUEST, 2, 40, 0, 2, 100))
    assert "100 bytes announced" in a.closed
    b = net.nodes[1].connect(11)
    b.send(struct.pack("<i4xi4x", 0, 16))
    assert "request of 16 bytes" in b.closed
    for size in (cpg.DELIVER_MAX + 1, 1 << 21):  # a multicast never gets an answer
        c = net.nodes[1].connect(12)
        assert c.join(b"g") is CsError.OK
        c.send(mcast_request(bytes(size)))
        assert "bytes" in c.closed
        assert not c.answers
        until(net, lambda: not len(net.nodes[1].cpg.processes))


# --------------------------------------------------------------------------- hostile and foreign nodes


@pytest.mark.parametrize("seed", range(3))
def test_hostile_executive_messages_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    net = started([1, 2, 3], options=VOTING)
    a, b, _ = joined(net, (1, 10), (2, 20), (3, 30))
    for i in range(3000):
        service, function = rng.randrange(-1, 9), rng.randrange(9)
        size = rng.choice([0, 7, 8, 15, 16, 24, 31, 32, 48, 168, 184, 200, 288, 328, 552, 1568])
        body = bytearray(rng.choice([rng.randbytes(size), bytes(size), b"\xff" * size]))
        if rng.random() < 0.9 and len(body) >= 4:
            body[0:4] = struct.pack("<i", service << 16 | function)
        if rng.random() < 0.5 and len(body) >= 12:
            body[8:12] = struct.pack("<i", rng.choice([len(body), -1, 0, 1 << 30, 2000]))
        if rng.random() < 0.3 and len(body) >= 24:
            body[16:20] = struct.pack("<I", rng.choice([0, 1, 2, 3, 128, 129, 0xFFFFFFFF]))
        if service == 1 and function in (1, 2):
            continue  # legitimate orders to end
        group = rng.choice([b"a", b"a", b"sync", b"unknown"])
        if group == b"sync" and len(body) >= 4:
            body[0:4] = struct.pack("<i", rng.choice([0, 1, 2, -1]))
        net.nodes[rng.choice([1, 2, 3])].stack.submit(group, [bytes(body)])
        if i % 50 == 0:
            for node in net.nodes.values():
                node.carry_out()
            net.run(0.02)
    until(net, net.drained)
    net.run(1)
    for node in net.nodes.values():
        node.executive.sync.deliver(2, SERVICE_BUILD.pack(SERVICE_BUILD.unpack(rng.randbytes(552))))
        node.executive.sync.deliver(2, BARRIER.pack(BARRIER.unpack(rng.randbytes(32))))
        assert len(node.ballot.roll) <= 384
        assert len(node.log) < 2000
    net.kill(3)
    net.settle([1, 2])
    a.mcast(b"still here")
    until(net, lambda: a.messages[-1:] == b.messages[-1:] == [b"still here"])


@pytest.mark.parametrize("voting", [1, 2, 3])
def test_services_that_some_nodes_lack(voting: int) -> None:
    """One side lists (0,2,3), the other (0,2,3,5): both get through, and votes count where they can."""
    net = Cluster([1, 2, 3], special={voting: VOTING})
    net.start()
    net.settle([1, 2, 3])
    a, b = joined(net, (1, 10), (3, 30))
    a.mcast(b"mixed")
    until(net, lambda: b.messages == [b"mixed"])
    assert net.nodes[voting].ballot.quorum == 2
    assert not net.nodes[voting].quorum.quorate  # nobody else tells it of votes
    assert all(net.nodes[n].quorum.quorate for n in (1, 2, 3) if n != voting)
    net.kill(2)
    net.settle([1, 3])
    until(net, lambda: a.members == b.members == [(1, 10), (3, 30)])


def test_quorum_follows_partitions() -> None:
    net = started([1, 2, 3], options=VOTING)
    assert all(node.quorum.quorate for node in net.nodes.values())
    net.partition([1, 2], [3])
    net.settle([1, 2])
    net.settle([3])
    assert [net.nodes[n].quorum.quorate for n in (1, 2, 3)] == [True, True, False]
    assert any("non-primary component" in line for line in net.nodes[3].log)
    net.heal()
    net.settle([1, 2, 3])
    assert all(node.quorum.quorate for node in net.nodes.values())
    assert {node.ballot.quorum for node in net.nodes.values()} == {2}


def test_wait_for_all() -> None:
    options = ExecutiveOptions(
        votequorum=True, quorum=QuorumOptions(expected_votes=2, two_node=True, wait_for_all=True)
    )
    net = Cluster([1, 2], options=options)
    net.nodes[2].alive = False
    net.nodes[1].start()
    net.settle([1])
    assert not net.nodes[1].quorum.quorate
    assert any("Waiting for all cluster members" in line for line in net.nodes[1].log)
    net.nodes[2].restart()
    net.settle([1, 2])
    net.run(1)
    assert all(node.quorum.quorate for node in net.nodes.values())
    net.kill(1)
    net.settle([2])
    assert net.nodes[2].quorum.quorate  # two_node: the survivor goes on
    net.nodes[2].alive = False
    net.nodes[2].restart()
    net.settle([2])
    assert not net.nodes[2].quorum.quorate  # but nobody starts alone


def test_node_with_an_old_configuration_ends() -> None:
    net = Cluster([1, 2], options=ExecutiveOptions(config_version=7))
    net.nodes[2].options = ExecutiveOptions(config_version=6)
    net.nodes[2]._boot()
    net.start()
    net.settle([1, 2])
    net.nodes[1].carry_out()
    assert net.nodes[1].shutdown is None
    assert net.nodes[2].shutdown is not None
    assert "version" in net.nodes[2].shutdown.reason


# --------------------------------------------------------------------------- random faults


class Chaos:
    """A cluster under load to which things happen; every program is in one group."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodeids = list(range(1, self.rng.randint(3, 5) + 1))
        self.net = Cluster(self.nodeids, seed=seed)
        self.net.start()
        self.counter = 0
        self.pids = 0

    def populate(self) -> None:
        """Programs come, go, and die."""
        for node in self.net.nodes.values():
            if not node.alive or node.frozen:
                continue
            if node.executive.ready and len(node.programs) < 2:
                self.pids += 1
                program = node.connect(self.pids)
                program.send(join_request(b"g", self.pids))
            if node.programs and self.rng.random() < 0.15:
                self.rng.choice(list(node.programs.values())).exit()

    def talk(self) -> None:
        for node in self.net.nodes.values():
            for program in list(node.programs.values()):
                for _ in range(self.rng.randint(0, 8)):
                    self.counter += 1
                    size = self.rng.choice([0, 5, 200, 1395, 8000])
                    guarantee = Guarantee.SAFE if self.rng.random() < 0.1 else Guarantee.AGREED
                    program.mcast(b"%d:%d:" % (program.pid, self.counter) + bytes(size), guarantee)

    def hurt(self) -> None:
        net, rng = self.net, self.rng
        victim = rng.choice(self.nodeids)
        node = net.nodes[victim]
        match rng.randrange(6):
            case 0 if node.alive:
                net.kill(victim)
            case 1 if not node.alive:
                node.restart()
            case 2:
                cut = rng.randint(1, len(self.nodeids) - 1)
                shuffled = rng.sample(self.nodeids, len(self.nodeids))
                net.partition(shuffled[:cut], shuffled[cut:])
            case 3:
                net.heal()
            case 4:
                net.loss = rng.choice([0, 0.01, 0.1])
            case 5 if node.alive:
                if node.frozen:
                    net.thaw(victim)
                else:
                    net.freeze(victim)

    def mend(self) -> None:
        self.net.loss = 0
        self.net.heal()
        for nodeid, node in self.net.nodes.items():
            if node.frozen and node.alive:
                self.net.thaw(nodeid)
            elif not node.alive:
                node.restart()
        self.net.settle(self.nodeids, within=60)
        until(self.net, self.net.drained, within=60)
        self.net.run(1)
        self.net.settle(self.nodeids, within=60)

    def histories(self) -> dict[object, list[tuple[object, ...]]]:
        nodes: list[ExecutiveNode] = list(self.net.nodes.values())
        return {
            (node.nodeid, program.id): program.history
            for node in nodes
            for program in [*node.past, *node.programs.values()]
        }


@pytest.mark.parametrize("seed", range(20))
def test_random_faults(seed: int) -> None:
    chaos = Chaos(seed)
    net = chaos.net
    for _ in range(10):
        chaos.populate()
        chaos.talk()
        chaos.hurt()
        net.run(chaos.rng.uniform(0.01, 2.5))
    chaos.mend()
    tables = {tuple(node.cpg.processes) for node in net.nodes.values()}
    assert len(tables) == 1
    members = [(p.nodeid, p.pid) for p in tables.pop()]
    living = [program for node in net.nodes.values() for program in node.programs.values()]
    assert members == sorted((program.node.nodeid, program.pid) for program in living)
    for program in living:
        assert program.members == members
        assert not program.closed
    for name, history in chaos.histories().items():
        messages = [event[2] for event in history if event[0] == "D"]
        assert len(messages) == len(set(messages)), f"{name} got a message twice"
    # One more configuration that those who stay go through from its beginning to its end.
    *rest, last = chaos.nodeids
    net.leave(last)
    net.settle(rest)
    chaos.talk()
    until(net, net.drained)
    net.run(1)
    net.nodes[last].restart()
    net.settle(chaos.nodeids)
    together = len([p for p in living if p.node.nodeid != last])
    assert check_groups(chaos.histories()) >= together * (together - 1) // 2
