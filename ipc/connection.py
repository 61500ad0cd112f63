"""An established connection to a service of the executive: its requests, events, end.

Everything here raises `IpcError`, an OSError whose errno the libraries turn into a cs_error_t.

Locks: calls and sends of several threads are put in order; `take_event` is safe too, but whoever
wants events handled in order has to let one thread at a time take them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple

from ipc._ring import Ring, RingError
from ipc.layout import Buffer
from ipc.waiting import Waiter, poll_now

# While a response is awaited, the socket is looked at this often for the executive's death.
ALIVE_CHECK_INTERVAL: Final = 0.25

# Flow level up to which a request is refused: 2 (stop bulk) concerns multicasts only.
LIMIT_NORMAL: Final = 1
LIMIT_BULK: Final = 2

# A dead executive may need a moment to be gone from the process table (libqb: 4 looks, 10 ms apart).
EXIT_LOOKS: Final = 4
EXIT_LOOK_INTERVAL: Final = 0.01

GONE_FLAGS: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class IpcError(OSError):
    """A connection could not be made or used; `errno` tells how, the text what to do."""


class Rings(NamedTuple):
    """The three rings of a connection, opened."""

    request: Ring
    response: Ring
    event: Ring


def _peer_pid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


class Connection:
    """One connection to one service.  Made by `connect`; usable by several threads or greenlets."""

    def __init__(
        self, service: str, sock: socket.socket, rings: Rings, max_msg_size: int, waiter: Waiter
    ) -> None:
        self.service = service
        self.max_msg_size = max_msg_size
        self.waiter = waiter
        self.server_pid = _peer_pid(sock)
        self._sock = sock
        self._rings = rings
        self._call_lock = waiter.lock()
        self._send_lock = waiter.lock()
        self._event_lock = waiter.lock()
        self._state_lock = waiter.lock()
        self._users = 0
        self._closed = False
        self._owner = os.getpid()
        self._foreign = False
        self._hung_up = False
        # Requests in the ring whose byte is not on the socket yet, responses a caller left behind when
        # it was interrupted, and events taken whose byte is still on the socket.
        self._unannounced = 0
        self._unanswered = 0
        self._unreceived = 0
        _connections.add(self)

    def fileno(self) -> int:
        """Descriptor that is readable while events wait; only for select, poll and the like.

        Raises IpcError EBADF when closed.
        """
        self.check_usable()
        return self._sock.fileno()

    @property
    def closed(self) -> bool:
        """True after close(), and in a child process."""
        return self._closed or self._foreign

    @property
    def closed_here(self) -> bool:
        """True after close() in this process."""
        return self._closed and not self._foreign

    # --- requests ---------------------------------------------------------------------------------

    def call(self, parts: Sequence[Buffer] | Buffer, *, limit: int = LIMIT_NORMAL) -> bytes:
        """Send one request and return its response, waiting as long as the executive takes.

        parts: the whole request, header included.  limit: LIMIT_NORMAL or LIMIT_BULK.
        Raises IpcError: EAGAIN no room or told to stop (nothing was sent), EMSGSIZE, ENOTCONN the
        executive is gone, EBADF closed here.
        """
        with self._using(), self._call_lock:
            # An earlier caller was interrupted (signal, killed greenlet): its response comes first.
            while self._unanswered:
                with self._send_lock:
                    self._announce()
                self._await_response()
            with self._send_lock:
                self._post(parts, limit, answered=True, wait=True)
            return self._await_response()

    def send(
        self, parts: Sequence[Buffer] | Buffer, *, limit: int = LIMIT_NORMAL, wait: bool = True
    ) -> None:
        """Send one request that has no response.

        wait: False refuses with EAGAIN rather than waiting for the executive to read its socket.
        Errors as `call`.
        """
        with self._using(), self._send_lock:
            self._post(parts, limit, answered=False, wait=wait)

    def _post(self, parts: Sequence[Buffer] | Buffer, limit: int, *, answered: bool, wait: bool) -> None:
        ring = self._rings.request
        try:
            if ring.ref_count != 2:
                raise self._gone()
            level = ring.flow_level
            if 0 < level <= limit:
                raise IpcError(
                    errno.EAGAIN,
                    f"service {self.service!r} asks to stop for now (flow level {level}): "
                    "its send queue is full or the membership is changing",
                )
            if not wait and not poll_now(self._sock.fileno(), select.POLLOUT) & select.POLLOUT:
                raise IpcError(errno.EAGAIN, f"service {self.service!r} does not keep up with requests")
            if not ring.write(parts):
                raise IpcError(errno.EAGAIN, f"request ring of service {self.service!r} is full")
        except RingError as error:
            raise IpcError(error.errno or errno.EIO, str(error)) from None
        self._unannounced += 1
        self._unanswered += answered
        self._announce()

    def _announce(self) -> None:
        """One byte per request; they must get out, else the executive does not look into the ring."""
        while self._unannounced:
            try:
                self._unannounced -= self._sock.send(b"\0" * self._unannounced, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                flags = self.waiter.poll(self._sock.fileno(), select.POLLOUT, ALIVE_CHECK_INTERVAL)
                if flags & GONE_FLAGS:
                    raise self._gone() from None
            except OSError:
                raise self._gone() from None

    def _await_response(self) -> bytes:
        ring = self._rings.response
        try:
            response = None
            while response is None:
                response = self.waiter.response(ring, ALIVE_CHECK_INTERVAL)
                if response is None and self._is_gone():
                    # What the executive answered before it died counts.
                    response = ring.read()
                    if response is None:
                        raise self._gone()
        except RingError as error:
            raise IpcError(error.errno or errno.EIO, str(error)) from None
        self._unanswered -= 1
        return response

    # --- events -----------------------------------------------------------------------------------

    def take_event(self) -> bytes | None:
        """The next event if there is one.  Call `acknowledge` after the last one of a run.

        Raises IpcError EBADF when closed, EBADMSG or EIDRM when the shared memory is spoiled.
        """
        with self._using(), self._event_lock:
            return self._read_event()

    def acknowledge(self) -> None:
        """Take the bytes of handled events off the socket, so that it is readable for new ones only."""
        with self._using(), self._event_lock:
            self._receive_bytes()

    def wait_event(self, timeout: float | None) -> bool:
        """Wait up to `timeout` seconds (None: for ever) until `take_event` may find something.

        False: nothing came.  Raises IpcError ENOTCONN when the executive is gone and all its events
        are taken, EBADF when the connection is or gets closed here.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._using():
            while True:
                with self._event_lock:
                    if self._event_pending():
                        return True
                    self._receive_bytes()
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                flags = self.waiter.poll(self._sock.fileno(), select.POLLIN, left)
                self.check_usable()
                if flags & GONE_FLAGS:
                    if self._event_pending():
                        return True
                    raise self._gone()
                if not flags:
                    return False
                self._skip_stray_byte()

    def _event_pending(self) -> bool:
        try:
            return self._rings.event.pending() > 0
        except RingError as error:
            raise IpcError(error.errno or errno.EIO, str(error)) from None

    def _read_event(self) -> bytes | None:
        try:
            event = self._rings.event.read()
        except RingError as error:
            raise IpcError(error.errno or errno.EIO, str(error)) from None
        if event is not None:
            self._unreceived += 1
        return event

    def _receive_bytes(self) -> None:
        if self._unreceived:
            with contextlib.suppress(OSError):
                self._unreceived -= len(self._sock.recv(self._unreceived))

    def _skip_stray_byte(self) -> None:
        """A chunk always precedes its byte, so a byte without one would keep us spinning: drop it."""
        with self._event_lock:
            if not self._unreceived and not self._event_pending():
                with contextlib.suppress(OSError):
                    self._sock.recv(1)

    # --- life -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Disconnect.  Others blocked in this connection get IpcError; twice is harmless."""
        if self.closed:
            return
        with self._state_lock:
            if self._closed:
                return
            self._hung_up = self._is_gone()
            self._closed = True
            idle = self._users == 0
            # Wakes whoever polls; the descriptor stays until the last user has left.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        if idle:
            self._tear_down()

    @contextlib.contextmanager
    def pinned(self) -> Iterator[int]:
        """The descriptor, kept from being closed and reused inside the `with` block."""
        with self._using():
            yield self._sock.fileno()

    def _using(self) -> _Use:
        return _Use(self)

    def _enter(self) -> None:
        # Before the lock, which another thread may have held when a child was forked.
        self.check_usable()
        with self._state_lock:
            self.check_usable()
            self._users += 1

    def _leave(self) -> None:
        with self._state_lock:
            self._users -= 1
            last = self._closed and self._users == 0
        if last:
            self._tear_down()

    def check_usable(self) -> None:
        """Raises IpcError EBADF when the connection is closed or belongs to a parent process."""
        if self._foreign:
            raise IpcError(
                errno.EBADF,
                f"this connection to service {self.service!r} belongs to process {self._owner}: "
                "open a new one after fork",
            )
        if self._closed:
            raise IpcError(errno.EBADF, f"this connection to service {self.service!r} is closed")

    def _is_gone(self) -> bool:
        return bool(poll_now(self._sock.fileno(), 0) & GONE_FLAGS)

    def _gone(self) -> IpcError:
        if self._closed:
            return IpcError(errno.EBADF, f"this connection to service {self.service!r} was closed")
        return IpcError(
            errno.ENOTCONN,
            f"the executive (process {self.server_pid}) closed the connection to service {self.service!r} "
            "or is gone: connect again",
        )

    def _tear_down(self) -> None:
        _connections.discard(self)
        self._sock.close()
        unlink = self._hung_up and self._server_is_dead()
        directory = os.path.dirname(self._rings.request.base)
        for ring in self._rings:
            with contextlib.suppress(OSError):
                ring.close(unlink=unlink)
        if unlink:
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _server_is_dead(self) -> bool:
        """Nobody else would remove the files then."""
        if self.server_pid <= 0:
            return False
        for look in range(EXIT_LOOKS):
            if look:
                self.waiter.sleep(EXIT_LOOK_INTERVAL)
            try:
                os.kill(self.server_pid, 0)
            except ProcessLookupError:
                return True
            except OSError:
                return False
        return False

    def _abandon(self) -> None:
        """In a child process: drop the descriptor, leave everything else to the parent."""
        self._foreign = True
        self._sock.close()


class _Use:
    """Keeps descriptor and rings alive while one operation runs."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection._enter()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection._leave()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _abandon_all() -> None:
    for connection in list(_connections):
        connection._abandon()
    _connections.clear()


# A copy of the descriptor in a child would hide the parent's death from the executive.
os.register_at_fork(after_in_child=_abandon_all)
