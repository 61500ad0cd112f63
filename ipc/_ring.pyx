# cython: language_level=3, boundscheck=False, wraparound=False
"""Python face of the C ring (ring.h) and of memory shared with a peer that may truncate it."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBUSY, EINTR, EIO, ETIMEDOUT, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strerror
from posix.types cimport gid_t, uid_t

from ipc._event_batch cimport EventBatch, Span

import os
from time import monotonic

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int PROT_READ, PROT_WRITE, MAP_SHARED
    void *MAP_FAILED

cdef extern from "ring.h" nogil:
    ctypedef struct ipc_ring:
        pass
    int IPC_RING_CORRUPT
    int IPC_RING_GONE
    int ipc_ring_create(ipc_ring **out, const char *base, uint32_t max_msg_size, uint32_t user_data,
                        uid_t uid, gid_t gid, int sysv)
    int ipc_ring_open(ipc_ring **out, const char *base, uint32_t max_msg_size)
    void ipc_ring_close(ipc_ring *ring, int unlink_files)
    int ipc_ring_writev(ipc_ring *ring, const iovec *parts, int count)
    ssize_t ipc_ring_peek(ipc_ring *ring, const void **chunk, int timeout_ms)
    int ipc_ring_unpeek(ipc_ring *ring)
    int ipc_ring_take(ipc_ring *ring, void *buffer, size_t size)
    int64_t ipc_ring_pending(ipc_ring *ring)
    int64_t ipc_ring_free(ipc_ring *ring)
    int ipc_ring_ref_count(ipc_ring *ring, int32_t *value)
    int ipc_ring_set_ref_count(ipc_ring *ring, int32_t value)
    int ipc_ring_user_data(ipc_ring *ring, int32_t *value)
    int ipc_ring_set_user_data(ipc_ring *ring, int32_t value)
    uint32_t ipc_ring_max_msg_size(const ipc_ring *ring)
    int ipc_ring_is_sysv(const ipc_ring *ring)
    int ipc_ring_remove_stale_semaphore(int header_fd)

cdef extern from "guard.h" nogil:
    int ipc_guarded_copy(const void *map, size_t map_size, void *to, const void *frm, size_t size)
    int ipc_guard_install()

cdef enum:
    PARTS_MAX = 64  # ipc.limits.WRITE_PARTS_MAX


class RingError(OSError):
    """A ring operation failed; `errno` tells why."""


class RingCorrupt(RingError):
    """The peer wrote an impossible pointer, magic, length or semaphore value."""


class RingGone(RingError):
    """The peer truncated the files, or removed the semaphore, under us."""


cdef object _failed(int code, str what):
    cdef int number = -code
    if code == IPC_RING_CORRUPT:
        return RingCorrupt(number, "ring corrupt", what)
    if code == IPC_RING_GONE:
        return RingGone(number, "ring truncated or removed by its peer", what)
    return RingError(number, strerror(number).decode(), what)


cdef class Ring:
    """One ring of libqb's shared-memory transport.  Make it with `create` or `open`."""

    cdef ipc_ring *ring
    cdef int busy
    cdef readonly str base

    def __cinit__(self):
        self.ring = NULL
        self.busy = 0
        self.base = ""

    def __init__(self):
        if self.ring is NULL:
            raise TypeError("use Ring.create() or Ring.open()")

    def __dealloc__(self):
        if self.ring is not NULL:
            ipc_ring_close(self.ring, 0)
            self.ring = NULL

    @staticmethod
    def create(str base, uint32_t max_msg_size, *, uint32_t user_data=0, long uid=-1, long gid=-1,
               bint sysv=False):
        cdef Ring self = Ring.__new__(Ring)
        cdef bytes path = os.fsencode(base)
        cdef int result = ipc_ring_create(
            &self.ring, path, max_msg_size, user_data, <uid_t>uid, <gid_t>gid, sysv)
        if result != 0:
            raise _failed(result, base)
        self.base = base
        return self

    @staticmethod
    def open(str base, uint32_t max_msg_size):
        cdef Ring self = Ring.__new__(Ring)
        cdef bytes path = os.fsencode(base)
        cdef int result = ipc_ring_open(&self.ring, path, max_msg_size)
        if result != 0:
            raise _failed(result, base)
        self.base = base
        return self

    cdef int check(self) except -1:
        if self.ring is NULL:
            raise ValueError(f"ring {self.base} is closed")
        return 0

    cpdef bint write(self, parts) except -1:
        cdef iovec vector[PARTS_MAX]
        cdef Py_buffer views[PARTS_MAX]
        cdef int count = 0
        cdef int held = 0
        cdef int result
        cdef object part
        self.check()
        if PyBytes_Check(parts):
            vector[0].iov_base = PyBytes_AS_STRING(parts)
            vector[0].iov_len = PyBytes_GET_SIZE(parts)
            result = ipc_ring_writev(self.ring, vector, 1)
        else:
            if not isinstance(parts, (tuple, list)):
                parts = (parts,)
            if len(parts) > PARTS_MAX:
                raise ValueError(f"more than {PARTS_MAX} parts")
            try:
                for part in parts:
                    if PyBytes_Check(part):
                        vector[count].iov_base = PyBytes_AS_STRING(part)
                        vector[count].iov_len = PyBytes_GET_SIZE(part)
                    else:
                        PyObject_GetBuffer(part, &views[held], PyBUF_SIMPLE)
                        vector[count].iov_base = views[held].buf
                        vector[count].iov_len = views[held].len
                        held += 1
                    count += 1
                result = ipc_ring_writev(self.ring, vector, count)
            finally:
                while held > 0:
                    held -= 1
                    PyBuffer_Release(&views[held])
        if result == 0:
            return True
        if result == -EAGAIN:
            return False
        raise _failed(result, self.base)

    def write_batch(self, EventBatch batch not None, Py_ssize_t first, Py_ssize_t last):
        cdef iovec part
        cdef Py_ssize_t i
        cdef const Span *span
        cdef int result
        self.check()
        if first < 0 or last > batch.count:
            raise IndexError(f"events {first}..{last} of {batch.count}")
        for i in range(first, last):
            span = &batch.spans[i]
            part.iov_base = batch.data + span.start
            part.iov_len = span.size
            result = ipc_ring_writev(self.ring, &part, 1)
            if result == -EAGAIN:
                return i - first
            if result != 0:
                raise _failed(result, self.base)
        return max(0, last - first)

    cdef ssize_t wait(self, int timeout_ms) except -2:
        # Blocks without the GIL; signals are handled in between.
        cdef const void *chunk
        cdef ssize_t size
        cdef int slice_ms = timeout_ms
        cdef double end = 0.0
        if timeout_ms > 0:
            end = monotonic() + timeout_ms / 1000.0
        while True:
            self.busy += 1
            with nogil:
                size = ipc_ring_peek(self.ring, &chunk, slice_ms)
            self.busy -= 1
            if size != -EINTR:
                return size
            PyErr_CheckSignals()
            if timeout_ms > 0:
                slice_ms = max(0, <int>((end - monotonic()) * 1000.0))

    cpdef read(self, int timeout_ms=0):
        cdef const void *chunk
        cdef ssize_t size
        self.check()
        size = ipc_ring_peek(self.ring, &chunk, 0)
        if size == -ETIMEDOUT and timeout_ms != 0:
            size = self.wait(timeout_ms)
        if size < 0:
            if size == -ETIMEDOUT or size == -EINTR:
                return None
            raise _failed(<int>size, self.base)
        return self.take(size)

    cdef bytes take(self, ssize_t size):
        cdef bytes data
        cdef int result
        try:
            data = PyBytes_FromStringAndSize(NULL, size)
        except MemoryError:
            ipc_ring_unpeek(self.ring)
            raise
        result = ipc_ring_take(self.ring, PyBytes_AS_STRING(data), size)
        if result != 0:
            raise _failed(result, self.base)
        return data

    def read_many(self, int limit, ssize_t size_limit=-1):
        cdef const void *chunk
        cdef ssize_t size
        cdef list found = []
        cdef int result
        self.check()
        while limit > 0:
            size = ipc_ring_peek(self.ring, &chunk, 0)
            if size < 0:
                if size == -ETIMEDOUT or size == -EINTR:
                    break
                raise _failed(<int>size, self.base)
            if size_limit >= 0:
                if size > size_limit:
                    result = ipc_ring_unpeek(self.ring)
                    if result != 0:
                        raise _failed(result, self.base)
                    break
                size_limit -= size
            found.append(self.take(size))
            limit -= 1
        return found

    def pending(self):
        cdef int64_t result
        self.check()
        result = ipc_ring_pending(self.ring)
        if result < 0:
            raise _failed(<int>result, self.base)
        return result

    def free_bytes(self):
        cdef int64_t result
        self.check()
        result = ipc_ring_free(self.ring)
        if result < 0:
            raise _failed(<int>result, self.base)
        return result

    @property
    def ref_count(self):
        cdef int32_t value = 0
        cdef int result
        self.check()
        result = ipc_ring_ref_count(self.ring, &value)
        if result != 0:
            raise _failed(result, self.base)
        return value

    @ref_count.setter
    def ref_count(self, int32_t value):
        cdef int result
        self.check()
        result = ipc_ring_set_ref_count(self.ring, value)
        if result != 0:
            raise _failed(result, self.base)

    @property
    def flow_level(self):
        cdef int32_t value = 0
        cdef int result
        self.check()
        result = ipc_ring_user_data(self.ring, &value)
        if result != 0:
            raise _failed(result, self.base)
        return value

    @flow_level.setter
    def flow_level(self, int32_t value):
        cdef int result
        self.check()
        result = ipc_ring_set_user_data(self.ring, value)
        if result != 0:
            raise _failed(result, self.base)

    @property
    def max_msg_size(self):
        self.check()
        return ipc_ring_max_msg_size(self.ring)

    @property
    def sysv(self):
        self.check()
        return ipc_ring_is_sysv(self.ring) != 0

    @property
    def closed(self):
        return self.ring is NULL

    def close(self, *, bint unlink=False):
        if self.ring is NULL:
            return
        if self.busy:
            raise RingError(EBUSY, "another thread waits on the ring", self.base)
        ipc_ring_close(self.ring, unlink)
        self.ring = NULL


