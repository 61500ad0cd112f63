from ipc._histogram cimport Histogram

cdef enum:
    KEPT = 100

cdef class Timing:
    cdef readonly object token
    cdef readonly object loop
    cdef Histogram hold
    cdef Histogram gap
    cdef object collecting
    cdef object clock
    cdef object cpu
    cdef double woke_at
    cdef double sampled_at
    cdef double sampled_cpu
    cdef double sampled_collecting
    cdef double token_at
    cdef bint has_token
    cdef bint passed
    cdef double came[KEPT]
    cdef double held[KEPT]
    cdef long long backlogs[KEPT]
    cdef Py_ssize_t visits

    cdef double now(self) except? -1
    cdef int passed_on(self, long long backlog) except -1
    cdef bint over(self) noexcept
    cdef int blame(self, double seconds, longest) except -1
    cdef object cause(self, double seconds)
