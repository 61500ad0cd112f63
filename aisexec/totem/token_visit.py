"""What a member does while it has the token (paper: Operational protocol; spec 5.1 to 5.10)."""

from __future__ import annotations

from dataclasses import dataclass, field

from aisexec.totem import wire
from aisexec.totem._numbering import number_queued
from aisexec.totem.core import Core, Gathering, State
from aisexec.totem.gather import add_failed, enter_gather
from aisexec.totem.limits import (
    RETRANSMIT_ENTRIES_MAX,
    RETRANSMIT_LOG_INTERVAL,
    SORT_QUEUE_SIZE,
)
from aisexec.totem.recovery import visit_in_recovery
from aisexec.totem.sequence import MASK, distance, earlier, following, lt, lte
from aisexec.totem.timers import Timer
from aisexec.totem.types import LOG_ERR, LOG_NOTICE, Broadcasts


@dataclass(slots=True)
class Visit:
    """The token while it is here, and what may still be sent."""

    token: wire.OrfToken
    seq: int
    aru: int
    aru_addr: int
    rtr: list[int]
    allowed: int = 0
    sent: int = 0
    behind: list[bytes] = field(default_factory=list)
    """New messages that go out after the token, see Settings.accelerated_window."""


def token_arrived(core: Core, token: wire.OrfToken, sender: str) -> None:
    """The whole procedure of one visit; the numbers in stock's order are in spec section 5.1."""
    core.stats.orf_token_rx += 1
    if core.discard_token:
        return
    if token.ring_id != core.ring_id:
        core.stats.dropped["token of another ring"] += 1
        return
    if lte(token.token_seq, core.my_token_seq):
        return  # a retransmitted copy
    if token.aru_addr != 0 and token.aru_addr not in _members(core):
        # Only who lowered the aru raises it again: of a stranger's the ring would never get rid.
        core.anomaly("nodeid", sender, f"token whose aru is held down by node {token.aru_addr}, no member")
        return
    if lt(token.seq, core.my_aru) or distance(core.my_aru, token.seq) >= SORT_QUEUE_SIZE:
        detail = f"token with seq {token.seq:x}, out of the window behind {core.my_aru:x}"
        core.anomaly("seq_range", sender, detail)
        return
    # Stock does this for every token. Then an old copy that comes late stops the hold timer of the
    # representative, and the token it holds stays where it is until the retransmit timer finds it.
    _notice_idleness(core, token.seq)
    holding = _decide_hold(core)
    if core.state is State.OPERATIONAL:
        _release(core, token.aru)
    core.user.token_received()
    last_aru, core.my_last_aru = core.my_last_aru, token.aru

    rtr = [item.seq for item in token.rtr_list if item.ring_id == core.ring_id]
    visit = Visit(token, token.seq, token.aru, token.aru_addr, rtr)
    queued = core.queued()
    visit.allowed = core.flow.allowance(
        fcc=token.fcc,
        backlog=token.backlog,
        queued=queued,
        window_size=core.settings.window_size,
        max_messages=core.settings.max_messages,
    )
    resent = _retransmit(core, visit)
    if rtr or visit.rtr:
        note_retransmits(core, token, visit.rtr, resent)
    if core.settings.cancel_token_hold_on_retransmit and core.token_held and (visit.rtr or resent):
        core.token_held = False
        holding = False
    _respect_queue_window(core, visit)
    _send_new(core, visit)
    if holding and visit.seq != token.seq:
        # No idle ring: stock keeps the token for a whole hold time, and what it could not send yet.
        core.token_held = holding = False
    fcc, backlog = core.flow.account(fcc=token.fcc, backlog=token.backlog, queued=queued, sent=visit.sent)
    _update_aru(core, visit, last_aru)
    if core.aru_count > core.settings.fail_recv_const and visit.aru_addr == core.me:
        _failed_to_receive(core)
        return
    core.my_token_seq = token.token_seq
    retrans_flg = token.retrans_flg
    if core.state is State.RECOVERY:
        retrans_flg = visit_in_recovery(core, seq=visit.seq, aru=visit.aru, retrans_flg=retrans_flg)
    onward = wire.OrfToken(
        wire.header(wire.FrameType.ORF_TOKEN, core.me),
        visit.seq,
        (token.token_seq + 1) & MASK,
        visit.aru,
        visit.aru_addr,
        core.ring_id,
        backlog,
        fcc,
        retrans_flg,
        tuple(wire.RtrItem(core.ring_id, seq) for seq in visit.rtr),
    )
    _pass_on(core, onward, holding, visit.behind)


