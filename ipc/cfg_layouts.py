"""The configuration service on the border: ids, structures, and the lists behind them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from ipc.errors import CsError
from ipc.layout import I32, U8, U16, U32, Buffer, Chars, Layout, Nested
from ipc.layouts import (
    REQUEST_HEADER,
    RESPONSE_HEADER,
    RequestHeader,
    ResponseHeader,
    WideI32,
)

SERVICE_NAME = "cfg"

RING_INTERFACES = 16
INTERFACE_NAME_SIZE = 128
INTERFACE_STATUS_SIZE = 512
# cs_name_t: the client library refuses a reason that leaves no room for its NUL.
NAME_SIZE = 256
LINKS_MAX = 8
LINK_ADDRESS_SIZE = 256
ADDRESS_SIZE = 16
NODE_STATUS_VERSION = 1
AF_INET = 2
AF_INET6 = 10


class CfgRequest(IntEnum):
    """Ids of requests, library to executive."""

    RING_STATUS_GET = 0
    RING_REENABLE = 1
    KILL_NODE = 2
    TRY_SHUTDOWN = 3
    REPLY_TO_SHUTDOWN = 4
    GET_NODE_ADDRS = 5
    LOCAL_GET = 6
    RELOAD_CONFIG = 7
    REOPEN_LOG_FILES = 8
    NODE_STATUS_GET = 9
    TRACK_START = 10
    TRACK_STOP = 11


class CfgResponse(IntEnum):
    """Ids of responses; the library never looks at them."""

    RING_STATUS_GET = 0
    RING_REENABLE = 1
    TRACK_START = 2
    TRACK_STOP = 3
    KILL_NODE = 8
    TRY_SHUTDOWN = 9
    GET_NODE_ADDRS = 11
    LOCAL_GET = 12
    REPLY_TO_SHUTDOWN = 13
    RELOAD_CONFIG = 14
    REOPEN_LOG_FILES = 15
    NODE_STATUS_GET = 16


class CfgEvent(IntEnum):
    """Ids of events, executive to library."""

    TEST_SHUTDOWN = 10


class ShutdownFlag(IntEnum):
    """How a shutdown is asked for (corosync_cfg_shutdown_flags_t)."""

    REQUEST = 0
    REGARDLESS = 1
    IMMEDIATE = 2


class ShutdownReply(IntEnum):
    """What an application says to it (corosync_cfg_shutdown_reply_flags_t)."""

    NO = 0
    YES = 1


# --- requests --------------------------------------------------------------------------------------


class Name(NamedTuple):
    """cs_name_t; the length counts the NUL where the library sends one."""

    length: U16
    value: Annotated[bytes, Chars(NAME_SIZE)]


NAME = Layout(Name, align=0)


class KillNodeRequest(NamedTuple):
    id: I32
    size: I32
    nodeid: U32
    reason: Annotated[Name, Nested(NAME)]


class TryShutdownRequest(NamedTuple):
    id: I32
    size: I32
    flags: U32


class ReplyToShutdownRequest(NamedTuple):
    id: I32
    size: I32
    response: U32


class NodeRequest(NamedTuple):
    """GET_NODE_ADDRS; node id 0 is the node itself."""

    id: I32
    size: I32
    nodeid: U32


class NodeStatusRequest(NamedTuple):
    id: I32
    size: I32
    nodeid: U32
    version: U32


class TrackStartRequest(NamedTuple):
    id: I32
    size: I32
    track_flags: U8


KILL_NODE_REQUEST = Layout(KillNodeRequest, align=8)
TRY_SHUTDOWN_REQUEST = Layout(TryShutdownRequest, align=8)
REPLY_TO_SHUTDOWN_REQUEST = Layout(ReplyToShutdownRequest, align=8)
NODE_REQUEST = Layout(NodeRequest, align=8)
NODE_STATUS_REQUEST = Layout(NodeStatusRequest, align=8)
TRACK_START_REQUEST = Layout(TrackStartRequest, align=8)


# --- responses and the event -----------------------------------------------------------------------


class RingStatusResponse(NamedTuple):
    """Followed by 16 names of 128 bytes, then 16 statuses of 512 bytes, NUL terminated; always full size."""

    id: I32
    size: I32
    error: I32
    interface_count: U32


class NodeAddrsResponse(NamedTuple):
    """Followed by num_addrs addresses of 16 bytes each, of an IPv4 one the first four count."""

    id: WideI32
    size: WideI32
    error: WideI32
    family: U32
    num_addrs: U32


class LocalGetResponse(NamedTuple):
    id: I32
    size: I32
    error: I32
    local_nodeid: U32


class NodeStatusVersionResponse(NamedTuple):
    """Head of every answer to NODE_STATUS_GET, and all of it on an error."""

    id: I32
    size: I32
    error: I32
    version: I32


class LinkStatus(NamedTuple):
    """Of one link to a node; addresses are text, NUL terminated."""

    enabled: U8 = 0
    connected: U8 = 0
    dynconnected: U8 = 0
    mtu: U32 = 0
    src_ipaddr: Annotated[bytes, Chars(LINK_ADDRESS_SIZE)] = b""
    dst_ipaddr: Annotated[bytes, Chars(LINK_ADDRESS_SIZE)] = b""


class NodeStatusHead(NamedTuple):
    """corosync_cfg_node_status_v1 without its links, of which eight follow."""

    version: I32
    nodeid: U32
    reachable: U8 = 0
    remote: U8 = 0
    external: U8 = 0
    onwire_min: U8 = 0
    onwire_max: U8 = 0
    onwire_ver: U8 = 0


class ShutdownEvent(NamedTuple):
    """error: OK asks, TIMEOUT tells that the vote ended without enough answers."""

    id: I32
    size: I32
    error: I32
    flags: U32


RING_STATUS_RESPONSE = Layout(RingStatusResponse, align=8)
NODE_ADDRS_RESPONSE = Layout(NodeAddrsResponse, align=0)
LOCAL_GET_RESPONSE = Layout(LocalGetResponse, align=8)
NODE_STATUS_VERSION_RESPONSE = Layout(NodeStatusVersionResponse, align=8)
LINK_STATUS = Layout(LinkStatus, align=0)
NODE_STATUS_HEAD = Layout(NodeStatusHead, align=0)
TEST_SHUTDOWN_EVENT = Layout(ShutdownEvent, align=8)

RING_STATUS_RESPONSE_SIZE = RING_STATUS_RESPONSE.size + RING_INTERFACES * (
    INTERFACE_NAME_SIZE + INTERFACE_STATUS_SIZE
)
NODE_STATUS_OFFSET = RESPONSE_HEADER.size
NODE_STATUS_RESPONSE_SIZE = NODE_STATUS_OFFSET + NODE_STATUS_HEAD.size + LINKS_MAX * LINK_STATUS.size


class Call(NamedTuple):
    """How one request is served.

    flow_control: refused with TRY_AGAIN while totem's queue has no room or a sync is in progress.
    """

    request: Layout[Any]
    response_id: CfgResponse
    response: Layout[Any]
    flow_control: bool


CALLS = MappingProxyType(
    {
        CfgRequest.RING_STATUS_GET: Call(
            REQUEST_HEADER, CfgResponse.RING_STATUS_GET, RING_STATUS_RESPONSE, True
        ),
        CfgRequest.RING_REENABLE: Call(REQUEST_HEADER, CfgResponse.RING_REENABLE, RESPONSE_HEADER, True),
        CfgRequest.KILL_NODE: Call(KILL_NODE_REQUEST, CfgResponse.KILL_NODE, RESPONSE_HEADER, True),
        CfgRequest.TRY_SHUTDOWN: Call(TRY_SHUTDOWN_REQUEST, CfgResponse.TRY_SHUTDOWN, RESPONSE_HEADER, True),
        CfgRequest.REPLY_TO_SHUTDOWN: Call(
            REPLY_TO_SHUTDOWN_REQUEST, CfgResponse.REPLY_TO_SHUTDOWN, RESPONSE_HEADER, True
        ),
        CfgRequest.GET_NODE_ADDRS: Call(NODE_REQUEST, CfgResponse.GET_NODE_ADDRS, NODE_ADDRS_RESPONSE, False),
        CfgRequest.LOCAL_GET: Call(REQUEST_HEADER, CfgResponse.LOCAL_GET, LOCAL_GET_RESPONSE, False),
        CfgRequest.RELOAD_CONFIG: Call(REQUEST_HEADER, CfgResponse.RELOAD_CONFIG, RESPONSE_HEADER, True),
        CfgRequest.REOPEN_LOG_FILES: Call(
            REQUEST_HEADER, CfgResponse.REOPEN_LOG_FILES, RESPONSE_HEADER, False
        ),
        CfgRequest.NODE_STATUS_GET: Call(
            NODE_STATUS_REQUEST, CfgResponse.NODE_STATUS_GET, NODE_STATUS_VERSION_RESPONSE, False
        ),
        CfgRequest.TRACK_START: Call(TRACK_START_REQUEST, CfgResponse.TRACK_START, RESPONSE_HEADER, True),
        CfgRequest.TRACK_STOP: Call(REQUEST_HEADER, CfgResponse.TRACK_STOP, RESPONSE_HEADER, True),
    }
)


class BadMessageError(ValueError):
    """Lengths or counts inside a message contradict its size or exceed the protocol's limits."""


