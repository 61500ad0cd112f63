"""Votes: how many are there, expected and needed, and those of a quorum device (votequorum_overview(3)).

The names are those of the C library without their prefix: votequorum_getinfo is `Handle.getinfo`.
Failures are exceptions of `libais.errors`, one class per cs_error_t.

    with votequorum.Handle() as handle:
        info = handle.getinfo()
        print(f"{info.total_votes} of {info.expected_votes} votes, {info.quorum} needed")

Offered only while quorum.provider is corosync_votequorum; otherwise connecting raises LibraryError.
Threads, greenlets, asyncio and fork: as with `libais.cpg`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, RequestHeader
from ipc.quorum_layouts import Track
from ipc.votequorum_layouts import (
    EXPECTEDVOTES_EVENT,
    GETINFO_REQUEST,
    GETINFO_RESPONSE,
    QDEVICE_MASTER_WINS_REQUEST,
    QDEVICE_NAME_REQUEST,
    QDEVICE_NAME_SIZE,
    QDEVICE_NODEID,
    QDEVICE_POLL_REQUEST,
    QDEVICE_UPDATE_REQUEST,
    SERVICE_NAME,
    SETEXPECTED_REQUEST,
    SETVOTES_REQUEST,
    TRACKSTART_REQUEST,
    GetinfoRequest,
    InfoFlag,
    NodeState,
    QdeviceMasterWinsRequest,
    QdeviceNameRequest,
    QdevicePollRequest,
    QdeviceUpdateRequest,
    SetexpectedRequest,
    SetvotesRequest,
    TrackstartRequest,
    VotequorumEvent,
    VotequorumRequest,
    qdevice_name,
    unpack_nodelist,
    unpack_quorum,
)
from ipc.waiting import Waiter
from libais._handle import ContextHandle
from libais._types import Dispatch, RingId
from libais.errors import InvalidParamError, LibraryError

__all__ = [
    "QDEVICE_NODEID",
    "Dispatch",
    "Event",
    "ExpectedVotesChange",
    "Handle",
    "Info",
    "InfoFlag",
    "Node",
    "NodeListChange",
    "NodeState",
    "QuorumChange",
    "RingId",
    "Track",
]

Name = str | bytes


@dataclass(frozen=True, slots=True)
class Info:
    """What votequorum knows of a node (struct votequorum_info).

    votes, expected_votes: this node's own; highest_expected: the highest that any member expects.
    total_votes: of all members, with the quorum device's if it gives its vote; quorum: how many are
    needed.  Both, as flags and qdevice_*, are the answering node's view.
    """

    nodeid: int
    state: NodeState
    votes: int
    expected_votes: int
    highest_expected: int
    total_votes: int
    quorum: int
    flags: InfoFlag
    qdevice_votes: int
    qdevice_name: str


class Node(NamedTuple):
    """A node of a `QuorumChange`; node id 0 is the quorum device, whose state is UNKNOWN."""

    nodeid: int
    state: NodeState


@dataclass(frozen=True, slots=True)
class QuorumChange:
    """Whether this node's part is quorate, and all nodes ever seen with their state."""

    context: int
    quorate: bool
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ExpectedVotesChange:
    """Expected votes were changed, by an administrator or by a node that joined."""

    context: int
    expected_votes: int


@dataclass(frozen=True, slots=True)
class NodeListChange:
    """A new ring begins: its id and its members.  What it means for quorum comes in a `QuorumChange`."""

    context: int
    ring_id: RingId
    members: tuple[int, ...]


Event = QuorumChange | ExpectedVotesChange | NodeListChange
QuorumCallback = Callable[["Handle", QuorumChange], object]
ExpectedVotesCallback = Callable[["Handle", ExpectedVotesChange], object]
NodeListCallback = Callable[["Handle", NodeListChange], object]


