"""Listeners and handshakes: from a connecting client to one whose set-up request may be answered."""

from __future__ import annotations

import errno
import resource
import select
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from ipc.handshake import Handshake, HandshakeError, abstract_address, agreed_size
from ipc.limits import (
    ACCEPT_PAUSE,
    ACCEPTS_PER_TURN,
    CLIENTS_MAX,
    CLIENTS_PER_PROCESS_MAX,
    CONNECTIONS_PER_TURN,
    DESCRIPTORS_RESERVED,
    HANDSHAKE_TIMEOUT,
    HANDSHAKES_MAX,
    LISTEN_BACKLOG,
    MESSAGE_SIZE_MAX,
)
from ipc.ratelimit import DEBUG, ERROR, NOTICE, WARNING, LimitedLog
from ipc.ringset import Credentials
from ipc.server_connection import process_name
from ipc.stats import Refusal, ServerStats

READ = select.EPOLLIN | select.EPOLLRDHUP


class Host(Protocol):
    """The server as an acceptor sees it."""

    def admit(self, service: str, creds: Credentials) -> int:
        """0 or the errno value to refuse with: the handler's word."""

    stats: ServerStats

    def is_full(self, creds: Credentials) -> Refusal | None:
        """Why there is no place for one more client of this process; None: there is."""

    def establish(self, handshake: Handshake, creds: Credentials, size: int) -> int:
        """Make the rings and answer: 0, or the errno value of what failed.

        The server has detached the handshake if it is 0; raises HandshakeError if the client went.
        """

    def after(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        """Call back in `delay` seconds; one timer a name."""


def open_listener(service: str) -> socket.socket:
    """Listen on a service's abstract name; raises OSError, which says so when it is taken."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(abstract_address(service))
        sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            error.errno,
            f"IPC service '{service}' is already served in this network namespace: "
            "another cluster executive (corosync?) runs here, stop it first",
        ) from None
    return sock


class Acceptor:
    """Owns listeners and half-open connections, all registered in the server's epoll set."""

    def __init__(self, services: Sequence[str], epoll: select.epoll, host: Host, log: LimitedLog) -> None:
        """Listen for all services; raises OSError and keeps none."""
        self._epoll = epoll
        self._host = host
        self._log = log
        self._handshakes: dict[int, Handshake] = {}
        self._listeners: dict[int, tuple[str, socket.socket]] = {}
        self._closed = False
        self._left = CONNECTIONS_PER_TURN
        try:
            for service in services:
                sock = open_listener(service)
                self._listeners[sock.fileno()] = (service, sock)
                epoll.register(sock.fileno(), select.EPOLLIN)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Withdraw the names and drop who is half-way in."""
        self._closed = True
        for handshake in list(self._handshakes.values()):
            self._drop(handshake)
        for _, listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def start_turn(self) -> None:
        """A new turn: so many clients may be let in."""
        self._left = CONNECTIONS_PER_TURN

    def ready(self, fd: int) -> None:
        """Something happened on a descriptor that is not a client's.

        When this turn's share is used up it is left alone, and reported again in the next turn.
        """
        if self._left <= 0:
            return
        if fd in self._handshakes:
            self._advance(self._handshakes[fd])
        elif fd in self._listeners:
            self._accept(*self._listeners[fd])

    def detach(self, handshake: Handshake) -> None:
        """The handshake ended; its socket is the caller's."""
        del self._handshakes[handshake.fd]
        self._epoll.unregister(handshake.fd)

    def _drop(self, handshake: Handshake) -> None:
        self.detach(handshake)
        handshake.sock.close()

    def _accept(self, service: str, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._closed or self._left <= 0:
                return
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(service, listener, error)
                return
            if len(self._handshakes) >= HANDSHAKES_MAX:
                oldest = next(iter(self._handshakes.values()))
                self._log.limited("handshakes", WARNING, f"Too many half-open {oldest.service} connections")
                self._host.stats.half_open_dropped += 1
                self._drop(oldest)
            handshake = Handshake(sock, service, monotonic() + HANDSHAKE_TIMEOUT)
            self._handshakes[handshake.fd] = handshake
            self._epoll.register(handshake.fd, READ)
            self._host.after("handshakes", HANDSHAKE_TIMEOUT, self._expire)
            # The request mostly came with the connection: no need to wait for another turn.
            self._advance(handshake)

    def _rest(self, service: str, listener: socket.socket, error: OSError) -> None:
        """A listener that cannot accept stays readable: leave it alone for a while."""
        self._log.limited("accept", ERROR, f"Cannot accept {service} clients: {error.strerror}")
        self._epoll.modify(listener.fileno(), 0)
        self._host.after("accept", ACCEPT_PAUSE, self._wake)

    def _wake(self) -> None:
        for fd in self._listeners:
            self._epoll.modify(fd, select.EPOLLIN)

    def _expire(self) -> None:
        now = monotonic()
        for handshake in list(self._handshakes.values()):
            if handshake.deadline > now:
                self._host.after("handshakes", handshake.deadline - now, self._expire)
                return
            self._log.limited(
                "handshakes",
                NOTICE,
                f"Dropping a {handshake.service} connection without set-up request for {HANDSHAKE_TIMEOUT} s",
            )
            self._host.stats.half_open_dropped += 1
            self._drop(handshake)

    def _advance(self, handshake: Handshake) -> None:
        try:
            received = handshake.receive()
            if received is None:
                return
            self._left -= 1
            request, creds = received
            size = agreed_size(request)
            refusal = self._refusal(handshake, creds, size)
            if refusal == 0:
                refusal = self._host.establish(handshake, creds, size)
            if refusal != 0:
                handshake.refuse(refusal)
                self._drop(handshake)
        except HandshakeError as error:
            self._log.limited("handshake", DEBUG, f"{handshake.service} connection not set up: {error}")
            self._drop(handshake)

    def _refusal(self, handshake: Handshake, creds: Credentials, size: int) -> int:
        """0 or the errno value to refuse with, logged and counted."""
        refusal = self._host.admit(handshake.service, creds)
        who = f"{handshake.service} client ({_sender(creds)})"
        cause = Refusal.HANDLER
        if refusal == errno.EACCES:
            # The handler has said what to do about it.
            self._log.limited(
                "denied",
                DEBUG,
                f"Denied connection attempt from {creds.uid}:{creds.gid} (service {handshake.service}, "
                f"{_sender(creds)})",
            )
        elif refusal == 0 and size > MESSAGE_SIZE_MAX:
            refusal, cause = errno.EMSGSIZE, Refusal.SIZE
            self._complain(
                cause, f"Refused {who}: wants rings for messages of {size} bytes, limit {MESSAGE_SIZE_MAX}"
            )
        elif refusal == 0 and (full := self._no_place(handshake.fd, creds)) is not None:
            refusal, cause = errno.EMFILE, full
            self._complain(cause, f"Refused {who}: {_explained(full)}")
        if refusal != 0:
            self._host.stats.refused[cause] += 1
        return refusal

    def _no_place(self, fd: int, creds: Credentials) -> Refusal | None:
        return Refusal.DESCRIPTORS if _descriptors_scarce(fd) else self._host.is_full(creds)

    def _complain(self, cause: str, text: str) -> None:
        self._log.limited(cause, WARNING, text)


def _sender(creds: Credentials) -> str:
    return f"process '{process_name(creds.pid)}' pid {creds.pid}"


def _explained(refusal: Refusal) -> str:
    if refusal is Refusal.PROCESS:
        return f"{refusal}, limit {CLIENTS_PER_PROCESS_MAX}: does it forget to disconnect?"
    if refusal is Refusal.CLIENTS:
        return f"{refusal}, limit {CLIENTS_MAX}"
    return f"too many clients; descriptor limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"


def _descriptors_scarce(fd: int) -> bool:
    # The kernel gives the lowest free number, so a high one means that few are left.
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit != resource.RLIM_INFINITY and fd >= limit - DESCRIPTORS_RESERVED
