cdef enum:
    C_BITS_MAX = 32

cdef class Histogram:
    cdef unsigned long long numbers[C_BITS_MAX + 1]

    cdef int count(self, unsigned long long number) noexcept
