"""Virtual synchrony, or failure atomicity (EVS, specification 4 of the journal's numbering 3.2).

"If p and q go together from one regular configuration to the next, they deliver the same messages in
the regular configuration and in the transitional one behind it."  With the total order that makes the
sequences equal, and the transitional configuration lies at the same place in them.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Message, Passage, index, name, show
from aisexec.sim.history import History, Violation
from aisexec.totem.types import RingId

PROPERTY = "virtual synchrony"


def check(history: History) -> None:
    """All that share a ring and the one installed next."""
    if history.corrupted:
        return
    for (ring, *_), passages in index(history).rings.items():
        by_follower: dict[RingId, Passage] = {}
        for passage in passages:
            if passage.follower is None:
                continue
            other = by_follower.setdefault(passage.follower, passage)
            if other is passage:
                continue
            _same(history, ring, other, passage, other.regular, passage.regular, "")
            where = "the transitional configuration of "
            _same(history, ring, other, passage, other.after, passage.after, where)
    _check_last(history)


def _check_last(history: History) -> None:
    """Those that are in step at the end have delivered the same in their last ring."""
    if history.settled_at is None:
        return
    indexed = index(history)
    last = [p[-1] for life, p in indexed.passages.items() if life not in indexed.ended]
    for passage in last[1:]:
        if passage.ring is not None and passage.ring == last[0].ring:
            _same(history, passage.ring, last[0], passage, last[0].regular, passage.regular, "")


def _same(
    history: History,
    ring: RingId,
    one: Passage,
    two: Passage,
    left: list[Message],
    right: list[Message],
    where: str,
) -> None:
    if left == right:
        return
    at = next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y),
        min(len(left), len(right)),
    )
    seen = [show(history, side[at]) if at < len(side) else "nothing more" for side in (left, right)]
    together = f", go to {one.follower} together," if one.follower is not None else ""
    raise Violation(
        PROPERTY,
        f"{name(one.life)} and {name(two.life)}{together} and differ in {where}ring {ring}:"
        f" message {at + 1} of {len(left)} and {len(right)} is {seen[0]} and {seen[1]}",
    )