def pack_response(identifier: int, error: CsError | int) -> bytes:
    """A response that consists of its header only."""
    return RESPONSE_HEADER.pack(ResponseHeader(identifier, RESPONSE_HEADER.size, error))


def pack_request(identifier: int) -> bytes:
    """A request that consists of its header only."""
    return REQUEST_HEADER.pack(RequestHeader(identifier, REQUEST_HEADER.size))


def _terminated(text: bytes, size: int) -> bytes:
    if len(text) >= size:
        raise ValueError(f"text of {len(text)} bytes, at most {size - 1} and a NUL fit")
    return text.ljust(size, b"\0")


def _text(message: Buffer, offset: int, size: int) -> bytes:
    return bytes(message[offset : offset + size]).split(b"\0", 1)[0]


class Interface(NamedTuple):
    """One link in a ring status: "<link id> <ip>" and its state."""

    name: bytes
    status: bytes


def pack_ring_status(interfaces: Sequence[Interface], error: CsError | int = CsError.OK) -> bytes:
    """Response to RING_STATUS_GET, always 10272 bytes; ValueError when something does not fit."""
    if len(interfaces) > RING_INTERFACES:
        raise ValueError(f"{len(interfaces)} interfaces, at most {RING_INTERFACES} fit")
    head = RingStatusResponse(CfgResponse.RING_STATUS_GET, RING_STATUS_RESPONSE_SIZE, error, len(interfaces))
    names = b"".join(_terminated(interface.name, INTERFACE_NAME_SIZE) for interface in interfaces)
    statuses = b"".join(_terminated(interface.status, INTERFACE_STATUS_SIZE) for interface in interfaces)
    body = RING_STATUS_RESPONSE.pack(head) + names.ljust(RING_INTERFACES * INTERFACE_NAME_SIZE, b"\0")
    return (body + statuses).ljust(RING_STATUS_RESPONSE_SIZE, b"\0")


