"""Safe delivery: who delivers a safe message knows that all members have it (EVS, specification 7).

A message sent as safe that one process delivers in a regular configuration is delivered by every member
of it, unless that one fails.  Delivered in a transitional configuration, it is by every member of that
one, unless it fails; also by one that goes on to another configuration than was agreed on.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Message, Passage, index, name, show
from aisexec.sim.history import History, Violation

PROPERTY = "safe delivery"


def check(history: History) -> None:
    """Ring by ring, safe messages only."""
    if history.corrupted:
        return
    indexed = index(history)
    safe = {number for number, sent in indexed.unique.items() if sent.safe}
    if not safe:
        return
    for passages in indexed.rings.values():
        # Who has no follower failed here, or is here to this day and may be a rotation behind.
        moved_on = [passage for passage in passages if passage.follower is not None]
        _check_regular(history, passages, moved_on, safe)
        for passage in moved_on:
            _check_transitional(history, passage, moved_on, safe)


def _check_regular(
    history: History, passages: list[Passage], moved_on: list[Passage], safe: set[int]
) -> None:
    wanted: dict[Message, Passage] = {}
    for passage in passages:
        for message in passage.regular:
            if message[1] in safe:
                wanted.setdefault(message, passage)
    for passage in moved_on if wanted else ():
        missing = wanted.keys() - set(passage.delivered)
        if missing:
            message = min(missing)
            raise _missing(history, wanted[message], passage, message, "in the regular configuration")


def _check_transitional(
    history: History, passage: Passage, moved_on: list[Passage], safe: set[int]
) -> None:
    wanted = {message for message in passage.after if message[1] in safe}
    announced = passage.transitional
    if not wanted or announced is None:
        return
    for other in moved_on:
        if other.life[0] in announced.members:
            missing = wanted - set(other.delivered)
            if missing:
                where = f"in the transitional configuration of {announced.members}"
                raise _missing(history, passage, other, min(missing), where)


def _missing(history: History, one: Passage, two: Passage, message: Message, where: str) -> Violation:
    evidence = tuple(r for r in one.records if (r.sender, r.message) == message)
    at = evidence[0].at if evidence else one.at
    return Violation(
        PROPERTY,
        f"{name(one.life)} delivers {show(history, message)} at {at:.6f} as safe {where} behind ring"
        f" {one.ring}; {name(two.life)}, a member, goes on to ring {two.follower} at {two.left_at:.6f}"
        " without it",
        evidence,
    )
