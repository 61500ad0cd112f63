# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The turn of the loop as it mostly is (see _turn.pyi)."""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY

from aisexec._timing cimport Timing
from aisexec.net._datagrams cimport receive_frames, send_one
from aisexec.totem._reception cimport receive_frames as take_frames
from aisexec.totem._reception cimport token_among
from aisexec.totem._state cimport CoreState
from aisexec.totem._timers cimport Timers
from ipc._histogram cimport Histogram

from aisexec.net.limits import RECEIVE_BYTES_MAX, RECEIVE_FRAMES_MAX
from aisexec.totem._visit import ordinary_visit
from aisexec.totem.core import State
from aisexec.totem.types import Unicast
from ipc._event_batch import EventBatch

cdef extern from "<sys/epoll.h>" nogil:
    struct epoll_event:
        pass
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef enum:
    FRAMES_AT_ONCE = 64
    UNKNOWN = -1
    # The transport has to be asked for everything.
    NOT_PLAIN = -2

cdef object OPERATIONAL = State.OPERATIONAL
cdef Py_ssize_t _bytes_max = RECEIVE_BYTES_MAX
cdef Py_ssize_t _frames_max = RECEIVE_FRAMES_MAX


cdef class Turn:
    cdef object driver
    cdef object executive
    cdef object transport
    cdef object server
    cdef Timing timing
    cdef Histogram frames_per_receive
    cdef CoreState core
    cdef Timers timers
    cdef object ring
    cdef object one_frame
    cdef object own_frames
    cdef object net_stats
    cdef int fd
    cdef int clients
    cdef bytearray buffer
    cdef dict names
    cdef readonly dict addresses
    cdef object judge
    cdef object requests

    def __init__(self, driver, executive, transport, server, Timing timing not None):
        self.driver = driver
        self.executive = executive
        self.transport = transport
        self.server = server
        self.timing = timing
        self.frames_per_receive = timing.loop.frames_per_receive
        self.fd = UNKNOWN

    cdef int learn(self) except -1:
        """The sockets are there only after the start."""
        self.fd = NOT_PLAIN
        plain = self.transport.plain()
        if plain is None:
            return 0
        source, self.addresses = plain
        fd, self.buffer, self.names, self.judge = source
        self.net_stats = self.transport.stats
        self.core = self.executive.totem.core
        self.timers = self.core.timers
        self.ring = ring = self.executive.totem.ring
        self.one_frame, self.own_frames = ring._frame, ring._handle_own_frames
        self.clients = self.server.descriptor
        self.requests = self.server._requests
        self.fd = fd
        return 0

    def ready(self):
        cdef list frames
        cdef Py_ssize_t size = 0
        cdef int trouble = 0
        cdef bint asked = False
        cdef bint until_token
        cdef double now
        cdef object driver = self.driver
        if driver._stopping:
            return
        if self.fd == UNKNOWN:
            self.learn()
        if self.fd < 0:
            driver._network_ready()
            return
        now = self.timing.now()
        # After a pause all that waits has to be looked at together.
        until_token = now - self.core.last_pause_check <= self.core.pause
        frames = receive_frames(
            self.fd, self.buffer, self.names, self.judge, _frames_max, _bytes_max, until_token,
            &size, &trouble,
        )
        if trouble:
            self.transport._receive_failed(trouble)
        if self.transport._own_frames:
            frames += self.transport._take_own()
        self.net_stats.received_frames += len(frames)
        self.net_stats.received_bytes += size
        if not 0 < len(frames) <= FRAMES_AT_ONCE:
            driver._handle(frames)
            driver._rest()
            return
        self.frames_per_receive.count(len(frames))
        if token_among(frames):
            if not self.timing.has_token:
                self.timing.has_token = True
                self.timing.token_at = now
            if self.server.waits_for_poll:
                driver._polled = True
                if self.clients_call():
                    asked = True
                    driver._poll_clients()
        self.executive.now = now
        self.take(frames, now)
        if self.core.effects or self.time(self.timers) <= now or not self.told_clients(asked):
            driver._rest()
        else:
            self.nothing_else()

    cdef bint told_clients(self, bint asked) except -1:
        """Events of messages have gone to clients; False when there is more to do than that."""
        cdef object executive = self.executive
        cdef object driver = self.driver
        cdef object server = self.server
        cdef list effects = executive._effects
        if len(effects) > 1 or (effects and type(effects[0]) is not EventBatch):
            return False
        if asked and executive.flow_level() != driver._flow_level:
            return False
        if effects:
            executive._effects = []
            executive._multicasts.batch = None
            driver._carrying = server.flush_follows = True
            try:
                driver._send_batch(effects[0])
            finally:
                driver._carrying = server.flush_follows = False
        return True

    cdef int take(self, list frames, double now) except -1:
        """What Ring.receive() does."""
        cdef CoreState core = self.core
        cdef object ring = self.ring
        if now - core.last_pause_check > core.pause:
            ring.receive(frames, now)
            return 0
        core.now = now
        ring._inside = True
        try:
            take_frames(core, frames, ordinary_visit, self.one_frame, self.own_frames)
        finally:
            ring._inside = False
        return 0

    cdef int nothing_else(self) except -1:
        """What is left of Driver._rest() when nothing came of it but the token that has gone."""
        cdef object driver = self.driver
        cdef object server = self.server
        cdef double due = self.time(self.timers)
        cdef bint circulating
        cdef CoreState core = self.core
        self.timing.over()
        if server._owing or server._doomed or self.requests._stopped:
            server.flush()
            server.resume()
        if due < <double>driver._timer_at:
            driver._arm_timer(due)
        circulating = core.state is OPERATIONAL and not core.token_held and len(core.memb) > 1
        if circulating != <bint>server.waits_for_poll:
            driver._watch_clients()
        return 0

    cdef inline double time(self, Timers timers) noexcept:
        cdef int slot = timers.first()
        return INFINITY if slot < 0 else timers.deadlines[slot]

    cdef inline bint clients_call(self) except? True:
        cdef epoll_event event
        return epoll_wait(self.clients, &event, 1, 0) != 0 or self.requests._queue

    def token_leaves(self):
        cdef object effects
        cdef object effect
        cdef object address
        cdef bytes frame
        cdef int trouble
        cdef object driver = self.driver
        if self.fd < 0 or driver._carrying or self.executive._effects:
            driver._token_leaves()
            return
        effects = self.core.effects
        effect = effects[0]
        address = self.addresses.get(effect[0]) if len(effects) == 1 and type(effect) is Unicast else None
        if address is None:
            driver._token_leaves()
            return
        effects.clear()
        frame = effect[1]
        trouble = send_one(self.fd, frame, address)
        if trouble:
            self.transport.failed(effect[0], trouble)
        else:
            stats = self.net_stats
            stats.sent_bytes += PyBytes_GET_SIZE(frame)
            stats.sent_frames += 1
            stats.continuous_send_failures = 0
        self.timing.passed_on(self.core.flow.queued_last_visit)
