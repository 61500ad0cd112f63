"""The votequorum service on the border: ids, structures, and the lists behind them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from ipc.errors import CsError
from ipc.layout import I32, U32, U64, Buffer, Chars, Layout, ShortBufferError
from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, WideI32

SERVICE_NAME = "votequorum"

QDEVICE_NODEID = 0
# The terminating NUL included, so a name has at most 254 bytes.
QDEVICE_NAME_SIZE = 255

QdeviceName = Annotated[bytes, Chars(QDEVICE_NAME_SIZE)]


class VotequorumRequest(IntEnum):
    """Ids of requests, library to executive."""

    GETINFO = 0
    SETEXPECTED = 1
    SETVOTES = 2
    TRACKSTART = 3
    TRACKSTOP = 4
    QDEVICE_REGISTER = 5
    QDEVICE_UNREGISTER = 6
    QDEVICE_UPDATE = 7
    QDEVICE_POLL = 8
    QDEVICE_MASTER_WINS = 9


class VotequorumResponse(IntEnum):
    """Ids of responses: STATUS answers everything but GETINFO."""

    STATUS = 0
    GETINFO = 1


class VotequorumEvent(IntEnum):
    """Ids of events, executive to library."""

    QUORUM_NOTIFICATION = 3
    EXPECTEDVOTES_NOTIFICATION = 4
    NODELIST_NOTIFICATION = 5


class InfoFlag(IntFlag):
    """Flags of GETINFO (VOTEQUORUM_INFO_*)."""

    TWONODE = 1
    QUORATE = 2
    WAIT_FOR_ALL = 4
    LAST_MAN_STANDING = 8
    AUTO_TIE_BREAKER = 16
    ALLOW_DOWNSCALE = 32
    QDEVICE_REGISTERED = 64
    QDEVICE_ALIVE = 128
    QDEVICE_CAST_VOTE = 256
    QDEVICE_MASTER_WINS = 512


class NodeState(IntEnum):
    """What votequorum holds of a node (VOTEQUORUM_NODESTATE_*); UNKNOWN is the quorum device's."""

    UNKNOWN = 0
    MEMBER = 1
    DEAD = 2
    LEAVING = 3


# --- requests --------------------------------------------------------------------------------------


class GetinfoRequest(NamedTuple):
    id: I32
    size: I32
    nodeid: U32


class SetexpectedRequest(NamedTuple):
    id: I32
    size: I32
    expected_votes: U32


class SetvotesRequest(NamedTuple):
    id: WideI32
    size: WideI32
    votes: U32
    nodeid: U32


class TrackstartRequest(NamedTuple):
    id: I32
    size: I32
    context: U64
    track_flags: U32


class QdeviceNameRequest(NamedTuple):
    """QDEVICE_REGISTER and QDEVICE_UNREGISTER."""

    id: I32
    size: I32
    name: QdeviceName


class QdeviceUpdateRequest(NamedTuple):
    id: WideI32
    size: WideI32
    oldname: QdeviceName
    newname: QdeviceName


class QdevicePollRequest(NamedTuple):
    id: I32
    size: I32
    name: QdeviceName
    cast_vote: I32
    ring_nodeid: U32
    ring_seq: U64


class QdeviceMasterWinsRequest(NamedTuple):
    id: I32
    size: I32
    name: QdeviceName
    allow: U32


GETINFO_REQUEST = Layout(GetinfoRequest, align=8)
SETEXPECTED_REQUEST = Layout(SetexpectedRequest, align=8)
SETVOTES_REQUEST = Layout(SetvotesRequest, align=0)
TRACKSTART_REQUEST = Layout(TrackstartRequest, align=8)
QDEVICE_NAME_REQUEST = Layout(QdeviceNameRequest, align=8)
QDEVICE_UPDATE_REQUEST = Layout(QdeviceUpdateRequest, align=0)
QDEVICE_POLL_REQUEST = Layout(QdevicePollRequest, align=8)
QDEVICE_MASTER_WINS_REQUEST = Layout(QdeviceMasterWinsRequest, align=8)


# --- responses and events --------------------------------------------------------------------------


class GetinfoResponse(NamedTuple):
    id: WideI32
    size: WideI32
    error: WideI32
    nodeid: U32
    state: U32
    votes: U32
    expected_votes: U32
    highest_expected: U32
    total_votes: U32
    quorum: U32
    flags: U32
    qdevice_votes: U32
    qdevice_name: QdeviceName


class QuorumEvent(NamedTuple):
    """Followed by NodeEntry structures."""

    id: I32
    size: I32
    error: I32
    quorate: U32
    context: U64
    node_list_entries: U32


class NodeEntry(NamedTuple):
    """A node and its `NodeState`."""

    nodeid: U32
    state: U32


class ExpectedvotesEvent(NamedTuple):
    id: I32
    size: I32
    error: I32
    context: U64
    expected_votes: U32


