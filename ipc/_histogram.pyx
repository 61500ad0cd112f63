# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Counts by powers of two (see _histogram.pyi)."""

from libc.string cimport memset

BITS_MAX = C_BITS_MAX


cdef class Histogram:
    def __cinit__(self):
        memset(self.numbers, 0, sizeof(self.numbers))

    def add(self, unsigned long long number):
        self.count(number)

    cdef int count(self, unsigned long long number) noexcept:
        cdef int bits = 0
        while number and bits < C_BITS_MAX:
            number >>= 1
            bits += 1
        self.numbers[bits] += 1
        return 0

    @property
    def counts(self):
        cdef int bits
        return [self.numbers[bits] for bits in range(C_BITS_MAX + 1)]

    def __len__(self):
        return sum(self.counts)

    def items(self):
        return iter([(1 << bits, count) for bits, count in enumerate(self.counts) if count])
