# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Frames to where they belong (see _reception.pyi)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE

from aisexec.totem._state cimport CoreState
from aisexec.totem._wire cimport ORF_TOKEN, OrfTokenHead

from aisexec.totem.core import State
from aisexec.totem.token_visit import restart_heartbeat

cdef object OPERATIONAL = State.OPERATIONAL


def receive(CoreState core not None, list frames not None, visit, one_frame, own_frames):
    receive_frames(core, frames, visit, one_frame, own_frames)


cdef int receive_frames(CoreState core, list frames, visit, one_frame, own_frames) except -1:
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t run
    cdef object frame
    while done < len(frames):
        received = <tuple>frames[done]
        frame = received[0]
        run = 0
        if core.state is OPERATIONAL:
            if not is_token(frame):
                run = messages(core, frames, done)
            elif visit(core, frame, restart_heartbeat):
                run = 1
            elif core.my_high_delivered != core.my_high_seq:
                core.deliver(core.my_high_seq, safe_only=True)
        if run == 0:
            one_frame(frame, received[1])
            run = 1
        done += run
        if core.own_frames:
            own_frames()
    return 0


def holds_token(list frames not None):
    return token_among(frames)


cdef bint token_among(list frames) except -1:
    for received in frames:
        frame = (<tuple>received)[0]
        if (PyBytes_CheckExact(frame) and PyBytes_GET_SIZE(frame) >= <Py_ssize_t>sizeof(OrfTokenHead)
                and (<const OrfTokenHead *>PyBytes_AS_STRING(frame)).type == ORF_TOKEN):
            return True
    return False


cdef inline bint is_token(frame) noexcept:
    return (PyBytes_CheckExact(frame) and PyBytes_GET_SIZE(frame) == sizeof(OrfTokenHead)
            and (<const OrfTokenHead *>PyBytes_AS_STRING(frame)).type == ORF_TOKEN)


cdef Py_ssize_t messages(CoreState core, list frames, Py_ssize_t start) except -1:
    cdef object queue
    cdef object ring_id
    cdef Py_ssize_t taken
    if core.old_saved:
        return 0
    queue = core.regular_q
    ring_id = core.ring_id
    taken, high = queue.take_run(
        frames, start, ring_id[0], ring_id[1], core.memb_set, core.usual_size, core.my_high_seq
    )
    if taken:
        core.my_high_seq = high
        core.stats.mcast_rx += taken
        core.my_aru = queue.contiguous_from(core.my_aru)
        if core.my_high_delivered != core.my_high_seq and not token_follows(frames, start + taken):
            core.deliver(core.my_high_seq, safe_only=True)
    return taken


cdef inline bint token_follows(list frames, Py_ssize_t place) noexcept:
    """The token everybody waits for goes on before we deliver what came with it."""
    return place < len(frames) and is_token((<tuple>frames[place])[0])