class NodelistEvent(NamedTuple):
    """Followed by node ids."""

    id: I32
    size: I32
    error: I32
    context: U64
    ring_nodeid: U32
    ring_seq: U64
    node_list_entries: U32


GETINFO_RESPONSE = Layout(GetinfoResponse, align=0)
QUORUM_EVENT = Layout(QuorumEvent, align=8)
EXPECTEDVOTES_EVENT = Layout(ExpectedvotesEvent, align=8)
NODELIST_EVENT = Layout(NodelistEvent, align=8)
NODE_ENTRY = Layout(NodeEntry, align=1)


class Call(NamedTuple):
    """How one request is served; none of this service is held back by totem's flow control."""

    request: Layout[Any]
    response_id: VotequorumResponse
    response: Layout[Any]


def _status(request: Layout[Any]) -> Call:
    return Call(request, VotequorumResponse.STATUS, RESPONSE_HEADER)


CALLS = MappingProxyType(
    {
        VotequorumRequest.GETINFO: Call(GETINFO_REQUEST, VotequorumResponse.GETINFO, GETINFO_RESPONSE),
        VotequorumRequest.SETEXPECTED: _status(SETEXPECTED_REQUEST),
        VotequorumRequest.SETVOTES: _status(SETVOTES_REQUEST),
        VotequorumRequest.TRACKSTART: _status(TRACKSTART_REQUEST),
        VotequorumRequest.TRACKSTOP: _status(REQUEST_HEADER),
        VotequorumRequest.QDEVICE_REGISTER: _status(QDEVICE_NAME_REQUEST),
        VotequorumRequest.QDEVICE_UNREGISTER: _status(QDEVICE_NAME_REQUEST),
        VotequorumRequest.QDEVICE_UPDATE: _status(QDEVICE_UPDATE_REQUEST),
        VotequorumRequest.QDEVICE_POLL: _status(QDEVICE_POLL_REQUEST),
        VotequorumRequest.QDEVICE_MASTER_WINS: _status(QDEVICE_MASTER_WINS_REQUEST),
    }
)


def qdevice_name(field: bytes) -> bytes:
    """The name in a field: what comes before the first NUL."""
    return field.split(b"\0", 1)[0]


def pack_quorum(quorate: bool, context: int, nodes: Sequence[NodeEntry]) -> bytes:
    """Event QUORUM_NOTIFICATION."""
    size = QUORUM_EVENT.size + NODE_ENTRY.size * len(nodes)
    head = QuorumEvent(
        VotequorumEvent.QUORUM_NOTIFICATION, size, CsError.OK, quorate, context, len(nodes)
    )
    return QUORUM_EVENT.pack(head) + b"".join(map(NODE_ENTRY.pack, nodes))


def unpack_quorum(message: Buffer) -> tuple[QuorumEvent, tuple[NodeEntry, ...]]:
    """The fixed part and the nodes; ShortBufferError when counts do not fit."""
    head = QUORUM_EVENT.unpack(message)
    _check_end(message, QUORUM_EVENT, head.node_list_entries, NODE_ENTRY.size)
    offsets = range(QUORUM_EVENT.size, QUORUM_EVENT.size + head.node_list_entries * NODE_ENTRY.size, 8)
    return head, tuple(NODE_ENTRY.unpack(message, offset) for offset in offsets)


def pack_expectedvotes(context: int, expected_votes: int) -> bytes:
    """Event EXPECTEDVOTES_NOTIFICATION."""
    return EXPECTEDVOTES_EVENT.pack(
        ExpectedvotesEvent(
            VotequorumEvent.EXPECTEDVOTES_NOTIFICATION,
            EXPECTEDVOTES_EVENT.size,
            CsError.OK,
            context,
            expected_votes,
        )
    )


def pack_nodelist(context: int, ring_nodeid: int, ring_seq: int, nodes: Sequence[int]) -> bytes:
    """Event NODELIST_NOTIFICATION."""
    size = NODELIST_EVENT.size + 4 * len(nodes)
    head = NodelistEvent(
        VotequorumEvent.NODELIST_NOTIFICATION, size, CsError.OK, context, ring_nodeid, ring_seq, len(nodes)
    )
    return NODELIST_EVENT.pack(head) + struct.pack(f"<{len(nodes)}I", *nodes)


def unpack_nodelist(message: Buffer) -> tuple[NodelistEvent, tuple[int, ...]]:
    """The fixed part and the node ids; ShortBufferError when counts do not fit."""
    head = NODELIST_EVENT.unpack(message)
    _check_end(message, NODELIST_EVENT, head.node_list_entries, 4)
    return head, struct.unpack_from(f"<{head.node_list_entries}I", message, NODELIST_EVENT.size)


def _check_end(message: Buffer, layout: Layout[Any], count: int, each: int) -> None:
    end = layout.size + count * each
    if end > len(message):
        raise ShortBufferError(f"{layout.name} with {count} entries ends at {end}, message at {len(message)}")
