from libc.stdint cimport uint32_t

from ipc._event_batch cimport EventBatch
from ipc._histogram cimport Histogram

cdef enum:
    CALLS_MAX = 16

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef class Clients:
    cdef object server
    cdef object executive
    cdef object requests
    cdef object totem
    cdef object intake
    cdef Histogram requests_per_turn
    cdef Histogram events_per_notification
    cdef int epoll
    cdef int called
    cdef epoll_event calls[CALLS_MAX]
    cdef bint more

    cdef bint call(self) except -1
    cdef Py_ssize_t take(self, double now) except -1
    cdef Py_ssize_t take_from(self, conn) except -1
    cdef int tell(self, EventBatch batch) except -1
    cdef int tell_one(self, conn, EventBatch batch, Py_ssize_t first, Py_ssize_t last) except -1
    cdef int announce(self) except -1