cdef class SharedMap:
    """A shared mapping of an open file whose owner may truncate it: every access is guarded."""

    cdef void *map
    cdef readonly size_t size

    def __cinit__(self, int fd, size_t size):
        self.map = NULL
        self.size = size
        if ipc_guard_install() != 0:
            raise RingError(EIO, "cannot install the SIGBUS handler")
        cdef void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if map == MAP_FAILED:
            raise RingError(errno, strerror(errno).decode(), "mmap")
        self.map = map

    def __dealloc__(self):
        self.close()

    cdef char *range(self, size_t offset, size_t size) except NULL:
        if self.map is NULL:
            raise ValueError("mapping is closed")
        if offset > self.size or size > self.size - offset:
            raise ValueError(f"bytes {offset}..{offset + size} of a mapping of {self.size}")
        return <char *>self.map + offset

    def read(self, size_t offset, size_t size):
        cdef char *start = self.range(offset, size)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef int result = ipc_guarded_copy(self.map, self.size, PyBytes_AS_STRING(data), start, size)
        if result != 0:
            raise _failed(result, "shared buffer")
        return data

    def write(self, size_t offset, bytes data):
        cdef size_t size = len(data)
        cdef char *start = self.range(offset, size)
        cdef int result = ipc_guarded_copy(self.map, self.size, start, PyBytes_AS_STRING(data), size)
        if result != 0:
            raise _failed(result, "shared buffer")

    cpdef close(self):
        if self.map is not NULL:
            munmap(self.map, self.size)
            self.map = NULL


def remove_stale_semaphore(int header_fd):
    cdef int result = ipc_ring_remove_stale_semaphore(header_fd)
    if result < 0:
        raise _failed(result, "stale semaphore")
    return result != 0
