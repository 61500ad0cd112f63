"""GATHER: finding out who is there (paper: membership protocol, Gather state; spec 4.2, 4.9)."""

from __future__ import annotations

from aisexec.totem import wire
from aisexec.totem.change_story import Trigger
from aisexec.totem.core import Core, Gathering, State
from aisexec.totem.operational import take_recovered_messages
from aisexec.totem.timers import Timer
from aisexec.totem.types import LOG_DEBUG

_TRIGGERS = {
    Gathering.TOKEN_LOST_OPERATIONAL: Trigger.TOKEN_LOST,
    Gathering.FAILED_TO_RECEIVE: Trigger.NOT_RECEIVING,
    Gathering.FOREIGN_MESSAGE_OPERATIONAL: Trigger.FOREIGN,
    Gathering.MERGE_OPERATIONAL: Trigger.FOREIGN,
    Gathering.INTERFACE_CHANGE: Trigger.INTERFACE,
}


def enter_gather(core: Core, reason: Gathering) -> None:
    """Tell everybody whom we know and start collecting agreement."""
    if core.state is State.RECOVERY:
        # Whatever ends it, also what stock forgets: an interface that comes up, failing to receive.
        # The next commit token must not tell the numbers of the attempt as those of the old ring.
        # Mates may have installed the new ring, and delivered messages as safe because we had said that
        # we have them: so we keep what we got (paper: obligation set).
        take_recovered_messages(core)
        core.old_aru = core.regular_q.contiguous_from(core.old_aru)
        core.restore_old_ring()
    core.discard_token = True
    core.originated_orf = False
    connectivity = core.connectivity
    if core.state is State.OPERATIONAL:
        connectivity.ring_ends(core.now)
        trigger = _TRIGGERS.get(reason, Trigger.JOIN)
        core.story.ring_lost(trigger, core.last_token_at, core.settings.token / 2, core.now)
    if not core.failed_to_recv and connectivity.survey_begins({*core.proc, *core.memb}, core.now):
        core.proc, core.failed = [], []
    survey = connectivity.survey
    add_proc(core, core.me)
    schedule_join(core)
    core.arm(Timer.JOIN, core.settings.join if survey is None else connectivity.pace)
    core.arm(Timer.CONSENSUS, core.settings.consensus if survey is None else survey.deadline - core.now)
    core.timers.stop(
        Timer.TOKEN,
        Timer.TOKEN_WARNING,
        Timer.TOKEN_RETRANSMIT,
        Timer.MERGE,
        Timer.HOLD,
        Timer.HEARTBEAT,
    )
    core.consensus = {core.me}
    core.stats.gather_entered += 1
    if reason is Gathering.CONSENSUS_EXPIRED:
        core.stats.continuous_gather += 1
    number, text = reason.value
    core.log(LOG_DEBUG, f"entering GATHER state from {number}({text}).")
    core.state = State.GATHER


def add_proc(core: Core, nodeid: int) -> None:
    """Consider a node for the next ring."""
    if nodeid not in core.proc:
        core.proc.append(nodeid)


def add_failed(core: Core, nodeid: int) -> None:
    """Consider a node failed."""
    if nodeid not in core.failed:
        core.failed.append(nodeid)


def schedule_join(core: Core) -> None:
    """Send a JOIN now, or with send_join spread over that time so that large clusters do not burst."""
    spread = core.settings.send_join
    if spread <= 0:
        send_join(core)
    elif not core.timers.running(Timer.SEND_JOIN):
        # The core has no randomness: nodes differ by nodeid, attempts by the count of JOINs sent.
        mixed = (core.me * 2654435761 + core.stats.memb_join_tx * 40503) & 0xFFFF
        core.arm(Timer.SEND_JOIN, spread * mixed / 0x10000)


def send_join(core: Core) -> None:
    """Multicast our lists, also to ourselves."""
    join = wire.Join(core.me, core.me, tuple(core.proc), tuple(core.failed), core.ring_id.seq)
    core.stats.memb_join_tx += 1
    core.broadcast_and_own(join.pack())


def send_leave(core: Core) -> None:
    """Orderly exit: header nodeid 0, ourselves last in the failed list."""
    proc = tuple(n for n in core.proc if n != core.me)
    failed = tuple(n for n in core.failed if n != core.me)
    join = wire.Join(0, core.me, proc, (*failed, core.me), core.ring_id.seq)
    core.stats.memb_join_tx += 1
    core.log(LOG_DEBUG, "sending join/leave message")
    core.broadcast(join.pack())
