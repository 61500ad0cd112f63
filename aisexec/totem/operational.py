"""Installing a ring: the last old messages, the two configurations, then OPERATIONAL (spec 6.5)."""

from __future__ import annotations

from aisexec.totem import wire
from aisexec.totem.core import Core, State
from aisexec.totem.sequence import following, later, lt
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.timers import Timer
from aisexec.totem.types import LOG_NOTICE, Configuration


def enter_operational(core: Core) -> None:
    """Every member is known to have all that can be had of the old ring's messages."""
    core.consensus = set()
    core.old_saved = False
    core.originated_orf = False
    core.safe_aru = core.recovered_safe_aru
    take_recovered_messages(core)
    new_aru, core.my_aru = core.my_aru, core.old_aru
    # Paper, delivery of safe messages: one that is not known to be everywhere must wait for the
    # transitional configuration, and with it all that is ordered behind it.
    core.deliver(core.old_high, safe_only=True)

    old, new = set(core.memb), core.new_memb
    trans = core.trans_memb
    left = tuple(n for n in core.memb if n not in trans)
    joined = tuple(n for n in new if n not in trans)
    core.memb, core.memb_set = new, frozenset(new)
    core.set_retrans_flg = False
    core.user.configuration(Configuration(True, trans, left, (), core.ring_id))
    core.waiting_trans_ack = True
    core.deliver(core.old_high, safe_only=False)
    _deliver_behind_holes(core)
    core.user.recovered()
    core.my_aru = new_aru
    core.user.configuration(Configuration(False, new, (), joined, core.ring_id))

    _start_regular_queue(core)
    core.proc = list(new)
    core.failed = []
    core.enter(State.OPERATIONAL)
    _log_membership(core, joined, left, old)
    core.story.installed(new, left, core.now)
    core.connectivity.installed(new, core.now, core.leavers)
    connectivity_report = core.connectivity.settle(new, core.now)
    if connectivity_report is not None:
        core.log(*connectivity_report)
        core.story.left_out(left, core.connectivity.silent)
    core.leavers.clear()
    core.received_flg = True
    core.previous_ring_id, core.old_ring_id = core.old_ring_id, core.ring_id
    core.stats.operational_entered += 1
    core.stats.continuous_gather = 0
    core.last_pause_check = core.now
    core.arm(Timer.PAUSE, core.settings.token / 5)
    if len(new) == 1:
        core.arm(Timer.DOWNCHECK, core.settings.downcheck)
    else:
        core.timers.stop(Timer.DOWNCHECK)


def take_recovered_messages(core: Core) -> None:
    """Old-ring messages that ring mates sent again go where they belong."""
    seq = 0
    while seq != core.my_aru:
        seq = following(seq)
        frame = core.recovery_q.get(seq)
        if frame is None or frame[wire.ENCAPSULATED_OFFSET] != wire.Encapsulated.RECOVERY:
            continue
        inner = frame[wire.MCAST_SIZE :]
        if len(inner) < wire.MCAST_SIZE:
            continue
        key = wire.read_mcast_key(inner)
        if (key.rep, key.ring_seq) != core.old_ring_id:
            continue
        if key.system_from not in core.memb or key.nodeid != key.system_from:
            core.stats.dropped["nodeid"] += 1  # said by a member of a node that was none
        elif core.regular_q.add(key.seq, inner):
            core.old_high = later(core.old_high, key.seq)


def _deliver_behind_holes(core: Core) -> None:
    """Messages after a hole may depend on what was lost: only those of transitional members count."""
    seq = core.my_high_delivered
    while seq != core.old_high and lt(seq, core.old_high):
        seq = following(seq)
        core.my_high_delivered = seq
        frame = core.regular_q.get(seq)
        if frame is not None and wire.read_mcast_key(frame).system_from in core.deliver_memb:
            core.user.deliver_frames([frame])


def _start_regular_queue(core: Core) -> None:
    """The recovery messages are the new ring's first; they are never delivered themselves."""
    core.regular_q, core.recovery_q = core.recovery_q, SortQueue()
    core.my_last_aru = 0
    high = core.my_high_seq
    while high != 0 and high not in core.regular_q:
        high -= 1
    core.my_high_delivered = high
    core.last_released = 0
    if high:
        core.regular_q.release(1, high)
        core.last_released = high
    core.safe_aru = high


def _log_membership(
    core: Core, joined: tuple[int, ...], left: tuple[int, ...], old: set[int]
) -> None:
    text = f"A new membership ({core.ring_id}) was formed. Members"
    if joined:
        text += " joined: " + " ".join(map(str, joined))
    if left:
        text += " left: " + " ".join(map(str, left))
    core.log(LOG_NOTICE, text)
    failed = [n for n in left if n not in core.leavers]
    if failed and old:
        core.log(LOG_NOTICE, "Failed to receive the leave message. failed: " + " ".join(map(str, failed)))