def unpack_ring_status(message: Buffer) -> tuple[Interface, ...]:
    """Inverse of pack_ring_status; BadMessageError, ShortBufferError."""
    head = RING_STATUS_RESPONSE.unpack(message)
    if head.interface_count > RING_INTERFACES:
        raise BadMessageError(f"{head.interface_count} interfaces, at most {RING_INTERFACES} fit")
    if len(message) < RING_STATUS_RESPONSE_SIZE:
        raise BadMessageError(f"ring status of {len(message)} bytes, {RING_STATUS_RESPONSE_SIZE} are needed")
    names = RING_STATUS_RESPONSE.size
    statuses = names + RING_INTERFACES * INTERFACE_NAME_SIZE
    return tuple(
        Interface(
            _text(message, names + index * INTERFACE_NAME_SIZE, INTERFACE_NAME_SIZE),
            _text(message, statuses + index * INTERFACE_STATUS_SIZE, INTERFACE_STATUS_SIZE),
        )
        for index in range(head.interface_count)
    )


class NodeStatus(NamedTuple):
    """State of a node as the executive's transport sees it; eight links."""

    head: NodeStatusHead
    links: tuple[LinkStatus, ...]


def pack_node_status(status: NodeStatus) -> bytes:
    """Response to NODE_STATUS_GET, 4200 bytes; absent links are zeros."""
    if len(status.links) > LINKS_MAX:
        raise ValueError(f"{len(status.links)} links, at most {LINKS_MAX} fit")
    head = RESPONSE_HEADER.pack(
        ResponseHeader(CfgResponse.NODE_STATUS_GET, NODE_STATUS_RESPONSE_SIZE, CsError.OK)
    )
    links = b"".join(map(LINK_STATUS.pack, status.links))
    return (head + NODE_STATUS_HEAD.pack(status.head) + links).ljust(NODE_STATUS_RESPONSE_SIZE, b"\0")


