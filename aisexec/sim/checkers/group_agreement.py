"""Closed process groups: members see the same messages and changes in the same order (cpg_overview(3)).

Programs of one group whose nodes go through the same configurations.  Where their nodes come from
different sides of a partition, what they see before the services are in step again differs.  And who
joins in the middle of a message that is multicast in pieces has not seen the first of them: members that
were there before get the message, newcomers do not (so it is in corosync, whose wire format has no
remedy).
"""

from __future__ import annotations

from collections import defaultdict

from aisexec.sim.checkers.groups import Membership, Seen, Segment, content, memberships, segments, show
from aisexec.sim.history import History, ProgramDelivered, ProgramSent, Violation
from aisexec.totem.types import RingId

PROPERTY = "group agreement"


def check(history: History) -> None:
    """All pairs that share a ring and the next one."""
    if history.corrupted:
        return
    in_pieces = {
        record.message for record in history.records if isinstance(record, ProgramSent) and record.pieces
    }
    together: dict[tuple[bytes, RingId, RingId], list[tuple[Membership, Segment]]] = defaultdict(list)
    for membership in memberships(history):
        for ring, segment in segments(membership).items():
            together[membership.group, ring, segment.follower].append((membership, segment))
    for (_, ring, _), members in together.items():
        first, one = members[0]
        for other, two in members[1:]:
            _compare(ring, in_pieces, first, one, other, two)


def _compare(
    ring: RingId, in_pieces: set[int], first: Membership, one: Segment, other: Membership, two: Segment
) -> None:
    if not (one.whole and two.whole):
        _compare_ends(ring, in_pieces, first, one, other, two)
        return
    if (one.synchronised_at < 0) != (two.synchronised_at < 0):
        raise Violation(PROPERTY, f"{first} is in step in ring {ring} and {other} is not, or the reverse")
    left, right = one.seen, two.seen
    if one.base != two.base:
        left = left[one.synchronised_at :] if one.synchronised_at >= 0 else []
        right = right[two.synchronised_at :] if two.synchronised_at >= 0 else []
        left, right = ([e for e in side if not _is_one_of(e, in_pieces)] for side in (left, right))
    seen = [[content(entry) for entry in side] for side in (left, right)]
    if seen[0] == seen[1]:
        return
    at = next(
        (i for i, (x, y) in enumerate(zip(seen[0], seen[1], strict=False)) if x != y),
        min(len(left), len(right)),
    )
    shown = [show(side[at]) if at < len(side) else "nothing more" for side in seen]
    evidence = tuple(side[at] for side in (left, right) if at < len(side))
    raise Violation(
        PROPERTY,
        f"in ring {ring} {first} gets {shown[0]} where {other} gets {shown[1]}",
        evidence,
    )


def _compare_ends(
    ring: RingId, in_pieces: set[int], first: Membership, one: Segment, other: Membership, two: Segment
) -> None:
    """From where the later one joined they see the same."""
    left, right = (
        [content(entry) for entry in segment.seen if not _is_one_of(entry, in_pieces)]
        for segment in (one, two)
    )
    length = len(right) if one.whole or (not two.whole and len(right) <= len(left)) else len(left)
    if left[len(left) - length :] != right[len(right) - length :] or length > min(len(left), len(right)):
        raise Violation(
            PROPERTY,
            f"in ring {ring} {first} and {other} do not see the same from where the later one joined"
            f" ({len(left)} and {len(right)} messages and views)",
            tuple(segment.seen[-1] for segment in (one, two) if segment.seen),
        )


def _is_one_of(seen: Seen, messages: set[int]) -> bool:
    return isinstance(seen, ProgramDelivered) and seen.message in messages
