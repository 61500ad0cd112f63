"""The records of a run by life and configuration, worked out once for all checkers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aisexec.sim.history import (
    Delivered,
    Ended,
    History,
    Life,
    Record,
    Regular,
    Sizes,
    Started,
    Stored,
    Submitted,
    Synchronised,
    Transitional,
    Verdict,
)
from aisexec.totem.types import RingId

if TYPE_CHECKING:
    from aisexec.sim.checkers.groups import Membership

Message = tuple[int, int]
"""Sender's nodeid and number of the message."""


class Ring(NamedTuple):
    """A regular configuration.

    A representative that has lost its state directory cannot know which ids it has used, and may use one
    again; `disk` tells such rings apart: how often the representative had lost its directory before.
    """

    id: RingId
    disk: int

    def __str__(self) -> str:
        return str(self.id) + (f" (after {self.disk} lost directories)" if self.disk else "")


@dataclass(slots=True)
class Passage:
    """One life's way through one regular configuration, and the transitional one behind it.

    The first passage of a life has no ring: it begins with the start of the node.
    """

    life: Life
    ring: Ring | None
    members: tuple[int, ...]
    at: float
    """When the regular configuration was installed, virtual seconds."""
    installed: Regular | None = None
    regular: list[Message] = field(default_factory=list)
    """Delivered in the regular configuration."""
    transitional: Transitional | None = None
    after: list[Message] = field(default_factory=list)
    """Delivered in the transitional configuration."""
    follower: Ring | None = None
    """The regular configuration installed next; None: the life or the run ended here."""
    left_at: float = float("inf")
    """When that was."""
    submitted: list[Submitted] = field(default_factory=list)
    records: list[Delivered] = field(default_factory=list)
    """Of `regular` and `after`."""
    synchronised_at: float | None = None
    synchronised_place: int = 0
    """How many messages were delivered then."""
    verdict: Verdict | None = None
    """About quorum, then."""

    @property
    def delivered(self) -> list[Message]:
        """All messages of the configuration."""
        return self.regular + self.after


@dataclass(slots=True)
class Index:
    """By life, and by ring."""

    passages: dict[Life, list[Passage]] = field(default_factory=dict)
    rings: dict[Ring, list[Passage]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[Life, Ended] = field(default_factory=dict)
    unique: dict[int, Submitted] = field(default_factory=dict)
    """Messages whose bytes were submitted once in the whole run, by number."""
    sent: dict[Message, list[Submitted]] = field(default_factory=lambda: defaultdict(list))
    unsent: list[Delivered] = field(default_factory=list)
    """Delivered before anything like it was sent."""
    misplaced: list[Synchronised] = field(default_factory=list)
    """Not of the ring that the life is in, or the second of it."""
    verdicts: list[Verdict] = field(default_factory=list)
    """Of votequorum; without it there are none."""
    transitionals: list[Transitional] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)
    numbers: list[Started | Stored | Ended | Regular] = field(default_factory=list)
    """What ring ids are judged by, in order."""
    for_groups: list[Record] = field(default_factory=list)
    """What process groups are judged by, in order."""
    memberships: list[Membership] | None = None
    """See aisexec.sim.checkers.groups."""

    def until(self, life: Life) -> float:
        """When the life was over; infinity when it is up at the end."""
        ended = self.ended.get(life)
        return float("inf") if ended is None else ended.at


def index(history: History) -> Index:
    """Made at the first call."""
    if not isinstance(history.index, Index):
        history.index = _make(history)
    return history.index