class Handle(ContextHandle[Event]):
    """A connection to the votequorum service.  votequorum_initialize(3).

    quorum, expected_votes, nodelist: callbacks of `dispatch`, called with the handle and a
    `QuorumChange`, `ExpectedVotesChange` or `NodeListChange`; an event without callback is dropped.
    context: anything, kept as attribute `context`.
    retry_for, connect_timeout, waiter: as in `libais.cpg.Handle`.

    Raises LibraryError when no executive runs or votequorum is not its provider, TryAgainError,
    AccessError.
    """

    _prefix = "votequorum"

    def __init__(
        self,
        quorum: QuorumCallback | None = None,
        expected_votes: ExpectedVotesCallback | None = None,
        nodelist: NodeListCallback | None = None,
        *,
        context: object = None,
        retry_for: float = 0.0,
        connect_timeout: float | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        super().__init__(SERVICE_NAME, retry_for=retry_for, connect_timeout=connect_timeout, waiter=waiter)
        self.quorum = quorum
        self.expected_votes = expected_votes
        self.nodelist = nodelist
        self.context = context

    # --- votes ---------------------------------------------------------------------------------

    def getinfo(self, nodeid: int = 0) -> Info:
        """What is known of a node, of this one for 0.  votequorum_getinfo(3).

        Raises NotExistError for a node never seen.
        """
        what = "votequorum_getinfo"
        request = GetinfoRequest(VotequorumRequest.GETINFO, GETINFO_REQUEST.size, _u32(what, nodeid))
        answer = self._unpack(what, GETINFO_RESPONSE, self._request(what, GETINFO_REQUEST.pack(request)))
        return Info(
            answer.nodeid,
            _state(answer.state),
            answer.votes,
            answer.expected_votes,
            answer.highest_expected,
            answer.total_votes,
            answer.quorum,
            InfoFlag(answer.flags),
            answer.qdevice_votes,
            qdevice_name(answer.qdevice_name).decode("utf-8", "surrogateescape"),
        )

    def setexpected(self, expected_votes: int) -> None:
        """Change the expected votes of the cluster, until it restarts.  votequorum_setexpected(3).

        Raises InvalidParamError below the votes that are there, or when quorum would be lost.
        """
        what = "votequorum_setexpected"
        request = SetexpectedRequest(
            VotequorumRequest.SETEXPECTED, SETEXPECTED_REQUEST.size, _u32(what, expected_votes)
        )
        self._request(what, SETEXPECTED_REQUEST.pack(request))

    def setvotes(self, nodeid: int, votes: int) -> None:
        """Change the votes of a node (0: the quorum device), until it restarts.  votequorum_setvotes(3).

        Raises InvalidParamError when quorum would be lost, NameNotFoundError for an unknown node.
        """
        what = "votequorum_setvotes"
        request = SetvotesRequest(
            VotequorumRequest.SETVOTES, SETVOTES_REQUEST.size, _u32(what, votes), _u32(what, nodeid)
        )
        self._request(what, SETVOTES_REQUEST.pack(request))

    # --- tracking ------------------------------------------------------------------------------

    def trackstart(self, flags: Track = Track.CURRENT | Track.CHANGES, context: int = 0) -> None:
        """Ask for events.  votequorum_trackstart(3).

        flags: CURRENT one set of events with the state now; CHANGES that, and all later changes;
        CHANGES_ONLY the changes alone.  context: 64 bits that come back in every event.
        Raises ExistError when changes are tracked already (the events with the state come anyway).
        """
        if not 0 <= context < 1 << 64:
            raise InvalidParamError(f"votequorum_trackstart: context {context} is not of 64 bits")
        request = TrackstartRequest(
            VotequorumRequest.TRACKSTART, TRACKSTART_REQUEST.size, context, flags
        )
        self._request("votequorum_trackstart", TRACKSTART_REQUEST.pack(request))

    def trackstop(self) -> None:
        """No more events.  votequorum_trackstop(3).  Raises NotExistError when nothing is tracked."""
        request = RequestHeader(VotequorumRequest.TRACKSTOP, REQUEST_HEADER.size)
        self._request("votequorum_trackstop", REQUEST_HEADER.pack(request))

    # --- quorum device -------------------------------------------------------------------------

    def qdevice_register(self, name: Name) -> None:
        """Register a quorum device; it has no vote before it polls.  votequorum_qdevice_register(3).

        name: 1 to 254 bytes; the same again is no error.
        Returns when all nodes know.  Raises AccessError when the configuration allows no device here,
        ExistError when another is registered, TryAgainError while one registers.
        """
        self._named("votequorum_qdevice_register", VotequorumRequest.QDEVICE_REGISTER, name)

    def qdevice_unregister(self, name: Name) -> None:
        """Take the device away.  votequorum_qdevice_unregister(3).

        Raises NotExistError when none is registered, InvalidParamError for another name.
        """
        self._named("votequorum_qdevice_unregister", VotequorumRequest.QDEVICE_UNREGISTER, name)

    def qdevice_update(self, oldname: Name, newname: Name) -> None:
        """Give the registered device another name.  votequorum_qdevice_update(3).

        Raises NotExistError when none is registered, InvalidParamError for another old name.
        """
        what = "votequorum_qdevice_update"
        request = QdeviceUpdateRequest(
            VotequorumRequest.QDEVICE_UPDATE,
            QDEVICE_UPDATE_REQUEST.size,
            _name(what, oldname),
            _name(what, newname),
        )
        self._request(what, QDEVICE_UPDATE_REQUEST.pack(request))

    def qdevice_poll(self, name: Name, cast_vote: bool, ring_id: RingId) -> None:
        """Say that the device lives, and whether it gives its vote.  votequorum_qdevice_poll(3).

        Due more often than every quorum.device.timeout milliseconds (during a change of the
        membership: sync_timeout).  ring_id: of the latest `NodeListChange`.
        Raises MessageError for another ring than the present one, InvalidParamError for another name,
        NotExistError when no device is registered, AccessError when none is allowed.
        """
        what = "votequorum_qdevice_poll"
        request = QdevicePollRequest(
            VotequorumRequest.QDEVICE_POLL,
            QDEVICE_POLL_REQUEST.size,
            _name(what, name),
            bool(cast_vote),
            _u32(what, ring_id.nodeid),
            ring_id.seq,
        )
        self._request(what, QDEVICE_POLL_REQUEST.pack(request))

    def qdevice_master_wins(self, name: Name, allow: bool) -> None:
        """Let a part of the cluster be quorate by the device's vote alone.

        votequorum_qdevice_master_wins(3).  Raises as `qdevice_poll`, but for the ring.
        """
        what = "votequorum_qdevice_master_wins"
        request = QdeviceMasterWinsRequest(
            VotequorumRequest.QDEVICE_MASTER_WINS,
            QDEVICE_MASTER_WINS_REQUEST.size,
            _name(what, name),
            bool(allow),
        )
        self._request(what, QDEVICE_MASTER_WINS_REQUEST.pack(request))

    def _named(self, what: str, identifier: VotequorumRequest, name: Name) -> None:
        request = QdeviceNameRequest(identifier, QDEVICE_NAME_REQUEST.size, _name(what, name))
        self._request(what, QDEVICE_NAME_REQUEST.pack(request))

    # --- events --------------------------------------------------------------------------------

    def _decode(self, message: bytes) -> Event:
        identifier = RESPONSE_HEADER.unpack(message).id
        if identifier == VotequorumEvent.QUORUM_NOTIFICATION:
            event, entries = unpack_quorum(message)
            nodes = tuple(Node(entry.nodeid, _state(entry.state)) for entry in entries)
            return QuorumChange(event.context, bool(event.quorate), nodes)
        if identifier == VotequorumEvent.EXPECTEDVOTES_NOTIFICATION:
            change = EXPECTEDVOTES_EVENT.unpack(message)
            return ExpectedVotesChange(change.context, change.expected_votes)
        if identifier == VotequorumEvent.NODELIST_NOTIFICATION:
            head, members = unpack_nodelist(message)
            return NodeListChange(head.context, RingId(head.ring_nodeid, head.ring_seq), members)
        raise LibraryError(f"the executive sent an event of unknown kind {identifier}")

    def _call_back(self, event: Event) -> None:
        if isinstance(event, QuorumChange):
            if self.quorum is not None:
                self.quorum(self, event)
        elif isinstance(event, ExpectedVotesChange):
            if self.expected_votes is not None:
                self.expected_votes(self, event)
        elif self.nodelist is not None:
            self.nodelist(self, event)


def _state(value: int) -> NodeState:
    try:
        return NodeState(value)
    except ValueError:
        return NodeState.UNKNOWN


def _u32(what: str, value: int) -> int:
    if not 0 <= value < 1 << 32:
        raise InvalidParamError(f"{what}: {value} is not between 0 and {(1 << 32) - 1}")
    return value


def _name(what: str, name: Name) -> bytes:
    encoded = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    if not 0 < len(encoded) < QDEVICE_NAME_SIZE or b"\0" in encoded:
        raise InvalidParamError(
            f"{what}: the device's name {name!r} must have 1 to {QDEVICE_NAME_SIZE - 1} bytes and no NUL"
        )
    return encoded
