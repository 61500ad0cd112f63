"""The state table of the single-ring protocol, and its doors.

Every (state, input) pair that means something is in `TABLE`; what is absent is dropped and counted.
Bytes and time go in through `receive`, `handle_timer` and `start`; effects come out of `take_effects`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto

from aisexec.totem import _reception as reception
from aisexec.totem import wire
from aisexec.totem._visit import ordinary_visit
from aisexec.totem.commit import acceptable, complete, enter_commit
from aisexec.totem.consensus import consensus_timeout, ignored_in_operational, process_join
from aisexec.totem.core import Core, Gathering, RingUser, State
from aisexec.totem.gather import add_proc, enter_gather, schedule_join, send_join, send_leave
from aisexec.totem.limits import (
    FRAME_SIZE_MAX,
    OVERSIZED_FRAMES_MAX,
    PROCESSOR_COUNT_MAX,
    RETRANSMIT_REPORT_INTERVAL,
    RING_SEQ_JUMP_MAX,
)
from aisexec.totem.recovery import enter_recovery, first_token
from aisexec.totem.sequence import lt
from aisexec.totem.settings import Settings
from aisexec.totem.survey import may_accept
from aisexec.totem.timers import Timer
from aisexec.totem.token_visit import start_ring, token_arrived
from aisexec.totem.types import LOG_DEBUG, LOG_NOTICE, LOG_WARNING, Effect, InterfaceCheck
from aisexec.totem.wire import FrameError, FrameType

CONTINUOUS_GATHER_WARNING = 3
"""Consensus failures in a row after which a firewall is suspected."""

SCHEDMISS = 0.8
"""Of the token time-out: who does not run for longer puts the ring at risk."""

OURSELVES = "ourselves"
"""The sender of our own frames, which never crossed the network."""


class Input(Enum):
    """What can happen to a node."""

    ORF_TOKEN = auto()
    OUR_MCAST = auto()
    FOREIGN_MCAST = auto()
    FOREIGN_MERGE_DETECT = auto()
    JOIN = auto()
    COMMIT_TOKEN = auto()
    HOLD_CANCEL = auto()
    TOKEN_TIMEOUT = auto()
    TOKEN_RETRANSMIT_TIMEOUT = auto()
    HOLD_TIMEOUT = auto()
    JOIN_TIMEOUT = auto()
    SEND_JOIN_TIMEOUT = auto()
    CONSENSUS_TIMEOUT = auto()
    MERGE_TIMEOUT = auto()

    __hash__ = object.__hash__  # members are single objects; Enum's own takes a call of Python code


class Ring:
    """One node's protocol machine."""

    def __init__(self, settings: Settings, nodeid: int, ring_seq: int, user: RingUser) -> None:
        self.core = Core(settings, nodeid, ring_seq, user)
        self._inside = False
        self.next_timer: Callable[[], float | None] = self.core.timers.next
        """When handle_timer() has to be called, on the clock of `now`."""

    # Doors.

    def start(self, now: float) -> None:
        """The network interface is up: look for others."""
        core = self.core
        core.now = now
        core.last_pause_check = now
        core.arm(Timer.PAUSE, core.settings.token / 5)
        enter_gather(core, Gathering.INTERFACE_CHANGE)
        self._handle_own_frames()

    def reconfigure(self, settings: Settings, now: float) -> None:
        """From now on these; timers that run already are moved where they would expire too early or late.

        The length of frames stays: buffers and the other nodes count on it.
        """
        core = self.core
        core.now = now
        old, new = core.settings, replace(settings, net_mtu=core.settings.net_mtu)
        core.settings = core.connectivity.settings = new
        if core.timers.running(Timer.PAUSE) and now - core.last_pause_check <= old.token / 2:
            core.last_pause_check = now  # it was looked for at the old pace; that is no pause
            core.arm(Timer.PAUSE, new.token / 5)
        if core.state is State.OPERATIONAL and core.timers.running(Timer.TOKEN) and new.token != old.token:
            core.timers.stop(Timer.TOKEN_WARNING)
            core.arm_token()

    def wake(self) -> None:
        """Something was queued to be sent: a held token is wanted now."""
        self.core.cancel_hold()
        if not self._inside:
            self._handle_own_frames()

    def receive(self, frames: Sequence[tuple[bytes, str]], now: float) -> None:
        """Frames with the sender's name for logs, in the order they are to be handled."""
        core = self.core
        core.now = now
        if now - core.last_pause_check > core.settings.token / 2:
            frames = self._after_pause(frames)
        self._inside = True
        try:
            reception.receive(core, list(frames), ordinary_visit, self._frame, self._handle_own_frames)
        finally:
            self._inside = False

    def without_stale(
        self, frames: Sequence[tuple[bytes, str]], now: float
    ) -> Sequence[tuple[bytes, str]]:
        """All that has arrived, less what `receive` would drop of it; then it may be received in parts."""
        self.core.now = now
        return self._after_pause(frames)

    def handle_timer(self, now: float) -> None:
        """Run every timer that is due."""
        core = self.core
        core.now = now
        self._inside = True
        try:
            while (timer := core.timers.pop_due(now)) is not None:
                _TIMERS[timer](core)
                self._handle_own_frames()
        finally:
            self._inside = False

    def force_gather(self, now: float) -> None:
        """An operator's order: do as if the token had been lost."""
        self.core.now = now
        self.core.story.forced()
        self._inside = True
        try:
            _token_timeout(self.core)
            self._handle_own_frames()
        finally:
            self._inside = False

    def leave(self, now: float) -> None:
        """Tell the others that we go; nothing may be fed in afterwards."""
        self.core.now = now
        send_leave(self.core)

    def take_effects(self) -> list[Effect]:
        """What has to be carried out, in order."""
        effects, self.core.effects = self.core.effects, []
        return effects

    # Input.

    def _frame(self, frame: bytes, sender: str) -> None:
        core = self.core
        try:
            frame_type = wire.check_header(frame)
            _FRAMES[frame_type](core, frame, sender)
        except FrameError as error:
            core.anomaly(error.kind, sender, str(error))

    def _handle_own_frames(self) -> None:
        own = self.core.own_frames
        while own:
            self._frame(own.popleft(), OURSELVES)

    def _after_pause(self, frames: Sequence[tuple[bytes, str]]) -> Sequence[tuple[bytes, str]]:
        """We did not run for more than half a token timeout: what was multicast meanwhile is stale.

        Stock empties its sockets when it finds a JOIN after a pause (spec 4.3); here the waiting
        frames are in hand.
        """
        core = self.core
        paused = core.now - core.last_pause_check
        if paused <= core.settings.token / 2:
            return frames
        if not any(len(f) > 3 and f[3] == FrameType.JOIN for f, _ in frames):
            return frames
        core.log(
            LOG_NOTICE,
            f"Process pause detected for {paused * 1000:.0f} ms, flushing membership messages.",
        )
        _note_pause(core)
        core.last_pause_check = core.now
        tokens = (FrameType.ORF_TOKEN, FrameType.COMMIT_TOKEN)
        kept = [(f, s) for f, s in frames if len(f) > 3 and f[3] in tokens]
        core.stats.dropped["stale after pause"] += len(frames) - len(kept)
        return kept


