from libc.stdint cimport uint32_t

cdef struct Span:
    size_t start
    uint32_t size
    uint32_t receivers

cdef class EventBatch:
    cdef char *data
    cdef size_t used
    cdef size_t capacity
    cdef Span *spans
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef list receivers

    cdef int take_spare(self) except -1
    cdef char *reserve(self, tuple receivers, size_t size) except NULL
