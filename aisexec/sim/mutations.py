"""Deliberate faults in the code that is judged: they show that the checkers can fail.

Each is a mistake that somebody could make, put in from outside for the time of a run.  None is in the
code as it stands; nothing but `aisexec-sim --mutation` and the tests comes here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from aisexec import sync
from aisexec.services import cpg, votequorum_counting, votequorum_state
from aisexec.totem import commit, interrupted, operational, recovery, ring, stack, token_visit, wire
from aisexec.totem._numbering import number_queued
from aisexec.totem.assembly import Assembly
from aisexec.totem.core import Core, State
from aisexec.totem.flow_control import FlowControl
from aisexec.totem.sequence import following
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.stack import Totem
from aisexec.totem.timers import Timer
from aisexec.totem.types import Configuration
from ipc.cpg_layouts import Reason


class Mutation(NamedTuple):
    """One fault."""

    text: str
    """What is wrong."""
    apply: Callable[[], AbstractContextManager[None]]
    caught_by: tuple[str, ...]
    """Properties of which one has to be violated."""
    profile: str = "mixed"
    """Of plans that show it most often."""


MUTATIONS: dict[str, Mutation] = {}

Patches = list[tuple[Any, str, Any]]
"""(where, name, what to put there instead)"""


@contextmanager
def _patched(patches: Patches) -> Iterator[None]:
    # The compiled visit does what the procedures of token_visit say: faults are put into those.
    patches = [*patches, (ring, "ordinary_visit", lambda held, frame, heartbeat: False)]
    before = [(where, name, getattr(where, name)) for where, name, _ in patches]
    try:
        for where, name, instead in patches:
            setattr(where, name, instead)
        yield
    finally:
        for where, name, was in before:
            setattr(where, name, was)


def _mutation(
    name: str, text: str, *caught_by: str, profile: str = "mixed"
) -> Callable[[Callable[[], Patches]], None]:
    def register(patches: Callable[[], Patches]) -> None:
        MUTATIONS[name] = Mutation(text, lambda: _patched(patches()), caught_by, profile)

    return register


# Order and delivery.


@_mutation(
    "aru-off-by-one",
    "a member says that it has the message behind its last one",
    "virtual synchrony",
    "self-delivery",
    "liveness",
    "safe delivery",
    "agreed order",
)
def _aru_off_by_one() -> Patches:
    exact = SortQueue.contiguous_from

    def generous(self: SortQueue, aru: int) -> int:
        found = exact(self, aru)
        return found + 1 if len(self) and found < max(self.frames) else found

    return [(SortQueue, "contiguous_from", generous)]


@_mutation(
    "lost-request",
    "a retransmission that was asked for is struck off the list unanswered",
    "liveness",
    "virtual synchrony",
    "self-delivery",
)
def _lost_request() -> Patches:
    def forget(held: Core, visit: token_visit.Visit) -> int:
        visit.rtr = []
        return 0

    return [(token_visit, "_retransmit", forget)]


@_mutation("across-a-hole", "messages behind a missing one are delivered at once", "agreed order",
           "virtual synchrony", "self-delivery", "causal order")  # fmt: skip
def _across_a_hole() -> Patches:
    def deliver(self: Core, to: int, *, safe_only: bool) -> None:
        while self.my_high_delivered != to:
            seq = self.my_high_delivered = following(self.my_high_delivered)
            frame = self.regular_q.get(seq)
            if frame is not None:
                self.user.deliver_frames([frame])

    return [(Core, "deliver", deliver)]


@_mutation("as-they-come", "messages are delivered in the order in which they arrive", "agreed order",
           "causal order", "virtual synchrony", profile="lossy")  # fmt: skip
def _as_they_come() -> Patches:
    def deliver(self: Core, to: int, *, safe_only: bool) -> None:
        done: set[int] = self.regular_q.__dict__.setdefault("delivered", set())
        seq, whole = self.my_high_delivered, True
        while seq != to:
            seq = following(seq)
            frame = self.regular_q.get(seq)
            if frame is not None and seq not in done:
                done.add(seq)
                self.user.deliver_frames([frame])
            whole = whole and frame is not None
            if whole:
                self.my_high_delivered = seq

    return [(Core, "deliver", deliver)]


@_mutation("token-twice", "a copy of the token is taken for a new one", "agreed order", "virtual synchrony",
           "liveness", "self-delivery", "delivered once")  # fmt: skip
def _token_twice() -> Patches:
    return [(token_visit, "lte", lambda left, right: False)]


@_mutation("safe-at-once", "safe messages are delivered like agreed ones", "safe delivery", profile="load")
def _safe_at_once() -> Patches:
    exact = Core.deliver

    def deliver(self: Core, to: int, *, safe_only: bool) -> None:
        exact(self, to, safe_only=False)

    return [(Core, "deliver", deliver)]


@_mutation("dropped-message", "each fiftieth message that a node sends goes nowhere", "self-delivery",
           "liveness", "group delivery", "delivered once")  # fmt: skip
def _dropped_message() -> Patches:
    number = number_queued
    sent: dict[int, int] = defaultdict(int)

    def drop(pending: deque[tuple[bytes, int]], allowed: int, open_message: Any, me: int, *rest: Any) -> Any:
        for _ in range(min(allowed, len(pending))):
            sent[me] += 1
            if sent[me] % 50 == 0:
                pending.popleft()
        return number(pending, allowed, open_message, me, *rest)

    return [(token_visit, "number_queued", drop)]


@_mutation("one-sender", "fragments of different senders are put together", "delivered once", "self-delivery")
def _one_sender() -> Patches:
    class OneSlot(Assembly):
        """Keeps everything under one name, and remembers who sent the frame at hand."""

        def __init__(self, deliver: Any, complain: Any) -> None:
            super().__init__(lambda _, message: deliver(self.sender, message), complain)
            self.sender = 0

        def frames(self, frames: list[bytes], start: int = 0) -> int:
            self.sender = wire.mcast_nodeid(frames[start])
            self.packet(1, frames[start][wire.MCAST_SIZE :])
            return start + 1

    class Deaf:
        """No compiled receiver: it would be told the one name."""

        def __set__(self, instance: object, value: object) -> None:
            pass

    OneSlot.sink = Deaf()  # type: ignore[assignment]
    return [(stack, "Assembly", OneSlot)]


@_mutation("no-restart", "a message cut in two by a join is not started again", "self-delivery",
           "virtual synchrony", "agreed order", profile="load")  # fmt: skip
def _no_restart() -> Patches:
    return [(interrupted.InterruptedMessage, "restart", lambda self: [])]


@_mutation("queue-lost-at-join", "what waits to be sent is forgotten when somebody joins", "self-delivery",
           "group delivery", "delivered once")  # fmt: skip
def _queue_lost_at_join() -> Patches:
    tell = Totem.configuration

    def forget(self: Totem, change: Configuration) -> None:
        tell(self, change)
        if change.joined:
            self._core.q_new.clear()

    return [(Totem, "configuration", forget)]


@_mutation("never-released", "messages that everybody has are kept for ever", "boundedness", "self-delivery",
           "liveness")  # fmt: skip
def _never_released() -> Patches:
    return [(token_visit, "_release", lambda held, aru: None)]


@_mutation("last-first", "what was submitted last is sent first", "self-delivery", "agreed order",
           "delivered once", "group delivery")  # fmt: skip
def _last_first() -> Patches:
    def jump(self: Totem, packet: bytes, guarantee: int) -> None:
        self._core.send_queue().appendleft((packet, guarantee))

    return [(Totem, "_enqueue", jump)]


@_mutation("throttled", "what a member has sent is never taken out of the token's count", "liveness",
           "self-delivery")  # fmt: skip
def _throttled() -> Patches:
    def allowance(self: FlowControl, *, fcc: int, window_size: int, max_messages: int, **_: int) -> int:
        return max(0, min(max_messages, window_size - fcc))

    def account(self: FlowControl, *, fcc: int, backlog: int, queued: int, sent: int) -> tuple[int, int]:
        return fcc + sent, 0

    return [(FlowControl, "allowance", allowance), (FlowControl, "account", account)]


# Configurations.


@_mutation(
    "no-transitional", "regular configurations come without transitional ones", "transitional configuration"
)
def _no_transitional() -> Patches:
    tell = Totem.configuration

    def skip(self: Totem, change: Configuration) -> None:
        if not change.transitional:
            tell(self, change)

    return [(Totem, "configuration", skip)]


@_mutation("wrong-transitional", "who was a member once is taken for somebody who comes along",
           "transitional configuration", "virtual synchrony", profile="load")  # fmt: skip
def _wrong_transitional() -> Patches:
    enter = recovery.enter_recovery

    def generous(held: Core, token: wire.CommitToken) -> None:
        enter(held, token)
        held.trans_memb = tuple(n for n in held.memb if n in held.new_memb)

    return [(ring, "enter_recovery", generous)]


@_mutation(
    "early-transitional",
    "a node delivers the transitional configuration before the last old messages",
    "virtual synchrony",
    "safe delivery",
    profile="load",
)
def _early_transitional() -> Patches:
    deliver = Core.deliver

    def late(self: Core, to: int, *, safe_only: bool) -> None:
        if not (self.state is State.RECOVERY and safe_only and self.me % 2):
            deliver(self, to, safe_only=safe_only)

    return [(Core, "deliver", late)]


@_mutation("ring-id-again", "a new ring takes the number of the last one", "ring ids",
           "configuration agreement", "transitional configuration")  # fmt: skip
def _ring_id_again() -> Patches:
    return [(commit, "RING_SEQ_STEP", 0)]


@_mutation("not-stored", "ring sequence numbers do not get to the disk", "ring ids")
def _not_stored() -> Patches:
    enter = commit.enter_commit

    def forget(held: Core, token: wire.CommitToken) -> None:
        enter(held, token)
        held.effects = [effect for effect in held.effects if type(effect).__name__ != "StoreRingId"]

    from aisexec.totem import consensus

    return [(ring, "enter_commit", forget), (consensus, "enter_commit", forget)]


@_mutation("all-joined", "who came along is said to have joined", "configuration agreement")
def _all_joined() -> Patches:
    tell = Totem.configuration

    def generous(self: Totem, change: Configuration) -> None:
        tell(self, change if change.transitional else change._replace(joined=change.members))

    return [(Totem, "configuration", generous)]


@_mutation("forgotten-member", "the representative does not see the last member", "configuration agreement",
           "transitional configuration")  # fmt: skip
def _forgotten_member() -> Patches:
    tell = Totem.configuration

    def overlook(self: Totem, change: Configuration) -> None:
        if len(change.members) > 2 and not change.transitional and self._core.i_am_rep:
            last = change.members[-1]
            joined = tuple(n for n in change.joined if n != last)
            change = change._replace(members=change.members[:-1], joined=joined)
        tell(self, change)

    return [(Totem, "configuration", overlook)]


# Recovery.


@_mutation("nothing-recovered", "survivors keep old messages to themselves", "virtual synchrony",
           "self-delivery", "safe delivery")  # fmt: skip
def _nothing_recovered() -> Patches:
    return [(recovery, "_queue_old_messages", lambda held, entries: None)]


@_mutation("recovered-in-vain", "messages that ring mates sent again are thrown away", "virtual synchrony",
           "self-delivery", "safe delivery")  # fmt: skip
def _recovered_in_vain() -> Patches:
    return [(operational, "take_recovered_messages", lambda held: None)]


@_mutation("delivered-again", "the last old message is delivered once more after recovery", "delivered once",
           "virtual synchrony")  # fmt: skip
def _delivered_again() -> Patches:
    deliver = Core.deliver

    def again(self: Core, to: int, *, safe_only: bool) -> None:
        if not safe_only and self.my_high_delivered > 0:
            self.my_high_delivered -= 1
        deliver(self, to, safe_only=safe_only)

    return [(Core, "deliver", again)]


# Membership.


@_mutation("no-merge-detect", "representatives do not look for other rings", "liveness",
           profile="partitions")  # fmt: skip
def _no_merge_detect() -> Patches:
    timers = dict(ring._TIMERS)
    timers[Timer.MERGE] = lambda held: None
    return [(ring, "_TIMERS", timers)]


@_mutation("held-for-ever", "the representative of an idle ring does not let go of the token", "liveness")
def _held_for_ever() -> Patches:
    def keep(held: Core) -> None:
        if not held.token_held:
            resend(held)

    resend = ring._TIMERS[Timer.TOKEN_RETRANSMIT]
    timers = {**ring._TIMERS, Timer.HOLD: lambda held: None, Timer.TOKEN_RETRANSMIT: keep}
    return [(ring, "_TIMERS", timers)]


@_mutation("grudge", "who was left out of a ring once is left out of all", "liveness", "boundedness")
def _grudge() -> Patches:
    enter = operational.enter_operational

    def resent(held: Core) -> None:
        failed = held.failed
        enter(held)
        held.failed = failed

    return [(recovery, "enter_operational", resent)]


# Services.


@_mutation(
    "barrier-skipped",
    "a node goes on before all others are in step",
    "synchronisation",
    "group agreement",
    "group views",
    "liveness",
    "self-delivery",
    "virtual synchrony",
)
def _barrier_skipped() -> Patches:
    return [(sync.Sync, "_all_received", lambda self, nodeid: True)]


@_mutation("newcomer-in-a-hurry", "a new node goes on before all others are in step", "synchronisation",
           "group agreement", "group views")  # fmt: skip
def _newcomer_in_a_hurry() -> Patches:
    received = sync.Sync._all_received

    def hurry(self: sync.Sync, nodeid: int) -> bool:
        return received(self, nodeid) or not self._ever_in_step

    return [(sync.Sync, "_all_received", hurry)]


@_mutation("joinlist-ignored", "programs on nodes that join are not made known", "group views",
           "group agreement")  # fmt: skip
def _joinlist_ignored() -> Patches:
    return [(cpg.Cpg, "_joinlist", lambda self, nodeid, message: None)]


@_mutation("wrong-reason", "programs of dead nodes are said to have died alone", "group views")
def _wrong_reason() -> Patches:
    addresses = cpg._addresses

    def blame(processes: Any, reason: Any) -> Any:
        return addresses(processes, Reason.PROCDOWN if reason is Reason.NODEDOWN else reason)

    return [(cpg, "_addresses", blame)]


@_mutation("silent-leave", "programs that leave are not taken off the list", "group views", "group agreement",
           "group delivery")  # fmt: skip
def _silent_leave() -> Patches:
    return [(cpg.Cpg, "_procleave", lambda self, nodeid, message: None)]


@_mutation("dead-forever", "programs that die are not told of", "group views", "boundedness")
def _dead_forever() -> Patches:
    return [(cpg.Cpg, "_send_leaves", lambda self: self._pending_leaves.clear())]


@_mutation("view-not-sent", "members are not told of programs that have left", "group views",
           "group agreement")  # fmt: skip
def _view_not_sent() -> Patches:
    tell = cpg.Cpg._tell_members

    def forget(self: cpg.Cpg, group: bytes, joined: Any, left: Any) -> None:
        if joined:
            tell(self, group, joined, left)

    return [(cpg.Cpg, "_tell_members", forget)]


@_mutation("first-program-only", "of several programs in a group on one node only the first gets messages",
           "group agreement", "group delivery", "group views")  # fmt: skip
def _first_program_only() -> Patches:
    receivers = cpg.Cpg._receivers
    return [(cpg.Cpg, "_receivers", lambda self, nodeid, group: receivers(self, nodeid, group)[:1])]


@_mutation("told-twice", "programs get each message twice", "group delivery", "group agreement")
def _told_twice() -> Patches:
    receivers = cpg.Cpg._receivers
    return [(cpg.Cpg, "_receivers", lambda self, nodeid, group: [*receivers(self, nodeid, group)] * 2)]


@_mutation("dead-vote", "nodes that have gone keep their votes", "quorum")
def _dead_vote() -> Patches:
    return [(votequorum_state.Roll, "members", property(list))]


@_mutation("half-is-enough", "half of the votes is quorum", "quorum")
def _half_is_enough() -> Patches:
    exactly = votequorum_counting.Counting.needed

    def needed(self: Any, **how: Any) -> tuple[int, int]:
        quorum, total = exactly(self, **how)
        return max(1, quorum - 1), total

    return [(votequorum_counting.Counting, "needed", needed)]
