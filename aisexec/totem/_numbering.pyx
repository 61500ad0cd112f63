# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Packets of the send queue into numbered frames (see _numbering.pyi)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aisexec.totem._wire cimport MAGIC, MCAST, PLAIN, VERSION, McastHead, PacketHead


def number_queued(pending, Py_ssize_t allowed, open_message, uint32_t me, uint32_t seq, uint64_t this_seqno,
                  ring_id):
    return number(pending, allowed, open_message, me, seq, this_seqno, ring_id[0], ring_id[1])


cdef list number(pending, Py_ssize_t allowed, open_message, uint32_t me, uint32_t seq, uint64_t this_seqno,
                 uint32_t rep, uint64_t ring_seq):
    cdef list frames = []
    cdef list taken = []
    cdef Py_ssize_t left = min(allowed, <Py_ssize_t>len(pending))
    cdef object take = pending.popleft
    cdef tuple entry
    cdef bytes packet
    cdef bytes frame
    cdef Py_ssize_t size
    cdef McastHead *head
    while left > 0:
        left -= 1
        entry = take()
        packet = entry[0]
        size = PyBytes_GET_SIZE(packet)
        if size < <Py_ssize_t>sizeof(PacketHead):
            raise ValueError(f"packet of {size} bytes")
        frame = PyBytes_FromStringAndSize(NULL, sizeof(McastHead) + size)
        head = <McastHead *>PyBytes_AS_STRING(frame)
        seq += 1
        head.magic = MAGIC
        head.version = VERSION
        head.type = MCAST
        head.encapsulated = PLAIN
        head.nodeid = me
        head.target_nodeid = 0
        head.system_from = me
        head.seq = seq
        head.this_seqno = <int32_t>(this_seqno & 0x7FFFFFFF)
        head.ring_rep = rep
        head.ring_seq = ring_seq
        head.node_id = 0
        head.guarantee = <int32_t>entry[1]
        memcpy(<char *>head + sizeof(McastHead), PyBytes_AS_STRING(packet), size)
        this_seqno += 1
        frames.append(frame)
        taken.append(entry)
    if taken:
        remember(open_message, taken)
    return frames


cdef int remember(open_message, list taken) except -1:
    """What sent() would remember of each in turn, told in one call or none: most runs end with a whole message."""
    cdef Py_ssize_t last = len(taken) - 1
    cdef Py_ssize_t whole = last
    cdef Py_ssize_t begins = last
    while whole >= 0 and head_of(taken[whole]).fragmented:
        whole -= 1
    if whole >= 0 and open_message.packets:
        open_message.packets = []
    if whole == last:
        return 0
    while begins > whole and only_continues(head_of(taken[begins])):
        begins -= 1
    if begins > whole:
        open_message.sent(*<tuple>taken[begins])
    else:
        begins = whole
    if begins < last:
        open_message.packets.extend(taken[begins + 1:])
    return 0


cdef inline const PacketHead *head_of(object entry) except NULL:
    return <const PacketHead *>PyBytes_AS_STRING((<tuple>entry)[0])


cdef inline bint only_continues(const PacketHead *head) noexcept:
    return head.continuation and head.msg_count == 1