def dispatch(core: Core, what: Input) -> bool:
    """Is there anything to do for this input in this state?  What is absent is counted."""
    if (core.state, what) in TABLE:
        return True
    core.stats.dropped[f"{what.name} in {core.state.name}"] += 1
    return False


# Frames.


def _orf_token(core: Core, frame: bytes, sender: str) -> None:
    token = wire.read_orf_token(frame)
    if dispatch(core, Input.ORF_TOKEN):
        token_arrived(core, token, sender)


def _mcast(core: Core, frame: bytes, sender: str) -> None:
    key = wire.read_mcast_key(frame)
    core.stats.mcast_rx += 1
    if len(frame) > FRAME_SIZE_MAX:
        raise FrameError("oversized", f"mcast of {len(frame)} bytes, limit {FRAME_SIZE_MAX}")
    ring_id = (key.rep, key.ring_seq)
    if ring_id == core.ring_id:
        if dispatch(core, Input.OUR_MCAST):
            _keep(core, key, frame)
    elif ring_id == core.previous_ring_id:
        # A late copy of what our last ring sent. Nobody can keep that ring up without us, so it
        # is no sign of a stranger; stock takes it for one and gathers again.
        core.stats.dropped["mcast of the previous ring"] += 1
    elif dispatch(core, Input.FOREIGN_MCAST):
        _stranger(
            core,
            key.system_from,
            Gathering.FOREIGN_MESSAGE_OPERATIONAL,
            Gathering.FOREIGN_MESSAGE_GATHER,
        )


