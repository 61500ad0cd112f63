# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Putting a sender's messages together again from packets (see _assembly.pyi)."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from aisexec.totem._wire cimport McastHead, PacketHead

import copy

from aisexec.totem.limits import ASSEMBLY_SIZE_MAX

cdef size_t SIZE_MAX = ASSEMBLY_SIZE_MAX

cdef enum:
    FIRST_CAPACITY = 4096


class PacketError(ValueError):
    """A packet whose counts and lengths do not fit its size."""


cdef class Sink:
    cdef int take(self, uint32_t nodeid, const unsigned char *message, size_t size) except -1:
        return 0


cdef class OpenMessage:
    cdef unsigned char *data
    cdef readonly size_t size
    cdef size_t capacity
    cdef readonly uint8_t fragment

    def __dealloc__(self):
        free(self.data)

    cdef int append(self, const unsigned char *piece, size_t size) except -1:
        cdef size_t capacity = self.capacity
        cdef unsigned char *data
        if self.data is NULL or self.size + size > capacity:  # an empty piece needs an address, too
            capacity = max(2 * capacity, self.size + size, <size_t>FIRST_CAPACITY)
            data = <unsigned char *>realloc(self.data, capacity)
            if data is NULL:
                raise MemoryError
            self.data = data
            self.capacity = capacity
        memcpy(self.data + self.size, piece, size)
        self.size += size
        return 0


cdef class Assembly:
    cdef object upper
    cdef object complain
    cdef public Sink sink
    cdef dict opened
    cdef OpenMessage spare
    cdef public bint stop

    def __init__(self, deliver, complain=None, Sink sink=None):
        self.upper = deliver
        self.complain = complain
        self.sink = sink
        self.opened = {}
        self.spare = None
        self.stop = False

    def __deepcopy__(self, memo):
        cdef Assembly copied = Assembly.__new__(Assembly)
        memo[id(self)] = copied
        copied.__init__(*copy.deepcopy((self.upper, self.complain, self.sink), memo))
        for nodeid, message in self.opened.items():
            copied.begin(nodeid, (<OpenMessage>message).data, (<OpenMessage>message).size,
                         (<OpenMessage>message).fragment)
        return copied

    @property
    def open_sizes(self):
        return {nodeid: (<OpenMessage>message).size for nodeid, message in self.opened.items()}

    def forget(self, uint32_t nodeid):
        self.opened.pop(nodeid, None)

    def packet(self, uint32_t nodeid, payload):
        cdef Py_buffer view
        cdef object problem
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            problem = self.take_packet(nodeid, <const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if problem is not None:
            raise PacketError(problem)

    def frames(self, list frames not None, Py_ssize_t start=0):
        cdef Py_ssize_t i = start
        cdef Py_ssize_t count = len(frames)
        cdef bytes frame
        cdef const unsigned char *data
        cdef uint32_t nodeid
        cdef object problem
        self.stop = False
        while i < count and not self.stop:
            frame = <bytes?>frames[i]
            i += 1
            if PyBytes_GET_SIZE(frame) < <Py_ssize_t>sizeof(McastHead):
                raise ValueError("no mcast frame")
            data = <const unsigned char *>PyBytes_AS_STRING(frame)
            nodeid = (<const McastHead *>data).nodeid
            problem = self.take_packet(
                nodeid, data + sizeof(McastHead), PyBytes_GET_SIZE(frame) - sizeof(McastHead))
            if problem is not None:
                self.complain(nodeid, problem)
        return i

    cdef object take_packet(self, uint32_t nodeid, const unsigned char *packet, size_t size):
        # What is wrong with it, or None.
        cdef const PacketHead *head = <const PacketHead *>packet
        cdef const unsigned char *lengths = packet + sizeof(PacketHead)
        cdef const unsigned char *piece
        cdef size_t total
        cdef uint16_t length
        cdef int count, i, whole_end
        cdef uint8_t fragmented, continuation
        if size < sizeof(PacketHead):
            return f"packet of {size} bytes"
        fragmented = head.fragmented
        continuation = head.continuation
        count = head.msg_count
        total = sizeof(PacketHead) + 2 * <size_t>count
        if total > size:
            return f"{count} pieces in a packet of {size} bytes"
        piece = packet + total
        for i in range(count):
            memcpy(&length, lengths + 2 * i, 2)
            total += length
        if total != size:
            return f"pieces end at {total} in a packet of {size} bytes"
        if count == 0:
            return None
        i = 0
        if continuation:
            memcpy(&length, lengths, 2)
            problem = self.go_on(nodeid, piece, length, continuation,
                                 0 if count > 1 or fragmented == 0 else fragmented)
            if problem is not None:
                return problem
            piece += length
            i = 1
        elif self.opened:
            self.opened.pop(nodeid, None)
        whole_end = count - 1 if fragmented and count > i else count
        while i < whole_end:
            memcpy(&length, lengths + 2 * i, 2)
            self.whole(nodeid, piece, length)
            piece += length
            i += 1
        if i < count:
            memcpy(&length, lengths + 2 * i, 2)
            self.begin(nodeid, piece, length, fragmented)
        return None

    cdef int whole(self, uint32_t nodeid, const unsigned char *message, size_t size) except -1:
        if self.sink is not None and self.sink.take(nodeid, message, size):
            return 0
        self.upper(nodeid, PyBytes_FromStringAndSize(<const char *>message, size))
        return 0

    cdef int begin(self, uint32_t nodeid, const unsigned char *piece, size_t size, uint8_t fragment) except -1:
        cdef OpenMessage message = self.spare
        if message is None:
            message = OpenMessage.__new__(OpenMessage)
        self.spare = None
        message.size = 0
        message.append(piece, size)
        message.fragment = fragment
        self.opened[nodeid] = message
        return 0

    cdef object go_on(self, uint32_t nodeid, const unsigned char *piece, size_t size, uint8_t continuation,
                      uint8_t fragmented):
        cdef OpenMessage message = self.opened.get(nodeid)
        if message is None:
            return None
        if message.fragment != continuation:
            del self.opened[nodeid]
            return None
        if message.size + size > SIZE_MAX:
            del self.opened[nodeid]
            return f"message longer than {SIZE_MAX} bytes"
        message.append(piece, size)
        if fragmented:
            message.fragment = fragmented
            return None
        del self.opened[nodeid]
        self.whole(nodeid, message.data, message.size)
        self.spare = message
        return None
