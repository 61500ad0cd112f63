"""The set-up exchange on an accepted socket: one request with credentials, one answer (libqb 2.0.6)."""

from __future__ import annotations

import socket
import struct
from typing import Final

from ipc.layouts import (
    CONNECT_ID,
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    CONNECTION_TYPE_SHM,
    ConnectRequest,
    ConnectResponse,
)
from ipc.limits import MESSAGE_SIZE_MIN
from ipc.ringset import Credentials, RingSet

CREDENTIALS: Final = struct.Struct("iII")
# No room for anything but credentials: descriptors a client sends along are dropped by the kernel.
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(CREDENTIALS.size)
ADDRESS_BYTES: Final = 108


class HandshakeError(Exception):
    """The peer went away or does not speak the protocol: close without an answer."""


def abstract_address(service: str) -> bytes:
    """Name in the abstract namespace: libqb passes the whole sockaddr_un, so padding is part of it."""
    name = b"\0" + service.encode()
    if len(name) > ADDRESS_BYTES:
        raise ValueError(f"service name {service!r} is too long for a socket address")
    return name.ljust(ADDRESS_BYTES, b"\0")


class Handshake:
    """An accepted socket until its set-up request is there.  deadline: seconds, monotonic clock."""

    __slots__ = ("_creds", "_data", "deadline", "fd", "service", "sock")

    def __init__(self, sock: socket.socket, service: str, deadline: float) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock = sock
        self.fd = sock.fileno()
        self.service = service
        self.deadline = deadline
        self._data = b""
        self._creds: Credentials | None = None

    def receive(self) -> tuple[ConnectRequest, Credentials] | None:
        """The request and its sender once complete, else None; raises HandshakeError."""
        missing = CONNECT_REQUEST.size - len(self._data)
        try:
            data, ancillary, _, _ = self.sock.recvmsg(missing, ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise HandshakeError(f"cannot receive: {error.strerror}") from error
        if not data:
            raise HandshakeError("closed before its set-up request")
        self._data += data
        for level, kind, payload in ancillary:
            whole = len(payload) >= CREDENTIALS.size
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and whole:
                self._creds = Credentials(*CREDENTIALS.unpack_from(payload))
        if len(self._data) < CONNECT_REQUEST.size:
            return None
        request = CONNECT_REQUEST.unpack(self._data)
        if request.id != CONNECT_ID:
            raise HandshakeError(f"set-up request has id {request.id}, not {CONNECT_ID}")
        if self._creds is None:
            raise HandshakeError("no credentials came with the set-up request")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        return request, self._creds

    def answer(self, response: ConnectResponse) -> None:
        """Send the answer in one piece, as the client reads once; raises HandshakeError."""
        data = CONNECT_RESPONSE.pack(response)
        try:
            sent = self.sock.send(data, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError as error:
            raise HandshakeError(f"cannot answer: {error.strerror}") from error
        if sent != len(data):
            raise HandshakeError(f"only {sent} bytes of the answer fitted")

    def refuse(self, errno: int) -> None:
        """Answer with an error (a positive errno value); the client would wait for ever without."""
        self.answer(
            ConnectResponse(CONNECT_ID, CONNECT_RESPONSE.size, -errno, 0, 0, 0, b"", b"", b"")
        )

    def accept(self, rings: RingSet, max_msg_size: int, connection: int) -> None:
        """Answer with the rings; `connection` is opaque to the client."""
        names = (rings.base(kind).encode() for kind in ("request", "response", "event"))
        self.answer(
            ConnectResponse(
                CONNECT_ID,
                CONNECT_RESPONSE.size,
                0,
                CONNECTION_TYPE_SHM,
                max_msg_size,
                connection,
                *names,
            )
        )


def agreed_size(request: ConnectRequest) -> int:
    """Largest message of the connection in bytes: the client's wish, at least libqb's minimum."""
    return max(request.max_msg_size, MESSAGE_SIZE_MIN)
