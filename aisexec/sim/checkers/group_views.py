"""Closed process groups: each view follows from the one before, for the reasons it names (cpg_initialize(3)).

And messages come from members only.
"""

from __future__ import annotations

from collections import defaultdict

from aisexec.sim.checkers.groups import Membership, memberships
from aisexec.sim.checkers.index import index
from aisexec.sim.history import (
    History,
    Process,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramView,
    Violation,
)
from ipc.cpg_layouts import Reason

PROPERTY = "group views"


class _Facts:
    """What really happened to programs and nodes."""

    def __init__(self, history: History) -> None:
        self.joined: dict[Process, float] = {}
        self.asked_to_leave: set[Process] = set()
        self.died: dict[Process, float] = {}
        for record in history.records:
            if isinstance(record, ProgramJoined):
                self.joined.setdefault((record.life[0], record.pid), record.at)
            elif isinstance(record, ProgramEnded):
                process = record.life[0], record.pid
                if record.how == "leave":
                    self.asked_to_leave.add(process)
                else:
                    self.died.setdefault(process, record.at)
        passages = index(history).passages
        self.without: dict[tuple[object, int], float] = {}
        """(life, nodeid): when the life first went on without a node it had been with."""
        for life, mine in passages.items():
            for passage in mine:
                announced = passage.transitional
                if announced is None:
                    continue
                for nodeid in set(passage.members) - set(announced.members):
                    self.without.setdefault((life, nodeid), announced.at)


def check(history: History) -> None:
    """Program by program."""
    if history.corrupted:
        return
    facts = _Facts(history)
    every = memberships(history)
    for membership in every:
        _check_views(membership, facts)
    if history.settled_at is not None:
        _check_last(every)


def _check_last(every: list[Membership]) -> None:
    """At rest each member's view is who really is there."""
    there: dict[bytes, set[Process]] = defaultdict(set)
    for membership in every:
        if membership.ended is None:
            there[membership.group].add((membership.key[0][0], membership.key[1]))
    for membership in every:
        views = membership.views
        if membership.ended is None and (not views or set(views[-1].members) != there[membership.group]):
            seen = views[-1].members if views else ()
            raise Violation(
                PROPERTY,
                f"at the end {membership} sees {seen} in its group, {sorted(there[membership.group])} are",
                tuple(views[-1:]),
            )


def _check_views(membership: Membership, facts: _Facts) -> None:
    members: set[Process] | None = None
    for step in membership.steps:
        if isinstance(step, ProgramView):
            members = _next(membership, members, step)
            _check_reasons(membership, step, facts)
        elif isinstance(step, ProgramDelivered):
            if members is None:
                raise Violation(PROPERTY, f"{membership} gets a message before its first view", (step,))
            if step.sender not in members:
                raise Violation(
                    PROPERTY,
                    f"{membership} gets message #{step.message} of {step.sender} at {step.at:.6f}, who is"
                    f" none of {sorted(members)}",
                    (step,),
                )


def _next(membership: Membership, members: set[Process] | None, view: ProgramView) -> set[Process]:
    now = set(view.members)
    gone = {entry[:2] for entry in view.left}
    new = {entry[:2] for entry in view.joined}
    problem = ""
    if len(now) != len(view.members):
        problem = "a member twice"
    elif not gone and not new:
        problem = "no change"
    elif gone & now or not new <= now:
        problem = "who left is there, or who joined is not"
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


def _check_reasons(membership: Membership, view: ProgramView, facts: _Facts) -> None:
    for nodeid, pid, reason in view.left:
        process = nodeid, pid
        right = {
            Reason.LEAVE: process in facts.asked_to_leave,
            Reason.PROCDOWN: facts.died.get(process, float("inf")) <= view.at,
            Reason.NODEDOWN: facts.without.get((membership.key[0], nodeid), float("inf")) <= view.at,
        }.get(Reason(reason), False)
        if not right:
            raise Violation(
                PROPERTY,
                f"{membership} is told at {view.at:.6f} that {process} left with reason"
                f" {Reason(reason).name}, which is not what happened",
                (view,),
            )
    for nodeid, pid, reason in view.joined:
        if reason not in (Reason.JOIN, Reason.NODEUP) or (
            reason == Reason.JOIN and facts.joined.get((nodeid, pid), float("inf")) > view.at
        ):
            raise Violation(
                PROPERTY,
                f"{membership} is told at {view.at:.6f} that {(nodeid, pid)} joined with reason"
                f" {Reason(reason).name}, which is not what happened",
                (view,),
            )
