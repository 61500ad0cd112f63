"""Closed process groups: each view follows from the one before, for the reasons it names (cpg_initialize(3)).

JOIN is for a program whose joining its watcher's node was there to see, NODEUP for one that came with its
node; LEAVE for one that left, PROCDOWN for one that died, NODEDOWN for one whose node is gone from the
ring.  And messages come from members only.
"""

from __future__ import annotations

from collections import defaultdict

from aisexec.sim.checkers.groups import Membership, Segment, memberships, show
from aisexec.sim.history import History, Process, ProgramDelivered, ProgramView, Violation
from ipc.cpg_layouts import Reason

PROPERTY = "group views"

Facts = dict[tuple[bytes, Process], list[Membership]]


def check(history: History) -> None:
    """Program by program."""
    if history.corrupted:
        return
    every = memberships(history)
    facts: Facts = defaultdict(list)
    for membership in every:
        facts[membership.group, membership.process].append(membership)
    for membership in every:
        _check_views(membership, facts)
        _check_after(membership, settled=history.settled_at is not None)
    if history.settled_at is not None:
        _check_last(every)


def _check_last(every: list[Membership]) -> None:
    """At rest each member's view is who really is there."""
    there: dict[bytes, set[Process]] = defaultdict(set)
    for membership in every:
        if membership.ended is None:
            there[membership.group].add(membership.process)
    for membership in every:
        if membership.ended is not None:
            continue
        views = membership.views
        if not views or set(views[-1].members) != there[membership.group]:
            seen = views[-1].members if views else ()
            raise Violation(
                PROPERTY,
                f"at the end {membership} sees {seen} in its group, {sorted(there[membership.group])} are",
                tuple(views[-1:]),
            )


def _check_after(membership: Membership, *, settled: bool) -> None:
    """Who leaves gets what comes until its leave is in order, and that."""
    ended = membership.ended
    if ended is None:
        return
    gone = ended.how != "leave"
    for entry in membership.after:
        if gone:
            raise Violation(
                PROPERTY,
                f"{membership} gets {show(entry)}, and is gone since {ended.at:.6f} ({ended.how})",
                (ended, entry),
            )
        gone = isinstance(entry, ProgramView) and any(
            left == (*membership.process, Reason.LEAVE) for left in entry.left
        )
    if settled and not gone and not membership.disconnected:
        raise Violation(
            PROPERTY, f"{membership} leaves at {ended.at:.6f} and is never told that it has left", (ended,)
        )


def _check_views(membership: Membership, facts: Facts) -> None:
    members: set[Process] | None = None
    for segment in membership.segments:
        for entry in segment.seen:
            if isinstance(entry, ProgramView):
                members = _next(membership, members, entry)
                _check_reasons(membership, segment, entry, facts)
            else:
                _check_sender(membership, members, entry)


def _check_sender(membership: Membership, members: set[Process] | None, entry: ProgramDelivered) -> None:
    if members is None:
        raise Violation(
            PROPERTY, f"{membership} gets a message at {entry.at:.6f}, before its first view", (entry,)
        )
    if entry.sender not in members:
        raise Violation(
            PROPERTY,
            f"{membership} gets message #{entry.message} of {entry.sender} at {entry.at:.6f}, who is none of"
            f" {sorted(members)}",
            (entry,),
        )


def _next(membership: Membership, members: set[Process] | None, view: ProgramView) -> set[Process]:
    now = set(view.members)
    gone = {entry[:2] for entry in view.left}
    new = {entry[:2] for entry in view.joined}
    problem = ""
    if len(now) != len(view.members):
        problem = "a member twice"
    elif list(view.members) != sorted(now):
        problem = "members unsorted"
    elif not gone and not new:
        problem = "no change"
    elif gone & now or not new <= now:
        problem = "who left is there, or who joined is not"
    elif membership.process not in now:
        problem = "it is not a member itself"
    elif members is None and membership.process not in new:
        problem = "it is the first, and not about its own joining"
    elif members is not None and (not gone <= members or new & members or now != (members - gone) | new):
        problem = f"it does not follow from {sorted(members)}"
    if problem:
        raise Violation(
            PROPERTY,
            f"{membership} gets {view.members}, left {view.left}, joined {view.joined}"
            f" at {view.at:.6f}: {problem}",
            (view,),
        )
    return now


def _check_reasons(membership: Membership, segment: Segment, view: ProgramView, facts: Facts) -> None:
    for what, entries in (("left", view.left), ("joined", view.joined)):
        for nodeid, pid, reason in entries:
            process = nodeid, pid
            if not _is_right(what, reason, view, segment, process, facts[membership.group, process]):
                raise Violation(
                    PROPERTY,
                    f"{membership} is told at {view.at:.6f} that {process} {what} with reason"
                    f" {Reason(reason).name}, which is not what happened",
                    (view, *(m.ended for m in facts[membership.group, process] if m.ended is not None)),
                )


def _is_right(
    what: str, reason: int, view: ProgramView, segment: Segment, process: Process, lives: list[Membership]
) -> bool:
    if what == "joined":
        lives = [m for m in lives if m.joined_at <= view.at]
        if reason == Reason.JOIN:
            ring = segment.passage.ring
            return any(not m.seen or m.segments[0].passage.ring == ring for m in lives)
        return reason == Reason.NODEUP and process[0] in segment.gained and bool(lives)
    if reason == Reason.NODEDOWN:
        return process[0] in segment.lost
    how = {m.ended.how for m in lives if m.ended is not None and m.ended.at <= view.at}
    if reason == Reason.LEAVE:
        return "leave" in how
    return reason == Reason.PROCDOWN and bool(how - {"leave", "node"})