def _keep(core: Core, key: wire.McastKey, frame: bytes) -> None:
    recovery = key.encapsulated == wire.Encapsulated.RECOVERY
    if recovery and len(frame) < 2 * wire.MCAST_SIZE:
        raise FrameError("truncated", "recovery frame without a whole old frame inside")
    if recovery != (core.state is State.RECOVERY) or (not recovery and core.old_saved):
        # The regular queue belongs to the last installed ring: a plain frame of a ring that others
        # have installed and we have not must not get among its messages. If we install it later,
        # the frame is asked for again.
        core.stats.dropped[f"mcast in {core.state.name}"] += 1
        return
    members = core.new_memb if recovery else core.memb
    if key.system_from not in members or key.nodeid != key.system_from:
        detail = f"mcast on our ring from node {key.nodeid} for {key.system_from}, no member"
        raise FrameError("nodeid", detail)
    queue = core.recovery_q if recovery else core.regular_q
    if len(frame) > core.usual_size and len(queue) >= OVERSIZED_FRAMES_MAX:
        detail = f"mcast of {len(frame)} bytes, ours have {core.usual_size} at most, while {len(queue)} wait"
        raise FrameError("limit", detail)
    if not queue.add(key.seq, frame):
        return
    if recovery:
        _mate_sent_again(core, frame)
    if lt(core.my_high_seq, key.seq):
        core.my_high_seq = key.seq
    core.my_aru = core.sort_queue().contiguous_from(core.my_aru)
    if core.state is State.OPERATIONAL:
        core.deliver(core.my_high_seq, safe_only=True)


def _mate_sent_again(core: Core, frame: bytes) -> None:
    """An old message that a ring mate has put on the new ring need not be sent by us as well.

    Without this all survivors send all of them, and a long recovery does not fit the queues.
    """
    if core.q_retrans:
        inner = wire.read_mcast_key(frame[wire.MCAST_SIZE : 2 * wire.MCAST_SIZE])
        if (inner.rep, inner.ring_seq) == core.old_ring_id:
            core.q_retrans.pop(inner.seq, None)


def _merge_detect(core: Core, frame: bytes, sender: str) -> None:
    detect = wire.read_merge_detect(frame)
    core.stats.memb_merge_detect_rx += 1
    if detect.ring_id != core.ring_id and dispatch(core, Input.FOREIGN_MERGE_DETECT):
        _stranger(core, detect.system_from, Gathering.MERGE_OPERATIONAL, Gathering.MERGE_GATHER)


