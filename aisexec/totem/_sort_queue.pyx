# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Frames of one ring by sequence number, until every member has them (see _sort_queue.pyi)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from aisexec.totem._wire cimport HALF, MAGIC, MCAST, PLAIN, SORT_QUEUE_SIZE, VERSION, McastHead, lt

from aisexec.totem import limits

assert limits.SORT_QUEUE_SIZE == SORT_QUEUE_SIZE


cdef class SortQueue:
    cdef PyObject **slots
    cdef uint32_t *missed
    cdef uint32_t first
    cdef Py_ssize_t kept
    cdef Py_ssize_t missing

    def __cinit__(self):
        self.slots = <PyObject **>calloc(SORT_QUEUE_SIZE, sizeof(PyObject *))
        self.missed = <uint32_t *>calloc(SORT_QUEUE_SIZE, sizeof(uint32_t))
        if self.slots is NULL or self.missed is NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.slots is not NULL and self.kept:
            for i in range(SORT_QUEUE_SIZE):
                if self.slots[i] is not NULL:
                    Py_DECREF(<object>self.slots[i])
        free(self.slots)
        free(self.missed)

    def __deepcopy__(self, memo):
        cdef SortQueue copied = type(self)()
        cdef uint32_t seq
        copied.first = self.first
        for seq, frame in self.frames.items():
            copied.add(seq, frame)
        for i in range(SORT_QUEUE_SIZE):
            copied.missed[i] = self.missed[i]
        copied.missing = self.missing
        return copied

    @property
    def head(self):
        return self.first

    @head.setter
    def head(self, uint32_t first):
        assert self.kept == 0, "the window moves by release()"
        self.first = first

    @property
    def frames(self):
        cdef uint32_t i
        return {
            (self.first + i) & 0xFFFFFFFF: <object>self.slots[(self.first + i) % SORT_QUEUE_SIZE]
            for i in range(SORT_QUEUE_SIZE)
            if self.slots[(self.first + i) % SORT_QUEUE_SIZE] is not NULL
        } if self.kept else {}

    @property
    def miss_count(self):
        return self.missing

    def __len__(self):
        return self.kept

    def __contains__(self, uint32_t seq):
        return self.holds(seq)

    cdef inline bint within(self, uint32_t seq) noexcept:
        if self.first > <uint32_t>HALF:
            return <uint32_t>(seq - self.first) < SORT_QUEUE_SIZE
        return self.first <= seq and seq - self.first < SORT_QUEUE_SIZE

    cdef inline bint holds(self, uint32_t seq) noexcept:
        return self.within(seq) and self.slots[seq % SORT_QUEUE_SIZE] is not NULL

    def in_range(self, uint32_t seq):
        return self.within(seq)

    def get(self, uint32_t seq):
        if self.holds(seq):
            return <object>self.slots[seq % SORT_QUEUE_SIZE]
        return None

    cdef inline bint put(self, uint32_t seq, PyObject *frame):
        cdef uint32_t slot = seq % SORT_QUEUE_SIZE
        if not self.within(seq) or self.slots[slot] is not NULL:
            return False
        Py_INCREF(<object>frame)
        self.slots[slot] = frame
        self.kept += 1
        if self.missed[slot]:
            self.missed[slot] = 0
            self.missing -= 1
        return True

    def add(self, uint32_t seq, bytes frame not None):
        return self.put(seq, <PyObject *>frame)

    def add_run(self, uint32_t seq, list frames not None):
        cdef Py_ssize_t i
        for i in range(len(frames)):
            if not PyBytes_CheckExact(<object>PyList_GET_ITEM(frames, i)):
                raise TypeError("frames are bytes")
            self.put(seq, <PyObject *>PyList_GET_ITEM(frames, i))
            seq += 1

    def miss(self, uint32_t seq):
        cdef uint32_t slot = seq % SORT_QUEUE_SIZE
        if not self.within(seq) or self.slots[slot] is not NULL:
            raise ValueError(f"{seq:x} is not missing")
        if not self.missed[slot]:
            self.missing += 1
        self.missed[slot] += 1
        return self.missed[slot]

    def contiguous_from(self, uint32_t aru):
        while self.holds(aru + 1):
            aru += 1
        return aru

    def release(self, uint32_t first, uint32_t last):
        cdef uint32_t seq = first
        cdef uint32_t slot
        cdef Py_ssize_t left = SORT_QUEUE_SIZE
        while not lt(last, seq) and left > 0:
            if self.within(seq):
                slot = seq % SORT_QUEUE_SIZE
                if self.slots[slot] is not NULL:
                    Py_DECREF(<object>self.slots[slot])
                    self.slots[slot] = NULL
                    self.kept -= 1
                if self.missed[slot]:
                    self.missed[slot] = 0
                    self.missing -= 1
                left -= 1
            seq += 1
        self.first = last + 1

    def ordered(self, uint32_t after, uint32_t to, bint safe_only, uint32_t safe):
        cdef list found = []
        cdef uint32_t seq = after
        cdef PyObject *frame
        while seq != to:
            seq += 1
            if not self.holds(seq):
                break
            frame = self.slots[seq % SORT_QUEUE_SIZE]
            if safe_only and asks_for_safe(frame) and lt(safe, seq):
                break
            found.append(<object>frame)
        return found

    def take_run(self, list frames not None, Py_ssize_t start, uint32_t rep, uint64_t ring_seq,
                 frozenset members not None, Py_ssize_t size_max, uint32_t high):
        cdef Py_ssize_t i
        cdef Py_ssize_t size
        cdef object received
        cdef object frame
        cdef const McastHead *head
        cdef uint32_t known = 0
        for i in range(start, len(frames)):
            received = <object>PyList_GET_ITEM(frames, i)
            frame = <object>PyTuple_GET_ITEM(received, 0)
            size = PyBytes_GET_SIZE(frame)
            if size < <Py_ssize_t>sizeof(McastHead) or size > size_max:
                return i - start, high
            head = <const McastHead *>PyBytes_AS_STRING(frame)
            if (head.magic != MAGIC or head.version != VERSION or head.type != MCAST
                    or head.encapsulated != PLAIN or head.ring_rep != rep or head.ring_seq != ring_seq
                    or head.system_from != head.nodeid):
                return i - start, high
            if head.nodeid != known:
                if head.nodeid not in members:
                    return i - start, high
                known = head.nodeid
            if self.put(head.seq, <PyObject *>frame) and lt(high, head.seq):
                high = head.seq
        return len(frames) - start, high


cdef inline bint asks_for_safe(PyObject *frame) noexcept:
    cdef bytes data = <bytes>frame
    if PyBytes_GET_SIZE(data) < <Py_ssize_t>sizeof(McastHead):
        return False
    return (<const McastHead *>PyBytes_AS_STRING(data)).guarantee == 1
