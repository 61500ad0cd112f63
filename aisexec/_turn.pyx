# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The turn of the loop as it mostly is (see _turn.pyi)."""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY

from aisexec._clients cimport Clients
from aisexec._timing cimport Timing
from aisexec.net._datagrams cimport Sent, receive_frames, send_one, send_run
from aisexec.totem._reception cimport receive_frames as take_frames
from aisexec.totem._reception cimport token_among
from aisexec.totem._state cimport CoreState
from aisexec.totem._timers cimport Timers
from ipc._event_batch cimport EventBatch
from ipc._histogram cimport Histogram

from aisexec.batching import STREAM_MIN
from aisexec.net.limits import RECEIVE_BYTES_MAX, RECEIVE_FRAMES_MAX, TURN_MAX, TURN_PATIENCE
from aisexec.slow_readers import BEHIND
from aisexec.totem._visit import ordinary_visit
from aisexec.totem.core import State
from aisexec.totem.types import Broadcasts, Unicast

cdef enum:
    FRAMES_AT_ONCE = 64
    UNKNOWN = -1
    # The transport has to be asked for everything.
    NOT_PLAIN = -2
    # Visits after which it is looked whether there is garbage to collect.
    VISITS_BETWEEN_LOOKS = 64

cdef object OPERATIONAL = State.OPERATIONAL
cdef Py_ssize_t _bytes_max = RECEIVE_BYTES_MAX
cdef Py_ssize_t _frames_max = RECEIVE_FRAMES_MAX
cdef Py_ssize_t _stream_min = STREAM_MIN
cdef Py_ssize_t _behind = BEHIND
cdef double _turn_max = TURN_MAX
cdef double _turn_patience = TURN_PATIENCE


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
    cdef Clients clients
    cdef Py_ssize_t visit
    cdef unsigned long long visits
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
        self.clients = Clients(self.executive, self.server)
        self.visit = self.executive.visit
        self.requests = self.server._requests
        self.fd = fd
        return 0

    def ready(self):
        try:
            self.serve()
        except Exception as error:
            self.driver.failed(error)

    cdef int serve(self) except -1:
        cdef object driver = self.driver
        cdef double until
        if driver._stopping:
            return 0
        if self.fd == UNKNOWN:
            self.learn()
        if self.fd < 0:
            driver._network_ready()
            return 0
        until = self.timing.now() + _turn_max
        self.turn(False)
        # The loop and its watchers are a long way for a token that is back before they are needed.
        while self.may_wait(until):
            if not self.turn(True):
                break
        return 0

    cdef bint may_wait(self, double until) except -1:
        """The token goes round, and nobody but the network has anything to do for us."""
        cdef double now
        cdef double due
        cdef object driver = self.driver
        cdef object server = self.server
        if not server.waits_for_poll or not self.circulates() or driver._stopping or server.busy:
            return False
        if self.requests._queue or self.transport._own_frames:
            return False
        now = self.timing.now()
        due = self.time(self.timers)
        return now < until and now + _turn_patience < due

    cdef bint circulates(self) except -1:
        cdef CoreState core = self.core
        return core.state is OPERATIONAL and not core.token_held and len(core.memb) > 1

    cdef bint turn(self, bint wait) except -1:
        """One; False when nothing came in time."""
        cdef list frames
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t more = 0
        cdef int trouble = 0
        cdef bint asked = False
        cdef bint until_token
        cdef double now
        cdef object driver = self.driver
        if wait:
            self.timing.sleeps()
        else:
            now = self.timing.now()
        # After a pause all that waits has to be looked at together.
        until_token = wait or now - self.core.last_pause_check <= self.core.pause
        frames = receive_frames(
            self.fd, self.buffer, self.names, self.judge, _frames_max, _bytes_max, until_token, wait,
            &size, &trouble,
        )
        if wait:
            self.timing.wakes()
            if not frames and not trouble:
                return False
            now = self.timing.now()
            if now - self.core.last_pause_check > self.core.pause and not trouble:
                frames += receive_frames(
                    self.fd, self.buffer, self.names, self.judge, _frames_max, _bytes_max, False, False,
                    &more, &trouble,
                )
                size += more
        if trouble:
            self.transport._receive_failed(trouble)
        self.net_stats.received_frames += len(frames)
        self.net_stats.received_bytes += size
        if self.transport._own_frames:
            frames += self.transport._take_own()
        if not 0 < len(frames) <= FRAMES_AT_ONCE:
            driver._handle(frames)
            driver._rest()
            return True
        self.frames_per_receive.count(len(frames))
        if token_among(frames):
            if not self.timing.has_token:
                self.timing.has_token = True
                self.timing.token_at = now
            if <Py_ssize_t>self.server.queued_bytes > _behind:
                driver._wait_for_readers()
            if self.server.waits_for_poll:
                driver._polled = True
                if self.clients.call():
                    asked = True
                    self.take_requests(now)
        self.executive.now = now
        self.take(frames, now)
        if self.core.effects or self.time(self.timers) <= now or not self.told_clients(asked):
            driver._rest()
        else:
            self.nothing_else()
        return True

    cdef bint told_clients(self, bint asked) except -1:
        """Events of messages have gone to clients; False when there is more to do than that."""
        cdef object executive = self.executive
        cdef object driver = self.driver
        cdef object server = self.server
        cdef list effects = executive._effects
        if len(effects) > 1 or (effects and type(effects[0]) is not EventBatch):
            return False
        # Clients that were stopped do not ask: the level falls with what the token takes along.
        if (asked or driver._flow_level) and executive.flow_level() != driver._flow_level:
            return False
        if effects:
            executive._effects = []
            executive._multicasts.batch = None
            driver._carrying = server.flush_follows = True
            try:
                self.clients.tell(<EventBatch>effects[0])
            finally:
                driver._carrying = server.flush_follows = False
        return True

    cdef int take_requests(self, double now) except -1:
        """What clients want to say goes out with the token that has just come."""
        cdef CoreState core = self.core
        cdef object driver = self.driver
        cdef Py_ssize_t taken
        if len(core.q_trans if core.waiting_trans_ack else core.q_new) >= self.visit:
            driver._poll_later = True  # there is enough, and everybody waits for the token
            return 0
        taken = self.clients.take(now)
        if self.clients.more or taken >= _stream_min:
            driver._go_on_taking(taken)
        else:
            driver._visited_at = now
        return 0

    cdef int take_later(self, double now) except -1:
        """The token has gone; there is time to take what is for its next visit."""
        cdef object driver = self.driver
        driver._poll_later = False
        self.clients.call()
        self.clients.take(now)
        if self.clients.more:
            self.server.poll()
        if self.core.effects or self.executive._effects or self.executive.flow_level() != driver._flow_level:
            driver._turn()
        return 0

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
        cdef double due
        cdef bint circulating
        if self.timing.over():
            self.visits += 1
            if self.visits % VISITS_BETWEEN_LOOKS == 0:
                driver._garbage.token_passed()
        self.clients.announce()
        if server._doomed or self.requests._stopped:
            server.flush()
            server.resume()
        if driver._poll_later:
            self.take_later(self.core.now)
        due = self.time(self.timers)
        if due < <double>driver._timer_at:
            driver._arm_timer(due)
        circulating = self.circulates()
        if circulating != <bint>server.waits_for_poll:
            driver._watch_clients()
        return 0

    cdef inline double time(self, Timers timers) noexcept:
        cdef int slot = timers.first()
        return INFINITY if slot < 0 else timers.deadlines[slot]

    def token_leaves(self):
        cdef list effects
        cdef object effect
        cdef object broadcast
        cdef object address
        cdef bytes frame
        cdef int trouble
        cdef object driver = self.driver
        # The transport closes its socket when the driver stops: the number may be somebody else's then.
        if self.fd < 0 or driver._carrying or driver._stopping or self.executive._effects:
            driver._token_leaves()
            return
        effects = self.core.effects
        if not effects:
            return
        effect = effects[len(effects) - 1]
        address = self.addresses.get(effect[0]) if type(effect) is Unicast else None
        if address is None:
            driver._token_leaves()
            return
        if len(effects) > 1:
            if len(effects) > 2 or type(effects[0]) is not Broadcasts or self.transport.refusers_known:
                driver._token_leaves()
                return
            broadcast = effects[0]
            effects.clear()
            self.pass_behind(<list>broadcast[0], effect[0], <bytes>effect[1])
            self.timing.passed_on(self.core.flow.queued_last_visit)
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

    cdef int pass_behind(self, list frames, nodeid, bytes token) except -1:
        """As UdpuTransport.broadcast_and_pass."""
        cdef list order = self.transport._orders.get(nodeid)
        if order is None:
            order = self.transport._from(nodeid)
        self.send_to(nodeid, frames + [token])
        for other in order:
            self.send_to(other, frames)
        return 0

    cdef int send_to(self, nodeid, list frames) except -1:
        cdef Sent sent
        cdef object stats = self.net_stats
        send_run(self.fd, frames, 0, <bytes>self.addresses[nodeid], len(frames) > 1, &sent)
        if sent.frames:
            stats.sent_bytes += sent.bytes
            stats.sent_frames += sent.frames
            stats.continuous_send_failures = 0
        if sent.trouble:
            self.transport.go_on_sending(nodeid, frames[sent.frames:])
        return 0
