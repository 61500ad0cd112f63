"""What each program saw, cut by the configurations of its node: shared by the checkers of process groups."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from aisexec.sim.history import (
    Ended,
    History,
    Life,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramSent,
    ProgramView,
    Reached,
)
from aisexec.totem.types import RingId

Seen = ProgramDelivered | ProgramView
Step = Seen | Reached

Key = tuple[Life, int]
"""A program: its node's life and its pid."""


@dataclass(slots=True)
class Membership:
    """A program from one cpg_join to its end or to cpg_leave."""

    key: Key
    group: bytes
    joined_at: float
    steps: list[Step] = field(default_factory=list)
    """What it saw, and the configurations of its node in between."""
    sent: list[ProgramSent] = field(default_factory=list)
    ended: ProgramEnded | Ended | None = None

    def __str__(self) -> str:
        (nodeid, life), pid = self.key
        return f"program {pid} of node {nodeid}" + (f" (life {life + 1})" if life else "")

    @property
    def views(self) -> list[ProgramView]:
        """Configuration changes of its group."""
        return [step for step in self.steps if isinstance(step, ProgramView)]


@dataclass(slots=True)
class Segment:
    """What a program saw in one ring of its node, up to the installation of the next."""

    base: tuple[object, ...]
    """The rings since the last one in which the services were in step, which is the first of them."""
    seen: list[Seen]
    synchronised_at: int
    """Place in `seen` at which they were in step again; -1: never in this ring."""
    follower: RingId
    whole: bool
    """A member of its group from the begin of the ring; otherwise it joined in it."""


def memberships(history: History) -> list[Membership]:
    """All of them, in the order of joining."""
    every: list[Membership] = []
    current: dict[Key, Membership] = {}
    of_life: dict[Life, list[Membership]] = defaultdict(list)
    early: dict[Key, list[Step]] = {}
    rings: dict[Life, list[Step]] = defaultdict(list)
    for record in history.records:
        if isinstance(record, ProgramDelivered | ProgramView):
            key = record.life, record.pid
            if key in current:
                current[key].steps.append(record)
            else:
                early.setdefault(key, []).append(record)
        elif isinstance(record, Reached):
            rings[record.life].append(record)
            for membership in of_life[record.life]:
                membership.steps.append(record)
        elif isinstance(record, ProgramJoined):
            key = record.life, record.pid
            made = Membership(key, record.group, record.at)
            made.steps = [*rings[record.life][-2:], *early.pop(key, [])]
            every.append(made)
            current[key] = made
            of_life[record.life].append(made)
        elif isinstance(record, ProgramSent):
            current[record.life, record.pid].sent.append(record)
        elif isinstance(record, ProgramEnded):
            key = record.life, record.pid
            if key in current:
                ended = current.pop(key)
                ended.ended = record
                of_life[record.life].remove(ended)
    return every


def segments(membership: Membership) -> dict[RingId, Segment]:
    """By ring; not the last one, which has no end."""
    result: dict[RingId, Segment] = {}
    whole = False
    base: tuple[object, ...] = (membership.key,)
    ring: RingId | None = None
    seen: list[Seen] = []
    at = -1
    for step in membership.steps:
        if isinstance(step, Reached) and not step.synchronised:
            if ring is not None and (whole or seen):
                result[ring] = Segment(base, seen, at, step.ring, whole)
            if at >= 0:
                base = (ring,)
            elif ring is not None:
                base = (*base, ring)
            whole = any(isinstance(s, ProgramView) for s in seen) or whole
            ring, seen, at = step.ring, [], -1
        elif isinstance(step, Reached):
            at = len(seen)
        else:
            seen.append(step)
    return result


def content(seen: Seen) -> tuple[object, ...]:
    """What two members have to agree on."""
    if isinstance(seen, ProgramView):
        return "view", seen.members, seen.left, seen.joined
    return "message", seen.sender, seen.message


def show(entry: tuple[object, ...]) -> str:
    """In few words."""
    if entry[0] == "view":
        return f"a view of {entry[1]}, left {entry[2]}, joined {entry[3]}"
    return f"message #{entry[2]} of {entry[1]}"
