"""One client: its rings, the bytes it is owed, what waits in memory because a ring is full."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ipc._event_batch import EventBatch
from ipc._ring import RingError
from ipc.layout import Buffer
from ipc.limits import (
    EVENT_QUEUE_BYTES_MAX,
    PROCESS_NAME_MAX,
    QUEUE_OVERHEAD,
    RESPONSE_QUEUE_BYTES_MAX,
    WRITE_PARTS_MAX,
)
from ipc.ringset import Credentials, RingSet
from ipc.stats import ConnectionStats, CutOff
from ipc.zerocopy import BufferCount, BufferTable

# An event is announced by one byte on the socket; its value means nothing.
ANNOUNCEMENT = memoryview(bytes(4096))
DISCONNECTED = "disconnected"
SEND_FLAGS = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


class Owner(Protocol):
    """What a connection tells its server; nothing of it acts before the end of the turn."""

    buffers: BufferCount

    def owes_bytes(self, conn: Connection) -> None: ...
    def is_doomed(self, conn: Connection) -> None: ...
    def has_queue(self, conn: Connection, size: int) -> None: ...
    def shrank_queue(self, size: int) -> None: ...


def process_name(pid: int) -> str:
    """Command name of a process as in /proc/<pid>/stat; empty when it cannot be had."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read(512)
    except OSError:
        return ""
    start, end = text.find(b"(") + 1, text.rfind(b")")
    return text[start:end].decode(errors="replace")[:PROCESS_NAME_MAX] if 0 < start <= end else ""


