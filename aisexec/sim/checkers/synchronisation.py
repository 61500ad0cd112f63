"""The services of all members are in step at the same place in the total order of a ring.

Synchronisation ends for a member when it has delivered what all of them had to say, so it ends behind the
same message for all of them, and for everybody who gets that far.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Passage, index, name
from aisexec.sim.history import History, Violation

PROPERTY = "synchronisation"


def check(history: History) -> None:
    """Ring by ring."""
    if history.corrupted:
        return
    indexed = index(history)
    for record in indexed.misplaced:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} is in step in ring {record.ring} at {record.at:.6f}, which is not its ring"
            " or for the second time",
            (record,),
        )
    for passages in indexed.rings.values():
        done = [passage for passage in passages if passage.synchronised_at is not None]
        for passage in passages if done else ():
            _compare(done[0], passage)


def _compare(first: Passage, passage: Passage) -> None:
    place = first.synchronised_place
    if passage.synchronised_at is not None:
        if passage.synchronised_place != place:
            raise _wrong(first, passage, f"at {passage.synchronised_at:.6f} behind message"
                         f" {passage.synchronised_place}")  # fmt: skip
    elif len(passage.regular) >= place:
        raise _wrong(first, passage, f"not yet after {len(passage.regular)} messages")


def _wrong(first: Passage, passage: Passage, instead: str) -> Violation:
    records = (*first.records[: first.synchronised_place][-1:], *passage.records[-1:])
    return Violation(
        PROPERTY,
        f"in ring {first.ring} {name(first.life)} is in step at {first.synchronised_at:.6f} behind message"
        f" {first.synchronised_place}, {name(passage.life)} {instead}",
        records,
    )
