"""votequorum's programs: what they may ask and order, and what they are told of changes (spec ipc.md 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from aisexec.services.base import Client, Context, Request
from aisexec.services.votequorum_counting import Counting
from aisexec.services.votequorum_state import VOTES_MAX, Ballot, Flag, TieBreaker, Voter
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER, ResponseHeader
from ipc.quorum_layouts import Track
from ipc.votequorum_layouts import (
    CALLS,
    GETINFO_REQUEST,
    GETINFO_RESPONSE,
    SETEXPECTED_REQUEST,
    SETVOTES_REQUEST,
    TRACKSTART_REQUEST,
    GetinfoResponse,
    InfoFlag,
    NodeEntry,
    VotequorumRequest,
    VotequorumResponse,
    pack_expectedvotes,
    pack_nodelist,
    pack_quorum,
)

DEVICE_INFO = {
    Flag.QDEVICE_REGISTERED: InfoFlag.QDEVICE_REGISTERED,
    Flag.QDEVICE_ALIVE: InfoFlag.QDEVICE_ALIVE,
    Flag.QDEVICE_CAST_VOTE: InfoFlag.QDEVICE_CAST_VOTE,
    Flag.QDEVICE_MASTER_WINS: InfoFlag.QDEVICE_MASTER_WINS,
}


class Orders(Protocol):
    """Changes that the whole cluster makes, ourselves included."""

    def order_expected_votes(self, votes: int) -> bool: ...
    def order_votes(self, nodeid: int, votes: int) -> bool: ...


class Audience:
    """The programs that track changes, and the events they get."""

    def __init__(self, context: Context, ballot: Ballot) -> None:
        self._context = context
        self._ballot = ballot
        self._contexts: dict[int, int] = {}
        """The number that each program wants with its events, youngest program first."""

    def __contains__(self, client: int) -> bool:
        return client in self._contexts

    def add(self, client: int, context: int) -> None:
        """From now on it hears of changes."""
        self._contexts = {client: context, **self._contexts}

    def remove(self, client: int) -> None:
        """It does not any more."""
        self._contexts.pop(client, None)

    def tell_quorum(self) -> None:
        """Quorate or not, and all nodes, the dead ones, too."""
        entries = self._nodes()
        for client, context in self._contexts.items():
            self._context.event(client, pack_quorum(self._ballot.quorate, context, entries))

    def tell_quorum_to(self, client: int, context: int) -> None:
        """One program; it may have no track."""
        self._context.event(client, pack_quorum(self._ballot.quorate, context, self._nodes()))

    def _nodes(self) -> list[NodeEntry]:
        ballot = self._ballot
        nodes = list(ballot.roll)
        if ballot.us.flags & Flag.QDEVICE_REGISTERED:
            nodes.append(ballot.roll.device)
        return [NodeEntry(node.nodeid, node.state or 0) for node in nodes]

    def tell_members(self) -> None:
        """Who is in the ring."""
        for client, context in self._contexts.items():
            self.tell_members_to(client, context)

    def tell_members_to(self, client: int, context: int) -> None:
        """One program; it may have no track."""
        ring_id = self._ballot.ring_id
        self._context.event(client, pack_nodelist(context, ring_id.rep, ring_id.seq, self._ballot.members))

    def tell_expected_votes(self) -> None:
        """How many votes this node expects."""
        for client, context in self._contexts.items():
            self._context.event(client, pack_expectedvotes(context, self._ballot.us.expected_votes))


class Clients:
    """Requests but those of quorum devices."""

    def __init__(
        self,
        context: Context,
        ballot: Ballot,
        counting: Counting,
        audience: Audience,
        orders: Orders,
        device_name: Callable[[], bytes],
    ) -> None:
        self._context = context
        self._ballot = ballot
        self._counting = counting
        self._audience = audience
        self._orders = orders
        self._device_name = device_name

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        handlers: dict[int, Callable[[Client, bytes], None]] = {
            VotequorumRequest.GETINFO: self._getinfo,
            VotequorumRequest.SETEXPECTED: self._setexpected,
            VotequorumRequest.SETVOTES: self._setvotes,
            VotequorumRequest.TRACKSTART: self._trackstart,
            VotequorumRequest.TRACKSTOP: self._trackstop,
        }
        return {
            number: Request(handler, CALLS[VotequorumRequest(number)].request.size, False)
            for number, handler in handlers.items()
        }

    # Questions.

    def _getinfo(self, client: Client, message: bytes) -> None:
        nodeid = GETINFO_REQUEST.unpack(message).nodeid or self._context.nodeid
        node = self._ballot.roll.get(nodeid)
        head = (VotequorumResponse.GETINFO, GETINFO_RESPONSE.size)
        if node is None:
            answer = GetinfoResponse(*head, CsError.NOT_EXIST, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"")
        else:
            answer = self._info(node, head)
        self._context.respond(client.id, GETINFO_RESPONSE.pack(answer))

    def _info(self, node: Voter, head: tuple[int, int]) -> GetinfoResponse:
        ballot = self._ballot
        members, device = ballot.roll.members, ballot.roll.device
        total = sum(member.votes for member in members)
        if node.flags & Flag.QDEVICE_CAST_VOTE:
            total += device.votes
        return GetinfoResponse(
            *head,
            CsError.OK,
            nodeid=node.nodeid,
            state=node.state or 0,
            votes=node.votes,
            expected_votes=node.expected_votes,
            highest_expected=max((member.expected_votes for member in members), default=0),
            total_votes=min(total, VOTES_MAX),
            quorum=min(ballot.quorum, VOTES_MAX),
            flags=self._flags(node),
            qdevice_votes=device.votes,
            qdevice_name=self._device_name(),
        )

    def _flags(self, node: Voter) -> InfoFlag:
        ballot = self._ballot
        wanted = {
            InfoFlag.TWONODE: ballot.two_node,
            InfoFlag.QUORATE: ballot.quorate,
            InfoFlag.WAIT_FOR_ALL: ballot.wait_for_all,
            InfoFlag.LAST_MAN_STANDING: ballot.last_man_standing,
            InfoFlag.AUTO_TIE_BREAKER: ballot.tie_breaker is not TieBreaker.NONE,
            InfoFlag.ALLOW_DOWNSCALE: ballot.allow_downscale,
        }
        flags = InfoFlag(sum(flag for flag, isset in wanted.items() if isset))
        for own, told in DEVICE_INFO.items():
            if node.flags & own:
                flags |= told
        return flags

    # Orders.

    def _setexpected(self, client: Client, message: bytes) -> None:
        votes = SETEXPECTED_REQUEST.unpack(message).expected_votes
        quorum, total = self._counting.needed(allow_decrease=True, expected=votes, downscale=False)
        if votes < total or (self._ballot.quorate and quorum > total):
            self._answer(client, CsError.INVALID_PARAM)
            return
        ordered = self._orders.order_expected_votes(votes)
        if ordered:
            self._counting.expect(votes)
        self._answer(client, CsError.OK if ordered else CsError.NO_RESOURCES)

    def _setvotes(self, client: Client, message: bytes) -> None:
        request = SETVOTES_REQUEST.unpack(message)
        node = self._ballot.roll.get(request.nodeid)
        if node is None:
            self._answer(client, CsError.NAME_NOT_FOUND)
            return
        before, node.votes = node.votes, request.votes
        quorum, total = self._counting.needed(allow_decrease=True)
        if not total // 2 <= quorum <= total:
            node.votes = before
            self._answer(client, CsError.INVALID_PARAM)
            return
        ordered = self._orders.order_votes(request.nodeid, request.votes)
        if not ordered:
            node.votes = before  # the others do not hear of it
        self._answer(client, CsError.OK if ordered else CsError.NO_RESOURCES)

    # Tracks.

    def _trackstart(self, client: Client, message: bytes) -> None:
        """The present state goes out before the answer, even if that is a refusal."""
        request = TRACKSTART_REQUEST.unpack(message)
        if request.track_flags & (Track.CURRENT | Track.CHANGES):
            self._audience.tell_members_to(client.id, request.context)
            self._audience.tell_quorum_to(client.id, request.context)
        error = CsError.OK
        if client.id in self._audience:
            error = CsError.EXIST
        elif request.track_flags & (Track.CHANGES | Track.CHANGES_ONLY):
            self._audience.add(client.id, request.context)
        self._answer(client, error)

    def _trackstop(self, client: Client, message: bytes) -> None:
        error = CsError.OK if client.id in self._audience else CsError.NOT_EXIST
        self._audience.remove(client.id)
        self._answer(client, error)

    def _answer(self, client: Client, error: CsError) -> None:
        answer = ResponseHeader(VotequorumResponse.STATUS, RESPONSE_HEADER.size, error)
        self._context.respond(client.id, RESPONSE_HEADER.pack(answer))
