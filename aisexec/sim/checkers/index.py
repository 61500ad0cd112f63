"""The records of a run by life and configuration, worked out once for all checkers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from aisexec.sim.history import (
    Delivered,
    Ended,
    History,
    Life,
    Regular,
    Started,
    Submitted,
    Transitional,
)
from aisexec.totem.types import RingId

Message = tuple[int, int]
"""Sender's nodeid and number of the message."""

RingKey = tuple[RingId, tuple[int, ...], Life | None, int]
"""A ring as nobody can mistake it: id, members, for a ring of one the life, and how often its
representative had lost its disk: then it cannot know which ids it has used."""


@dataclass(slots=True)
class Passage:
    """One life's way through one regular configuration, and the transitional one behind it.

    The first passage of a life has no ring: it begins with the start of the node.
    """

    life: Life
    ring: RingId | None
    members: tuple[int, ...]
    at: float
    """When the regular configuration was installed, virtual seconds."""
    regular: list[Message] = field(default_factory=list)
    """Delivered in the regular configuration."""
    transitional: Transitional | None = None
    after: list[Message] = field(default_factory=list)
    """Delivered in the transitional configuration."""
    follower: RingId | None = None
    """The regular configuration installed next; None: the life or the run ended here."""
    follower_key: RingKey | None = None
    submitted: list[Submitted] = field(default_factory=list)

    @property
    def delivered(self) -> list[Message]:
        """All messages of the configuration."""
        return self.regular + self.after


@dataclass(slots=True)
class Index:
    """By life, and by ring."""

    passages: dict[Life, list[Passage]]
    rings: dict[RingKey, list[Passage]]
    ended: dict[Life, Ended]
    started: dict[Life, Started]
    unique: dict[int, Submitted]
    """Messages whose bytes were submitted once in the whole run."""


def index(history: History) -> Index:
    """Made at the first call."""
    if not isinstance(history.index, Index):
        history.index = _make(history)
    return history.index


def _make(history: History) -> Index:
    passages: dict[Life, list[Passage]] = {}
    ended: dict[Life, Ended] = {}
    started: dict[Life, Started] = {}
    unique: dict[int, Submitted] = {}
    several: set[int] = set()
    rings: dict[RingKey, list[Passage]] = defaultdict(list)
    losses: Counter[int] = Counter()
    for record in history.records:
        if isinstance(record, Delivered):
            passage = passages[record.life][-1]
            delivered = passage.regular if passage.transitional is None else passage.after
            delivered.append((record.sender, record.message))
        elif isinstance(record, Submitted):
            passages[record.life][-1].submitted.append(record)
            if unique.setdefault(record.message, record) is not record:
                several.add(record.message)
        elif isinstance(record, Started):
            started[record.life] = record
            passages[record.life] = [Passage(record.life, None, (), record.at)]
        elif isinstance(record, Transitional):
            passages[record.life][-1].transitional = record
        elif isinstance(record, Regular):
            mine = passages[record.life]
            alone = record.life if len(record.members) == 1 else None
            key = (record.ring, record.members, alone, losses[record.ring.rep])
            mine[-1].follower, mine[-1].follower_key = record.ring, key
            mine.append(Passage(record.life, record.ring, record.members, record.at))
            rings[key].append(mine[-1])
        elif isinstance(record, Ended):
            ended[record.life] = record
            losses[record.life[0]] += record.how == "lost"
    for message in several:
        del unique[message]
    return Index(passages, dict(rings), ended, started, unique)


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
