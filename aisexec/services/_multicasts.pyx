# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Delivery of multicasts to the programs of this node (see _multicasts.pyi)."""

from libc.stdint cimport int32_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from aisexec.totem._assembly cimport Sink
from ipc._event_batch cimport EventBatch

import copy

from aisexec.messages import CPG_MCAST, EXEC_HEADER, GROUP_NAME, GROUP_SERVICES, exec_id
from aisexec.services.base import AnomalyError
from aisexec.services.cpg_joinlist import MCAST, SERVICE, exec_name
from ipc.cpg_layouts import DELIVER_EVENT, DELIVER_MAX, pack_deliver

cdef enum:
    TARGETS_MAX = 4096  # groups times nodes that are remembered

# In front of an executive message: one group name of one byte.
cdef uint16_t GROUP_COUNT = 1
cdef uint16_t GROUP_LENGTH = len(GROUP_SERVICES)
cdef unsigned char GROUP_BYTE = GROUP_SERVICES[0]
cdef enum:
    PREFIX = 5
assert len(GROUP_SERVICES) == 1

cdef int32_t MCAST_ID = exec_id(SERVICE, MCAST)
cdef size_t MCAST_HEAD = CPG_MCAST.size
cdef size_t ID_AT = CPG_MCAST.offset_of("header") + EXEC_HEADER.offset_of("id")
cdef size_t GROUP_AT = CPG_MCAST.offset_of("group")
cdef size_t GROUP_SIZE = GROUP_NAME.size
cdef size_t MSGLEN_AT = CPG_MCAST.offset_of("msglen")
cdef size_t PID_AT = CPG_MCAST.offset_of("pid")

cdef size_t EVENT_HEAD = DELIVER_EVENT.size
cdef size_t EVENT_SIZE_AT = DELIVER_EVENT.offset_of("size")
cdef size_t EVENT_MSGLEN_AT = DELIVER_EVENT.offset_of("msglen")
cdef size_t EVENT_PID_AT = DELIVER_EVENT.offset_of("pid")
cdef uint32_t LONGEST = DELIVER_MAX


cdef class Target:
    # Programs that get the messages of one node to one group, and the head of the event for them.
    cdef uint32_t nodeid
    cdef bytes group
    cdef tuple receivers
    cdef bytes head


cdef class Multicasts(Sink):
    cdef object open_batch
    cdef object receivers
    cdef dict targets
    cdef Target last
    cdef public EventBatch batch
    cdef public object watch
    cdef public unsigned long long taken

    def __init__(self, open_batch, receivers):
        self.open_batch = open_batch
        self.receivers = receivers
        self.targets = {}

    def __deepcopy__(self, memo):
        cdef Multicasts copied = Multicasts.__new__(Multicasts)
        memo[id(self)] = copied
        copied.__init__(*copy.deepcopy((self.open_batch, self.receivers), memo))
        copied.watch = copy.deepcopy(self.watch, memo)
        return copied

    def forget(self):
        if self.last is not None:
            self.last = None
            self.targets.clear()

    cdef Target target(self, uint32_t nodeid, const unsigned char *group):
        cdef Target found = self.last
        cdef bytes raw
        if (found is not None and found.nodeid == nodeid
                and memcmp(<const char *>found.group, group, GROUP_SIZE) == 0):
            return found
        raw = (<const char *>group)[:GROUP_SIZE]
        found = self.targets.get((nodeid, raw))
        if found is None:
            name = exec_name(GROUP_NAME.unpack(raw))
            found = Target.__new__(Target)
            found.nodeid = nodeid
            found.group = raw
            found.receivers = tuple(self.receivers(nodeid, name))
            found.head = pack_deliver(name, nodeid, 0, 0)
            if len(self.targets) >= TARGETS_MAX:
                self.targets.clear()
            self.targets[nodeid, raw] = found
        self.last = found
        return found

    cdef int take(self, uint32_t nodeid, const unsigned char *message, size_t size) except -1:
        cdef uint16_t number
        cdef int32_t ident
        cdef uint32_t msglen
        cdef uint32_t event_size
        cdef Target target
        cdef char *event
        if size < PREFIX + MCAST_HEAD:
            return 0
        memcpy(&number, message, 2)
        if number != GROUP_COUNT:
            return 0
        memcpy(&number, message + 2, 2)
        if number != GROUP_LENGTH or message[4] != GROUP_BYTE:
            return 0
        message += PREFIX
        size -= PREFIX
        memcpy(&ident, message + ID_AT, 4)
        memcpy(&msglen, message + MSGLEN_AT, 4)
        if ident != MCAST_ID or msglen > LONGEST or msglen > size - MCAST_HEAD:
            return 0
        try:
            target = self.target(nodeid, message + GROUP_AT)
        except AnomalyError:
            return 0
        self.taken += 1
        if self.watch is not None:
            self.watch(nodeid, (<const char *>message)[:size])
        if not target.receivers:
            return 1
        if self.batch is None:
            self.batch = self.open_batch()
        event_size = <uint32_t>EVENT_HEAD + msglen
        event = self.batch.reserve(target.receivers, event_size)
        memcpy(event, <const char *>target.head, EVENT_HEAD)
        memcpy(event + EVENT_SIZE_AT, &event_size, 4)
        memcpy(event + EVENT_MSGLEN_AT, &msglen, 4)
        memcpy(event + EVENT_PID_AT, message + PID_AT, 4)
        memcpy(event + EVENT_HEAD, message + MCAST_HEAD, msglen)
        return 1
