"""Closed process groups: members see the same messages and changes in the same order (cpg_overview(3)).

Programs of one group whose nodes go through the same configurations.  Where their nodes come from
different sides of a partition, what they see before the services are in step again differs; a program
that joins sees the same as the others from its joining on, one that ends, up to its end.

Who joins in the middle of a message that is multicast in pieces has not seen the first of them: members
that were there before get the message, newcomers do not (so it is in corosync, whose wire format has no
remedy).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from aisexec.sim.checkers.groups import Membership, Seen, Segment, content, memberships, show
from aisexec.sim.checkers.index import Index, Ring, index
from aisexec.sim.history import History, ProgramSent, ProgramView, Violation

PROPERTY = "group agreement"

Content = tuple[object, ...]


class _Part:
    """What one program saw in one ring."""

    def __init__(self, membership: Membership, segment: Segment, *, complete: bool) -> None:
        self.membership = membership
        self.segment = segment
        self.seen: list[Seen] = segment.seen
        self.content: list[Content] = [content(entry) for entry in segment.seen]
        self.complete = complete
        """Up to the end of the ring, or of a run that has come to rest."""

    def since_synchronised(self) -> int | None:
        at = self.segment.synchronised_at
        return at if at >= 0 else None

    def place_of_joining(self, other: _Part) -> int | None:
        """Where it was told that the other one joined."""
        process = other.membership.process
        for place, entry in enumerate(self.seen):
            if isinstance(entry, ProgramView) and any(j[:2] == process for j in entry.joined):
                return place
        return None


def check(history: History) -> None:
    """All pairs that share a ring and the next one."""
    if history.corrupted:
        return
    pieces: dict[int, ProgramSent] = {}
    together: dict[tuple[bytes, Ring | None, Ring | None], list[_Part]] = defaultdict(list)
    for membership in memberships(history):
        pieces.update((s.message, s) for s in membership.sent if s.pieces)
        for segment in membership.segments:
            follower = segment.passage.follower
            complete = not segment.ends and (follower is not None or history.settled_at is not None)
            part = _Part(membership, segment, complete=complete)
            together[membership.group, segment.passage.ring, follower].append(part)
    judge = _Judge(index(history), pieces)
    for parts in together.values():
        for one, two in combinations(parts, 2):
            judge.compare(one, two)


class _Judge:
    def __init__(self, indexed: Index, pieces: dict[int, ProgramSent]) -> None:
        self._index = indexed
        self._pieces = pieces

    def compare(self, one: _Part, two: _Part) -> None:
        if one.segment.begins and (not two.segment.begins or one.place_of_joining(two) is None):
            one, two = two, one
        if two.segment.begins:
            self._compare_with_joiner(one, two)
        else:
            self._compare_members(one, two)

    def _compare_members(self, one: _Part, two: _Part) -> None:
        same_base = one.segment.base == two.segment.base
        if same_base and one.content == two.content and one.complete is two.complete:
            return
        if one.complete and two.complete:
            in_step = one.segment.synchronised_at >= 0, two.segment.synchronised_at >= 0
            if in_step[0] != in_step[1]:
                raise Violation(
                    PROPERTY,
                    f"{one.membership} is {'' if in_step[0] else 'not '}in step in ring"
                    f" {one.segment.passage.ring}, {two.membership} is{' not' if in_step[0] else ''}",
                )
        starts = (0, 0) if same_base else (one.since_synchronised(), two.since_synchronised())
        newcomer = one.segment.newcomer or two.segment.newcomer
        self._compare_from(one, two, starts, self._since(one) if same_base and not newcomer else None)

    def _compare_with_joiner(self, one: _Part, joiner: _Part) -> None:
        if not joiner.seen or joiner.membership is one.membership:
            return
        if joiner.segment.synchronised_at != 0:  # it joined before the services were in step
            starts = one.since_synchronised(), joiner.since_synchronised()
        else:
            place = one.place_of_joining(joiner)
            if place is None and one.complete and not one.segment.begins:
                raise Violation(
                    PROPERTY,
                    f"{one.membership} is not told in ring {one.segment.passage.ring} that"
                    f" {joiner.membership} joins, who gets {show(joiner.seen[0])} there",
                    (joiner.seen[0],),
                )
            starts = place, 0
        self._compare_from(one, joiner, starts, None)

    def _since(self, part: _Part) -> float | None:
        """When the first ring of its base was in step everywhere."""
        base = part.segment.base[0]
        if not isinstance(base, Ring):
            return None
        times = [passage.synchronised_at for passage in self._index.rings[base]]
        known = [at for at in times if at is not None]
        return max(known) if len(known) == len(times) else None

    def _compare_from(
        self, one: _Part, two: _Part, starts: tuple[int | None, int | None], since: float | None
    ) -> None:
        """since: from when on both have seen all pieces of a message; None: that is not known."""
        if starts[0] is None or starts[1] is None:
            return
        sides = [
            [
                (entry, seen)
                for entry, seen in zip(part.content[start:], part.seen[start:], strict=True)
                if not self._excused(entry, since)
            ]
            for part, start in ((one, starts[0]), (two, starts[1]))
        ]
        left, right = sides
        at = next((i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x[0] != y[0]), None)
        if at is None:
            at = min(len(left), len(right))
            if len(left) == len(right) or not (one if len(left) == at else two).complete:
                return
        seen = [side[at][1] if at < len(side) else None for side in sides]
        raise Violation(
            PROPERTY,
            f"in ring {one.segment.passage.ring} {one.membership} gets {show(seen[0])} where"
            f" {two.membership} gets {show(seen[1])}",
            tuple(entry for entry in seen if entry is not None),
        )

    def _excused(self, entry: Content, since: float | None) -> bool:
        if entry[0] == "view":
            return False
        sent = self._pieces.get(entry[2])  # type: ignore[call-overload]
        return sent is not None and (since is None or sent.at <= since)
