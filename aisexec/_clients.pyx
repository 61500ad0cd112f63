# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Ordinary requests of clients, and their events (see _clients.pyi)."""

from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport uint32_t

from ipc._event_batch cimport EventBatch
from ipc._histogram cimport Histogram

from ipc._ring import RingError
from ipc.limits import READ_BYTES_MAX, REQUESTS_PER_TURN
from ipc.stats import CutOff

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    uint32_t EPOLLIN

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    BYTES_AT_ONCE = 4096

cdef char zeros[BYTES_AT_ONCE]
cdef size_t _per_turn = REQUESTS_PER_TURN
cdef Py_ssize_t _bytes_max = READ_BYTES_MAX

assert _per_turn <= BYTES_AT_ONCE


cdef class Clients:
    def __init__(self, executive, server):
        self.executive = executive
        self.totem = executive.totem
        self.intake = executive._intake
        self.server = server
        self.requests = server._requests
        self.requests_per_turn = server.stats.requests_per_turn
        self.events_per_notification = server.stats.events_per_notification
        self.epoll = server.descriptor

    def poll(self, double now):
        self.call()
        return self.take(now), self.more

    def send(self, EventBatch batch not None):
        self.tell(batch)
        self.announce()

    cdef bint call(self) except -1:
        """Look whether somebody has something to say."""
        self.called = max(0, epoll_wait(self.epoll, self.calls, CALLS_MAX, 0))
        return self.called > 0 or <bint>self.requests._queue

    cdef Py_ssize_t take(self, double now) except -1:
        """How many requests of those that have called were taken; `more` if the server has to go on."""
        cdef object requests = self.requests
        cdef dict by_fd = self.server._by_fd
        cdef Py_ssize_t taken = 0
        cdef int i
        cdef object conn
        self.more = True
        if requests._queue or not requests._room or self.called == CALLS_MAX or self.executive.sync.running:
            return 0
        self.more = False
        self.executive.now = now
        for i in range(self.called):
            conn = by_fd.get(self.calls[i].data.fd)
            if (conn is None or self.calls[i].events != EPOLLIN or conn.doomed is not None
                    or conn.stopped or conn.unread or conn.held):
                self.more = True  # the set is level-triggered: it will call again
            else:
                taken += self.take_from(conn)
                if conn.held:
                    # If it is room that there is none of, nobody else's requests should wait in memory.
                    self.more = True
                    break
        self.called = 0
        if taken:
            requests.taken += taken
            self.requests_per_turn.count(taken)
        return taken

    cdef Py_ssize_t take_from(self, conn) except -1:
        cdef char bytes_read[BYTES_AT_ONCE]
        cdef Py_ssize_t unread
        cdef Py_ssize_t taken = 0
        cdef list messages
        cdef tuple known
        cdef object ring
        cdef int fd = conn.fd
        with nogil:
            unread = recv(fd, bytes_read, _per_turn, MSG_DONTWAIT)
        if unread <= 0:
            self.more = True
            return 0
        ring = conn.rings.request
        try:
            messages = ring.read_many(unread, _bytes_max)
            if not messages:
                messages = ring.read_many(1)
        except RingError as error:
            conn.close(f"{error.strerror} in its request ring", CutOff.RINGS)
            self.more = True
            return 0
        unread -= PyList_GET_SIZE(messages)
        conn.unread = unread
        conn.stats.requests += PyList_GET_SIZE(messages)
        if conn._queue or conn._responses:
            conn.retry()
        if messages:
            known = self.executive._clients.get(conn.id)
            if known is not None:
                head = known[1].multicast_head(known[0])
                if head:
                    taken = self.intake.take(self.totem, head, messages, 0)
        if taken < PyList_GET_SIZE(messages):
            conn.held = messages[taken:]
        elif not unread:
            return taken
        self.requests.ready(conn)
        self.more = True
        return taken

    cdef int tell(self, EventBatch batch) except -1:
        """Write events to those they are for; `announce` follows."""
        cdef dict connections = self.server.connections
        cdef Py_ssize_t first = 0
        cdef Py_ssize_t last
        while first < batch.count:
            last = first + 1
            while last < batch.count and batch.spans[last].receivers == batch.spans[first].receivers:
                last += 1
            for client in <tuple>batch.receivers[batch.spans[first].receivers]:
                conn = connections.get(client)
                if conn is not None:
                    self.tell_one(conn, batch, first, last)
            first = last
        return 0

    cdef int tell_one(self, conn, EventBatch batch, Py_ssize_t first, Py_ssize_t last) except -1:
        # As Connection.events.
        cdef Py_ssize_t written
        if conn.doomed is not None or conn._queue:
            conn.events(batch, first, last)
            return 0
        try:
            written = conn._event_ring.write_batch(batch, first, last)
        except RingError as error:
            conn._broken(error)
            return 0
        if written:
            conn.stats.dispatched += written
            if not conn.owed:
                self.server._owing.append(conn)
            conn.owed += written
        if written < last - first:
            conn.events(batch, first + written, last)
        return 0

    cdef int announce(self) except -1:
        """As Server.flush."""
        cdef list owing = self.server._owing
        cdef Py_ssize_t owed
        cdef Py_ssize_t sent
        cdef int fd
        if not owing:
            return 0
        self.server._owing = []
        for conn in owing:
            owed = conn.owed
            self.events_per_notification.count(owed)
            if 0 < owed <= BYTES_AT_ONCE and conn.doomed is None:
                fd = conn.fd
                sent = send(fd, zeros, owed, MSG_DONTWAIT | MSG_NOSIGNAL)
                if sent > 0:
                    owed -= sent
                    conn.owed = owed
            if owed and not conn.announce():
                conn.blocked = True
                self.server._set_interest(conn)
        return 0
