"""Server half of libqb's IPC: listeners, handshakes, and one turn of the loop over all clients.

All client sockets are in one epoll set of which the loop watches only the descriptor.  So a wake-up
gives every ready client at once, requests are handled in one go (see `ipc.requests`), and a client
whose requests must wait is still watched for its death (epoll reports HUP without being asked, which
libev's watchers cannot express).
"""

from __future__ import annotations

import errno
import select
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from time import monotonic
from typing import Protocol

from ipc.acceptor import READ, Acceptor
from ipc.handshake import Handshake, HandshakeError
from ipc.limits import (
    CLIENTS_MAX,
    CLIENTS_PER_PROCESS_MAX,
    CLOSING_TIME,
    EVENT_RETRIES_PER_TURN,
    EVENT_RETRY_MAX,
    EVENT_RETRY_MIN,
    QUEUES_TOTAL_BYTES_MAX,
)
from ipc.ratelimit import DEBUG, ERROR, WARNING, LimitedLog, Log
from ipc.requests import Requests
from ipc.ringset import Credentials, RingSet
from ipc.server_connection import DISCONNECTED, Connection
from ipc.stats import CutOff, Refusal, ServerStats
from ipc.zerocopy import BufferCount

HUNG_UP = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
LOOP_READ = 1  # libev's EV_READ

CLOSE_MORE = "close more"
"""Name of the timer while more clients have to be closed than one turn has time for."""

SERVER_STOPS = "server stops"
ORDINARY_ENDS = (DISCONNECTED, SERVER_STOPS)
"""Reasons for a connection's end that need no operator."""


PATIENT = frozenset({"handshakes", "accept"})
"""Names of the timers for what is not urgent."""


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

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int:
        """Requests, whole (headers included), one at least, those of a connection in order.

        How many were taken.  The others are offered again, before all later ones of this connection: in the
        next turn when `deadline` (time.monotonic) has passed, which is not looked at for the first;
        otherwise there is no room for them, until `Server.resume` is called.
        """

    def turn_over(self) -> None:
        """All requests of this turn have been handed in."""

    def closed(self, conn: Connection) -> None:
        """The client is gone; called once for each `opened`."""