def _members(core: Core) -> tuple[int, ...]:
    return core.new_memb if core.state is State.RECOVERY else core.memb


def start_ring(core: Core, token: wire.OrfToken) -> None:
    """The representative sends a ring's first token."""
    core.originated_orf = True
    core.stats.orf_token_tx += 1
    core.last_token_frame = token.pack()
    core.unicast(core.next_hop, core.last_token_frame)
    core.arm_token_timers()


def _notice_idleness(core: Core, seq: int) -> None:
    if seq == core.my_last_seq:
        if not core.timers.running(Timer.MERGE):
            core.arm(Timer.MERGE, core.settings.merge)
        core.my_seq_unchanged += 1
    else:
        core.timers.stop(Timer.MERGE, Timer.HOLD)
        core.my_seq_unchanged = 0
    core.my_last_seq = seq


def _decide_hold(core: Core) -> bool:
    """On an idle ring the representative keeps the token a while; the others only know that it does."""
    limit = core.settings.seqno_unchanged_const
    if core.i_am_rep:
        core.token_held = core.my_seq_unchanged > limit
        return core.token_held
    core.token_held = core.my_seq_unchanged >= limit
    return False


def _release(core: Core, token_aru: int) -> None:
    """Drop what everybody has: the aru seen at two consecutive visits covers it.

    The same two visits make a message safe in the sense of safe delivery.
    """
    everywhere = earlier(token_aru, core.my_last_aru)
    if lt(core.safe_aru, everywhere):
        core.safe_aru = everywhere
    release_to = earlier(everywhere, core.my_high_delivered)
    if lt(core.last_released, release_to):
        core.regular_q.release(following(core.last_released), release_to)
        core.last_released = release_to


def _retransmit(core: Core, visit: Visit) -> int:
    """Answer requests we can answer, then add our own; returns the number of frames sent again."""
    _log_retransmit_list(core, visit.rtr)
    queue = core.sort_queue()
    left: list[int] = []
    resent = 0
    for seq in visit.rtr:
        frame = queue.get(seq) if resent < visit.allowed else None
        if frame is None:
            left.append(seq)
        else:
            core.broadcast(frame)
            resent += 1
    core.stats.mcast_retx += resent
    visit.rtr = left
    visit.allowed -= resent
    visit.sent += resent
    _request_missing(core, visit)
    return resent


def _request_missing(core: Core, visit: Visit) -> None:
    """Ask for what was missed at miss_count_const visits: until then it may just be late."""
    if core.my_aru == visit.seq:
        return
    queue = core.sort_queue()
    seq = core.my_aru
    while lt(seq, visit.seq) and len(visit.rtr) < RETRANSMIT_ENTRIES_MAX:
        seq = following(seq)
        if not queue.in_range(seq):
            break
        if seq in queue:
            continue
        if queue.miss(seq) >= core.settings.miss_count_const and seq not in visit.rtr:
            visit.rtr.append(seq)


def _log_retransmit_list(core: Core, rtr: list[int]) -> None:
    if rtr and core.now - core.retransmit_logged_at >= RETRANSMIT_LOG_INTERVAL:
        core.retransmit_logged_at = core.now
        core.log(LOG_NOTICE, "Retransmit List: " + "".join(f"{seq:x} " for seq in rtr))


def note_retransmits(core: Core, token: wire.OrfToken, requested: list[int], resent: int) -> None:
    """For the line about a storm of them; the token as it came, `requested` as it goes."""
    new = core.retransmits.note(token, requested, resent, core.now)
    if new and not core.timers.running(Timer.RETRANSMITS):
        core.arm(Timer.RETRANSMITS, RETRANSMIT_LOG_INTERVAL)


def _respect_queue_window(core: Core, visit: Visit) -> None:
    """Never number a message that some member's sort queue could not take."""
    limit = (core.last_released + SORT_QUEUE_SIZE - visit.allowed - core.settings.window_size) & MASK
    if lt(limit, visit.seq):
        visit.allowed = 0


