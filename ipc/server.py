"""Server half of libqb's IPC: listeners, handshakes, and one turn of the loop over all clients.

All client sockets are in one epoll set of which the loop watches only the descriptor.  So a wake-up
gives every ready client at once, requests go to the handler as one batch per service, and a client
whose requests must wait is still watched for its death (epoll reports HUP without being asked, which
libev's watchers cannot express).
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from ipc._ring import RingError
from ipc.acceptor import READ, Acceptor
from ipc.handshake import Handshake, HandshakeError
from ipc.layouts import REQUEST_HEADER
from ipc.limits import (
    CLIENTS_MAX,
    EVENT_QUEUE_TOTAL_BYTES_MAX,
    EVENT_RETRY_MAX,
    EVENT_RETRY_MIN,
    REQUESTS_PER_TURN,
)
from ipc.ratelimit import DEBUG, ERROR, WARNING, LimitedLog, Log
from ipc.ringset import Credentials, RingSet
from ipc.server_connection import DISCONNECTED, Connection

HUNG_UP = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
LOOP_READ = 1  # libev's EV_READ

SERVER_STOPS = "server stops"
ORDINARY_ENDS = (DISCONNECTED, SERVER_STOPS)
"""Reasons for a connection's end that need no operator."""

Batch = list[tuple[Connection, bytes]]


class Watcher(Protocol):
    """A gevent loop watcher."""

    def start(self, callback: Callable[[], object]) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class Loop(Protocol):
    """What is used of `gevent.get_hub().loop`."""

    def io(self, fd: int, events: int) -> Watcher: ...
    def timer(self, after: float) -> Watcher: ...
    def run_callback(self, func: Callable[[], object]) -> object: ...


class Handler(Protocol):
    """What stands behind the server.  Called from the hub: must not block."""

    def admit(self, service: str, creds: Credentials) -> int:
        """0, or the errno value the client is refused with."""

    def opened(self, conn: Connection) -> None:
        """The client has its answer; requests may follow."""

    def requests(self, batch: Sequence[tuple[Connection, bytes]]) -> int | None:
        """Requests of one service, whole (header included), in order per connection.

        Returns how many were taken; None: all.  The others are offered again, in order, when the
        service's flow level is 0 (at once if it is).
        """

    def closed(self, conn: Connection) -> None:
        """The client is gone; called once for each `opened`."""


