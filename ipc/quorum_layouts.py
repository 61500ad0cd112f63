"""The quorum service on the border: ids, structures, and the lists behind them.

A connection speaks model 0 until MODEL_GETTYPE says otherwise.  The lists of all three events begin
inside the last four bytes of the fixed structure, yet the size counts the whole of it: four bytes
remain behind the list.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Any, NamedTuple

from ipc.errors import CsError
from ipc.layout import I32, U32, U64, Buffer, Layout, ShortBufferError
from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER

SERVICE_NAME = "quorum"


class QuorumRequest(IntEnum):
    """Ids of requests, library to executive."""

    GETQUORATE = 0
    TRACKSTART = 1
    TRACKSTOP = 2
    GETTYPE = 3
    MODEL_GETTYPE = 4


class QuorumResponse(IntEnum):
    """Ids of responses; the library never looks at them."""

    GETQUORATE = 0
    TRACKSTART = 1
    TRACKSTOP = 2
    GETTYPE = 4
    MODEL_GETTYPE = 5


class QuorumEvent(IntEnum):
    """Ids of events, executive to library: model 0's only one, and the two of model 1."""

    NOTIFICATION = 3
    V1_QUORUM_NOTIFICATION = 6
    V1_NODELIST_NOTIFICATION = 7


class QuorumModel(IntEnum):
    """What a connection understands (quorum_model_t)."""

    V0 = 0
    V1 = 1


class QuorumType(IntEnum):
    """FREE: no provider is configured, the node is always quorate."""

    FREE = 0
    SET = 1


class Track(IntFlag):
    """Flags of TRACKSTART, here and in votequorum and cfg (CS_TRACK_*)."""

    CURRENT = 1
    CHANGES = 2
    CHANGES_ONLY = 4


class TrackstartRequest(NamedTuple):
    id: I32
    size: I32
    track_flags: U32


class ModelGettypeRequest(NamedTuple):
    id: I32
    size: I32
    model: U32


class GetquorateResponse(NamedTuple):
    id: I32
    size: I32
    error: I32
    quorate: U32


class GettypeResponse(NamedTuple):
    """GETTYPE and MODEL_GETTYPE."""

    id: I32
    size: I32
    error: I32
    quorum_type: U32


class NotificationEvent(NamedTuple):
    """The node ids follow at offset 44, inside the padding of this structure."""

    id: I32
    size: I32
    error: I32
    quorate: I32
    ring_seq: U64
    view_list_entries: U32


class V1QuorumEvent(NamedTuple):
    """The node ids follow at offset 52, inside the padding of this structure."""

    id: I32
    size: I32
    error: I32
    quorate: I32
    ring_nodeid: U32
    ring_seq: U64
    view_list_entries: U32


class V1NodelistEvent(NamedTuple):
    """Members, joined and left follow in this order at offset 60, inside the padding."""

    id: I32
    size: I32
    error: I32
    ring_nodeid: U32
    ring_seq: U64
    member_list_entries: U32
    joined_list_entries: U32
    left_list_entries: U32


TRACKSTART_REQUEST = Layout(TrackstartRequest, align=8)
MODEL_GETTYPE_REQUEST = Layout(ModelGettypeRequest, align=8)
GETQUORATE_RESPONSE = Layout(GetquorateResponse, align=8)
GETTYPE_RESPONSE = Layout(GettypeResponse, align=8)
NOTIFICATION_EVENT = Layout(NotificationEvent, align=8)
V1_QUORUM_EVENT = Layout(V1QuorumEvent, align=8)
V1_NODELIST_EVENT = Layout(V1NodelistEvent, align=8)
LIST_SLACK = 4
"""Bytes of each event's structure that the list begins in."""


class Call(NamedTuple):
    """How one request is served; none of this service is held back by totem's flow control."""

    request: Layout[Any]
    response_id: QuorumResponse
    response: Layout[Any]


