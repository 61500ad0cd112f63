"""The cmap service on the border: ids, structures, and the bytes behind them.

A key is a length and 256 bytes, zero padded; the length does not count a NUL.  A value is its type and its
bytes in host order; a string's bytes end with a NUL once the executive has stored it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

from ipc.errors import CsError
from ipc.layout import I32, U8, U16, U64, Buffer, Chars, Layout
from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, RequestHeader, ResponseHeader

SERVICE_NAME = "cmap"

KEY_SIZE = 256
# Longest key that fits the NUL the client libraries put behind it; the executive's own limits.
KEY_MAX = 255
KEY_MIN = 3
VALUE_MAX = 16384

KeyName = Annotated[bytes, Chars(KEY_SIZE)]


class CmapRequest(IntEnum):
    """Ids of requests, library to executive."""

    SET = 0
    DELETE = 1
    GET = 2
    ADJUST_INT = 3
    ITER_INIT = 4
    ITER_NEXT = 5
    ITER_FINALIZE = 6
    TRACK_ADD = 7
    TRACK_DELETE = 8
    SET_CURRENT_MAP = 9


class CmapResponse(IntEnum):
    """Ids of responses; the library never looks at them."""

    SET = 0
    DELETE = 1
    GET = 2
    ADJUST_INT = 3
    ITER_INIT = 4
    ITER_NEXT = 5
    ITER_FINALIZE = 6
    TRACK_ADD = 7
    TRACK_DELETE = 8
    SET_CURRENT_MAP = 10


class CmapEvent(IntEnum):
    """Ids of events, executive to library."""

    NOTIFY = 9


class ValueType(IntEnum):
    """What a value is (cmap_value_types_t)."""

    I8 = 1
    U8 = 2
    I16 = 3
    U16 = 4
    I32 = 5
    U32 = 6
    I64 = 7
    U64 = 8
    FLOAT = 9
    DOUBLE = 10
    STRING = 11
    BINARY = 12


NUMBER_FORMATS: Mapping[ValueType, str] = MappingProxyType(
    {
        ValueType.I8: "<b",
        ValueType.U8: "<B",
        ValueType.I16: "<h",
        ValueType.U16: "<H",
        ValueType.I32: "<i",
        ValueType.U32: "<I",
        ValueType.I64: "<q",
        ValueType.U64: "<Q",
        ValueType.FLOAT: "<f",
        ValueType.DOUBLE: "<d",
    }
)
"""Of the types that are numbers, for `struct`; the size is the only one the executive takes."""


class TrackEvent(IntFlag):
    """Which changes a track is told of; in a notification just one of the first three (CMAP_TRACK_*)."""

    DELETE = 1
    MODIFY = 2
    ADD = 4
    PREFIX = 8


class Map(IntEnum):
    """What the keys of a connection belong to (cmap_map_t)."""

    ICMAP = 0
    STATS = 1


# --- requests --------------------------------------------------------------------------------------


class SetRequest(NamedTuple):
    """Followed by value_len bytes."""

    id: I32
    size: I32
    key_length: U16
    key: KeyName
    value_len: U64
    type: U8


class KeyRequest(NamedTuple):
    """DELETE and ITER_INIT; for the latter a prefix, which may be empty."""

    id: I32
    size: I32
    key_length: U16
    key: KeyName


class GetRequest(NamedTuple):
    """value_len: bytes the caller has room for; 0 asks for type and length only."""

    id: I32
    size: I32
    key_length: U16
    key: KeyName
    value_len: U64


class AdjustIntRequest(NamedTuple):
    id: I32
    size: I32
    key_length: U16
    key: KeyName
    step: I32


class HandleRequest(NamedTuple):
    """ITER_NEXT, ITER_FINALIZE and TRACK_DELETE: what they are about, as the executive named it."""

    id: I32
    size: I32
    handle: U64


class TrackAddRequest(NamedTuple):
    """track_inst_handle: the library's own name of the track, sent back with every notification."""

    id: I32
    size: I32
    key_length: U16
    key: KeyName
    track_type: I32
    track_inst_handle: U64


class SetCurrentMapRequest(NamedTuple):
    id: I32
    size: I32
    map: I32


SET_REQUEST = Layout(SetRequest, align=8)
KEY_REQUEST = Layout(KeyRequest, align=8)
GET_REQUEST = Layout(GetRequest, align=8)
ADJUST_INT_REQUEST = Layout(AdjustIntRequest, align=8)
HANDLE_REQUEST = Layout(HandleRequest, align=8)
TRACK_ADD_REQUEST = Layout(TrackAddRequest, align=8)
SET_CURRENT_MAP_REQUEST = Layout(SetCurrentMapRequest, align=8)


# --- responses and the event -----------------------------------------------------------------------


class GetResponse(NamedTuple):
    """Followed by as many bytes as the request had room for: the value, then zeros."""

    id: I32
    size: I32
    error: I32
    value_len: U64
    type: U8


class HandleResponse(NamedTuple):
    """ITER_INIT, TRACK_ADD: the executive's name for it; TRACK_DELETE: the library's."""

    id: I32
    size: I32
    error: I32
    handle: U64


class IterNextResponse(NamedTuple):
    id: I32
    size: I32
    error: I32
    key_length: U16
    key: KeyName
    value_len: U64
    type: U8


