"""The client half: connecting to a service of the executive."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from typing import Final

from ipc._ring import Ring
from ipc.connection import LIMIT_BULK, LIMIT_NORMAL, Connection, IpcError, Rings
from ipc.layouts import (
    CONNECT_ID,
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    CONNECTION_TYPE_SHM,
    ConnectRequest,
    ConnectResponse,
)
from ipc.limits import MESSAGE_SIZE, MESSAGE_SIZE_MAX
from ipc.waiting import Waiter, default_waiter, original

__all__ = ["LIMIT_BULK", "LIMIT_NORMAL", "Connection", "IpcError", "connect"]

# libqb passes the whole sun_path, so the name is padded with NULs: a shorter one is another name.
ABSTRACT_NAME_SIZE: Final = 107


def connect(
    service: str,
    *,
    max_msg_size: int = MESSAGE_SIZE,
    timeout: float | None = None,
    waiter: Waiter | None = None,
) -> Connection:
    """Connect to `service` ("cpg", "cmap", ...) of the executive in this network namespace.

    max_msg_size: bytes of the largest request and event wished for.  timeout: seconds to wait for the
    executive's answer, None for ever, as the C libraries do.  waiter: see ipc.waiting; by default
    gevent's when its monkey patching is active.
    Raises IpcError: ECONNREFUSED nobody listens, EAGAIN not ready yet, EACCES not allowed, ENOSYS no
    such service, EMFILE no descriptors left, ETIME no answer in time.
    """
    waiter = waiter or default_waiter()
    sock = _open_socket(service)
    try:
        answer = _handshake(sock, service, max_msg_size, timeout, waiter)
        rings = _open_rings(answer, service)
    except BaseException:
        sock.close()
        raise
    return Connection(service, sock, rings, answer.max_msg_size, waiter)


def _open_socket(service: str) -> socket.socket:
    name = service.encode()
    if not 0 < len(name) <= ABSTRACT_NAME_SIZE or b"\0" in name:
        raise IpcError(errno.EINVAL, f"{service!r} is no name of a service")
    sock: socket.socket = original(socket, "socket")(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(b"\0" + name.ljust(ABSTRACT_NAME_SIZE, b"\0"))
    except OSError as error:
        sock.close()
        raise IpcError(error.errno or errno.ECONNREFUSED, _connect_text(service, error)) from None
    return sock


def _connect_text(service: str, error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return (
            f"no executive offers service {service!r} in this network namespace: "
            "start corosync or aisexec, or run in its namespace"
        )
    if error.errno == errno.EAGAIN:
        return f"too many clients are connecting to service {service!r} just now: try again"
    return f"cannot connect to service {service!r}: {error.strerror}"


def _handshake(
    sock: socket.socket, service: str, max_msg_size: int, timeout: float | None, waiter: Waiter
) -> ConnectResponse:
    request = CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, max_msg_size))
    try:
        sock.send(request, socket.MSG_NOSIGNAL)
        answer = CONNECT_RESPONSE.unpack(_receive_answer(sock, service, timeout, waiter))
    except IpcError:
        raise
    except OSError as error:
        raise IpcError(
            error.errno or errno.ENOTCONN,
            f"the executive broke off the connection to service {service!r}: {error.strerror}",
        ) from None
    if answer.error:
        raise IpcError(abs(answer.error), _refusal_text(service, abs(answer.error)))
    if answer.connection_type != CONNECTION_TYPE_SHM:
        raise IpcError(
            errno.ENOTSUP,
            f"service {service!r} offers connection type {answer.connection_type}, only shared memory "
            "is supported: remove qb_ipc_type from section system of corosync.conf",
        )
    if not 0 < answer.max_msg_size <= MESSAGE_SIZE_MAX:
        raise IpcError(errno.EBADMSG, f"service {service!r} offers messages of {answer.max_msg_size} bytes")
    return answer


def _receive_answer(sock: socket.socket, service: str, timeout: float | None, waiter: Waiter) -> bytes:
    received = bytearray()
    deadline = None if timeout is None else time.monotonic() + timeout
    while len(received) < CONNECT_RESPONSE.size:
        left = None if deadline is None else deadline - time.monotonic()
        if not waiter.poll(sock.fileno(), select.POLLIN, left):
            raise IpcError(errno.ETIME, f"no answer from service {service!r} within {timeout} s")
        part = sock.recv(CONNECT_RESPONSE.size - len(received))
        if not part:
            raise IpcError(errno.ENOTCONN, f"service {service!r} closed the connection without an answer")
        received += part
    return bytes(received)


def _refusal_text(service: str, code: int) -> str:
    if code == errno.EACCES:
        return (
            f"uid {os.getuid()} gid {os.getgid()} may not use service {service!r}: "
            f"add uidgid {{ uid: {os.getuid()} }} to corosync.conf or a file in uidgid.d, or run as root"
        )
    if code == errno.EAGAIN:
        return f"service {service!r} is not ready, the executive forms its first membership: try again"
    if code == errno.ENOSYS:
        return f"the executive has no service {service!r}"
    if code == errno.EMFILE:
        return "the executive is running out of file descriptors: raise its LimitNOFILE"
    return f"service {service!r} refuses the connection: {os.strerror(code)}"


def _open_rings(answer: ConnectResponse, service: str) -> Rings:
    rings: list[Ring] = []
    try:
        for field in (answer.request, answer.response, answer.event):
            base = os.fsdecode(field.split(b"\0", 1)[0])
            rings.append(Ring.open(base, answer.max_msg_size))
    except OSError as error:
        for ring in rings:
            ring.close()
        hint = ": is the executive's /dev/shm visible here?" if error.errno == errno.ENOENT else ""
        raise IpcError(
            error.errno or errno.EIO,
            f"cannot map the shared memory of service {service!r}: {error}{hint}",
        ) from None
    return Rings(*rings)
