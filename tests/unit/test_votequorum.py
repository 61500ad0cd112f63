"""votequorum counts as corosync 3.1.7 does (votequorum(5), exec/votequorum.c)."""

from __future__ import annotations

from typing import Any

import pytest

from aisexec.executive import Executive, ExecutiveOptions
from aisexec.limits import LOG_INTERVAL
from aisexec.messages import (
    VOTE_NODE_INFO,
    VOTE_RECONFIGURE,
    ExecHeader,
    VoteNodeInfo,
    VoteReconfigure,
    exec_id,
)
from aisexec.services.base import AnomalyError
from aisexec.services.quorum import Quorum
from aisexec.services.votequorum import (
    NODEINFO,
    PARAM_CANCEL_WAIT_FOR_ALL,
    PARAM_EXPECTED_VOTES,
    PARAM_NODE_VOTES,
    RECONFIGURE,
    VoteQuorum,
)
from aisexec.services.votequorum_state import Flag, NodeState, QuorumOptions
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import RingId
from tests.sim.executives import Memory
from tests.sim.network import FAST
from tests.unit.service_support import StageContext


class Node:
    """Node 1 with votequorum, in rings that change at will."""

    def __init__(self, expected: int, **options: Any) -> None:
        self.context = StageContext(1)
        self.quorum = Quorum(self.context, provider=True)
        self.service = VoteQuorum(
            self.context, self.quorum, QuorumOptions(expected_votes=expected, **options)
        )
        self.ballot = self.service.ballot
        self.seq = 1
        self.members: tuple[int, ...] = ()
        self.service.start()

    def ring(self, *members: int, flags: int = 0, expected: int | None = None, votes: int = 1) -> None:
        """A synchronised ring; the others announce these flags and votes."""
        self.seq += 4
        self.service.sync_init([n for n in self.members if n in members], members, RingId(1, self.seq))
        self.members = members
        self.context.sent.clear()
        assert self.service.sync_process()
        for message in self.context.sent:
            self.deliver(1, NODEINFO, message)
        for n in members:
            if n != 1:
                self.info(n, flags=flags, expected=expected, votes=votes)
                self.info(0, sender=n, votes=0)
        self.service.sync_activate()

    def info(
        self,
        nodeid: int,
        *,
        flags: int = 0,
        expected: int | None = None,
        votes: int = 1,
        sender: int | None = None,
    ) -> None:
        header = ExecHeader(exec_id(5, NODEINFO), VOTE_NODE_INFO.size)
        wanted = self.ballot.us.expected_votes if expected is None else expected
        message = VOTE_NODE_INFO.pack(VoteNodeInfo(header, nodeid, votes, wanted, flags))
        self.deliver(nodeid if sender is None else sender, NODEINFO, message)

    def reconfigure(self, param: int, value: int, nodeid: int = 1) -> None:
        header = ExecHeader(exec_id(5, RECONFIGURE), VOTE_RECONFIGURE.size)
        self.deliver(2, RECONFIGURE, VOTE_RECONFIGURE.pack(VoteReconfigure(header, nodeid, value, param)))

    def deliver(self, sender: int, function: int, message: bytes) -> None:
        self.service.messages()[function].handler(sender, message)

    @property
    def state(self) -> tuple[int, bool]:
        assert self.ballot.quorate == self.quorum.quorate
        return self.ballot.quorum, self.ballot.quorate

    def announced(self) -> Flag:
        self.context.sent.clear()
        self.service.send_nodeinfo(1)
        return Flag(VOTE_NODE_INFO.unpack(self.context.sent[-1]).flags)


@pytest.mark.parametrize(
    ("expected", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4), (16, 9)]
)
def test_quorum_is_more_than_half_of_the_expected_votes(expected: int, quorum: int) -> None:
    node = Node(expected)
    for present in range(1, expected + 1):
        node.ring(*range(1, present + 1))
        assert node.state == (quorum, present >= quorum)
    for present in range(expected - 1, 0, -1):
        node.ring(*range(1, present + 1))
        assert node.state == (quorum, present >= quorum)


def test_more_votes_than_expected_raise_the_expectation_for_good() -> None:
    node = Node(3)
    node.ring(1, 2, 3, 4, 5)
    assert node.ballot.us.expected_votes == 5
    assert node.state == (3, True)
    node.ring(1, 2)
    assert node.state == (3, False)


def test_votes_weigh() -> None:
    node = Node(5, votes=3)
    node.ring(1)
    assert node.state == (3, True)
    node.ring(1, 2, 3, votes=1)
    assert node.state == (3, True)


def test_two_nodes() -> None:
    node = Node(2, two_node=True)
    node.ring(1, 2)
    assert node.state == (1, True)
    node.ring(1)
    assert node.state == (1, True)
    node.ring(1, 2, 3)  # a third one: no shortcut any more
    assert node.state == (2, True)


def test_wait_for_all() -> None:
    node = Node(3, wait_for_all=True)
    assert node.announced() == Flag.FIRST | Flag.WAIT_FOR_ALL
    node.ring(1, 2)
    assert not node.quorum.quorate
    assert any("Current votes: 2 expected_votes: 3" in line for line in node.context.lines)
    assert node.announced() == Flag.WAIT_FOR_ALL
    node.ring(1, 2, 3)
    assert node.state == (2, True)
    assert node.announced() == Flag.QUORATE
    node.ring(1, 2)
    assert node.state == (2, True)
    node.ring(1)
    assert node.announced() == Flag.WAIT_FOR_ALL  # lost quorum: all are waited for again
    node.ring(1, 2)
    assert not node.quorum.quorate


