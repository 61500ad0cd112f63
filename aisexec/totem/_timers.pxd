cdef enum:
    KINDS_MAX = 16

cdef class Timers:
    cdef dict slots
    cdef list kinds
    cdef int count
    cdef double deadlines[KINDS_MAX]

    cdef int first(self) noexcept
