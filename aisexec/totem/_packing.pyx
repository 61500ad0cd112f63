# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Messages into packets (see _packing.pyi); where a piece is cut follows stock exactly."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import copy

from aisexec.totem._wire cimport PacketHead

cdef enum:
    C_PARTS_MAX = 16
    C_NET_MTU_MIN = 64
    # Lengths of pieces are 16 bits wide.
    C_NET_MTU_MAX = 65536
    HEAD_SIZE = sizeof(PacketHead)
    LENGTH_SIZE = sizeof(uint16_t)

PARTS_MAX = C_PARTS_MAX
NET_MTU_MIN = C_NET_MTU_MIN
NET_MTU_MAX = C_NET_MTU_MAX


cdef class Packer:
    def __cinit__(self, Py_ssize_t net_mtu, enqueue):
        if not C_NET_MTU_MIN <= net_mtu <= C_NET_MTU_MAX:
            raise ValueError(f"packets of {net_mtu} bytes")
        self.enqueue = enqueue
        self.packet_size = net_mtu - HEAD_SIZE
        self.next_fragment = 1
        self.data = <unsigned char *>malloc(self.packet_size)
        # Each piece takes its length and a byte at least.
        self.lengths = <uint16_t *>malloc(self.packet_size)
        if self.data is NULL or self.lengths is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.data)
        free(self.lengths)

    def __deepcopy__(self, memo):
        cdef Packer copied = Packer.__new__(Packer, self.packet_size + HEAD_SIZE, None)
        memo[id(self)] = copied
        copied.enqueue = copy.deepcopy(self.enqueue, memo)
        memcpy(copied.data, self.data, self.used)
        memcpy(copied.lengths, self.lengths, self.count * LENGTH_SIZE)
        copied.used = self.used
        copied.count = self.count
        copied.pending_continuation = self.pending_continuation
        copied.next_fragment = self.next_fragment
        copied.guarantee = self.guarantee
        copied.made = self.made
        return copied

    @property
    def staged(self):
        return self.count > 0

    def add(self, parts, int guarantee):
        cdef iovec vector[C_PARTS_MAX]
        cdef tuple kept = tuple(parts)
        cdef Py_ssize_t count = len(kept)
        cdef Py_ssize_t i
        cdef object part
        if count > C_PARTS_MAX:
            raise ValueError(f"message of {count} parts, limit {C_PARTS_MAX}")
        for i in range(count):
            part = kept[i]
            if not PyBytes_CheckExact(part):
                raise TypeError("parts of a message are bytes")
            vector[i].iov_base = PyBytes_AS_STRING(part)
            vector[i].iov_len = PyBytes_GET_SIZE(part)
        self.add_vector(vector, <int>count, guarantee)

    def flush(self):
        cdef int continuation
        if self.count:
            continuation = self.pending_continuation
            self.pending_continuation = 0
            self.emit(0, continuation)

    cdef int add_vector(self, const iovec *parts, int count, int guarantee) except -1:
        cdef Py_ssize_t limit
        cdef Py_ssize_t piece = 0
        cdef Py_ssize_t base
        cdef Py_ssize_t size
        cdef Py_ssize_t taken
        cdef const unsigned char *part
        cdef int index
        if guarantee != self.guarantee:
            self.flush()
            self.guarantee = guarantee
        while count and parts[count - 1].iov_len == 0:
            count -= 1
        limit = self.packet_size - LENGTH_SIZE * (self.count + 1)
        for index in range(count):
            part = <const unsigned char *>parts[index].iov_base
            size = <Py_ssize_t>parts[index].iov_len
            base = 0
            while base < size:
                # Stock compares the whole part, of whose beginning a piece may be gone already, and so
                # sends the end of a long message alone.
                if size - base + self.used < limit - LENGTH_SIZE:
                    taken = size - base
                    memcpy(self.data + self.used, part + base, taken)
                    self.used += taken
                    piece += taken
                    self.next_fragment = 1
                    break
                # A packet has at least one byte of room behind what was staged by the rule above.
                taken = min(size - base, limit - self.used)
                memcpy(self.data + self.used, part + base, taken)
                self.used += taken
                base += taken
                self.close_packet(piece + taken, base < size or index < count - 1)
                piece = 0
                limit = self.packet_size - LENGTH_SIZE
        if piece:
            self.lengths[self.count] = <uint16_t>piece
            self.count += 1
        return 0

    cdef int close_packet(self, Py_ssize_t piece, bint more) except -1:
        cdef int continuation = self.pending_continuation
        cdef int fragmented = 0
        self.lengths[self.count] = <uint16_t>piece
        self.count += 1
        if more:
            fragmented = self.next_fragment or 1
            self.next_fragment = (fragmented + 1) & 0xFF
        self.pending_continuation = fragmented
        return self.emit(fragmented, continuation)

    cdef int emit(self, int fragmented, int continuation) except -1:
        cdef Py_ssize_t lengths_size = LENGTH_SIZE * self.count
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEAD_SIZE + lengths_size + self.used)
        cdef unsigned char *at = <unsigned char *>PyBytes_AS_STRING(packet)
        cdef PacketHead *head = <PacketHead *>at
        head.version = 0
        head.type = 0
        head.fragmented = <unsigned char>fragmented
        head.continuation = <unsigned char>continuation
        head.msg_count = <uint16_t>self.count
        memcpy(at + HEAD_SIZE, self.lengths, lengths_size)
        memcpy(at + HEAD_SIZE + lengths_size, self.data, self.used)
        self.count = 0
        self.used = 0
        self.made += 1
        self.enqueue(packet, self.guarantee)
        return 0
