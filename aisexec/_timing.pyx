# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How long the token was held and the loop was away (see _timing.pyi)."""

from libc.math cimport INFINITY
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

import time

from aisexec import timing
from aisexec.timing import Cause, LoopStats, TokenStats

assert timing.TOKENS_KEPT == KEPT
cdef double _sample_age_max = timing.SAMPLE_AGE_MAX
cdef double _long = timing.LONG


cdef class Timing:
    def __init__(self, collecting=lambda: 0.0, clock=time.monotonic, cpu=time.thread_time):
        self.token = TokenStats()
        self.loop = LoopStats()
        self.hold = self.token.token_hold_us
        self.gap = self.loop.gap_us
        self.collecting = collecting
        self.clock = None if clock is time.monotonic else clock
        self.cpu = cpu
        self.sampled_at = -INFINITY
        self.woke_at = self.now()

    cdef double now(self) except? -1:
        cdef timespec at
        if self.clock is not None:
            return self.clock()
        clock_gettime(CLOCK_MONOTONIC, &at)
        return at.tv_sec + 1e-9 * at.tv_nsec

    def wakes(self):
        cdef double now = self.now()
        self.woke_at = now
        if now - self.sampled_at > _sample_age_max:
            self.sampled_at = now
            self.sampled_cpu = self.cpu()
            self.sampled_collecting = self.collecting()

    def sleeps(self):
        cdef double seconds = self.now() - self.woke_at
        self.gap.count(microseconds(seconds))
        if seconds >= _long:
            self.blame(seconds, self.loop.gap_us_longest)

    def token_came(self, double now):
        if not self.has_token:
            self.token_at = now
            self.has_token = True

    def token_passed(self, long long backlog):
        self.passed_on(backlog)

    cdef int passed_on(self, long long backlog) except -1:
        cdef double seconds
        cdef Py_ssize_t place
        if not self.has_token:
            return 0
        self.has_token = False
        self.passed = True
        seconds = self.now() - self.token_at
        place = self.visits % KEPT
        self.came[place] = self.token_at
        self.held[place] = seconds
        self.backlogs[place] = backlog
        self.visits += 1
        self.hold.count(microseconds(seconds))
        if seconds >= _long:
            self.blame(seconds, self.token.token_hold_us_longest)
        return 0

    def turn_over(self):
        return self.over()

    cdef bint over(self) noexcept:
        cdef bint passed = self.passed
        self.passed = False
        self.has_token = False
        return passed

    def token_means(self):
        cdef Py_ssize_t count = min(self.visits, KEPT)
        cdef Py_ssize_t place
        cdef double held = 0
        cdef double backlog = 0
        if count < 2:
            return
        for place in range(count):
            held += self.held[place]
            backlog += self.backlogs[place]
        rotations = self.came[(self.visits - 1) % KEPT] - self.came[(self.visits - count) % KEPT]
        yield "mtt_rx_token", round(1000 * rotations / (count - 1))
        yield "avg_token_workload", round(1000 * held / count)
        yield "avg_backlog_calc", round(backlog / count)

    cdef int blame(self, double seconds, longest) except -1:
        cause = self.cause(seconds)
        longest[cause] = max(longest[cause], microseconds(seconds))
        return 0

    cdef object cause(self, double seconds):
        if self.collecting() - self.sampled_collecting >= seconds / 2:
            return Cause.COLLECTION
        away = self.now() - self.sampled_at - (self.cpu() - self.sampled_cpu)
        return Cause.NOT_SCHEDULED if away >= seconds / 2 else Cause.HANDLER


cdef inline unsigned long long microseconds(double seconds) noexcept:
    return <unsigned long long>(seconds * 1e6) if seconds > 0 else 0
