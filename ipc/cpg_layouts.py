"""The closed process group service on the border: ids, structures, and the lists behind them.

Requests and responses are `Layout` objects for the fixed part; what has a variable tail (payload,
member lists) has a pair of functions beside it.  A group name is a length and 128 bytes that need
no terminating NUL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

from ipc.errors import CsError
from ipc.layout import I32, U32, U64, Buffer, Chars, Layout, ShortBufferError
from ipc.layouts import (
    REQUEST_HEADER,
    RESPONSE_HEADER,
    RequestHeader,
    ResponseHeader,
    WideI32,
    WideU32,
)
from ipc.limits import MESSAGE_SIZE

SERVICE_NAME = "cpg"

GROUP_NAME_MAX = 128
# The client libraries copy an event's lists into arrays of 128 entries on their stack.
EVENT_LIST_MAX = 128
MEMBERSHIP_LIST_MAX = 384
# 1 MiB - 1024: a constant of the client library, cpg_max_atomic_msgsize_get(3).
ATOMIC_MESSAGE_MAX = 1024 * 1024 - 1024
# What the C library lets through; more than DELIVER_MAX stalls the receivers.
ZERO_COPY_MESSAGE_MAX = 1024 * 1024
ZERO_COPY_PATH_SIZE = 128
ZERO_COPY_PREFIX = "corosync_zerocopy-"

GroupName = Annotated[bytes, Chars(GROUP_NAME_MAX)]


class CpgRequest(IntEnum):
    """Ids of requests, library to executive."""

    JOIN = 0
    LEAVE = 1
    MCAST = 2
    MEMBERSHIP_GET = 3
    LOCAL_GET = 4
    ITERATION_INITIALIZE = 5
    ITERATION_NEXT = 6
    ITERATION_FINALIZE = 7
    FINALIZE = 8
    ZC_ALLOC = 9
    ZC_FREE = 10
    ZC_EXECUTE = 11
    PARTIAL_MCAST = 12


class CpgResponse(IntEnum):
    """Ids of responses; the library never looks at them."""

    JOIN = 0
    LEAVE = 1
    MEMBERSHIP_GET = 3
    LOCAL_GET = 7
    ITERATION_INITIALIZE = 9
    ITERATION_NEXT = 10
    ITERATION_FINALIZE = 11
    FINALIZE = 12
    PARTIAL_MCAST = 18
    # The zero-copy calls have no ids of their own.
    ZC_ALLOC = 0
    ZC_FREE = 0
    ZC_EXECUTE = 2


class CpgEvent(IntEnum):
    """Ids of events, executive to library."""

    CONFCHG = 4
    DELIVER = 5
    TOTEM_CONFCHG = 13
    PARTIAL_DELIVER = 17


class Guarantee(IntEnum):
    """Ordering asked for by a sender (cpg_guarantee_t)."""

    UNORDERED = 0
    FIFO = 1
    AGREED = 2
    SAFE = 3


class Reason(IntEnum):
    """Why a process is in a joined or left list (cpg_reason_t)."""

    UNDEFINED = 0
    JOIN = 1
    LEAVE = 2
    NODEDOWN = 3
    NODEUP = 4
    PROCDOWN = 5


class IterationType(IntEnum):
    """What an iteration walks over (cpg_iteration_type_t)."""

    NAME_ONLY = 1
    ONE_GROUP = 2
    ALL = 3


class PartialType(IntEnum):
    """Place of a fragment in its message."""

    FIRST = 1
    CONTINUED = 2
    LAST = 3


class JoinFlag(IntFlag):
    """Flags of a join (cpg_model_v1_data_t.flags)."""

    DELIVER_INITIAL_TOTEM_CONF = 1


# --- requests --------------------------------------------------------------------------------------


class JoinRequest(NamedTuple):
    id: I32
    size: I32
    group_length: U32
    group: GroupName
    pid: U32
    flags: U32


class LeaveRequest(NamedTuple):
    id: I32
    size: I32
    group_length: U32
    group: GroupName
    pid: U32


class McastRequest(NamedTuple):
    """Followed by msglen bytes.  The third word is the unused error of a response header."""

    id: I32
    size: I32
    unused: I32
    guarantee: U32
    msglen: U32


class MembershipGetRequest(NamedTuple):
    id: I32
    size: I32
    group_length: U32
    group: GroupName


class IterationInitializeRequest(NamedTuple):
    id: I32
    size: I32
    group_length: U32
    group: GroupName
    iteration_type: U32


class IterationRequest(NamedTuple):
    """ITERATION_NEXT and ITERATION_FINALIZE."""

    id: I32
    size: I32
    iteration_handle: U64


class ZcAllocRequest(NamedTuple):
    """map_size counts the whole mapping, the 56 bytes of head included; the path ends with a NUL."""

    id: I32
    size: I32
    map_size: U64
    path_to_file: Annotated[bytes, Chars(ZERO_COPY_PATH_SIZE)]


class ZcFreeRequest(NamedTuple):
    id: I32
    size: I32
    map_size: U64
    server_address: U64


class ZcExecuteRequest(NamedTuple):
    id: I32
    size: I32
    server_address: U64


class PartialMcastRequest(NamedTuple):
    """Followed by fraglen bytes of a message of msglen bytes."""

    id: I32
    size: I32
    unused: I32
    guarantee: U32
    msglen: U32
    fraglen: U32
    type: U32


JOIN_REQUEST = Layout(JoinRequest, align=8)
LEAVE_REQUEST = Layout(LeaveRequest, align=8)
MCAST_REQUEST = Layout(McastRequest, align=8)
MEMBERSHIP_GET_REQUEST = Layout(MembershipGetRequest, align=8)
ITERATION_INITIALIZE_REQUEST = Layout(IterationInitializeRequest, align=8)
ITERATION_REQUEST = Layout(IterationRequest, align=8)
ZC_ALLOC_REQUEST = Layout(ZcAllocRequest, align=8)
ZC_FREE_REQUEST = Layout(ZcFreeRequest, align=8)
ZC_EXECUTE_REQUEST = Layout(ZcExecuteRequest, align=8)
PARTIAL_MCAST_REQUEST = Layout(PartialMcastRequest, align=8)


# --- responses -------------------------------------------------------------------------------------


class MembershipGetResponse(NamedTuple):
    """Followed by 384 addresses of which member_count count; always full size."""

    id: I32
    size: I32
    error: I32
    member_count: U32


class LocalGetResponse(NamedTuple):
    id: I32
    size: I32
    error: I32
    local_nodeid: U32


class IterationInitializeResponse(NamedTuple):
    id: I32
    size: I32
    error: I32
    iteration_handle: U64


class IterationNextResponse(NamedTuple):
    id: WideI32
    size: WideI32
    error: WideI32
    group_length: WideU32
    group: GroupName
    nodeid: U32
    pid: U32


MEMBERSHIP_GET_RESPONSE = Layout(MembershipGetResponse, align=8)
LOCAL_GET_RESPONSE = Layout(LocalGetResponse, align=8)
ITERATION_INITIALIZE_RESPONSE = Layout(IterationInitializeResponse, align=8)
ITERATION_NEXT_RESPONSE = Layout(IterationNextResponse, align=0)


# --- events ----------------------------------------------------------------------------------------


class ConfchgEvent(NamedTuple):
    """Followed by addresses: members, then left, then joined (not in the order of the counters)."""

    id: I32
    size: I32
    error: I32
    group_length: U32
    group: GroupName
    member_list_entries: U32
    joined_list_entries: U32
    left_list_entries: U32


class DeliverEvent(NamedTuple):
    """Followed by msglen bytes."""

    id: I32
    size: I32
    error: I32
    group_length: U32
    group: GroupName
    msglen: U32
    nodeid: U32
    pid: U32


class PartialDeliverEvent(NamedTuple):
    """Followed by fraglen bytes of a message of msglen bytes."""

    id: I32
    size: I32
    error: I32
    group_length: U32
    group: GroupName
    msglen: U32
    fraglen: U32
    nodeid: U32
    pid: U32
    type: U32


class TotemConfchgEvent(NamedTuple):
    """The node ids follow at offset 44, inside the padding of this structure."""

    id: WideI32
    size: WideI32
    error: WideI32
    ring_nodeid: WideU32
    ring_seq: U64
    member_list_entries: U32


CONFCHG_EVENT = Layout(ConfchgEvent, align=8)
DELIVER_EVENT = Layout(DeliverEvent, align=8)
PARTIAL_DELIVER_EVENT = Layout(PartialDeliverEvent, align=8)
TOTEM_CONFCHG_EVENT = Layout(TotemConfchgEvent, align=0)
TOTEM_CONFCHG_LIST_OFFSET = 44


# --- shared pieces ---------------------------------------------------------------------------------


class Address(NamedTuple):
    """One process: node id, process id, and why it is listed (a `Reason`, 0 in member lists)."""

    nodeid: U32
    pid: U32
    reason: U32 = 0


class ZcHeader(NamedTuple):
    """Start of a zero-copy mapping; a McastRequest follows at 16 and the payload at 56."""

    map_size: I32
    server_address: U64


ADDRESS = Layout(Address, align=8)
ZC_HEADER = Layout(ZcHeader, align=0)
ZC_MCAST_OFFSET = ZC_HEADER.size
ZC_PAYLOAD_OFFSET = ZC_HEADER.size + MCAST_REQUEST.size
# What an event can carry: the C library reads events into a buffer of 1 MiB and never gets past a longer
# one, so a sender must be refused more than this (with TOO_BIG), however it sends.
DELIVER_MAX = MESSAGE_SIZE - DELIVER_EVENT.size
PARTIAL_DELIVER_MAX = MESSAGE_SIZE - PARTIAL_DELIVER_EVENT.size
MEMBERSHIP_GET_RESPONSE_SIZE = MEMBERSHIP_GET_RESPONSE.size + MEMBERSHIP_LIST_MAX * ADDRESS.size


class Call(NamedTuple):
    """How one request is served.

    flow_control: refused with TRY_AGAIN while totem's queue has no room or a sync is in progress.
    response_id is None for the one request that is never answered (MCAST).
    """

    request: Layout[Any]
    response_id: CpgResponse | None
    response: Layout[Any] | None
    flow_control: bool


CALLS = MappingProxyType(
    {
        CpgRequest.JOIN: Call(JOIN_REQUEST, CpgResponse.JOIN, RESPONSE_HEADER, True),
        CpgRequest.LEAVE: Call(LEAVE_REQUEST, CpgResponse.LEAVE, RESPONSE_HEADER, True),
        CpgRequest.MCAST: Call(MCAST_REQUEST, None, None, True),
        CpgRequest.MEMBERSHIP_GET: Call(
            MEMBERSHIP_GET_REQUEST, CpgResponse.MEMBERSHIP_GET, MEMBERSHIP_GET_RESPONSE, False
        ),
        CpgRequest.LOCAL_GET: Call(REQUEST_HEADER, CpgResponse.LOCAL_GET, LOCAL_GET_RESPONSE, False),
        CpgRequest.ITERATION_INITIALIZE: Call(
            ITERATION_INITIALIZE_REQUEST,
            CpgResponse.ITERATION_INITIALIZE,
            ITERATION_INITIALIZE_RESPONSE,
            False,
        ),
        CpgRequest.ITERATION_NEXT: Call(
            ITERATION_REQUEST, CpgResponse.ITERATION_NEXT, ITERATION_NEXT_RESPONSE, False
        ),
        CpgRequest.ITERATION_FINALIZE: Call(
            ITERATION_REQUEST, CpgResponse.ITERATION_FINALIZE, RESPONSE_HEADER, False
        ),
        CpgRequest.FINALIZE: Call(REQUEST_HEADER, CpgResponse.FINALIZE, RESPONSE_HEADER, True),
        CpgRequest.ZC_ALLOC: Call(ZC_ALLOC_REQUEST, CpgResponse.ZC_ALLOC, RESPONSE_HEADER, True),
        CpgRequest.ZC_FREE: Call(ZC_FREE_REQUEST, CpgResponse.ZC_FREE, RESPONSE_HEADER, True),
        CpgRequest.ZC_EXECUTE: Call(ZC_EXECUTE_REQUEST, CpgResponse.ZC_EXECUTE, RESPONSE_HEADER, True),
        CpgRequest.PARTIAL_MCAST: Call(
            PARTIAL_MCAST_REQUEST, CpgResponse.PARTIAL_MCAST, RESPONSE_HEADER, True
        ),
    }
)


class BadMessageError(ValueError):
    """Lengths or counts inside a message contradict its size or exceed the protocol's limits."""