def _stranger(core: Core, nodeid: int, operational: Gathering, gathering: Gathering) -> None:
    """Somebody outside our ring was heard."""
    if nodeid == 0:
        raise FrameError("nodeid", "frame from nodeid 0")
    if nodeid not in core.proc and len({*core.proc, *core.failed, nodeid}) > PROCESSOR_COUNT_MAX:
        raise FrameError("limit", f"more than {PROCESSOR_COUNT_MAX} processors")
    connectivity = core.connectivity
    connectivity.heard(nodeid, core.now)
    if core.state is State.OPERATIONAL:
        if connectivity.shuts_out(nodeid, core.now):
            return
        core.story.disturbed_by(nodeid)
        connectivity.disturbed(nodeid, core.now)
        add_proc(core, nodeid)
        enter_gather(core, operational)
    elif connectivity.survey is not None:
        pass  # it has to answer our JOINs
    elif nodeid not in core.proc:
        add_proc(core, nodeid)
        enter_gather(core, gathering)


def _join(core: Core, frame: bytes, sender: str) -> None:
    join = wire.read_join(frame)
    if join.system_from == core.me and sender != OURSELVES:
        raise FrameError("duplicate nodeid", f"join with our own nodeid {core.me}; nodeids must be unique")
    _check_ring_seq(core, join.ring_seq)
    if not dispatch(core, Input.JOIN):
        return
    core.stats.memb_join_rx += 1
    if join.ring_seq > core.token_ring_seq:
        core.token_ring_seq = join.ring_seq
    connectivity = core.connectivity
    if join.system_from != core.me:
        connectivity.heard(join.system_from, core.now)
    if core.state is State.OPERATIONAL:
        if not ignored_in_operational(core, join) and not connectivity.shuts_out_join(join, core.now):
            connectivity.disturbed(join.system_from, core.now)
            core.story.disturbed_by(join.system_from, leaves=join.leave)
            process_join(core, join)
    elif core.state is State.GATHER:
        process_join(core, join)
    elif join.system_from in core.new_memb and join.ring_seq >= core.ring_id.seq:
        _join_while_forming(core, join)


def _check_ring_seq(core: Core, seq: int) -> None:
    """One forged number must not bring everybody near the end of the range."""
    if seq > core.token_ring_seq + RING_SEQ_JUMP_MAX:
        detail = f"ring sequence number {seq:x}, the highest seen is {core.token_ring_seq:x}"
        raise FrameError("limit", detail)


def _join_while_forming(core: Core, join: wire.Join) -> None:
    """A member of the ring being formed has given it up (states COMMIT and RECOVERY)."""
    was = core.state
    if was is State.RECOVERY and _has_installed(core, join):
        core.proc = list(core.new_memb)
        core.failed = []
    process_join(core, join)
    if was is State.COMMIT:
        enter_gather(core, Gathering.JOIN_COMMIT)
        return
    enter_gather(core, Gathering.JOIN_RECOVERY)


def _has_installed(core: Core, join: wire.Join) -> bool:
    """The sender of the JOIN has the ring that we are still recovering, and gathers from there.

    All members had agreed on whom to leave out; only who installs a ring forgets it. With our own
    old failed list the ring would form without them once more, hear them once more, and so on: two
    rings can keep each other from merging like that for ever (found by simulation, seed 8).
    """
    return join.ring_seq == core.ring_id.seq and not set(core.failed) <= set(join.failed)


def _commit_token(core: Core, frame: bytes, sender: str) -> None:
    token = wire.read_commit_token(frame)
    core.stats.memb_commit_token_rx += 1
    _check_ring_seq(core, token.ring_id.seq)
    if not dispatch(core, Input.COMMIT_TOKEN):
        return
    if core.state is State.GATHER:
        survey = core.connectivity.survey
        if survey is not None and not may_accept(core, survey, token):
            return
        if acceptable(core, token):
            enter_commit(core, token)
    elif core.state is State.COMMIT:
        if complete(core, token):
            enter_recovery(core, token)
    elif core.i_am_rep and not core.originated_orf and token.ring_id == core.ring_id:
        start_ring(core, first_token(core))


