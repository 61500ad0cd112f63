"""What every service shares on the border: the handshake and the message headers (libqb 2.0.6).

Every field of a header sits on a multiple of eight; the gap behind it is padding which libqb leaves
uninitialised, so it is never read and written as zeros.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from ipc.layout import I32, U32, U64, Chars, Layout

# A 32-bit field that owns the four padding bytes behind it, for structures that mix eight-aligned
# header fields with naturally aligned ones.
WideI32 = Annotated[int, "i4x"]
WideU32 = Annotated[int, "I4x"]

RING_NAME_SIZE = 4096
CONNECT_ID = -1
DISCONNECT_ID = -3
CONNECTION_TYPE_SHM = 1


class RequestHeader(NamedTuple):
    """Head of a request: service-specific id, length of the whole message in bytes."""

    id: WideI32
    size: WideI32


class ResponseHeader(NamedTuple):
    """Head of a response or an event; error is a cs_error_t, 1 is success."""

    id: WideI32
    size: WideI32
    error: WideI32


class ConnectRequest(NamedTuple):
    """First bytes on the setup socket, client to server."""

    id: WideI32
    size: WideI32
    max_msg_size: WideU32


class ConnectResponse(NamedTuple):
    """The answer to it: error is 0 or a negative errno; the ring base names are NUL terminated."""

    id: WideI32
    size: WideI32
    error: WideI32
    connection_type: I32
    max_msg_size: U32
    connection: U64
    request: Annotated[bytes, Chars(RING_NAME_SIZE)]
    response: Annotated[bytes, Chars(RING_NAME_SIZE)]
    event: Annotated[bytes, Chars(RING_NAME_SIZE)]


REQUEST_HEADER = Layout(RequestHeader, align=0)
RESPONSE_HEADER = Layout(ResponseHeader, align=0)
CONNECT_REQUEST = Layout(ConnectRequest, align=0)
CONNECT_RESPONSE = Layout(ConnectResponse, align=0)
