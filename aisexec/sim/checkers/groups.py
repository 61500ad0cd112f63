"""What each program saw, cut by the configurations of its node: shared by the checkers of process groups."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from aisexec.sim.checkers.index import Passage, index
from aisexec.sim.history import (
    History,
    Life,
    Process,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramSent,
    ProgramView,
    Reached,
)

Seen = ProgramDelivered | ProgramView

Key = tuple[Life, int]
"""A program: its node's life and its pid."""


@dataclass(slots=True)
class Segment:
    """What a program saw in one ring of its node, while it was a member of its group."""

    passage: Passage
    base: tuple[object, ...]
    """The rings since the last one in which the services were in step, which is the first of them."""
    seen: list[Seen] = field(default_factory=list)
    synchronised_at: int = -1
    """Place in `seen` at which they were in step again; -1: never in this ring."""
    begins: bool = False
    """It joined in this ring."""
    ends: bool = False
    """It was a member no more before the end of this ring, or its node was no more."""
    newcomer: bool = False
    """It joined in this ring or in the first of `base`."""
    gained: frozenset[int] = frozenset()
    """Nodes that came to its node's ring since the services were in step."""
    lost: frozenset[int] = frozenset()
    """Nodes that did not come along since then."""


@dataclass(slots=True)
class Membership:
    """A program from one cpg_join to its end or to cpg_leave."""

    key: Key
    group: bytes
    joined_at: float
    segments: list[Segment] = field(default_factory=list)
    sent: list[ProgramSent] = field(default_factory=list)
    ended: ProgramEnded | None = None
    after: list[Seen] = field(default_factory=list)
    """What it saw after its end."""
    disconnected: bool = False
    """Its connection is no more."""

    def __str__(self) -> str:
        (nodeid, life), pid = self.key
        return f"program {pid} of node {nodeid}" + (f" (life {life + 1})" if life else "")

    @property
    def process(self) -> Process:
        """As it is known in its group."""
        return self.key[0][0], self.key[1]

    @property
    def seen(self) -> list[Seen]:
        """All of it."""
        return [entry for segment in self.segments for entry in segment.seen]

    @property
    def views(self) -> list[ProgramView]:
        """Configuration changes of its group."""
        return [entry for entry in self.seen if isinstance(entry, ProgramView)]


class _Place:
    """Where in its configurations a life is, as far as its programs can know."""

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = iter(passages)
        self.passage = next(self._passages)
        self.base: tuple[object, ...] = (self.passage.life,)
        self.synchronised = False
        self.gained: frozenset[int] = frozenset()
        self.lost: frozenset[int] = frozenset()

    def reached(self, record: Reached) -> None:
        if record.synchronised:
            self.synchronised = True
            return
        before, self.passage = self.passage, next(self._passages, self.passage)
        if self.synchronised:
            self.base, self.gained, self.lost = (), frozenset(), frozenset()
        if before.ring is not None:
            self.base = (*self.base, before.ring)
        along = () if before.transitional is None else before.transitional.members
        self.gained |= set(self.passage.members).difference(along)
        self.lost |= set(before.members).difference(along)
        self.synchronised = False

    def segment(self, *, begins: bool, newcomer: bool) -> Segment:
        """Of a program that is here."""
        return Segment(
            self.passage, self.base, begins=begins, newcomer=newcomer, gained=self.gained, lost=self.lost
        )


def memberships(history: History) -> list[Membership]:
    """All of them, in the order of joining; worked out at the first call."""
    indexed = index(history)
    if indexed.memberships is None:
        indexed.memberships = _Reader(history).read()
    return indexed.memberships


class _Reader:
    def __init__(self, history: History) -> None:
        self._index = index(history)
        self._every: list[Membership] = []
        self._latest: dict[Key, Membership] = {}
        self._present: dict[Life, list[Membership]] = defaultdict(list)
        self._places: dict[Life, _Place] = {}
        self._early: dict[Key, list[Seen]] = {}

    def read(self) -> list[Membership]:
        for record in self._index.for_groups:
            if isinstance(record, ProgramDelivered | ProgramView):
                self._saw(record)
            elif isinstance(record, Reached):
                self._reached(record)
            elif isinstance(record, ProgramSent):
                self._latest[record.life, record.pid].sent.append(record)
            elif isinstance(record, ProgramJoined):
                self._joined(record)
            elif isinstance(record, ProgramEnded):
                self._ended(record.life, record.pid, record)
        return self._every

    def _place(self, life: Life) -> _Place:
        if life not in self._places:
            self._places[life] = _Place(self._index.passages[life])
        return self._places[life]

    def _saw(self, record: Seen) -> None:
        membership = self._latest.get((record.life, record.pid))
        if membership is None:
            self._early.setdefault((record.life, record.pid), []).append(record)
        elif membership.ended is None:
            membership.segments[-1].seen.append(record)
        else:
            membership.after.append(record)

    def _reached(self, record: Reached) -> None:
        place = self._place(record.life)
        place.reached(record)
        for membership in self._present[record.life]:
            last = membership.segments[-1]
            if record.synchronised:
                last.synchronised_at = len(last.seen)
                continue
            if not membership.segments[0].seen:  # its join is still under way
                membership.segments.clear()
            begins = not membership.segments
            newcomer = begins or membership.segments[0].passage.ring == place.base[0]
            membership.segments.append(place.segment(begins=begins, newcomer=newcomer))

    def _joined(self, record: ProgramJoined) -> None:
        key = record.life, record.pid
        made = Membership(key, record.group, record.at)
        place = self._place(record.life)
        segment = place.segment(begins=True, newcomer=True)
        segment.synchronised_at = 0 if place.synchronised else -1
        segment.seen.extend(self._early.pop(key, []))
        made.segments.append(segment)
        self._every.append(made)
        self._latest[key] = made
        self._present[record.life].append(made)

    def _ended(self, life: Life, pid: int, record: ProgramEnded) -> None:
        membership = self._latest.get((life, pid))
        if membership is None:
            return
        membership.disconnected |= record.how != "leave"
        if membership.ended is None:
            membership.ended = record
            membership.segments[-1].ends = True
            self._present[life].remove(membership)


def content(seen: Seen) -> tuple[object, ...]:
    """What two members have to agree on."""
    if isinstance(seen, ProgramView):
        return "view", seen.members, seen.left, seen.joined
    return "message", seen.sender, seen.message


def show(seen: Seen | None) -> str:
    """In few words."""
    if seen is None:
        return "nothing more"
    if isinstance(seen, ProgramView):
        return f"a view of {seen.members}, left {seen.left}, joined {seen.joined} at {seen.at:.6f}"
    return f"message #{seen.message} of {seen.sender} at {seen.at:.6f}"
