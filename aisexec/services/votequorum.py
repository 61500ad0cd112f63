"""votequorum: every node tells its votes, all nodes count the same (votequorum(5); spec totem.md 13.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

from aisexec.icmap import Change, u8
from aisexec.limits import LOG_INTERVAL, VOTES_UNSENT_MAX
from aisexec.messages import (
    VOTE_NODE_INFO,
    VOTE_QDEVICE_RECONFIGURE,
    VOTE_QDEVICE_REG,
    VOTE_RECONFIGURE,
    VoteNodeInfo,
    VoteQdeviceReconfigure,
    VoteQdeviceReg,
    VoteReconfigure,
)
from aisexec.ratelimit import RateLimit
from aisexec.services.base import AnomalyError, Client, Context, Message, Request, Service
from aisexec.services.options import ExecutiveOptions
from aisexec.services.quorum import Quorum
from aisexec.services.votequorum_clients import Audience, Clients
from aisexec.services.votequorum_config import LiveConfiguration
from aisexec.services.votequorum_counting import Counting
from aisexec.services.votequorum_device import OPERATION_REGISTER, Device
from aisexec.services.votequorum_lms import LastManStanding
from aisexec.services.votequorum_state import QDEVICE, Ballot, Flag, QuorumOptions, Voter
from aisexec.totem.types import LOG_ERR, LOG_INFO, RingId
from ipc.votequorum_layouts import SERVICE_NAME, NodeState

NODEINFO, RECONFIGURE, QDEVICE_REG, QDEVICE_RECONFIGURE = range(4)
PARAM_EXPECTED_VOTES, PARAM_NODE_VOTES, PARAM_CANCEL_WAIT_FOR_ALL = 1, 2, 3
CANCEL_KEY = "quorum.cancel_wait_for_all"


class VoteQuorum(Service):
    """Counts votes and tells the quorum service."""

    id: ClassVar[int] = 5
    name: ClassVar[str] = "corosync vote quorum service v1.0"
    subsystem: ClassVar[str] = "VOTEQ"
    socket: ClassVar[str | None] = SERVICE_NAME
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context, quorum: Quorum, options: QuorumOptions) -> None:
        super().__init__(context)
        self._quorum_service = quorum
        self.ballot = ballot = Ballot(context.nodeid, options)
        self._audience = audience = Audience(context, ballot)
        self._counting = counting = Counting(
            context,
            ballot,
            on_verdict=self._announce,
            on_expected_votes=audience.tell_expected_votes,
        )
        self._device = device = Device(context, ballot, self)
        self._configuration = LiveConfiguration(context, ballot, counting, device)
        self._last_man = LastManStanding(
            context, ballot, lambda: counting.recalculate(allow_decrease=True, by_current_nodes=True)
        )
        self._clients = Clients(context, ballot, counting, audience, self, lambda: device.name)
        self._unsent: deque[bytes] = deque()
        self._untold: set[int] = set()
        """Of ourselves and the quorum device: whose votes found no place there, and are to be told yet."""
        self._complaints = RateLimit(LOG_INTERVAL)
        self._said = False
        """Our part of the synchronisation."""

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        return {**self._clients.requests(), **self._device.requests()}

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {
            NODEINFO: Message(self._nodeinfo, VOTE_NODE_INFO.size),
            RECONFIGURE: Message(self._reconfigure, VOTE_RECONFIGURE.size),
            QDEVICE_REG: Message(self._device.registration, VOTE_QDEVICE_REG.size),
            QDEVICE_RECONFIGURE: Message(self._device.renaming, VOTE_QDEVICE_RECONFIGURE.size),
        }

    def start(self) -> None:
        """Our first word on the ring."""
        self._configuration.start()
        self._counting.recalculate(allow_decrease=False)
        self.context.map.track("quorum.", self._key_changed, prefix=True)
        self.context.map.track("nodelist.", self._key_changed, prefix=True)
        self.send_nodeinfo(self.context.nodeid)

    def leaving(self) -> bool:
        """With allow_downscale the others need not count on us any more."""
        if self.ballot.allow_downscale:
            self.ballot.us.flags |= Flag.LEAVING
            self.send_nodeinfo(self.context.nodeid)
        return self.ballot.allow_downscale

    def disconnected(self, client: Client) -> None:
        """Its track ends; a quorum device is given up only when it does not poll in time."""
        self._audience.remove(client.id)

    # Configuration at run time.

    def reconfigured(self, old: ExecutiveOptions, new: ExecutiveOptions) -> None:
        """After a reload."""
        self._refresh()

    def _key_changed(self, change: Change) -> None:
        keys = self.context.map
        if keys.number("config.totemconfig_reload_in_progress"):
            return  # all at once when it is over
        if change.key != CANCEL_KEY:
            self._refresh()
        elif keys.number(CANCEL_KEY) >= 1:
            keys.set(CANCEL_KEY, u8(0))
            self._send_reconfigure(PARAM_CANCEL_WAIT_FOR_ALL, self.context.nodeid, 0)

    def _refresh(self) -> None:
        us = self.ballot.us
        before = (us.votes, us.expected_votes)
        self._configuration.reread()
        self.send_nodeinfo(us.nodeid)
        self.send_nodeinfo(QDEVICE)
        if us.votes != before[0]:
            self.order_votes(us.nodeid, us.votes)
        if us.expected_votes != before[1]:
            self.order_expected_votes(us.expected_votes)

    # Synchronisation.

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """Those who are not in the new ring are dead until they tell otherwise."""
        ballot = self.ballot
        ballot.syncing = True
        self._said = False
        if len(members) > 1:
            ballot.us.flags &= ~Flag.FIRST
        gone = [nodeid for nodeid in ballot.members if nodeid not in members]
        for nodeid in gone:
            node = ballot.roll.get(nodeid)
            if node is not None:
                node.state = NodeState.DEAD
        self._last_man.ring_changed(len(members), bool(gone))
        ballot.previous_members, ballot.members = ballot.members, tuple(members)
        ballot.ring_id = ring_id
        self._device.ring_changed()

    def sync_process(self) -> bool:
        """Our votes and those of the quorum device; then wait for the device's word."""
        if not self._said:
            self._said = True
            self.send_nodeinfo(self.context.nodeid)
            self.send_nodeinfo(QDEVICE)
            if self._device.name:
                self.send_device_registration(OPERATION_REGISTER, self._device.name)
            self._audience.tell_members()
        self._catch_up()
        return not self.wants_token and not self._device.holds_up_sync

    def sync_activate(self) -> None:
        """All votes are in."""
        self._counting.recalculate(allow_decrease=False)
        self._announce()
        self.ballot.syncing = False

    def _announce(self) -> None:
        ballot = self.ballot
        self._quorum_service.set_quorum(ballot.members, ballot.quorate, ballot.ring_id)
        self._audience.tell_quorum()

    # What we send.

    def has_room(self, count: int) -> bool:
        """So many messages would not be dropped now."""
        return len(self._unsent) + count <= VOTES_UNSENT_MAX

    def send_nodeinfo(self, nodeid: int) -> None:
        """Tell all nodes our votes, or those of the quorum device."""
        node = self.ballot.us if nodeid == self.context.nodeid else self.ballot.roll.device
        header = self.header(NODEINFO, VOTE_NODE_INFO.size)
        info = VoteNodeInfo(header, nodeid, node.votes, node.expected_votes, node.flags)
        if self._send(VOTE_NODE_INFO.pack(info)):
            self._untold.discard(nodeid)
        else:
            self._untold.add(nodeid)

    def send_device_registration(self, operation: int, name: bytes) -> bool:
        """Tell all nodes the name of the quorum device; False: there is no room for the message."""
        header = self.header(QDEVICE_REG, VOTE_QDEVICE_REG.size)
        return self._send(VOTE_QDEVICE_REG.pack(VoteQdeviceReg(header, operation, name)))

    def send_device_rename(self, old: bytes, new: bytes) -> bool:
        """Tell all nodes its new name; False: there is no room for the message."""
        header = self.header(QDEVICE_RECONFIGURE, VOTE_QDEVICE_RECONFIGURE.size)
        return self._send(VOTE_QDEVICE_RECONFIGURE.pack(VoteQdeviceReconfigure(header, old, new)))

    def order_expected_votes(self, votes: int) -> bool:
        """All nodes expect so many from now on; False: there is no room for the message."""
        return self._send_reconfigure(PARAM_EXPECTED_VOTES, self.context.nodeid, votes)

    def order_votes(self, nodeid: int, votes: int) -> bool:
        """A node has so many from now on; False: there is no room for the message."""
        return self._send_reconfigure(PARAM_NODE_VOTES, nodeid, votes)

    def _send_reconfigure(self, param: int, nodeid: int, value: int) -> bool:
        header = self.header(RECONFIGURE, VOTE_RECONFIGURE.size)
        return self._send(VOTE_RECONFIGURE.pack(VoteReconfigure(header, nodeid, value, param)))

    def _send(self, message: bytes) -> bool:
        """In order; what the send queue has no room for now goes out later."""
        if len(self._unsent) >= VOTES_UNSENT_MAX:
            if self._complaints.allow("unsent", self.context.now) is not None:
                self.context.log(LOG_ERR, f"Message dropped: {VOTES_UNSENT_MAX} wait for the token already")
            return False
        self._unsent.append(message)
        self._send_unsent()
        if self._unsent:
            self.context.want_token()
        return True

    def _send_unsent(self) -> None:
        while self._unsent and self.context.multicast([self._unsent[0]]):
            self._unsent.popleft()

    def _catch_up(self) -> None:
        self._send_unsent()
        while self._untold and not self._unsent:
            self.send_nodeinfo(self._untold.pop())

    @property
    def wants_token(self) -> bool:
        """Messages wait for room in the send queue."""
        return bool(self._unsent or self._untold)

    def token_passed(self) -> None:
        """There may be room."""
        self._catch_up()

    # What we receive, our own words included: all nodes count the same in the same order.

    def _nodeinfo(self, sender: int, message: bytes) -> None:
        info = VOTE_NODE_INFO.unpack(message)
        if info.nodeid == QDEVICE:
            self._device_info(sender, info)
            return
        if info.nodeid != sender:  # corosync would believe it, but never says it
            raise AnomalyError(f"votes of node {info.nodeid}")
        ballot = self.ballot
        node = ballot.roll.get(info.nodeid)
        is_new = node is None
        if node is None:
            configured = self.context.options.addresses
            if ballot.roll.is_full and not ballot.roll.make_room(ballot.members, configured):
                raise AnomalyError(f"about node {info.nodeid}, one more than {len(ballot.roll)}")
            node = ballot.roll.add(info.nodeid)
        before = (node.votes, node.expected_votes, node.flags, node.state)
        allow_decrease = self._take_over(node, info)
        self._last_man.check(node)
        changed = before != (node.votes, node.expected_votes, node.flags, node.state)
        if changed or is_new or node is ballot.us or node.flags & Flag.FIRST:
            leaving = node.state is NodeState.LEAVING
            self._counting.recalculate(allow_decrease=allow_decrease, by_current_nodes=leaving)
        if ballot.wait_for_all and node.flags & (Flag.QUORATE | Flag.WAIT_FOR_ALL) == Flag.QUORATE:
            self._counting.wait(False)

    def _take_over(self, node: Voter, info: VoteNodeInfo) -> bool:
        """Believe what a node says of itself; may the votes needed go down for it?

        One that has quorum knows better than we how many votes to expect, as long as we have none.
        """
        ballot = self.ballot
        node.flags = Flag(info.flags & 0xFF)
        node.votes = info.votes
        leaving = bool(node.flags & Flag.LEAVING)
        node.state = NodeState.LEAVING if leaving else NodeState.MEMBER
        knows_better = not ballot.quorate and bool(node.flags & Flag.QUORATE)
        if knows_better:
            ballot.us.expected_votes = info.expected_votes
        if node.flags & Flag.QUORATE or ballot.tracking:
            node.expected_votes = info.expected_votes
        else:
            node.expected_votes = ballot.us.expected_votes
        return leaving or knows_better

    def _device_info(self, sender: int, info: VoteNodeInfo) -> None:
        node, device = self.ballot.roll.get(sender), self.ballot.roll.device
        if node is None:
            raise AnomalyError("votes of a quorum device before those of the node")
        before = device.votes
        if not self.ballot.quorate and node.flags & Flag.QUORATE:
            device.votes = info.votes
        else:
            device.votes = max(device.votes, info.votes)
        if device.votes != before:
            self._counting.recalculate(allow_decrease=False)

    def _reconfigure(self, sender: int, message: bytes) -> None:
        order = VOTE_RECONFIGURE.unpack(message)
        if order.param == PARAM_EXPECTED_VOTES:
            self._expect(order.value)
        elif order.param == PARAM_NODE_VOTES:
            node = self.ballot.roll.get(order.nodeid)
            if node is not None:
                node.votes = order.value
                self._counting.recalculate(allow_decrease=True)
        elif order.param == PARAM_CANCEL_WAIT_FOR_ALL:
            self._counting.wait(False)
            if self._complaints.allow(("reset", sender), self.context.now) is not None:
                self.context.log(LOG_INFO, f"wait_for_all_status reset by user on node {order.nodeid}.")
            self._counting.recalculate(allow_decrease=False)

    def _expect(self, votes: int) -> None:
        ballot = self.ballot
        self._counting.expect(votes)
        self._audience.tell_expected_votes()
        self._configuration.set_floor(votes)
        if ballot.tracking:
            ballot.us.expected_votes = max(ballot.us.expected_votes, ballot.tracked_votes)
        self._counting.recalculate(allow_decrease=True)