class Connection:
    """A client of one service.  All methods are called from the hub, and none of them blocks.

    A client that breaks its rings, or never reads, is closed at the end of the turn; `respond` and
    `event` then do nothing.
    """

    __slots__ = (
        "_buffers",
        "_event_ring",
        "_owner",
        "_queue",
        "_response_ring",
        "_responses",
        "_responses_bytes",
        "blocked",
        "creds",
        "cut_off",
        "doomed",
        "fd",
        "held",
        "id",
        "interest",
        "owed",
        "queue_bytes",
        "queued",
        "rings",
        "service",
        "sock",
        "stats",
        "stopped",
        "unread",
    )

    def __init__(
        self, id: int, service: str, creds: Credentials, sock: socket.socket, rings: RingSet, owner: Owner
    ) -> None:
        self.id = id
        self.service = service
        self.creds = creds
        self.sock = sock
        self.fd = sock.fileno()
        self.rings = rings
        self.stats = ConnectionStats(procname=process_name(creds.pid))
        self.owed = 0
        self.queue_bytes = 0
        self.doomed: str | None = None
        self.cut_off = CutOff.RULES
        # For the server: interest in epoll's terms, whether the socket is full.
        self.interest = 0
        self.blocked = False
        # For `ipc.requests`: requests that the handler has not taken yet, bytes taken off the socket
        # whose requests are still in the ring, whether its turn will come, whether it waits for room.
        self.held: list[bytes] = []
        self.unread = 0
        self.queued = False
        self.stopped = False
        self._owner = owner
        self._event_ring = rings.event
        self._response_ring = rings.response
        self._queue: deque[bytes] = deque()
        self._responses: deque[bytes] = deque()
        self._responses_bytes = 0
        self._buffers: BufferTable | None = None

    def __str__(self) -> str:
        return (
            f"{self.service} client {self.id} (process '{self.stats.procname}' pid {self.creds.pid}, "
            f"uid {self.creds.uid})"
        )

    def respond(self, message: Buffer) -> None:
        """Answer a synchronous request: exactly one answer a request, no longer than its C struct."""
        if self.doomed is not None:
            return
        if self.owed:
            self.announce()  # with the answer the program finds the events that were sent before it
        try:
            if not self._responses and self._response_ring.write(message):
                self.stats.responses += 1
                return
        except RingError as error:
            self._broken(error)
            return
        self._queue_response(bytes(message))

    def event(self, *parts: Buffer) -> None:
        """Send one event, the parts joined.  Kept in memory, in order, when the ring is full."""
        if self.doomed is not None:
            return
        if len(parts) > WRITE_PARTS_MAX:
            parts = (b"".join(parts),)
        try:
            if not self._queue and self._event_ring.write(parts):
                self.stats.dispatched += 1
                if self.owed == 0:
                    self._owner.owes_bytes(self)
                self.owed += 1
                return
        except RingError as error:
            self._broken(error)
            return
        self._queue_event(parts)

    def events(self, batch: EventBatch, first: int, last: int) -> None:
        """Send the events first..last-1 of a batch, like `event`."""
        if self.doomed is not None:
            return
        try:
            written = 0 if self._queue else self._event_ring.write_batch(batch, first, last)
        except RingError as error:
            self._broken(error)
            return
        if written:
            self.stats.dispatched += written
            if self.owed == 0:
                self._owner.owes_bytes(self)
            self.owed += written
        for index in range(first + written, last):
            self.event(batch.event(index))

    def close(self, reason: str, cut_off: CutOff = CutOff.RULES) -> None:
        """Drop the client at the end of this turn; `reason` is for the log, `cut_off` the counter."""
        if self.doomed is None:
            self.doomed = reason
            self.cut_off = cut_off
            self._owner.is_doomed(self)

    @property
    def waiting_bytes(self) -> int:
        """Of events and responses that wait in memory."""
        return self.queue_bytes + self._responses_bytes

    def drop_queues(self) -> None:
        """Give back the memory of what waits; for a connection that is to be closed."""
        self._owner.shrank_queue(self.waiting_bytes)
        self._queue.clear()
        self._responses.clear()
        self.queue_bytes = self._responses_bytes = 0

    def open_buffer(self, path: str, size: int) -> int:
        """Take over a zero-copy buffer the client made; its cookie.  Raises OSError: refuse the client."""
        if self._buffers is None:
            self._buffers = BufferTable(self.creds.uid, self._owner.buffers)
        return self._buffers.open(path, size)

    def read_buffer(self, cookie: int, offset: int, size: int) -> bytes:
        """Copy out of a buffer; raises KeyError (no such cookie), ValueError (outside), OSError."""
        if self._buffers is None:
            raise KeyError(cookie)
        return self._buffers.read(cookie, offset, size)

    def release_buffer(self, cookie: int) -> None:
        """Unmap a buffer; raises KeyError."""
        if self._buffers is None:
            raise KeyError(cookie)
        self._buffers.release(cookie)

    # ------------------------------------------------------------- for the server

    def idle(self) -> bool:
        """The client has taken all that was sent to it."""
        if self.doomed is not None:
            return True
        if self.owed or self._queue or self._responses:
            return False
        try:
            return self._event_ring.pending() == 0
        except RingError:
            return True

    def waiting(self) -> bool:
        """Something waits in memory for room in a ring."""
        return bool(self._queue or self._responses)

    def retry(self) -> bool:
        """Write what waits, as far as the rings have room; whether anything could be written."""
        if self.doomed is not None:
            return False
        try:
            progress = self._retry_responses()
            return self._retry_events() or progress
        except RingError as error:
            self._broken(error)
            return False

    def announce(self) -> bool:
        """Send the owed bytes; False when the socket is full and some remain."""
        while self.owed and self.doomed is None:
            try:
                self.owed -= self.sock.send(ANNOUNCEMENT[: self.owed], SEND_FLAGS)
            except BlockingIOError:
                self.stats.send_retries += 1
                return False
            except OSError as error:
                self.close(f"{DISCONNECTED} ({error.strerror})")
        return True

    def set_flow_level(self, level: int) -> None:
        """Publish the level in the request ring."""
        try:
            self.rings.request.flow_level = level
        except RingError as error:
            self._broken(error)
            return
        if level != self.stats.flow_control:
            self.stats.flow_control = level
            self.stats.flow_control_count += 1

    def free(self) -> None:
        """Release socket, buffers and shared memory; raises OSError if the directory stays."""
        self.drop_queues()
        self.held.clear()
        if self._buffers is not None:
            self._buffers.close()
        with suppress(OSError):  # the client may have been faster
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.rings.close()

    def _broken(self, error: RingError) -> None:
        self.close(f"{error.strerror} in {error.filename}", CutOff.RINGS)

    def _queue_response(self, message: bytes) -> None:
        size = len(message) + QUEUE_OVERHEAD
        if self._responses_bytes + size > RESPONSE_QUEUE_BYTES_MAX:
            self.close(f"does not read responses: {self._responses_bytes} bytes wait", CutOff.RESPONSES)
            return
        self.stats.send_retries += 1
        self._responses_bytes += size
        self._responses.append(message)
        self._owner.has_queue(self, size)

    def _queue_event(self, parts: Sequence[Buffer]) -> None:
        message = b"".join(parts)
        size = len(message) + QUEUE_OVERHEAD
        if self.queue_bytes + size > EVENT_QUEUE_BYTES_MAX:
            waiting = f"{len(self._queue)} events, {self.queue_bytes} bytes wait"
            self.close(f"does not read events: {waiting}", CutOff.EVENTS)
            return
        if not self._queue:
            self.stats.queueing = 1
        self.stats.queued += 1
        self._queue.append(message)
        self.queue_bytes += size
        self._owner.has_queue(self, size)

    def _retry_responses(self) -> bool:
        before = self._responses_bytes
        while self._responses and self._response_ring.write(self._responses[0]):
            self._responses_bytes -= len(self._responses.popleft()) + QUEUE_OVERHEAD
            self.stats.responses += 1
        if before == self._responses_bytes:
            return False
        self._owner.shrank_queue(before - self._responses_bytes)
        return True

    def _retry_events(self) -> bool:
        stats = self.stats
        before = self.queue_bytes
        while self._queue:
            message = self._queue[0]
            if not self._event_ring.write(message):
                stats.send_retries += 1
                break
            self._queue.popleft()
            self.queue_bytes -= len(message) + QUEUE_OVERHEAD
            stats.dispatched += 1
            stats.queued -= 1
            stats.sent += 1
            if self.owed == 0:
                self._owner.owes_bytes(self)
            self.owed += 1
        if before == self.queue_bytes:
            return False
        self._owner.shrank_queue(before - self.queue_bytes)
        if not self._queue:
            stats.queueing = stats.sent = 0
        return True