class NotifyEvent(NamedTuple):
    """Followed by the new value and, directly behind, the old one; length and type 0 when there is none."""

    id: I32
    size: I32
    error: I32
    track_inst_handle: U64
    key_length: U16
    key: KeyName
    event: I32
    new_value_type: U8
    old_value_type: U8
    new_value_len: U64
    old_value_len: U64


GET_RESPONSE = Layout(GetResponse, align=8)
HANDLE_RESPONSE = Layout(HandleResponse, align=8)
ITER_NEXT_RESPONSE = Layout(IterNextResponse, align=8)
NOTIFY_EVENT = Layout(NotifyEvent, align=8)


class Call(NamedTuple):
    """How one request is served."""

    request: Layout[Any]
    response_id: CmapResponse
    response: Layout[Any]


CALLS = MappingProxyType(
    {
        CmapRequest.SET: Call(SET_REQUEST, CmapResponse.SET, RESPONSE_HEADER),
        CmapRequest.DELETE: Call(KEY_REQUEST, CmapResponse.DELETE, RESPONSE_HEADER),
        CmapRequest.GET: Call(GET_REQUEST, CmapResponse.GET, GET_RESPONSE),
        CmapRequest.ADJUST_INT: Call(ADJUST_INT_REQUEST, CmapResponse.ADJUST_INT, RESPONSE_HEADER),
        CmapRequest.ITER_INIT: Call(KEY_REQUEST, CmapResponse.ITER_INIT, HANDLE_RESPONSE),
        CmapRequest.ITER_NEXT: Call(HANDLE_REQUEST, CmapResponse.ITER_NEXT, ITER_NEXT_RESPONSE),
        CmapRequest.ITER_FINALIZE: Call(HANDLE_REQUEST, CmapResponse.ITER_FINALIZE, RESPONSE_HEADER),
        CmapRequest.TRACK_ADD: Call(TRACK_ADD_REQUEST, CmapResponse.TRACK_ADD, HANDLE_RESPONSE),
        CmapRequest.TRACK_DELETE: Call(HANDLE_REQUEST, CmapResponse.TRACK_DELETE, HANDLE_RESPONSE),
        CmapRequest.SET_CURRENT_MAP: Call(
            SET_CURRENT_MAP_REQUEST, CmapResponse.SET_CURRENT_MAP, RESPONSE_HEADER
        ),
    }
)


class BadMessageError(ValueError):
    """Lengths inside a message contradict its size or exceed the protocol's limits."""


class _Named(Protocol):
    @property
    def key_length(self) -> int: ...
    @property
    def key(self) -> bytes: ...


def key_name(message: _Named) -> bytes:
    """The key a message names; BadMessageError when its length is above 256."""
    if message.key_length > KEY_SIZE:
        raise BadMessageError(f"key of {message.key_length} bytes, at most {KEY_SIZE} fit")
    return message.key[: message.key_length]


def payload(message: Buffer, offset: int, length: int) -> bytes:
    """`length` bytes at `offset`; BadMessageError when the message ends before."""
    if offset + length > len(message):
        raise BadMessageError(f"value of {length} bytes announced, {max(0, len(message) - offset)} present")
    return bytes(message[offset : offset + length])


def pack_response(identifier: int, error: CsError | int) -> bytes:
    """A response that consists of its header only."""
    return RESPONSE_HEADER.pack(ResponseHeader(identifier, RESPONSE_HEADER.size, error))


def pack_request(identifier: int) -> bytes:
    """A request that consists of its header only."""
    return REQUEST_HEADER.pack(RequestHeader(identifier, REQUEST_HEADER.size))


class StoredValue(NamedTuple):
    """A value in a notification: type (a `ValueType`) and bytes, both empty when there is none."""

    type: int
    data: bytes


class Notification(NamedTuple):
    """A change of a key, decoded."""

    track_inst_handle: int
    key: bytes
    event: int
    new: StoredValue
    old: StoredValue


def pack_notification(notification: Notification) -> bytes:
    """Event NOTIFY."""
    handle, key, event, new, old = notification
    head = NotifyEvent(
        id=CmapEvent.NOTIFY,
        size=NOTIFY_EVENT.size + len(new.data) + len(old.data),
        error=CsError.OK,
        track_inst_handle=handle,
        key_length=len(key),
        key=key,
        event=event,
        new_value_type=new.type,
        old_value_type=old.type,
        new_value_len=len(new.data),
        old_value_len=len(old.data),
    )
    return NOTIFY_EVENT.pack(head) + new.data + old.data


HANDLE_FIELD = next(field for field in NOTIFY_EVENT.fields if field.name == "track_inst_handle")
HANDLE = struct.Struct("<Q")


def split_notification(notification: Notification) -> tuple[bytes, bytes]:
    """What stands in front of and behind the track's handle: the same for all tracks of a change."""
    packed = pack_notification(notification)
    return packed[: HANDLE_FIELD.offset], packed[HANDLE_FIELD.offset + HANDLE_FIELD.size :]


def unpack_notification(message: Buffer) -> Notification:
    """Inverse of pack_notification; BadMessageError or ShortBufferError when lengths do not fit."""
    head = NOTIFY_EVENT.unpack(message)
    new = payload(message, NOTIFY_EVENT.size, head.new_value_len)
    old = payload(message, NOTIFY_EVENT.size + head.new_value_len, head.old_value_len)
    return Notification(
        head.track_inst_handle,
        key_name(head),
        head.event,
        StoredValue(head.new_value_type, new),
        StoredValue(head.old_value_type, old),
    )