class Server:
    """Serves `services` (short names such as "cpg") to libqb clients in this network namespace.

    run_dir: where the rings live.  sysv: rings with System V semaphores, for our own clients only.
    requests_per_turn may be lowered while the executive is busy.
    """

    def __init__(
        self,
        loop: Loop,
        services: Sequence[str],
        handler: Handler,
        *,
        log: Log,
        sysv: bool = False,
        run_dir: str = "/dev/shm",
    ) -> None:
        self._loop = loop
        self._services = tuple(services)
        self._handler = handler
        self._log = LimitedLog(log)
        self._sysv = sysv
        self._run_dir = run_dir
        self.requests_per_turn = REQUESTS_PER_TURN
        self.closed_count = 0
        self.connections: dict[int, Connection] = {}
        self._next_id = 1
        self._levels = dict.fromkeys(self._services, 0)
        self._by_fd: dict[int, Connection] = {}
        self._acceptor: Acceptor | None = None
        self._owing: list[Connection] = []
        self._doomed: list[Connection] = []
        self._waiting: dict[int, Connection] = {}
        self._held: dict[int, Connection] = {}
        self._paused: dict[int, Connection] = {}
        self._queued_bytes = 0
        self._retry_after = EVENT_RETRY_MIN
        self._flush_scheduled = False
        self._in_turn = False
        self._timers: dict[str, Watcher] = {}
        self._watchers: list[Watcher] = []
        self._epoll: select.epoll | None = None
        self._space: select.epoll | None = None

    @property
    def active_count(self) -> int:
        """Clients connected now."""
        return len(self.connections)

    # ------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Listen on every service's name; raises OSError saying which is taken."""
        assert self._epoll is None, "started twice"
        self._epoll = select.epoll()
        self._space = select.epoll()
        try:
            self._acceptor = Acceptor(self._services, self._epoll, self, self._log)
        except OSError:
            self.stop()
            raise
        self._watch(self._epoll, self._turn)
        self._watch(self._space, self._room_made)

    def stop(self) -> None:
        """Close everything at once; what clients have not read yet is lost to them (see `idle`)."""
        if self._epoll is None or self._space is None:
            return
        for conn in list(self.connections.values()):
            conn.close(SERVER_STOPS)
        self._close_doomed()
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        for watcher in [*self._watchers, *self._timers.values()]:
            watcher.stop()
            watcher.close()
        self._watchers.clear()
        self._timers.clear()
        self._epoll.close()
        self._space.close()
        self._epoll = self._space = None

    def idle(self) -> bool:
        """All clients have taken all their events: a good moment to stop."""
        return all(conn.idle() for conn in self.connections.values())

    def _watch(self, epoll: select.epoll, callback: Callable[[], None]) -> None:
        watcher = self._loop.io(epoll.fileno(), LOOP_READ)
        watcher.start(callback)
        self._watchers.append(watcher)

    def after(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        """One timer a name; a running one is left alone."""
        if name in self._timers or self._epoll is None:
            return

        def expired() -> None:
            self._timers.pop(name).close()
            callback()

        self._timers[name] = timer = self._loop.timer(delay)
        timer.start(expired)

    # ------------------------------------------------------------- one turn

    def _turn(self) -> None:
        assert self._epoll is not None
        batches: dict[str, Batch] = {}
        self._in_turn = True
        try:
            for fd, mask in self._epoll.poll(0):
                conn = self._by_fd.get(fd)
                if conn is not None:
                    self._client_ready(conn, mask, batches)
                elif self._acceptor is not None:
                    self._acceptor.ready(fd)
            for service, batch in batches.items():
                self._offer(service, batch)
        finally:
            self._in_turn = False
            self.flush()

    def flush(self) -> None:
        """End a turn: announce events with one send per client, close those that failed.

        Called by the handler in the middle of our own turn it only announces.
        """
        owing, self._owing = self._owing, []
        for conn in owing:
            if not conn.announce():
                conn.blocked = True
                self._set_interest(conn)
        if not self._in_turn:
            self._close_doomed()

    def _close_doomed(self) -> None:
        while self._doomed:
            doomed, self._doomed = self._doomed, []
            for conn in doomed:
                self._close(conn)

    def _client_ready(self, conn: Connection, mask: int, batches: dict[str, Batch]) -> None:
        if mask & select.EPOLLOUT and conn.announce():
            conn.blocked = False
            self._set_interest(conn)
        if mask & select.EPOLLIN:
            if self._levels[conn.service] or conn.held:
                self._paused[conn.id] = conn
                self._set_interest(conn)
            else:
                self._collect(conn, batches)
        if mask & HUNG_UP:
            conn.close(DISCONNECTED)

    def _collect(self, conn: Connection, batches: dict[str, Batch]) -> None:
        """Take as many requests as there are bytes: a chunk is always written before its byte."""
        try:
            count = len(conn.sock.recv(self.requests_per_turn))
            if count == 0:
                conn.close(DISCONNECTED)
                return
            messages = conn.rings.request.read_many(count)
        except BlockingIOError:
            return
        except RingError as error:
            conn.close(f"{error.strerror} in its request ring")
            return
        except OSError as error:
            conn.close(f"{DISCONNECTED} ({error.strerror})")
            return
        conn.stats.requests += len(messages)
        if len(messages) < count:
            conn.stats.recv_retries += 1
        batch = batches.setdefault(conn.service, [])
        for message in messages:
            if len(message) < REQUEST_HEADER.size:
                conn.close(f"request of {len(message)} bytes")
                return
            batch.append((conn, message))
        if conn.waiting():
            conn.retry()

    def _offer(self, service: str, batch: Batch) -> None:
        if self._epoll is None:
            return  # the handler stopped us
        taken = 0 if self._levels[service] else self._handler.requests(batch)
        if taken is None or taken >= len(batch):
            return
        for conn, message in batch[taken:]:
            if conn.doomed is None:
                conn.held.append(message)
                self._held[conn.id] = conn
        if self._levels[service] == 0:
            self.after("resume", EVENT_RETRY_MIN, self._resume)

    # ------------------------------------------------------------- flow control

    def set_flow_level(self, service: str, level: int) -> None:
        """0 go, 1 stop, 2 stop multicasts at the client; above 0 requests stay in the rings."""
        if self._levels[service] == level:
            return
        self._levels[service] = level
        for conn in self.connections.values():
            if conn.service == service:
                conn.set_flow_level(level)
        if level == 0:
            self._loop.run_callback(self._resume)

    def _resume(self) -> None:
        """Offer what was held back; clients that have nothing left there are read again."""
        if self._epoll is None:
            return
        batches: dict[str, Batch] = {}
        held = [conn for conn in self._held.values() if self._levels[conn.service] == 0]
        for conn in held:
            del self._held[conn.id]
            batches.setdefault(conn.service, []).extend((conn, message) for message in conn.held)
            conn.held.clear()
        self._in_turn = True
        try:
            for service, batch in batches.items():
                self._offer(service, batch)
            for conn in list(self._paused.values()):
                if not conn.held and self._levels[conn.service] == 0:
                    del self._paused[conn.id]
                    self._set_interest(conn)
        finally:
            self._in_turn = False
            self.flush()

    # ------------------------------------------------------------- what connections tell us

    def owes_bytes(self, conn: Connection) -> None:
        """Announce this connection's events at the end of the turn."""
        self._owing.append(conn)
        self._schedule_flush()

    def is_doomed(self, conn: Connection) -> None:
        """Close this connection at the end of the turn."""
        self._doomed.append(conn)
        self._schedule_flush()

    def has_queue(self, conn: Connection, size: int) -> None:
        """`size` more bytes of this connection wait for room in a ring."""
        self._queued_bytes += size
        if conn.id not in self._waiting and conn.doomed is None:
            self._waiting[conn.id] = conn
            assert self._space is not None
            # Edge-triggered: reported each time the client has taken bytes off its socket.
            self._space.register(conn.fd, select.EPOLLOUT | select.EPOLLET)
            self._retry_after = EVENT_RETRY_MIN
            self.after("retry", self._retry_after, self._retry_all)
        if self._queued_bytes > EVENT_QUEUE_TOTAL_BYTES_MAX:
            worst = max(self._waiting.values(), key=lambda c: c.queue_bytes if c.doomed is None else -1)
            worst.close(f"{self._queued_bytes} bytes of events wait for all clients, most for this one")

    def shrank_queue(self, size: int) -> None:
        """`size` bytes less wait."""
        self._queued_bytes -= size

    def _schedule_flush(self) -> None:
        if not self._in_turn and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.run_callback(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def _room_made(self) -> None:
        assert self._space is not None
        ready = (self._by_fd.get(fd) for fd, _ in self._space.poll(0))
        self._retry(conn for conn in ready if conn is not None)
        self.flush()

    def _retry_all(self) -> None:
        progress = self._retry(list(self._waiting.values()))
        self._retry_after = EVENT_RETRY_MIN if progress else min(2 * self._retry_after, EVENT_RETRY_MAX)
        if self._waiting:
            self.after("retry", self._retry_after, self._retry_all)
        self.flush()

    def _retry(self, connections: Iterable[Connection]) -> bool:
        progress = False
        for conn in connections:
            progress = conn.retry() or progress
            if not conn.waiting():
                self._forget_waiting(conn)
        return progress

    def _forget_waiting(self, conn: Connection) -> None:
        if self._waiting.pop(conn.id, None) is not None:
            assert self._space is not None
            self._space.unregister(conn.fd)

    # ------------------------------------------------------------- connections come and go

    def admit(self, service: str, creds: Credentials) -> int:
        """The handler's word on a new client."""
        return self._handler.admit(service, creds)

    def is_full(self) -> bool:
        """No more clients."""
        return len(self.connections) >= CLIENTS_MAX

    def establish(self, handshake: Handshake, creds: Credentials, size: int) -> int:
        """Make the rings and answer; 0 or the errno value of what failed; raises HandshakeError."""
        service = handshake.service
        try:
            rings = RingSet.create(
                self._run_dir,
                service,
                creds,
                handshake.fd,
                size,
                flow_level=self._levels[service],
                sysv=self._sysv,
            )
        except OSError as error:
            self._log.limited(
                "rings",
                ERROR,
                f"Cannot make rings for a {service} client (process {creds.pid}) in {self._run_dir}: {error}",
            )
            return error.errno or errno.EIO
        try:
            handshake.accept(rings, size, self._next_id)
        except HandshakeError:
            with suppress(OSError):
                rings.close()
            raise
        assert self._acceptor is not None
        self._acceptor.detach(handshake)
        self._open(Connection(self._next_id, service, creds, handshake.sock, rings, self))
        return 0

    def _open(self, conn: Connection) -> None:
        assert self._epoll is not None
        self._next_id += 1
        self.connections[conn.id] = conn
        self._by_fd[conn.fd] = conn
        conn.stats.flow_control = self._levels[conn.service]
        conn.interest = READ
        self._epoll.register(conn.fd, READ)
        self._log(DEBUG, f"{conn} connected")
        self._handler.opened(conn)

    def _set_interest(self, conn: Connection) -> None:
        interest = select.EPOLLRDHUP
        if conn.id not in self._paused:
            interest |= select.EPOLLIN
        if conn.blocked:
            interest |= select.EPOLLOUT
        if interest != conn.interest and conn.id in self.connections:
            conn.interest = interest
            assert self._epoll is not None
            self._epoll.modify(conn.fd, interest)

    def _close(self, conn: Connection) -> None:
        if self.connections.pop(conn.id, None) is None:
            return
        assert self._epoll is not None
        self._epoll.unregister(conn.fd)
        self._forget_waiting(conn)
        self._held.pop(conn.id, None)
        self._paused.pop(conn.id, None)
        del self._by_fd[conn.fd]
        self.closed_count += 1
        reason = conn.doomed or ""
        if reason.startswith(ORDINARY_ENDS):
            self._log(DEBUG, f"{conn} closed: {reason}")
        else:
            self._log.limited(f"closed {conn.creds.pid}", WARNING, f"Closing {conn}: {reason}")
        try:
            conn.free()
        except OSError as error:
            self._log.limited("remove", WARNING, f"Cannot remove {conn.rings.directory}: {error.strerror}")
        self._handler.closed(conn)