def pack_node_status_error(error: CsError | int, version: int = NODE_STATUS_VERSION) -> bytes:
    """Response to NODE_STATUS_GET that tells an error."""
    size = NODE_STATUS_VERSION_RESPONSE.size
    return NODE_STATUS_VERSION_RESPONSE.pack(
        NodeStatusVersionResponse(CfgResponse.NODE_STATUS_GET, size, error, version)
    )


def unpack_node_status(message: Buffer) -> NodeStatus:
    """Inverse of pack_node_status, address texts without NULs; ShortBufferError."""
    head = NODE_STATUS_HEAD.unpack(message, NODE_STATUS_OFFSET)
    first = NODE_STATUS_OFFSET + NODE_STATUS_HEAD.size
    links = []
    for index in range(LINKS_MAX):
        link = LINK_STATUS.unpack(message, first + index * LINK_STATUS.size)
        source, destination = link.src_ipaddr.split(b"\0", 1)[0], link.dst_ipaddr.split(b"\0", 1)[0]
        links.append(link._replace(src_ipaddr=source, dst_ipaddr=destination))
    return NodeStatus(head, tuple(links))


def pack_node_addrs(family: int, addresses: Sequence[bytes], error: CsError | int = CsError.OK) -> bytes:
    """Response to GET_NODE_ADDRS; an address has 4 or 16 bytes."""
    size = NODE_ADDRS_RESPONSE.size + len(addresses) * ADDRESS_SIZE
    head = NodeAddrsResponse(CfgResponse.GET_NODE_ADDRS, size, error, family, len(addresses))
    body = b"".join(address.ljust(ADDRESS_SIZE, b"\0") for address in addresses)
    return NODE_ADDRS_RESPONSE.pack(head) + body


def unpack_node_addrs(message: Buffer) -> tuple[int, tuple[bytes, ...]]:
    """Family and addresses of 16 bytes each; BadMessageError, ShortBufferError."""
    head = NODE_ADDRS_RESPONSE.unpack(message)
    end = NODE_ADDRS_RESPONSE.size + head.num_addrs * ADDRESS_SIZE
    if end > len(message):
        raise BadMessageError(f"{head.num_addrs} addresses announced in a message of {len(message)} bytes")
    starts = range(NODE_ADDRS_RESPONSE.size, end, ADDRESS_SIZE)
    return head.family, tuple(bytes(message[start : start + ADDRESS_SIZE]) for start in starts)
