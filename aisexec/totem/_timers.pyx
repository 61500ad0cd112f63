# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Deadlines, one of each kind (see _timers.pyi)."""

from libc.math cimport INFINITY


cdef class Timers:
    def __init__(self, kinds):
        self.kinds = list(kinds)
        self.slots = {kind: slot for slot, kind in enumerate(self.kinds)}
        self.count = len(self.slots)
        if self.count != len(self.kinds) or self.count > KINDS_MAX:
            raise ValueError(f"{len(self.kinds)} kinds of timers")
        for slot in range(self.count):
            self.deadlines[slot] = INFINITY

    def start(self, timer, double deadline):
        self.deadlines[<int>self.slots[timer]] = deadline

    def stop(self, *timers):
        for timer in timers:
            self.deadlines[<int>self.slots[timer]] = INFINITY

    def running(self, timer):
        return self.deadlines[<int>self.slots[timer]] != INFINITY

    @property
    def armed(self):
        cdef int slot
        return {
            self.kinds[slot]: self.deadlines[slot]
            for slot in range(self.count)
            if self.deadlines[slot] != INFINITY
        }

    def next(self):
        cdef int slot = self.first()
        return None if slot < 0 else self.deadlines[slot]

    def pop_due(self, double now):
        cdef int slot = self.first()
        if slot < 0 or self.deadlines[slot] > now:
            return None
        self.deadlines[slot] = INFINITY
        return self.kinds[slot]

    cdef int first(self) noexcept:
        cdef int slot
        cdef int found = -1
        cdef double earliest = INFINITY
        for slot in range(self.count):
            if self.deadlines[slot] < earliest:
                earliest = self.deadlines[slot]
                found = slot
        return found
