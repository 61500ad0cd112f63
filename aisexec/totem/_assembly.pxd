from libc.stdint cimport uint32_t

cdef class Sink:
    # Takes a whole message (1), or leaves it to Python (0); the bytes are its own only during the call.
    cdef int take(self, uint32_t nodeid, const unsigned char *message, size_t size) except -1
