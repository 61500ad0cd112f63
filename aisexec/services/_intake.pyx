# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Multicast requests into the packer (see _intake.pyi)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aisexec.totem._packing cimport Packer, iovec
from aisexec.totem._state cimport CoreState

from aisexec.totem import stack
from ipc import cpg_layouts


cdef packed struct McastRequest:  # as ipc.cpg_layouts has it
    int32_t id
    int32_t pad1
    int32_t size
    int32_t pad2
    int32_t unused
    int32_t pad3
    uint32_t guarantee
    int32_t pad4
    uint32_t msglen
    int32_t pad5

cdef packed struct CpgMcast:  # as aisexec.messages has it
    int32_t id
    int32_t pad1
    int32_t size
    int32_t pad2
    uint32_t group_length
    int32_t pad3
    char group[128]
    uint32_t msglen
    int32_t pad4
    uint32_t pid
    int32_t pad5
    uint32_t nodeid
    int32_t pad6
    uint64_t conn

cdef enum:
    MCAST = 2  # CpgRequest
    SAFE = 3  # Guarantee
    PARTS = 4

cdef Py_ssize_t REQUEST_MAX = stack.EXECUTIVE_MESSAGE_MAX
cdef Py_ssize_t PAYLOAD_MAX = cpg_layouts.DELIVER_MAX
cdef Py_ssize_t GROUP_ROOM = stack.GROUP_ROOM


cdef class Intake:
    cdef bytes group
    cdef uint16_t group_head[2]
    cdef Py_ssize_t waiting_max
    cdef Py_ssize_t overhead

    def __cinit__(self, bytes group not None, Py_ssize_t waiting_max, Py_ssize_t overhead):
        self.group = group
        self.group_head[0] = 1
        self.group_head[1] = <uint16_t>len(group)
        self.waiting_max = waiting_max
        self.overhead = overhead

    def __deepcopy__(self, memo):
        return self  # it never changes

    def take(self, totem, bytes head not None, list messages not None, Py_ssize_t first):
        cdef CoreState core = totem.core
        cdef Packer packer = totem.packer
        cdef Py_ssize_t waiting = len(core.q_trans if core.waiting_trans_ack else core.q_new)
        cdef Py_ssize_t slots = core.queue_slots - waiting - 2
        cdef Py_ssize_t frame_room = totem.frame_room
        cdef uint64_t before = packer.made
        cdef Py_ssize_t index = first
        cdef Py_ssize_t made
        cdef Py_ssize_t size
        cdef const McastRequest *request
        cdef object message
        cdef CpgMcast mcast
        cdef iovec parts[PARTS]
        if PyBytes_GET_SIZE(head) != sizeof(CpgMcast) or first < 0:
            raise ValueError(f"head of {len(head)} bytes, messages from {first}")
        memcpy(&mcast, PyBytes_AS_STRING(head), sizeof(CpgMcast))
        parts[0].iov_base = self.group_head
        parts[0].iov_len = sizeof(self.group_head)
        parts[1].iov_base = PyBytes_AS_STRING(self.group)
        parts[1].iov_len = PyBytes_GET_SIZE(self.group)
        parts[2].iov_base = &mcast
        parts[2].iov_len = sizeof(CpgMcast)
        while index < PyList_GET_SIZE(messages):
            message = messages[index]
            request = ordinary(message)
            if request is NULL:
                break
            size = PyBytes_GET_SIZE(message)
            made = <Py_ssize_t>(packer.made - before)
            # As Executive.has_room_for.
            if (waiting + made >= self.waiting_max
                    or slots - made <= (size + self.overhead + GROUP_ROOM) // frame_room + 1):
                break
            if index == first and core.token_held:
                totem.wake()
            mcast.size = <int32_t>(sizeof(CpgMcast) + request.msglen)
            mcast.msglen = request.msglen
            parts[3].iov_base = <char *>request + sizeof(McastRequest)
            parts[3].iov_len = request.msglen
            packer.add_vector(parts, PARTS, 1 if request.guarantee == SAFE else 0)
            index += 1
        return index - first


cdef const McastRequest *ordinary(object message) noexcept:
    cdef Py_ssize_t size
    cdef const McastRequest *request
    if not PyBytes_CheckExact(message):
        return NULL
    size = PyBytes_GET_SIZE(message)
    if size < <Py_ssize_t>sizeof(McastRequest) or size >= REQUEST_MAX:
        return NULL
    request = <const McastRequest *>PyBytes_AS_STRING(message)
    if request.id != MCAST or request.size != size:
        return NULL
    if request.msglen > size - <Py_ssize_t>sizeof(McastRequest) or request.msglen > PAYLOAD_MAX:
        return NULL
    return request


def layouts():
    cdef McastRequest request
    cdef CpgMcast mcast
    cdef size_t request_at = <size_t>&request
    cdef size_t mcast_at = <size_t>&mcast
    return {
        "McastRequest": {
            "id": (<size_t>&request.id - request_at, sizeof(request.id)),
            "size": (<size_t>&request.size - request_at, sizeof(request.size)),
            "unused": (<size_t>&request.unused - request_at, sizeof(request.unused)),
            "guarantee": (<size_t>&request.guarantee - request_at, sizeof(request.guarantee)),
            "msglen": (<size_t>&request.msglen - request_at, sizeof(request.msglen)),
            "": (0, sizeof(McastRequest)),
        },
        "CpgMcast": {
            "header.id": (<size_t>&mcast.id - mcast_at, sizeof(mcast.id)),
            "header.size": (<size_t>&mcast.size - mcast_at, sizeof(mcast.size)),
            "group.length": (<size_t>&mcast.group_length - mcast_at, sizeof(mcast.group_length)),
            "group.value": (<size_t>&mcast.group - mcast_at, sizeof(mcast.group)),
            "msglen": (<size_t>&mcast.msglen - mcast_at, sizeof(mcast.msglen)),
            "pid": (<size_t>&mcast.pid - mcast_at, sizeof(mcast.pid)),
            "source.nodeid": (<size_t>&mcast.nodeid - mcast_at, sizeof(mcast.nodeid)),
            "source.conn": (<size_t>&mcast.conn - mcast_at, sizeof(mcast.conn)),
            "": (0, sizeof(CpgMcast)),
        },
    }