class _Named(Protocol):
    @property
    def group_length(self) -> int: ...
    @property
    def group(self) -> bytes: ...


def group_name(message: _Named) -> bytes:
    """The group a message names; BadMessageError when its length is above 128."""
    if message.group_length > GROUP_NAME_MAX:
        raise BadMessageError(f"group name of {message.group_length} bytes, at most {GROUP_NAME_MAX} allowed")
    return message.group[: message.group_length]


def payload(message: Buffer, offset: int, length: int) -> bytes:
    """`length` bytes at `offset`; BadMessageError when the message ends before."""
    if offset + length > len(message):
        raise BadMessageError(f"payload of {length} bytes announced, {max(0, len(message) - offset)} present")
    return bytes(message[offset : offset + length])


def pack_addresses(addresses: Sequence[Address]) -> bytes:
    """The addresses one after another, 24 bytes each."""
    return b"".join(map(ADDRESS.pack, addresses))


def _addresses(message: Buffer, offset: int, count: int) -> tuple[Address, ...]:
    return tuple(ADDRESS.unpack(message, offset + i * ADDRESS.size) for i in range(count))


def _check_count(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise BadMessageError(f"{what} list of {count} entries, at most {limit} allowed")


def _bounded(what: str, entries: Sequence[object], limit: int) -> None:
    if len(entries) > limit:
        raise ValueError(f"{what} list of {len(entries)} entries, a client takes at most {limit}")


def pack_response(identifier: int, error: CsError | int) -> bytes:
    """A response that consists of its header only."""
    return RESPONSE_HEADER.pack(ResponseHeader(identifier, RESPONSE_HEADER.size, error))


def pack_request(identifier: int) -> bytes:
    """A request that consists of its header only."""
    return REQUEST_HEADER.pack(RequestHeader(identifier, REQUEST_HEADER.size))


def pack_membership(members: Sequence[Address]) -> bytes:
    """Response to MEMBERSHIP_GET, always 9248 bytes; ValueError above 384 members."""
    _bounded("member", members, MEMBERSHIP_LIST_MAX)
    head = MembershipGetResponse(
        CpgResponse.MEMBERSHIP_GET, MEMBERSHIP_GET_RESPONSE_SIZE, CsError.OK, len(members)
    )
    body = MEMBERSHIP_GET_RESPONSE.pack(head) + pack_addresses(members)
    return body.ljust(MEMBERSHIP_GET_RESPONSE_SIZE, b"\0")


def unpack_membership(message: Buffer) -> tuple[Address, ...]:
    """Members in a response to MEMBERSHIP_GET; BadMessageError, ShortBufferError."""
    head = MEMBERSHIP_GET_RESPONSE.unpack(message)
    _check_count("member", head.member_count, MEMBERSHIP_LIST_MAX)
    return _addresses(message, MEMBERSHIP_GET_RESPONSE.size, head.member_count)


class Confchg(NamedTuple):
    """A group's configuration change, decoded."""

    group: bytes
    members: tuple[Address, ...]
    left: tuple[Address, ...]
    joined: tuple[Address, ...]


def pack_confchg(
    group: bytes, members: Sequence[Address], left: Sequence[Address], joined: Sequence[Address]
) -> bytes:
    """Event CONFCHG; ValueError when a list is longer than the 128 entries a client takes."""
    for what, entries in (("member", members), ("left", left), ("joined", joined)):
        _bounded(what, entries, EVENT_LIST_MAX)
    body = pack_addresses([*members, *left, *joined])
    head = ConfchgEvent(
        id=CpgEvent.CONFCHG,
        size=CONFCHG_EVENT.size + len(body),
        error=CsError.OK,
        group_length=len(group),
        group=group,
        member_list_entries=len(members),
        joined_list_entries=len(joined),
        left_list_entries=len(left),
    )
    return CONFCHG_EVENT.pack(head) + body


def unpack_confchg(message: Buffer) -> Confchg:
    """Inverse of pack_confchg; BadMessageError or ShortBufferError when counts do not fit."""
    head = CONFCHG_EVENT.unpack(message)
    members, left, joined = head.member_list_entries, head.left_list_entries, head.joined_list_entries
    for what, count in (("member", members), ("left", left), ("joined", joined)):
        _check_count(what, count, EVENT_LIST_MAX)
    entries = _addresses(message, CONFCHG_EVENT.size, members + left + joined)
    return Confchg(
        group_name(head), entries[:members], entries[members : members + left], entries[members + left :]
    )


class TotemConfchg(NamedTuple):
    """A change of totem's configuration, decoded."""

    ring_nodeid: int
    ring_seq: int
    members: tuple[int, ...]


def pack_totem_confchg(ring_nodeid: int, ring_seq: int, members: Sequence[int]) -> bytes:
    """Event TOTEM_CONFCHG; ValueError when there are more members than the 128 a client takes.

    The size counts the structure's four bytes of padding as well as the list that starts in them, so
    four bytes remain behind the list: clients compute it that way.
    """
    _bounded("totem member", members, EVENT_LIST_MAX)
    size = TOTEM_CONFCHG_EVENT.size + 4 * len(members)
    head = TotemConfchgEvent(CpgEvent.TOTEM_CONFCHG, size, CsError.OK, ring_nodeid, ring_seq, len(members))
    fixed = TOTEM_CONFCHG_EVENT.pack(head)[:TOTEM_CONFCHG_LIST_OFFSET]
    return (fixed + b"".join(member.to_bytes(4, "little") for member in members)).ljust(size, b"\0")


def unpack_totem_confchg(message: Buffer) -> TotemConfchg:
    """Inverse of pack_totem_confchg; BadMessageError or ShortBufferError when counts do not fit."""
    head = TOTEM_CONFCHG_EVENT.unpack(message)
    _check_count("totem member", head.member_list_entries, EVENT_LIST_MAX)
    end = TOTEM_CONFCHG_LIST_OFFSET + 4 * head.member_list_entries
    if end > len(message):
        raise ShortBufferError(f"{head.member_list_entries} node ids end at {end}, message at {len(message)}")
    return TotemConfchg(
        head.ring_nodeid, head.ring_seq, tuple(_words(message, TOTEM_CONFCHG_LIST_OFFSET, end))
    )


def _words(message: Buffer, start: int, end: int) -> Iterator[int]:
    for offset in range(start, end, 4):
        yield int.from_bytes(message[offset : offset + 4], "little")


def pack_deliver(group: bytes, nodeid: int, pid: int, msglen: int) -> bytes:
    """Head of event DELIVER; the msglen bytes of the message follow it."""
    size = DELIVER_EVENT.size + msglen
    head = DeliverEvent(CpgEvent.DELIVER, size, CsError.OK, len(group), group, msglen, nodeid, pid)
    return DELIVER_EVENT.pack(head)


def pack_partial_deliver(
    group: bytes, nodeid: int, pid: int, msglen: int, fraglen: int, place: PartialType | int
) -> bytes:
    """Head of event PARTIAL_DELIVER; the fraglen bytes of the fragment follow it."""
    head = PartialDeliverEvent(
        id=CpgEvent.PARTIAL_DELIVER,
        size=PARTIAL_DELIVER_EVENT.size + fraglen,
        error=CsError.OK,
        group_length=len(group),
        group=group,
        msglen=msglen,
        fraglen=fraglen,
        nodeid=nodeid,
        pid=pid,
        type=place,
    )
    return PARTIAL_DELIVER_EVENT.pack(head)
