from libc.stdint cimport uint32_t, uint64_t

from aisexec.totem._timers cimport Timers


cdef class FlowState:
    cdef public uint32_t sent_last_visit
    cdef public uint32_t queued_last_visit


cdef class CoreState:
    cdef object chosen
    # Of the settings, for every visit.
    cdef double token
    cdef double token_warning
    cdef double token_retransmit
    cdef double hold
    cdef double merge
    cdef double pause
    cdef long long fail_recv_const
    cdef long long seqno_unchanged_const
    cdef long long miss_count_const
    cdef long long window_size
    cdef long long max_messages
    cdef long long accelerated_window
    cdef bint heartbeat
    cdef bint cancel_token_hold_on_retransmit

    cdef public object state
    cdef public object ring_id
    cdef public object user
    cdef public object effects
    cdef public object own_frames
    cdef public Timers timers
    cdef public FlowState flow
    cdef public object stats
    cdef public object memb
    cdef public object memb_set
    cdef public object regular_q
    cdef public object staging
    cdef public object q_new
    cdef public object q_trans
    cdef public object interrupted
    cdef public object interrupted_trans
    cdef public object last_token_frame
    cdef public double now
    cdef public double last_token_at
    cdef public double last_pause_check
    cdef public uint64_t global_seqno
    cdef public long long my_seq_unchanged
    cdef public long long hold_cancels
    cdef public long long aru_count
    cdef public long long usual_size
    cdef public uint32_t me
    cdef public uint32_t next_hop
    cdef public uint32_t my_aru
    cdef public uint32_t my_high_seq
    cdef public uint32_t my_high_delivered
    cdef public uint32_t last_released
    cdef public uint32_t safe_aru
    cdef public uint32_t my_last_aru
    cdef public uint32_t my_token_seq
    cdef public uint32_t my_last_seq
    cdef public bint token_held
    cdef public bint old_saved
    cdef public bint discard_token
    cdef public bint waiting_trans_ack
    cdef public bint token_callback_wanted