def test_wait_for_all_ends_with_a_quorate_partition_that_has_seen_all() -> None:
    node = Node(3, wait_for_all=True)
    node.ring(1, 2, flags=Flag.QUORATE, expected=3)
    assert node.state == (2, True)


def test_operator_ends_waiting() -> None:
    node = Node(3, wait_for_all=True)
    node.ring(1, 2)
    node.reconfigure(PARAM_CANCEL_WAIT_FOR_ALL, 0)
    assert node.state == (2, True)
    assert any("reset by user" in line for line in node.context.lines)


def test_leaving_node_lowers_quorum_by_count() -> None:
    node = Node(4)
    node.ring(1, 2, 3, 4)
    assert node.state == (3, True)
    node.info(4, flags=Flag.LEAVING | Flag.QUORATE)
    assert node.state == (2, True)
    assert node.ballot.us.expected_votes == 3
    node.info(3, flags=Flag.LEAVING | Flag.QUORATE)
    assert node.state == (2, True)
    node.ring(1, 2)
    assert node.state == (2, True)


def test_quorate_node_sets_the_expectation_of_one_that_is_not() -> None:
    node = Node(7)
    node.ring(1, 2, flags=Flag.QUORATE, expected=3)
    assert node.state == (2, True)
    assert node.ballot.us.expected_votes == 3
    node.ring(1, 2, flags=Flag.QUORATE, expected=9)  # both are: the highest counts
    assert node.state == (5, False)


def test_reconfiguration_at_run_time() -> None:
    node = Node(3)
    node.ring(1, 2, 3)
    node.reconfigure(PARAM_EXPECTED_VOTES, 5)
    assert node.state == (3, True)
    node.reconfigure(PARAM_EXPECTED_VOTES, 0)  # means nothing
    assert node.ballot.us.expected_votes == 5
    node.reconfigure(PARAM_EXPECTED_VOTES, 3)
    assert node.state == (2, True)
    node.reconfigure(PARAM_NODE_VOTES, 3, nodeid=2)
    assert node.ballot.us.expected_votes == 5
    assert node.state == (3, True)
    node.reconfigure(PARAM_NODE_VOTES, 3, nodeid=99)
    node.reconfigure(77, 3)
    assert node.state == (3, True)


def test_flags_tell_first_and_quorate() -> None:
    node = Node(1)
    assert VOTE_NODE_INFO.unpack(node.context.sent[0]).flags == Flag.FIRST | Flag.QUORATE
    node = Node(3)
    assert VOTE_NODE_INFO.unpack(node.context.sent[0]).flags == Flag.FIRST
    node.ring(1)
    assert node.announced() == Flag.FIRST
    node.ring(1, 2)
    assert node.announced() == Flag.QUORATE
    node.ring(1)
    assert node.announced() == Flag(0)


def test_forged_votes_do_not_break_anything() -> None:
    node = Node(3)
    node.ring(1, 2, 3)
    for nodeid in range(4, 385):
        node.info(nodeid, votes=0xFFFFFFFF, expected=0xFFFFFFFF, flags=0xFFFFFFFF)
    with pytest.raises(AnomalyError):
        node.info(1000)
    assert len(node.ballot.roll) == 384
    node.ring(1, 2)
    assert isinstance(node.announced(), Flag)


def test_a_node_speaks_for_itself_only() -> None:
    node = Node(3)
    node.ring(1, 2)
    for nodeid in (1, 3):
        with pytest.raises(AnomalyError):
            node.info(nodeid, sender=2, votes=9)
    assert {voter.nodeid: voter.votes for voter in node.ballot.roll.members} == {1: 1, 2: 1}


def test_synchronisation_goes_on_when_the_queue_was_full() -> None:
    node = Node(3)
    node.service.sync_init((), (1, 2), RingId(1, 9))
    node.context.sent.clear()
    node.context.room = 0
    assert not node.service.sync_process()
    node.context.room = 1
    assert not node.service.sync_process()
    node.context.room = 5
    assert node.service.sync_process()
    assert [VOTE_NODE_INFO.unpack(m).nodeid for m in node.context.sent] == [1, 0]


def test_executive_takes_votequorum_along_when_asked() -> None:

    assert 5 not in Executive(FAST, 1, 0, ExecutiveOptions(), Memory()).services
    assert 5 in Executive(FAST, 1, 0, ExecutiveOptions(votequorum=True), Memory()).services


def test_a_full_roll_takes_a_new_node_for_a_dead_one() -> None:
    node = Node(3)
    node.context.options = ExecutiveOptions(addresses={2: "10.0.0.2"})
    node.ring(1, 2)
    for nodeid in range(3, PROCESSOR_COUNT_MAX + 1):
        node.info(nodeid)
    with pytest.raises(AnomalyError):  # all of them are alive
        node.info(1000)
    for voter in node.ballot.roll:
        voter.state = NodeState.MEMBER if voter.nodeid in (1, 1000) else NodeState.DEAD
    node.ballot.members = (1, 1000)
    node.info(1000)
    assert len(node.ballot.roll) == PROCESSOR_COUNT_MAX
    assert node.ballot.roll.get(1000) is not None
    assert node.ballot.roll.get(3) is None  # node 2 is configured
    assert node.ballot.roll.get(2) is not None


def test_waiting_for_all_is_told_once_for_each_count() -> None:
    node = Node(3, wait_for_all=True)
    node.ring(1, 2)
    node.context.lines.clear()
    node.context.now += LOG_INTERVAL
    for turn in range(200):
        node.info(2, votes=turn % 2 + 1, expected=3 + turn)
    assert len([line for line in node.context.lines if "Waiting for all" in line]) < 20