class Server:
    """Serves `services` (short names such as "cpg") to libqb clients in this network namespace.

    run_dir: where the rings live.  failed: told of an exception that got past everything; without it
    the loop gets it, which does not call us again then.
    sysv: rings with System V semaphores, for our own clients only.
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
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        self._loop = loop
        self._services = tuple(services)
        self._handler = handler
        self._log = LimitedLog(log)
        self._sysv = sysv
        self._run_dir = run_dir
        self._end = failed
        self.stats = ServerStats()
        self.buffers = BufferCount()
        self.connections: dict[int, Connection] = {}
        self._by_process: Counter[int] = Counter()
        self._requests = Requests(handler, self._put_off, self._failed, self.stats)
        self._next_id = 1
        self._levels = dict.fromkeys(self._services, 0)
        self._by_fd: dict[int, Connection] = {}
        self._acceptor: Acceptor | None = None
        self._owing: list[Connection] = []
        self._doomed: deque[Connection] = deque()
        self._waiting: dict[int, Connection] = {}
        self._clients_watcher: Watcher | None = None
        self.waits_for_poll = False
        """See `wait_for_poll`."""
        self._unsettled: dict[int, Connection] = {}
        self.queued_bytes = 0
        """Of events and responses of all clients that wait for room in a ring."""
        self._retry_after = EVENT_RETRY_MIN
        self._flush_scheduled = False
        self.flush_follows = False
        """Who makes events now will call `flush` himself."""
        self._in_turn = False
        self._closing = False
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
        self._clients_watcher = self._watch(self._epoll, self._turn)
        self._watch(self._space, self._room_made)

    def stop(self) -> None:
        """Close everything at once; what clients have not read yet is lost to them (see `idle`)."""
        if self._epoll is None or self._space is None:
            return
        for conn in list(self.connections.values()):
            conn.close(SERVER_STOPS)
        while self._doomed:
            self._close(self._doomed.popleft())
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        for watcher in [*self._watchers, *self._timers.values()]:
            watcher.stop()
            watcher.close()
        self._clients_watcher = None
        self._watchers.clear()
        self._timers.clear()
        self._epoll.close()
        self._space.close()
        self._epoll = self._space = None

    def idle(self) -> bool:
        """All clients have taken all their events: a good moment to stop."""
        return all(conn.idle() for conn in self.connections.values())

    def _watch(self, epoll: select.epoll, callback: Callable[[], None]) -> Watcher:
        watcher = self._loop.io(epoll.fileno(), LOOP_READ)
        watcher.start(partial(self._guarded, callback))
        self._watchers.append(watcher)
        return watcher

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            if self._end is None:
                raise
            self._end(error)

    def wait_for_poll(self, waits: bool) -> None:
        """Clients are looked at when `poll` is called, and not when they call.

        A wake-up for each request of a client that sends many is what costs most; the handler may
        know a better moment that is not far away.
        """
        if waits != self.waits_for_poll and self._clients_watcher is not None:
            self.waits_for_poll = waits
            if waits:
                self._clients_watcher.stop()
                return
            unsettled, self._unsettled = self._unsettled, {}
            for conn in unsettled.values():
                self._set_interest(conn)
            self._clients_watcher.start(partial(self._guarded, self._turn))

    @property
    def has_more(self) -> bool:
        """Some clients had more than their share of the last turn."""
        return self._requests.waiting

    @property
    def busy(self) -> bool:
        """Something else than clients' requests is to be done soon."""
        return bool(self._waiting or self._flush_scheduled or not self._timers.keys() <= PATIENT)

    @property
    def descriptor(self) -> int:
        """Readable when a client calls."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def poll(self) -> int:
        """Look at the clients now; how many of their requests were taken."""
        before = self._requests.taken
        self._turn()
        return self._requests.taken - before

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
        if self._epoll is None:
            return
        self._begin_turn()
        try:
            for fd, mask in self._epoll.poll(0):
                conn = self._by_fd.get(fd)
                if conn is not None:
                    self._client_ready(conn, mask)
                elif self._acceptor is not None:
                    self._acceptor.ready(fd)
            self._requests.serve()
        finally:
            self._end_turn()

    def resume(self) -> None:
        """There may be room for requests that the handler did not take."""
        if self._epoll is None or not self._requests.stopped:
            return
        if self._in_turn:
            self.after("resume", 0.0, self.resume)
            return
        self._begin_turn()
        try:
            self._requests.resume()
        finally:
            self._end_turn()

    def _failed(self, error: Exception) -> None:
        """Have the loop report it like any other, by itself: gevent ends the watching of what has raised."""

        def report() -> None:
            raise error

        self._loop.run_callback(report)

    def _begin_turn(self) -> None:
        self._in_turn = True
        self._requests.start_turn()
        if self._acceptor is not None:
            self._acceptor.start_turn()

    def _end_turn(self) -> None:
        try:
            if handled := self._requests.handled:
                self._requests.handled = 0
                self.stats.requests_per_turn.add(handled)
                self._handler.turn_over()
        finally:
            self._in_turn = False
            self.flush()
        if self._requests.waiting:
            self.after("again", 0.0, self._turn)

    def flush(self) -> None:
        """End a turn: announce events with one send per client, close those that failed.

        Called by the handler in the middle of our own turn it only announces.
        """
        owing, self._owing = self._owing, []
        for conn in owing:
            self.stats.events_per_notification.add(conn.owed)
            if not conn.announce():
                conn.blocked = True
                self._set_interest(conn)
        if self._doomed and not self._in_turn:
            self._close_doomed()

    def _close_doomed(self) -> None:
        """As many as there is time for; the others in the next turns."""
        if self._closing or CLOSE_MORE in self._timers:
            return  # the handler flushes, too, when it is told of one that is closed
        deadline = monotonic() + CLOSING_TIME
        self._closing = True
        try:
            while self._doomed:
                self._close(self._doomed.popleft())
                if monotonic() >= deadline:
                    break
        finally:
            self._closing = False
        if self._doomed:
            self.after(CLOSE_MORE, 0.0, self._close_doomed)

    def _client_ready(self, conn: Connection, mask: int) -> None:
        if conn.doomed is not None:
            return  # it is about to be closed
        if mask & select.EPOLLOUT and conn.announce():
            conn.blocked = False
            self._set_interest(conn)
        if mask & HUNG_UP:
            if mask & select.EPOLLIN:
                self._requests.serve_last(conn)
            conn.close(DISCONNECTED)
        elif mask & select.EPOLLIN:
            self._requests.ready(conn)

    # ------------------------------------------------------------- flow control

    def set_flow_level(self, service: str, level: int) -> None:
        """Tell the clients' libraries: 0 go, 1 stop, 2 stop multicasts.

        Nothing follows for what is in the rings already: the handler takes it or not.
        """
        if self._levels[service] == level:
            return
        self._levels[service] = level
        for conn in self.connections.values():
            if conn.service == service:
                conn.set_flow_level(level)

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
        self.queued_bytes += size
        if conn.id not in self._waiting and conn.doomed is None:
            self._waiting[conn.id] = conn
            assert self._space is not None
            # Edge-triggered: reported each time the client has taken bytes off its socket.
            self._space.register(conn.fd, select.EPOLLOUT | select.EPOLLET)
            self._retry_after = EVENT_RETRY_MIN
            self.after("retry", self._retry_after, self._retry_all)
        if self.queued_bytes > QUEUES_TOTAL_BYTES_MAX:
            worst = max(self._waiting.values(), key=lambda c: c.waiting_bytes)
            worst.close(f"{self.queued_bytes} bytes wait for all clients, most for this one", CutOff.ALL)
            worst.drop_queues()

    def shrank_queue(self, size: int) -> None:
        """`size` bytes less wait."""
        self.queued_bytes -= size

    def _schedule_flush(self) -> None:
        if not (self._in_turn or self.flush_follows or self._flush_scheduled):
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
        # Those looked at go behind the others.
        chosen = list(islice(self._waiting.values(), EVENT_RETRIES_PER_TURN))
        for conn in chosen:
            self._waiting[conn.id] = self._waiting.pop(conn.id)
        progress = self._retry(chosen)
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

    def is_full(self, creds: Credentials) -> Refusal | None:
        """Why there is no place for one more client of this process."""
        if len(self.connections) >= CLIENTS_MAX:
            return Refusal.CLIENTS
        return Refusal.PROCESS if self._by_process[creds.pid] >= CLIENTS_PER_PROCESS_MAX else None

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
            self.stats.refused[Refusal.RINGS] += 1
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
        self.stats.accepted += 1
        self._by_process[conn.creds.pid] += 1
        self.connections[conn.id] = conn
        self._by_fd[conn.fd] = conn
        conn.stats.flow_control = self._levels[conn.service]
        conn.interest = READ
        self._epoll.register(conn.fd, READ)
        self._log(DEBUG, f"{conn} connected")
        self._handler.opened(conn)

    def _put_off(self, conn: Connection) -> None:
        """Its requests wait for room, or do so no more.  Nothing wakes us meanwhile if we are polled."""
        # One that was blocked while it waited is not read, and has to be again before it is unblocked.
        if self.waits_for_poll and (conn.stopped or conn.interest & select.EPOLLIN):
            self._unsettled[conn.id] = conn
        else:
            self._set_interest(conn)

    def _set_interest(self, conn: Connection) -> None:
        interest = select.EPOLLRDHUP
        if not conn.stopped:
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
        self._unsettled.pop(conn.id, None)
        self._epoll.unregister(conn.fd)
        self._forget_waiting(conn)
        self._requests.forget(conn)
        del self._by_fd[conn.fd]
        self._by_process[conn.creds.pid] -= 1
        if not self._by_process[conn.creds.pid]:
            del self._by_process[conn.creds.pid]
        self.stats.closed += 1
        reason = conn.doomed or ""
        if reason.startswith(ORDINARY_ENDS):
            self._log(DEBUG, f"{conn} closed: {reason}")
        else:
            self.stats.cut_off[conn.cut_off] += 1
            self._log.limited(f"closed {conn.creds.pid}", WARNING, f"Closing {conn}: {reason}")
        try:
            conn.free()
        except OSError as error:
            self._log.limited("remove", WARNING, f"Cannot remove {conn.rings.directory}: {error.strerror}")
        self._handler.closed(conn)