CALLS = MappingProxyType(
    {
        QuorumRequest.GETQUORATE: Call(REQUEST_HEADER, QuorumResponse.GETQUORATE, GETQUORATE_RESPONSE),
        QuorumRequest.TRACKSTART: Call(TRACKSTART_REQUEST, QuorumResponse.TRACKSTART, RESPONSE_HEADER),
        QuorumRequest.TRACKSTOP: Call(REQUEST_HEADER, QuorumResponse.TRACKSTOP, RESPONSE_HEADER),
        QuorumRequest.GETTYPE: Call(REQUEST_HEADER, QuorumResponse.GETTYPE, GETTYPE_RESPONSE),
        QuorumRequest.MODEL_GETTYPE: Call(
            MODEL_GETTYPE_REQUEST, QuorumResponse.MODEL_GETTYPE, GETTYPE_RESPONSE
        ),
    }
)


def _with_list(fixed: bytes, size: int, nodes: Sequence[int]) -> bytes:
    return (fixed[:-LIST_SLACK] + struct.pack(f"<{len(nodes)}I", *nodes)).ljust(size, b"\0")


def _nodes(message: Buffer, layout: Layout[Any], count: int) -> tuple[int, ...]:
    start = layout.size - LIST_SLACK
    if start + 4 * count > len(message):
        raise ShortBufferError(
            f"{layout.name} with {count} node ids ends at {start + 4 * count}, message at {len(message)}"
        )
    return struct.unpack_from(f"<{count}I", message, start)


def pack_notification(quorate: bool, ring_seq: int, members: Sequence[int]) -> bytes:
    """Event NOTIFICATION, of model 0."""
    size = NOTIFICATION_EVENT.size + 4 * len(members)
    head = NotificationEvent(QuorumEvent.NOTIFICATION, size, CsError.OK, quorate, ring_seq, len(members))
    return _with_list(NOTIFICATION_EVENT.pack(head), size, members)


def unpack_notification(message: Buffer) -> tuple[NotificationEvent, tuple[int, ...]]:
    """The fixed part and the members; ShortBufferError when counts do not fit."""
    head = NOTIFICATION_EVENT.unpack(message)
    return head, _nodes(message, NOTIFICATION_EVENT, head.view_list_entries)


def pack_v1_quorum(quorate: bool, ring_nodeid: int, ring_seq: int, members: Sequence[int]) -> bytes:
    """Event V1_QUORUM_NOTIFICATION."""
    size = V1_QUORUM_EVENT.size + 4 * len(members)
    head = V1QuorumEvent(
        QuorumEvent.V1_QUORUM_NOTIFICATION, size, CsError.OK, quorate, ring_nodeid, ring_seq, len(members)
    )
    return _with_list(V1_QUORUM_EVENT.pack(head), size, members)


def unpack_v1_quorum(message: Buffer) -> tuple[V1QuorumEvent, tuple[int, ...]]:
    """The fixed part and the members; ShortBufferError when counts do not fit."""
    head = V1_QUORUM_EVENT.unpack(message)
    return head, _nodes(message, V1_QUORUM_EVENT, head.view_list_entries)


def pack_v1_nodelist(
    ring_nodeid: int,
    ring_seq: int,
    members: Sequence[int],
    joined: Sequence[int],
    left: Sequence[int],
) -> bytes:
    """Event V1_NODELIST_NOTIFICATION."""
    nodes = [*members, *joined, *left]
    size = V1_NODELIST_EVENT.size + 4 * len(nodes)
    head = V1NodelistEvent(
        id=QuorumEvent.V1_NODELIST_NOTIFICATION,
        size=size,
        error=CsError.OK,
        ring_nodeid=ring_nodeid,
        ring_seq=ring_seq,
        member_list_entries=len(members),
        joined_list_entries=len(joined),
        left_list_entries=len(left),
    )
    return _with_list(V1_NODELIST_EVENT.pack(head), size, nodes)


def unpack_v1_nodelist(
    message: Buffer,
) -> tuple[V1NodelistEvent, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The fixed part, members, joined, left; ShortBufferError when counts do not fit."""
    head = V1_NODELIST_EVENT.unpack(message)
    members, joined = head.member_list_entries, head.joined_list_entries
    nodes = _nodes(message, V1_NODELIST_EVENT, members + joined + head.left_list_entries)
    return head, nodes[:members], nodes[members : members + joined], nodes[members + joined :]