def _hold_cancel(core: Core, frame: bytes, sender: str) -> None:
    cancel = wire.read_hold_cancel(frame)
    core.stats.token_hold_cancel_rx += 1
    if cancel.ring_id != core.ring_id or not dispatch(core, Input.HOLD_CANCEL):
        return
    core.my_seq_unchanged = 0
    core.hold_cancels += 1
    if core.hold_cancels > len(core.memb) + len(core.new_memb):
        # More than everybody together has reason to send before the token's next visit. Stock answers
        # each of a flood with a token.
        core.stats.dropped["HOLD_CANCEL too often"] += 1
        return
    if core.i_am_rep and core.state in (State.OPERATIONAL, State.RECOVERY):
        core.timers.stop(Timer.HOLD)
        _token_retransmit_timeout(core)


# Timers.


def _token_timeout(core: Core) -> None:
    if not dispatch(core, Input.TOKEN_TIMEOUT):
        return
    settings = core.settings
    if core.state is State.OPERATIONAL:
        core.stats.operational_token_lost += 1
        core.log(
            LOG_NOTICE,
            "A processor failed, forming new configuration:"
            f" token timed out ({settings.token * 1000:.0f}ms),"
            f" waiting {settings.consensus * 1000:.0f}ms for consensus.",
        )
        core.effects.append(InterfaceCheck())
        enter_gather(core, Gathering.TOKEN_LOST_OPERATIONAL)
    elif core.state is State.GATHER:
        core.stats.gather_token_lost += 1
        core.story.attempt_failed()
        core.log(LOG_DEBUG, f"The consensus timeout expired ({settings.consensus * 1000:.0f}ms).")
        core.connectivity.attempt_lost(core.now)
        consensus_timeout(core)
        enter_gather(core, Gathering.CONSENSUS_EXPIRED)
        if core.stats.continuous_gather == CONTINUOUS_GATHER_WARNING + 1:
            core.log(
                LOG_WARNING,
                "Totem is unable to form a cluster because of an operating system or network fault"
                " (reason: continuous gather). The most common cause of this message is that the"
                " local firewall is configured improperly.",
            )
    elif core.state is State.COMMIT:
        core.stats.commit_token_lost += 1
        core.story.attempt_failed()
        core.connectivity.attempt_lost(core.now)
        core.log(LOG_DEBUG, "The token was lost in the COMMIT state.")
        enter_gather(core, Gathering.TOKEN_LOST_COMMIT)
    else:
        core.stats.recovery_token_lost += 1
        core.story.attempt_failed()
        core.connectivity.attempt_lost(core.now)
        core.log(LOG_DEBUG, "The token was lost in the RECOVERY state.")
        enter_gather(core, Gathering.TOKEN_LOST_RECOVERY)


def _token_warning(core: Core) -> None:
    if core.state is State.OPERATIONAL:
        late = (core.now - core.last_token_at) * 1000
        core.log(LOG_NOTICE, f"Token has not been received in {late:.0f} ms ")
        core.arm(Timer.TOKEN_WARNING, core.settings.token * core.settings.token_warning / 100)


def _token_retransmit_timeout(core: Core) -> None:
    if dispatch(core, Input.TOKEN_RETRANSMIT_TIMEOUT):
        core.resend_token()
        core.arm(Timer.TOKEN_RETRANSMIT, core.settings.token_retransmit)


def _hold_timeout(core: Core) -> None:
    if dispatch(core, Input.HOLD_TIMEOUT):
        core.resend_token()


def _join_timeout(core: Core) -> None:
    if dispatch(core, Input.JOIN_TIMEOUT):
        schedule_join(core)
        surveying = core.connectivity.survey is not None
        core.arm(Timer.JOIN, core.connectivity.pace if surveying else core.settings.join)


def _send_join_timeout(core: Core) -> None:
    if dispatch(core, Input.SEND_JOIN_TIMEOUT):
        send_join(core)


def _consensus_timeout(core: Core) -> None:
    if dispatch(core, Input.CONSENSUS_TIMEOUT):
        consensus_timeout(core)


