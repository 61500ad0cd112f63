"""Closed process groups: a program gets its own messages, in order, each once (cpg_mcast_joined(3))."""

from __future__ import annotations

from aisexec.sim.checkers.groups import Membership, memberships
from aisexec.sim.history import History, ProgramDelivered, Violation

PROPERTY = "group delivery"


def check(history: History) -> None:
    """Programs that are there at the end get all, the others the beginning of it."""
    if history.corrupted:
        return
    sent: set[int] = set()
    for membership in memberships(history):
        sent.update(s.message for s in membership.sent)
        _check_own(history, membership)
    for record in history.records:
        if isinstance(record, ProgramDelivered) and record.message not in sent:
            raise Violation(
                PROPERTY, f"program {record.pid} gets #{record.message}, which nobody sent", (record,)
            )


def _check_own(history: History, membership: Membership) -> None:
    (nodeid, _), pid = membership.key
    ours = {s.message for s in membership.sent}
    got = [
        step
        for step in membership.steps
        if isinstance(step, ProgramDelivered) and step.sender == (nodeid, pid) and step.message in ours
    ]
    for sent, delivered in zip(membership.sent, got, strict=False):
        if sent.message != delivered.message:
            raise Violation(
                PROPERTY,
                f"{membership} sends #{sent.message} at {sent.at:.6f} and gets its own"
                f" #{delivered.message} instead",
                (sent, delivered),
            )
    if len(got) > len(ours):
        raise Violation(PROPERTY, f"{membership} gets one of its own messages twice", (got[-1],))
    if membership.ended is None and history.settled_at is not None and len(got) < len(membership.sent):
        missing = membership.sent[len(got)]
        raise Violation(
            PROPERTY,
            f"{membership} sends #{missing.message} at {missing.at:.6f} and never gets it",
            (missing,),
        )
