# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The ordinary visit of the token (see _visit.pyi): the procedure of token_visit.py, step by step."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t, uint64_t

from aisexec.totem._numbering cimport number
from aisexec.totem._state cimport CoreState, FlowState
from aisexec.totem._timers cimport Timers
from aisexec.totem._wire cimport (
    MAGIC,
    ORF_TOKEN,
    SORT_QUEUE_SIZE,
    VERSION,
    OrfTokenHead,
    RtrItem,
    lt,
)

from aisexec.totem import limits
from aisexec.totem.timers import Timer
from aisexec.totem.token_visit import note_retransmits
from aisexec.totem.types import Broadcasts, Unicast
from aisexec.totem.wire import read_orf_token

cdef enum:
    RTR_MAX = 30

assert limits.RETRANSMIT_ENTRIES_MAX == RTR_MAX

cdef list _kinds = list(Timer)
cdef int TOKEN = _kinds.index(Timer.TOKEN)
cdef int TOKEN_WARNING = _kinds.index(Timer.TOKEN_WARNING)
cdef int TOKEN_RETRANSMIT = _kinds.index(Timer.TOKEN_RETRANSMIT)
cdef int HOLD = _kinds.index(Timer.HOLD)
cdef int MERGE = _kinds.index(Timer.MERGE)
cdef object _tuple_new = tuple.__new__


cdef inline uint32_t earlier(uint32_t a, uint32_t b) noexcept:
    return b if lt(b, a) else a


cdef inline int64_t allowance(int64_t fcc, uint32_t backlog, int64_t queued, int64_t queued_before,
                              int64_t window_size, int64_t max_messages) noexcept:
    # FlowControl.allowance
    cdef int64_t allowed = max_messages
    cdef int64_t share
    cdef uint32_t total = <uint32_t>(backlog + queued - queued_before)
    if fcc <= window_size:
        allowed = min(max_messages, window_size - fcc)
    if total:
        share = window_size * queued_before // total
        if share > 0:
            allowed = min(allowed, share)
    return allowed


def ordinary_visit(CoreState core not None, bytes frame not None, restart_heartbeat):
    cdef const OrfTokenHead *token = <const OrfTokenHead *>PyBytes_AS_STRING(frame)
    cdef object ring_id = core.ring_id
    cdef uint32_t me = core.me
    cdef uint32_t rep = ring_id[0]
    cdef uint64_t ring_seq = ring_id[1]
    cdef uint32_t seq, my_aru
    if PyBytes_GET_SIZE(frame) != sizeof(OrfTokenHead) or token.rtr_list_entries:
        return False
    if token.magic != MAGIC or token.version != VERSION or token.type != ORF_TOKEN:
        return False
    if token.ring_rep != rep or token.ring_seq != ring_seq or core.discard_token:
        return False
    if not lt(core.my_token_seq, token.token_seq):
        return False
    if token.aru_addr and token.aru_addr != me and token.aru_addr not in core.memb:
        return False
    seq = token.seq
    my_aru = core.my_aru
    if lt(seq, my_aru) or <uint32_t>(seq - my_aru) >= SORT_QUEUE_SIZE:
        return False
    if core.aru_count >= core.fail_recv_const:
        return False
    _visit(core, frame, token, me, rep, ring_seq, restart_heartbeat)
    return True


