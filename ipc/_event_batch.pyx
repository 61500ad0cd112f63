# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Events of one turn, one behind the other in memory (see _event_batch.pyi)."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef enum:
    FIRST_CAPACITY = 16384
    FIRST_ROOM = 64
    SPARE_MAX = 4194304

# The memory of the last batch, for the next one: fresh pages cost more than the events in them.
cdef char *spare = NULL
cdef size_t spare_capacity = 0


cdef class EventBatch:
    def __cinit__(self):
        self.data = NULL
        self.spans = NULL
        self.receivers = []

    def __dealloc__(self):
        global spare, spare_capacity
        if self.capacity > spare_capacity and self.capacity <= SPARE_MAX:
            free(spare)
            spare = self.data
            spare_capacity = self.capacity
        else:
            free(self.data)
        free(self.spans)

    cdef int take_spare(self) except -1:
        global spare, spare_capacity
        self.data = spare
        self.capacity = spare_capacity
        spare = NULL
        spare_capacity = 0
        return 0

    cdef char *reserve(self, tuple receivers, size_t size) except NULL:
        cdef size_t capacity
        cdef Py_ssize_t room = self.room
        cdef Span *span
        cdef void *grown
        cdef char *place
        if size > <uint32_t>0xFFFFFFFF:
            raise OverflowError(f"event of {size} bytes")
        if self.data is NULL:
            self.take_spare()
        capacity = self.capacity
        # Of an empty event, too, there has to be an address.
        if self.data is NULL or self.used + size > capacity:
            capacity = max(2 * capacity, self.used + size, <size_t>FIRST_CAPACITY)
            grown = realloc(self.data, capacity)
            if grown is NULL:
                raise MemoryError
            self.data = <char *>grown
            self.capacity = capacity
        if self.count == room:
            room = max(2 * room, <Py_ssize_t>FIRST_ROOM)
            grown = realloc(self.spans, room * sizeof(Span))
            if grown is NULL:
                raise MemoryError
            self.spans = <Span *>grown
            self.room = room
        if not self.receivers or self.receivers[len(self.receivers) - 1] is not receivers:
            self.receivers.append(receivers)
        span = &self.spans[self.count]
        span.start = self.used
        span.size = <uint32_t>size
        span.receivers = <uint32_t>(len(self.receivers) - 1)
        self.count += 1
        place = self.data + self.used
        self.used += size
        return place

    def add(self, tuple receivers not None, bytes event not None):
        memcpy(self.reserve(receivers, len(event)), <const char *>event, len(event))

    def __len__(self):
        return self.count

    @property
    def size(self):
        return self.used

    def event(self, Py_ssize_t index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return PyBytes_FromStringAndSize(self.data + self.spans[index].start, self.spans[index].size)

    def runs(self):
        cdef Py_ssize_t first = 0
        cdef Py_ssize_t last
        cdef list found = []
        while first < self.count:
            last = first + 1
            while last < self.count and self.spans[last].receivers == self.spans[first].receivers:
                last += 1
            found.append((self.receivers[self.spans[first].receivers], first, last))
            first = last
        return found
