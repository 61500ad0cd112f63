"""Closed process groups: what was sent to a group, each once, to its sender too (cpg_mcast_joined(3))."""

from __future__ import annotations

from aisexec.sim.checkers.groups import Membership, memberships
from aisexec.sim.history import History, ProgramDelivered, ProgramSent, Violation

PROPERTY = "group delivery"


def check(history: History) -> None:
    """Programs that are there at the end get all of their own messages, the others the beginning of them."""
    if history.corrupted:
        return
    every = memberships(history)
    senders = {sent.message: (membership, sent) for membership in every for sent in membership.sent}
    for membership in every:
        got = [entry for entry in membership.seen if isinstance(entry, ProgramDelivered)]
        _check_senders(membership, got, senders)
        _check_own(membership, got, settled=history.settled_at is not None)


def _check_senders(
    membership: Membership,
    got: list[ProgramDelivered],
    senders: dict[int, tuple[Membership, ProgramSent]],
) -> None:
    seen: dict[int, ProgramDelivered] = {}
    for record in got:
        what = f"{membership} gets #{record.message} of {record.sender} at {record.at:.6f}"
        known = senders.get(record.message)
        if known is None:
            raise Violation(PROPERTY, f"{what}, which nobody sent", (record,))
        sender, sent = known
        if sender.process != record.sender or sender.group != membership.group:
            raise Violation(
                PROPERTY,
                f"{what} in group {membership.group!r}; {sender} sent it to group {sender.group!r}",
                (sent, record),
            )
        if record.message in seen:
            raise Violation(PROPERTY, f"{what} for the second time", (sent, seen[record.message], record))
        seen[record.message] = record


def _check_own(membership: Membership, got: list[ProgramDelivered], *, settled: bool) -> None:
    ours = {s.message for s in membership.sent}
    own = [record for record in got if record.sender == membership.process and record.message in ours]
    for sent, delivered in zip(membership.sent, own, strict=False):
        if sent.message != delivered.message:
            raise Violation(
                PROPERTY,
                f"{membership} sends #{sent.message} at {sent.at:.6f} and gets its own"
                f" #{delivered.message} at {delivered.at:.6f} in its place",
                (sent, delivered),
            )
    if membership.ended is None and settled and len(own) < len(membership.sent):
        missing = membership.sent[len(own)]
        raise Violation(
            PROPERTY,
            f"{membership} sends #{missing.message} at {missing.at:.6f} and never gets it",
            (missing,),
        )