def _merge_timeout(core: Core) -> None:
    if dispatch(core, Input.MERGE_TIMEOUT) and core.connectivity.may_announce(core.i_am_rep, core.now):
        core.stats.memb_merge_detect_tx += 1
        head = wire.header(FrameType.MERGE_DETECT, core.me)
        core.broadcast(wire.MERGE_DETECT.pack(wire.MergeDetectFrame(head, core.me, core.ring_id)))


def _pause_check(core: Core) -> None:
    _note_pause(core)
    core.last_pause_check = core.now
    core.arm(Timer.PAUSE, core.settings.token / 5)


def _note_pause(core: Core) -> None:
    """For stats.schedmiss, by corosync's measure."""
    paused, threshold = core.now - core.last_pause_check, core.settings.token * SCHEDMISS
    if paused > threshold:
        core.stats.pauses.appendleft((core.now, paused))
        core.story.paused(paused)
        core.log(
            LOG_WARNING,
            f"This process was not scheduled for {paused * 1000:.0f} ms (threshold is"
            f" {threshold * 1000:.0f} ms). Consider token timeout increase.",
        )


def _retransmits(core: Core) -> None:
    active = core.retransmits.active
    told = core.retransmits.report(core.settings, core.aru_count, core.now)
    if told is not None:
        core.log(*told)
    if active:
        core.arm(Timer.RETRANSMITS, RETRANSMIT_REPORT_INTERVAL)


def _downcheck(core: Core) -> None:
    if len(core.memb) <= 1:
        core.effects.append(InterfaceCheck())
        core.arm(Timer.DOWNCHECK, core.settings.downcheck)


_ALL = tuple(State)
_RING_UP = (State.OPERATIONAL, State.RECOVERY)

TABLE: frozenset[tuple[State, Input]] = frozenset(
    (state, what)
    for what, states in {
        Input.ORF_TOKEN: _RING_UP,
        Input.OUR_MCAST: _ALL,
        Input.FOREIGN_MCAST: (State.OPERATIONAL, State.GATHER),
        Input.FOREIGN_MERGE_DETECT: (State.OPERATIONAL, State.GATHER),
        Input.JOIN: _ALL,
        Input.COMMIT_TOKEN: (State.GATHER, State.COMMIT, State.RECOVERY),
        Input.HOLD_CANCEL: _ALL,
        Input.TOKEN_TIMEOUT: _ALL,
        Input.TOKEN_RETRANSMIT_TIMEOUT: (State.OPERATIONAL, State.COMMIT, State.RECOVERY),
        Input.HOLD_TIMEOUT: _RING_UP,
        Input.JOIN_TIMEOUT: (State.GATHER,),
        Input.SEND_JOIN_TIMEOUT: (State.GATHER,),
        Input.CONSENSUS_TIMEOUT: (State.GATHER,),
        Input.MERGE_TIMEOUT: (State.OPERATIONAL,),
    }.items()
    for state in states
)

_FRAMES: dict[FrameType, Callable[[Core, bytes, str], None]] = {
    FrameType.ORF_TOKEN: _orf_token,
    FrameType.MCAST: _mcast,
    FrameType.MERGE_DETECT: _merge_detect,
    FrameType.JOIN: _join,
    FrameType.COMMIT_TOKEN: _commit_token,
    FrameType.HOLD_CANCEL: _hold_cancel,
}

_TIMERS: dict[Timer, Callable[[Core], None]] = {
    Timer.TOKEN: _token_timeout,
    Timer.TOKEN_WARNING: _token_warning,
    Timer.TOKEN_RETRANSMIT: _token_retransmit_timeout,
    Timer.HOLD: _hold_timeout,
    Timer.HEARTBEAT: _token_timeout,
    Timer.SEND_JOIN: _send_join_timeout,
    Timer.JOIN: _join_timeout,
    Timer.CONSENSUS: _consensus_timeout,
    Timer.MERGE: _merge_timeout,
    Timer.PAUSE: _pause_check,
    Timer.DOWNCHECK: _downcheck,
    Timer.RETRANSMITS: _retransmits,
}

