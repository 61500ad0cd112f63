"""RECOVERY: members of one old ring even out their messages (paper: Recovery state; spec 6.2 to 6.4)."""

from __future__ import annotations

from aisexec.totem import wire
from aisexec.totem.commit import send_commit_token
from aisexec.totem.core import Core, State
from aisexec.totem.limits import RECOVERY_QUEUE_SIZE
from aisexec.totem.operational import enter_operational
from aisexec.totem.sequence import BEFORE_FIRST, distance, earlier, later, lte
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.types import LOG_DEBUG, LOG_WARNING


def enter_recovery(core: Core, token: wire.CommitToken) -> None:
    """The commit token came back complete: everybody's old-ring state is known."""
    core.discard_token = False
    core.recovery_q = SortQueue()
    core.q_retrans.clear()
    send_commit_token(core, token)
    core.my_token_seq = BEFORE_FIRST
    entries = dict(zip(token.addr, token.memb, strict=True))
    core.trans_memb = tuple(
        n for n in core.memb if n in entries and entries[n].ring_id == core.old_ring_id
    )
    _queue_old_messages(core, entries)
    core.recovered_safe_aru = core.safe_aru
    for nodeid in core.trans_memb:
        # What one of us delivered in the old configuration, all of us deliver there: a safe message
        # that was known to be everywhere to one must not wait for the transitional one elsewhere.
        core.recovered_safe_aru = later(core.recovered_safe_aru, entries[nodeid].high_delivered)
    core.my_aru = core.my_high_seq = 0
    core.aru_count = core.my_seq_unchanged = 0
    core.install_seq = core.last_released = 0
    core.retrans_flg_count = core.rotation_counter = 0
    core.arm_token_timers()
    core.enter(State.RECOVERY)
    core.stats.recovery_entered += 1
    core.stats.continuous_gather = 0


def _queue_old_messages(core: Core, entries: dict[int, wire.CommitEntry]) -> None:
    """Every survivor sends again what it has above the lowest aru; duplicates are dropped by receivers."""
    if all(entries[n].received_flg for n in core.trans_memb):
        return
    core.deliver_memb = frozenset(core.trans_memb)
    low = core.old_high
    for nodeid in core.trans_memb:
        low = earlier(low, entries[nodeid].aru)
    missing = distance(low, core.old_high)
    if missing >= RECOVERY_QUEUE_SIZE:
        core.log(
            LOG_WARNING,
            f"Recovery would need {missing} old messages, limit {RECOVERY_QUEUE_SIZE - 1};"
            " sending the newest. A peer sent a commit token with an impossible aru.",
        )
        low = (core.old_high - RECOVERY_QUEUE_SIZE + 1) & 0xFFFFFFFF
        missing = RECOVERY_QUEUE_SIZE - 1
    for i in range(1, missing + 1):
        seq = (low + i) & 0xFFFFFFFF
        frame = core.regular_q.get(seq)
        if frame is not None:
            core.q_retrans[seq] = frame
    core.log(LOG_DEBUG, f"Originated {len(core.q_retrans)} messages in RECOVERY.")


def first_token(core: Core) -> wire.OrfToken:
    """The representative starts the new ring."""
    retrans = bool(core.q_retrans)
    core.set_retrans_flg = retrans
    head = wire.header(wire.FrameType.ORF_TOKEN, core.me)
    return wire.OrfToken(head, 0, 0, BEFORE_FIRST, core.me, core.ring_id, 0, 0, int(retrans), ())


def visit_in_recovery(core: Core, *, seq: int, aru: int, retrans_flg: int) -> int:
    """Decide, in step with all members, when the ring is installed; returns the new retrans_flg.

    Only the member that raised the flag lowers it, or the representative when nobody does.  Two
    visits with it down fix what must have arrived, two more with everybody's aru beyond that install
    the ring.
    """
    if core.q_retrans:
        if retrans_flg == 0:
            retrans_flg = 1
            core.set_retrans_flg = True
    elif retrans_flg != 0 and (core.set_retrans_flg or _nobodys_flag(core)):
        retrans_flg = 0
        core.set_retrans_flg = False

    core.retrans_flg_count = core.retrans_flg_count + 1 if retrans_flg == 0 else 0
    if core.retrans_flg_count == 2:
        core.install_seq = seq
    # Numbers do not go back: a larger one is from a forged token, and nobody would ever get that far.
    core.install_seq = earlier(core.install_seq, seq)
    if core.retrans_flg_count >= 2 and not core.received_flg and lte(core.install_seq, core.my_aru):
        core.received_flg = True
        core.deliver_memb = frozenset(core.trans_memb)
    if core.retrans_flg_count >= 3 and lte(core.install_seq, aru):
        core.rotation_counter += 1
    else:
        core.rotation_counter = 0
    if core.rotation_counter == 2:
        enter_operational(core)
        core.rotation_counter = core.retrans_flg_count = 0
    return retrans_flg


def _nobodys_flag(core: Core) -> bool:
    """The flag is up, but no member has numbered an old message for as long as it takes to call a ring idle.

    A forged or damaged token has raised it.  No member would lower it, and with the token going round
    no timer ends it: corosync stays in RECOVERY for ever.  Whoever does have old messages left raises
    it again.
    """
    return core.i_am_rep and core.my_seq_unchanged > core.settings.seqno_unchanged_const