def _send_new(core: Core, visit: Visit) -> None:
    """Number and multicast what is queued, as far as flow control allows."""
    if core.state is State.RECOVERY:
        core.arm(Timer.TOKEN_RETRANSMIT, core.settings.token_retransmit)
        allowed = visit.allowed
        while allowed and core.q_retrans:
            old = core.q_retrans.pop(next(iter(core.q_retrans)))
            _send_old(core, visit, old)
            allowed -= 1
    else:
        _send_queued(core, visit)
    core.my_aru = core.sort_queue().contiguous_from(core.my_aru)


def _send_old(core: Core, visit: Visit, old: bytes) -> None:
    """A message of the old ring inside one of the new ring."""
    visit.seq = following(visit.seq)
    head = wire.pack_mcast_header(
        wire.Encapsulated.RECOVERY, core.me, visit.seq, core.global_seqno, core.ring_id, 0
    )
    frame = head + old
    core.recovery_q.add(visit.seq, frame)
    core.broadcast(frame)
    _count_sent(core, visit, visit.seq, 1)


def _send_queued(core: Core, visit: Visit) -> None:
    pending = core.send_queue()
    if visit.allowed <= 0 or not pending:
        return
    open_message = core.interrupted_trans if core.waiting_trans_ack else core.interrupted
    frames = number_queued(
        pending, visit.allowed, open_message, core.me, visit.seq, core.global_seqno, core.ring_id
    )
    core.regular_q.add_run(following(visit.seq), frames)
    _count_sent(core, visit, (visit.seq + len(frames)) & MASK, len(frames))
    if window := core.settings.accelerated_window:
        before = max(0, len(frames) - window)
        visit.behind = frames[before:]
        frames = frames[:before]
    if frames:
        core.effects.append(Broadcasts(frames))


def _count_sent(core: Core, visit: Visit, seq: int, count: int) -> None:
    core.global_seqno += count
    core.my_high_seq = visit.seq = seq
    core.stats.mcast_tx += count
    visit.sent += count


def _update_aru(core: Core, visit: Visit, last_aru: int) -> None:
    """Lower the token's aru to ours; only who lowered it may raise it again."""
    if lt(core.my_aru, visit.aru) or visit.aru_addr in (core.me, 0):
        visit.aru = core.my_aru
        visit.aru_addr = 0 if visit.aru == visit.seq else core.me
    if visit.aru == last_aru and visit.aru_addr != 0:
        core.aru_count += 1
    else:
        core.aru_count = 0


def _failed_to_receive(core: Core) -> None:
    """We hold everybody up: exclude ourselves, come back later (stock does so, the paper excludes others)."""
    core.log(LOG_ERR, "FAILED TO RECEIVE")
    core.failed_to_recv = True
    add_failed(core, core.me)
    enter_gather(core, Gathering.FAILED_TO_RECEIVE)


def _pass_on(core: Core, token: wire.OrfToken, holding: bool, behind: list[bytes]) -> None:
    core.hold_cancels = 0
    core.last_token_frame = token.pack()
    if not holding:
        core.stats.orf_token_tx += 1
        core.unicast(core.next_hop, core.last_token_frame)
    if behind:
        core.effects.append(Broadcasts(behind))
    if not holding:
        core.user.token_leaves()
    if core.state is State.OPERATIONAL:
        core.deliver(core.my_high_seq, safe_only=True)
    core.last_token_at = core.now
    core.arm_token_timers()
    restart_heartbeat(core, holding)
    if core.i_am_rep and core.token_held:
        core.arm(Timer.HOLD, core.settings.hold)
    if core.token_callback_wanted:
        core.token_callback_wanted = False
        core.user.token_passed()


def restart_heartbeat(core: Core, holding: bool) -> None:
    """A token that does not come for so long is lost, if the configuration says so."""
    settings = core.settings
    if not settings.heartbeat_failures_allowed:
        return
    timeout = settings.heartbeat_failures_allowed * settings.token_retransmit + settings.max_network_delay
    if holding or timeout >= settings.token:
        core.timers.stop(Timer.HEARTBEAT)
    else:
        core.arm(Timer.HEARTBEAT, timeout)

