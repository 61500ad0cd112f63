"""Virtual synchrony: who goes on together has delivered the same (EVS, specification 4: failure atomicity).

Two processes that proceed together from one regular configuration to the next deliver the same messages
in the regular configuration, and the same in the transitional one behind it.  With the total order that
makes the sequences equal, and the transitional configuration lies at the same place in them.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Message, Passage, Ring, index, name, show
from aisexec.sim.history import History, Record, Violation

PROPERTY = "virtual synchrony"


def check(history: History) -> None:
    """All that share a ring and the one installed next."""
    if history.corrupted:
        return
    for passages in index(history).rings.values():
        by_follower: dict[Ring, Passage] = {}
        for passage in passages:
            if passage.follower is None:
                continue
            other = by_follower.setdefault(passage.follower, passage)
            if other is not passage:
                _same(history, other, passage)
    _check_last(history)


def _check_last(history: History) -> None:
    """Those that are in step at the end have delivered the same in their last ring."""
    if history.settled_at is None:
        return
    indexed = index(history)
    first: dict[Ring, Passage] = {}
    for life, passages in indexed.passages.items():
        passage = passages[-1]
        if life not in indexed.ended and passage.ring is not None:
            _same(history, first.setdefault(passage.ring, passage), passage)


def _same(history: History, one: Passage, two: Passage) -> None:
    if one.regular != two.regular:
        raise _difference(history, one, two, one.regular, two.regular, 0, "")
    if one.after != two.after:
        where = "the transitional configuration of "
        raise _difference(history, one, two, one.after, two.after, len(one.regular), where)


def _difference(
    history: History,
    one: Passage,
    two: Passage,
    left: list[Message],
    right: list[Message],
    offset: int,
    where: str,
) -> Violation:
    at = next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y),
        min(len(left), len(right)),
    )
    seen: list[str] = []
    evidence: list[Record] = []
    for passage, side in ((one, left), (two, right)):
        if at < len(side):
            record = passage.records[offset + at]
            evidence.append(record)
            seen.append(f"{show(history, side[at])} at {record.at:.6f}")
        else:
            seen.append("nothing more")
    together = f" go to ring {one.follower} together, and" if one.follower is not None else ""
    return Violation(
        PROPERTY,
        f"{name(one.life)} and {name(two.life)}{together} differ in {where}ring {one.ring}:"
        f" message {at + 1} of {len(left)} and of {len(right)} is {seen[0]}, and {seen[1]}",
        (*evidence, *(p.transitional for p in (one, two) if p.transitional is not None)),
    )
