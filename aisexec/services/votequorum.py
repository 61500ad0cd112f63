"""votequorum's core: every node tells its votes, all nodes count the same (votequorum(5); spec 13.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import ClassVar

from aisexec.messages import (
    EXEC_HEADER,
    VOTE_NODE_INFO,
    VOTE_RECONFIGURE,
    VoteNodeInfo,
)
from aisexec.services.base import AnomalyError, Context, Message, Service
from aisexec.services.quorum import Quorum
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import LOG_DEBUG, LOG_INFO, LOG_NOTICE, RingId

NODEINFO, RECONFIGURE, QDEVICE_REG, QDEVICE_RECONFIGURE = range(4)
PARAM_EXPECTED_VOTES, PARAM_NODE_VOTES, PARAM_CANCEL_WAIT_FOR_ALL = 1, 2, 3
VOTES_MAX = 0xFFFFFFFF
"""What a message's field holds; a sum of forged votes is more."""
QDEVICE = 0
"""The quorum device goes by this nodeid."""


class Flag(IntFlag):
    """Flags of a nodeinfo message."""

    QUORATE = 1
    LEAVING = 2
    WAIT_FOR_ALL = 4
    FIRST = 8
    QDEVICE_REGISTERED = 16
    QDEVICE_ALIVE = 32
    QDEVICE_CAST_VOTE = 64
    QDEVICE_MASTER_WINS = 128


NO_FLAGS = Flag(0)


class NodeState(Enum):
    """What we think of a node."""

    MEMBER = 1
    DEAD = 2
    LEAVING = 3


@dataclass(slots=True)
class Voter:
    """A node that votes."""

    nodeid: int
    votes: int
    expected_votes: int
    state: NodeState = NodeState.MEMBER
    flags: Flag = NO_FLAGS


