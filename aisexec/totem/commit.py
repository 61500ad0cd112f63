"""COMMIT: the commit token's first round collects the members' old-ring state (spec 4.6, 4.7)."""

from __future__ import annotations

from aisexec.totem import wire
from aisexec.totem.core import Core, State
from aisexec.totem.limits import RING_SEQ_STEP
from aisexec.totem.sequence import lt
from aisexec.totem.timers import Timer
from aisexec.totem.types import LOG_DEBUG, RingId, StoreRingId

_EMPTY_ENTRY = wire.CommitEntry(RingId(0, 0), 0, 0, 0)


def create_commit_token(core: Core) -> wire.CommitToken:
    """The representative-to-be numbers the new ring."""
    core.log(LOG_DEBUG, "Creating commit token because I am the rep.")
    members = tuple(sorted(core.believed_alive()))
    ring = RingId(core.me, core.token_ring_seq + RING_SEQ_STEP)
    return wire.CommitToken(core.me, 0, ring, 0, 0, members, (_EMPTY_ENTRY,) * len(members))


def acceptable(core: Core, token: wire.CommitToken) -> bool:
    """In GATHER: a commit token for exactly the members we believe in, of a ring newer than ours."""
    return (
        set(token.addr) == set(core.believed_alive())
        and token.ring_id.seq > core.ring_id.seq
        and token.memb_index < len(token.addr)
        and token.addr[token.memb_index] == core.me
    )


def enter_commit(core: Core, token: wire.CommitToken) -> None:
    """Add our entry and pass the commit token on."""
    core.save_old_ring()
    core.new_memb = token.addr
    index = token.memb_index + 1
    core.next_hop = token.addr[index % len(token.addr)]
    core.timers.stop(Timer.JOIN, Timer.SEND_JOIN, Timer.CONSENSUS)
    core.connectivity.agreed(core.failed)
    core.story.agreed(core.now)
    core.ring_id = token.ring_id
    core.token_ring_seq = token.ring_id.seq
    core.effects.append(StoreRingId(core.ring_id.seq))
    core.enter(State.COMMIT)
    send_commit_token(core, token._replace(memb=_fill_entry(core, token), memb_index=index))
    core.arm_token_timers()
    core.flow.reset()
    core.stats.commit_entered += 1


def _fill_entry(core: Core, token: wire.CommitToken) -> tuple[wire.CommitEntry, ...]:
    """Who has all of its old ring's messages?  Nobody whose aru is behind that of a ring mate."""
    mine = token.memb_index
    core.received_flg = core.my_aru == core.my_high_seq
    entries = list(token.memb)
    entries[mine] = wire.CommitEntry(
        core.old_ring_id, core.old_aru, core.my_high_delivered, int(core.received_flg)
    )
    mates = [i for i in range(mine + 1) if entries[i].ring_id == core.old_ring_id]
    highest = entries[mates[0]].aru
    for i in mates:
        if lt(highest, entries[i].aru):
            highest = entries[i].aru
    for i in mates:
        if lt(entries[i].aru, highest):
            entries[i] = entries[i]._replace(received_flg=0)
            if i == mine:
                core.received_flg = False
    return tuple(entries)


def complete(core: Core, token: wire.CommitToken) -> bool:
    """In COMMIT: our token has been with everybody and still says of us what we have written."""
    if (token.ring_id, token.addr) != (core.ring_id, core.new_memb) or token.memb_index != len(token.addr):
        return False
    ours = token.memb[token.addr.index(core.me)]
    return ours[:3] == (core.old_ring_id, core.old_aru, core.my_high_delivered)


def send_commit_token(core: Core, token: wire.CommitToken) -> None:
    """Pass it to the next member and keep it for retransmission."""
    token_seq = (token.token_seq + 1) & 0xFFFFFFFF
    core.last_token_frame = token._replace(token_seq=token_seq, nodeid=core.me).pack()
    core.stats.memb_commit_token_tx += 1
    core.unicast(core.next_hop, core.last_token_frame)
