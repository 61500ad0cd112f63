from libc.stdint cimport uint16_t, uint64_t

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef class Packer:
    cdef object enqueue
    cdef unsigned char *data
    cdef uint16_t *lengths
    cdef Py_ssize_t packet_size
    cdef Py_ssize_t used
    cdef int count
    cdef int pending_continuation
    cdef int next_fragment
    cdef int guarantee
    # Packets so far: who adds messages sees how many they made.
    cdef uint64_t made

    cdef int add_vector(self, const iovec *parts, int count, int guarantee) except -1
    cdef int close_packet(self, Py_ssize_t piece, bint more) except -1
    cdef int emit(self, int fragmented, int continuation) except -1
