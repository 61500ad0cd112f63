# The heads of frames and packets as C sees them; tests/unit/test_compiled_layouts.py compares them with
# the declarations in wire.py and packing.py.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef packed struct McastHead:
    uint16_t magic
    uint8_t version
    uint8_t type
    uint8_t encapsulated
    uint32_t nodeid
    uint32_t target_nodeid
    uint32_t system_from
    uint32_t seq
    int32_t this_seqno
    uint32_t ring_rep
    uint64_t ring_seq
    uint32_t node_id
    int32_t guarantee

cdef packed struct PacketHead:
    uint16_t version
    uint16_t type
    uint8_t fragmented
    uint8_t continuation
    uint16_t msg_count

cdef enum:
    MAGIC = 0xC070
    VERSION = 3
    MCAST = 1
    PLAIN = 2
    SORT_QUEUE_SIZE = 16384
    HALF = 0x80000000
    WINDOW = 0x10000

cdef inline bint lt(uint32_t a, uint32_t b) noexcept nogil:
    # aisexec.totem.sequence.lt
    if a > <uint32_t>HALF or b > <uint32_t>HALF:
        return <uint32_t>(a - WINDOW) < <uint32_t>(b - WINDOW)
    return a < b

cdef packed struct OrfTokenHead:
    uint16_t magic
    uint8_t version
    uint8_t type
    uint8_t encapsulated
    uint32_t nodeid
    uint32_t target_nodeid
    uint32_t seq
    uint32_t token_seq
    uint32_t aru
    uint32_t aru_addr
    uint32_t ring_rep
    uint64_t ring_seq
    uint32_t backlog
    uint32_t fcc
    uint32_t retrans_flg
    uint32_t rtr_list_entries

cdef packed struct RtrItem:
    uint32_t ring_rep
    uint64_t ring_seq
    uint32_t seq

cdef enum:
    ORF_TOKEN = 0