class _Disks:
    """Which directory of its representative the id of a ring came from.

    A representative stores a number before its members do.  And a member that has stored a number joins
    no ring of that number any more, so its own storing shows which of two rings with equal ids it means.
    """

    def __init__(self) -> None:
        self._lost: dict[int, int] = {}
        self._numbers: dict[int, dict[int, int]] = {}
        self._meant: dict[tuple[int, int], dict[int, int]] = {}

    def lost(self, nodeid: int) -> None:
        self._lost[nodeid] = self._lost.get(nodeid, 0) + 1

    def stored(self, nodeid: int, seq: int) -> None:
        self._numbers.setdefault(seq, {})[nodeid] = self._lost.get(nodeid, 0)
        self._meant[nodeid, seq] = dict(self._numbers[seq])

    def ring(self, nodeid: int, ring: RingId) -> Ring:
        if ring.rep == nodeid:
            return Ring(ring, self._lost.get(nodeid, 0))
        return Ring(ring, self._meant.get((nodeid, ring.seq), {}).get(ring.rep, 0))


def _make(history: History) -> Index:
    made = Index()
    passages, sent, for_groups, numbers = made.passages, made.sent, made.for_groups, made.numbers
    current: dict[Life, Passage] = {}
    disks = _Disks()
    for record in history.records:
        if isinstance(record, Delivered):
            passage = current[record.life]
            passage.records.append(record)
            if (record.sender, record.message) not in sent:
                made.unsent.append(record)
            delivered = passage.regular if passage.transitional is None else passage.after
            delivered.append((record.sender, record.message))
        elif isinstance(record, Submitted):
            current[record.life].submitted.append(record)
            sent[record.life[0], record.message].append(record)
        elif isinstance(record, Stored):
            numbers.append(record)
            disks.stored(record.life[0], record.ring_seq)
        elif isinstance(record, Sizes):
            made.sizes.append(record)
        elif isinstance(record, Transitional):
            made.transitionals.append(record)
            current[record.life].transitional = record
        elif isinstance(record, Regular):
            numbers.append(record)
            ring = disks.ring(record.life[0], record.ring)
            passage = Passage(record.life, ring, record.members, record.at, record)
            before, current[record.life] = current[record.life], passage
            before.follower, before.left_at = ring, record.at
            passages[record.life].append(passage)
            made.rings[ring].append(passage)
        elif isinstance(record, Synchronised):
            passage = current[record.life]
            if passage.synchronised_at is not None or passage.ring is None or passage.ring.id != record.ring:
                made.misplaced.append(record)
            passage.synchronised_at = record.at
            passage.synchronised_place = len(passage.records)
        elif isinstance(record, Verdict):
            made.verdicts.append(record)
            current[record.life].verdict = record
        elif isinstance(record, Started):
            numbers.append(record)
            current[record.life] = Passage(record.life, None, (), record.at)
            passages[record.life] = [current[record.life]]
        elif isinstance(record, Ended):
            numbers.append(record)
            for_groups.append(record)
            made.ended[record.life] = record
            if record.how == "lost":
                disks.lost(record.life[0])
        else:
            for_groups.append(record)
    several = {message for (_, message), times in sent.items() if len(times) > 1}
    senders: set[int] = set()
    for _, message in sent:
        (several if message in senders else senders).add(message)
    made.unique = {m: times[0] for (_, m), times in sent.items() if m not in several}
    return made


def name(life: Life) -> str:
    """A node, and which of its lives when it is not the first."""
    return f"node {life[0]}" + (f" (life {life[1] + 1})" if life[1] else "")


def show(history: History, message: Message) -> str:
    """A message in few words."""
    sender, number = message
    body = history.messages[number] if 0 <= number < len(history.messages) else b""
    at = body.find(b"message ")
    text = body[at : at + 16].split(b"....")[0] if at >= 0 else body[:12]
    return f"#{number} of node {sender} ({len(body)} bytes, {text!r})"


def when(passage: Passage, place: int) -> tuple[str, tuple[Record, ...]]:
    """" at 1.234567", and the record, of a passage's delivery number `place`; nothing if there is none."""
    if place >= len(passage.records):
        return "", ()
    record = passage.records[place]
    return f" at {record.at:.6f}", (record,)