cdef int _visit(CoreState core, bytes frame, const OrfTokenHead *token, uint32_t me, uint32_t rep,
                uint64_t ring_seq, restart_heartbeat) except -1:
    cdef Timers timers = core.timers
    cdef object stats = core.stats
    cdef FlowState flow = core.flow
    cdef object queue = core.regular_q
    cdef double now = core.now
    cdef uint32_t seq = token.seq
    cdef uint32_t aru = token.aru
    cdef uint32_t aru_addr = token.aru_addr
    cdef uint32_t last_aru, my_aru, limit, sent, missing
    cdef uint32_t rtr[RTR_MAX]
    cdef int requests = 0
    cdef int i
    cdef bint is_rep = rep == me
    cdef bint holding, held
    cdef int64_t queued, allowed
    cdef int64_t window_size = core.window_size
    cdef list frames
    cdef list behind = None
    cdef bytes onward

    stats.orf_token_rx += 1
    held = _notice_idleness(core, timers, seq, now, is_rep)
    holding = held and is_rep
    _release(core, queue, aru)
    if core.staging is None or core.staging.staged:
        core.user.token_received()
    last_aru = core.my_last_aru
    core.my_last_aru = aru

    pending = core.q_trans if core.waiting_trans_ack else core.q_new
    queued = len(pending)
    allowed = allowance(token.fcc, token.backlog, queued, flow.queued_last_visit, window_size,
                        core.max_messages)
    my_aru = core.my_aru
    if my_aru != seq:
        requests = _request_missing(queue, my_aru, seq, core.miss_count_const, rtr)
        if requests:
            note_retransmits(core, read_orf_token(frame), [rtr[i] for i in range(requests)], 0)
        if requests and held and core.cancel_token_hold_on_retransmit:
            core.token_held = holding = held = False
    limit = <uint32_t>(<uint32_t>core.last_released + SORT_QUEUE_SIZE - allowed - window_size)
    if lt(limit, seq):
        allowed = 0

    sent = 0
    if allowed > 0 and queued:
        frames = number(
            pending, allowed, core.interrupted_trans if core.waiting_trans_ack else core.interrupted,
            me, seq, core.global_seqno, rep, ring_seq,
        )
        sent = <uint32_t>len(frames)
        queue.add_run(<uint32_t>(seq + 1), frames)
        core.global_seqno += sent
        stats.mcast_tx += sent
        seq += sent
        core.my_high_seq = seq
        if core.accelerated_window:
            frames, behind = _split(frames, core.accelerated_window)
        if frames:
            core.effects.append(_tuple_new(Broadcasts, (frames,)))
        if holding:
            # No idle ring: see token_visit.
            core.token_held = holding = held = False
    if sent or my_aru != seq:
        core.my_aru = my_aru = queue.contiguous_from(my_aru)

    # FlowControl.account, then what _update_aru does.
    fcc = <uint32_t>(token.fcc + sent - <int64_t>flow.sent_last_visit)
    backlog = <uint32_t>(token.backlog + queued - <int64_t>flow.queued_last_visit)
    flow.sent_last_visit = sent
    flow.queued_last_visit = queued
    if lt(my_aru, aru) or aru_addr == me or aru_addr == 0:
        aru = my_aru
        aru_addr = 0 if aru == seq else me
    if aru == last_aru and aru_addr:
        core.aru_count += 1
    else:
        core.aru_count = 0
    core.my_token_seq = token.token_seq

    onward = _pack(token, me, seq, aru, aru_addr, backlog, fcc, rtr, requests)
    core.hold_cancels = 0
    core.last_token_frame = onward
    if not holding:
        stats.orf_token_tx += 1
        core.effects.append(_tuple_new(Unicast, (core.next_hop, onward)))
    if behind:
        core.effects.append(_tuple_new(Broadcasts, (behind,)))
    if not holding:
        core.user.token_leaves()
    if core.my_high_delivered != core.my_high_seq:
        core.deliver(core.my_high_seq, safe_only=True)
    core.last_token_at = core.now
    timers.deadlines[TOKEN] = now + core.token
    if core.token_warning:
        timers.deadlines[TOKEN_WARNING] = now + core.token_warning
    timers.deadlines[TOKEN_RETRANSMIT] = now + core.token_retransmit
    if core.heartbeat:
        restart_heartbeat(core, holding)
    if is_rep and core.token_held:
        timers.deadlines[HOLD] = now + core.hold
    if core.token_callback_wanted:
        core.token_callback_wanted = False
        core.user.token_passed()
    return 0


cdef bint _notice_idleness(CoreState core, Timers timers, uint32_t seq, double now, bint is_rep) except -1:
    """token_visit's _notice_idleness and _decide_hold; returns whether the token is held now."""
    cdef int64_t unchanged
    cdef int64_t limit = core.seqno_unchanged_const
    cdef bint held
    if seq == <uint32_t>core.my_last_seq:
        if not timers.deadlines[MERGE] < INFINITY:
            timers.deadlines[MERGE] = now + core.merge
        unchanged = core.my_seq_unchanged + 1
    else:
        timers.deadlines[MERGE] = INFINITY
        timers.deadlines[HOLD] = INFINITY
        unchanged = 0
        core.my_last_seq = seq
    core.my_seq_unchanged = unchanged
    held = unchanged > limit if is_rep else unchanged >= limit
    core.token_held = held
    return held


cdef int _release(CoreState core, queue, uint32_t token_aru) except -1:
    cdef uint32_t everywhere = earlier(token_aru, core.my_last_aru)
    cdef uint32_t release_to, released
    if lt(core.safe_aru, everywhere):
        core.safe_aru = everywhere
    release_to = earlier(everywhere, core.my_high_delivered)
    released = core.last_released
    if lt(released, release_to):
        queue.release(<uint32_t>(released + 1), release_to)
        core.last_released = release_to
    return 0


cdef int _request_missing(queue, uint32_t seq, uint32_t last, long long miss_count_const, uint32_t *rtr) except -1:
    cdef int requests = 0
    while lt(seq, last) and requests < RTR_MAX:
        seq += 1
        if not queue.in_range(seq):
            break
        if seq in queue:
            continue
        if queue.miss(seq) >= miss_count_const:
            rtr[requests] = seq
            requests += 1
    return requests


cdef bytes _pack(const OrfTokenHead *came, uint32_t me, uint32_t seq, uint32_t aru, uint32_t aru_addr,
                 uint32_t backlog, uint32_t fcc, const uint32_t *rtr, int requests):
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, sizeof(OrfTokenHead) + requests * sizeof(RtrItem))
    cdef OrfTokenHead *token = <OrfTokenHead *>PyBytes_AS_STRING(frame)
    cdef RtrItem *items = <RtrItem *>(<char *>token + sizeof(OrfTokenHead))
    cdef int i
    token[0] = came[0]
    token.encapsulated = 0
    token.nodeid = me
    token.target_nodeid = 0
    token.seq = seq
    token.token_seq = came.token_seq + 1
    token.aru = aru
    token.aru_addr = aru_addr
    token.backlog = backlog
    token.fcc = fcc
    token.rtr_list_entries = requests
    for i in range(requests):
        items[i].ring_rep = came.ring_rep
        items[i].ring_seq = came.ring_seq
        items[i].seq = rtr[i]
    return frame


cdef tuple _split(list frames, Py_ssize_t window):
    """What goes before the token, and what behind it."""
    cdef Py_ssize_t before = max(0, len(frames) - window)
    return frames[:before], frames[before:]
