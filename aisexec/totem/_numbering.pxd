from libc.stdint cimport uint32_t, uint64_t

cdef list number(pending, Py_ssize_t allowed, open_message, uint32_t me, uint32_t seq, uint64_t this_seqno,
                 uint32_t rep, uint64_t ring_seq)
