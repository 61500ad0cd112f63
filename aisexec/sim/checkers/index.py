"""The records of a run by life and configuration, worked out once for all checkers."""

from __future__ import annotations

from collections import defaultdict
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
    submitted: list[Submitted] = field(default_factory=list)

    @property
    def delivered(self) -> list[Message]:
        """All messages of the configuration."""
        return self.regular + self.after


@dataclass(slots=True)
class Index:
    """By life, and by ring."""

    passages: dict[Life, list[Passage]]
    rings: dict[tuple[RingId, Life | None], list[Passage]]
    """Rings of one are told apart by life: a node that has lost its disk may use their ids again."""
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
            mine[-1].follower = record.ring
            mine.append(Passage(record.life, record.ring, record.members, record.at))
        elif isinstance(record, Ended):
            ended[record.life] = record
    for message in several:
        del unique[message]
    rings: dict[tuple[RingId, Life | None], list[Passage]] = defaultdict(list)
    for mine in passages.values():
        for passage in mine:
            if passage.ring is not None:
                rings[passage.ring, passage.life if len(passage.members) == 1 else None].append(passage)
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