class VoteQuorum(Service):
    """Counts votes and tells the quorum service; not served to clients yet."""

    id: ClassVar[int] = 5
    name: ClassVar[str] = "corosync vote quorum service v1.0"
    subsystem: ClassVar[str] = "VOTEQ"
    syncs: ClassVar[bool] = True

    def __init__(
        self,
        context: Context,
        quorum: Quorum,
        *,
        votes: int,
        expected_votes: int,
        two_node: bool,
        wait_for_all: bool,
    ) -> None:
        super().__init__(context)
        self._quorum_service = quorum
        self._two_node = two_node
        self._wait_for_all = wait_for_all
        flags = Flag.FIRST | (Flag.WAIT_FOR_ALL if wait_for_all else NO_FLAGS)
        self.us = Voter(context.nodeid, votes, expected_votes, flags=flags)
        self.nodes: dict[int, Voter] = {context.nodeid: self.us}
        self.quorum = 0
        self.quorate = False
        self._qdevice_votes = 0
        self._members: tuple[int, ...] = ()
        self._syncing = False
        self._sent = 0

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {
            NODEINFO: Message(self._nodeinfo, VOTE_NODE_INFO.size),
            RECONFIGURE: Message(self._reconfigure, VOTE_RECONFIGURE.size),
            QDEVICE_REG: Message(self._qdevice, EXEC_HEADER.size),
            QDEVICE_RECONFIGURE: Message(self._qdevice, EXEC_HEADER.size),
        }

    def start(self) -> None:
        """Our first word on the ring."""
        self._recalculate(allow_decrease=False)
        self._send_nodeinfo(self.us.nodeid)

    # Synchronisation.

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """Those who are not in the new ring are dead until they tell otherwise."""
        self._syncing = True
        self._sent = 0
        if len(members) > 1:
            self.us.flags &= ~Flag.FIRST
        for nodeid in self._members:
            if nodeid not in members and nodeid in self.nodes:
                self.nodes[nodeid].state = NodeState.DEAD
        self._members = tuple(members)

    def sync_process(self) -> bool:
        """Our votes, then those of the quorum device, of which this version has none."""
        for done, nodeid in enumerate((self.us.nodeid, QDEVICE)):
            if self._sent == done:
                if not self._send_nodeinfo(nodeid):
                    return False
                self._sent += 1
        return True

    def sync_activate(self) -> None:
        """All votes are in."""
        self._recalculate(allow_decrease=False)
        self._syncing = False
        self._quorum_service.set_quorum(self._members, self.quorate)

    # Messages.

    def _send_nodeinfo(self, nodeid: int) -> bool:
        header = self.header(NODEINFO, VOTE_NODE_INFO.size)
        if nodeid == QDEVICE:
            info = VoteNodeInfo(header, QDEVICE, self._qdevice_votes, 0, 0)
        else:
            us = self.us
            info = VoteNodeInfo(header, us.nodeid, us.votes, us.expected_votes, us.flags)
        return self.context.multicast([VOTE_NODE_INFO.pack(info)])

    def _nodeinfo(self, sender: int, message: bytes) -> None:
        info = VOTE_NODE_INFO.unpack(message)
        if info.nodeid == QDEVICE:
            self._qdevice_nodeinfo(sender, info)
            return
        is_new = info.nodeid not in self.nodes
        if is_new and len(self.nodes) >= PROCESSOR_COUNT_MAX:
            raise AnomalyError(f"about node {info.nodeid}, one more than {PROCESSOR_COUNT_MAX}")
        node = self.nodes.setdefault(info.nodeid, Voter(info.nodeid, 0, 0, NodeState.DEAD))
        before = (node.votes, node.expected_votes, node.flags, node.state)
        allow_decrease = self._take_over(node, info)
        leaving = node.state is NodeState.LEAVING
        changed = before != (node.votes, node.expected_votes, node.flags, node.state)
        if changed or is_new or node is self.us or info.flags & Flag.FIRST:
            self._recalculate(allow_decrease=allow_decrease or leaving, by_current_nodes=leaving)
        others_done = info.flags & Flag.QUORATE and not info.flags & Flag.WAIT_FOR_ALL
        if self._wait_for_all and others_done:
            self.us.flags &= ~Flag.WAIT_FOR_ALL

    def _take_over(self, node: Voter, info: VoteNodeInfo) -> bool:
        """Believe what a node says of itself; a quorate one also sets our expectations.

        Our own words count like those of others, late as they may be, so that all count the same.
        """
        flags = Flag(info.flags & 0xFF)
        allow_decrease = False
        if node is self.us:  # what we wait for is decided here and now
            flags = flags & ~Flag.WAIT_FOR_ALL | node.flags & Flag.WAIT_FOR_ALL
        node.flags = flags
        node.votes = info.votes
        if not self.quorate and flags & Flag.QUORATE:
            allow_decrease = True
            self.us.expected_votes = info.expected_votes
        node.expected_votes = info.expected_votes if flags & Flag.QUORATE else self.us.expected_votes
        node.state = NodeState.LEAVING if flags & Flag.LEAVING else NodeState.MEMBER
        return allow_decrease

    def _qdevice_nodeinfo(self, sender: int, info: VoteNodeInfo) -> None:
        node = self.nodes.get(sender)
        if not self.quorate and node is not None and node.flags & Flag.QUORATE:
            self._qdevice_votes = info.votes
        else:
            self._qdevice_votes = max(self._qdevice_votes, info.votes)
        self._recalculate(allow_decrease=False)

    def _reconfigure(self, sender: int, message: bytes) -> None:
        order = VOTE_RECONFIGURE.unpack(message)
        if order.param == PARAM_EXPECTED_VOTES and order.value:
            for node in self.nodes.values():
                if node.state is NodeState.MEMBER:
                    node.expected_votes = order.value
            self._recalculate(allow_decrease=True)
        elif order.param == PARAM_NODE_VOTES and order.nodeid in self.nodes:
            self.nodes[order.nodeid].votes = order.value
            self._recalculate(allow_decrease=True)
        elif order.param == PARAM_CANCEL_WAIT_FOR_ALL:
            self.us.flags &= ~Flag.WAIT_FOR_ALL
            self.context.log(LOG_INFO, f"wait_for_all_status reset by user on node {order.nodeid}.")
            self._recalculate(allow_decrease=False)

    def _qdevice(self, sender: int, message: bytes) -> None:
        self.context.log(LOG_DEBUG, f"quorum device message of node {sender} ignored")

    # Counting.

    def _recalculate(self, *, allow_decrease: bool, by_current_nodes: bool = False) -> None:
        members = [n for n in self.nodes.values() if n.state is NodeState.MEMBER]
        total = sum(node.votes for node in members)
        self.us.expected_votes = max(self.us.expected_votes, min(total + self._qdevice_votes, VOTES_MAX))
        if self.us.flags & Flag.QDEVICE_CAST_VOTE:
            total += self._qdevice_votes
        current = len(members) if by_current_nodes else 0
        highest = current or max((node.expected_votes for node in members), default=0)
        quorum = max((highest + 2) // 2, (total + 2) // 2)
        if not allow_decrease:
            quorum = max(self.quorum, quorum)
        if self._two_node and len(members) <= 2:
            quorum = 1
        self.quorum = quorum
        if current:
            for node in members:
                node.expected_votes = current
        self._judge(total)

    def _judge(self, total: int) -> None:
        if self.us.flags & Flag.WAIT_FOR_ALL:
            if total != self.us.expected_votes:
                self.context.log(
                    LOG_NOTICE,
                    "Waiting for all cluster members. Current votes:"
                    f" {total} expected_votes: {self.us.expected_votes}",
                )
                return
            self.us.flags &= ~Flag.WAIT_FOR_ALL
        was, self.quorate = self.quorate, total >= self.quorum
        if self.quorate:
            self.us.flags |= Flag.QUORATE
        else:
            self.us.flags &= ~Flag.QUORATE
            if self._wait_for_all:
                self.us.flags |= Flag.WAIT_FOR_ALL
        if was != self.quorate and not self._syncing:
            self._quorum_service.set_quorum(self._members, self.quorate)
