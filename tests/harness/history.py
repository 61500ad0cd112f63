"""What a member of a group saw, and what the histories of several members have to agree on.

The rules are those of extended virtual synchrony, as far as programs can see them: two members that
went through the same configuration and on into the same next one have seen the same between.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    """One line of a history: seconds, then `D ...`, `C ...`, `T ...` or `E ...` without the time."""

    time: float
    text: str

    @property
    def kind(self) -> str:
        """D message, C members of the group, T configuration of totem, E error."""
        return self.text[0]


@dataclass
class Segment:
    """What was seen in one configuration of totem: from its T line up to the next."""

    ring: str
    """The T line; empty before the first."""
    events: list[str] = field(default_factory=list)


@dataclass
class History:
    """All a program saw, in order."""

    name: str
    events: list[Event]
    complete: bool = False
    """All that was sent has arrived (see scenarios.fence): the last configuration can be compared, too."""

    @property
    def errors(self) -> list[str]:
        """What the program itself found wrong."""
        return [event.text for event in self.events if event.kind == "E"]

    @property
    def deliveries(self) -> list[Event]:
        """Messages only."""
        return [event for event in self.events if event.kind == "D"]

    def delivered_from(self, member: str) -> int:
        """Messages of one sender, `node:pid`."""
        start = f"D {member.replace(':', ' ')} "
        return sum(event.text.startswith(start) for event in self.events)

    @property
    def members(self) -> frozenset[str]:
        """The group at the end."""
        for event in reversed(self.events):
            if event.kind == "C":
                listed = event.text.split(" ")[1]
                return frozenset() if listed == "-" else frozenset(listed.split(","))
        return frozenset()

    def sequence(self) -> list[str]:
        """The messages, without times."""
        return [event.text for event in self.deliveries]

    def segments(self) -> list[Segment]:
        """Cut at every configuration of totem; the first segment is what came before any.

        A program may be told its first configuration twice: because it is new, and because it asked.
        """
        result = [Segment("")]
        for event in self.events:
            if event.kind == "T":
                if event.text != result[-1].ring:
                    result.append(Segment(event.text))
            else:
                result[-1].events.append(event.text)
        return result

    def longest_gap(self, since: float, until: float) -> float:
        """Longest time without a message, in seconds, between two points in time."""
        times = [since, *(e.time for e in self.deliveries if since <= e.time <= until), until]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def parse(text: str, name: str, *, complete: bool = False) -> History:
    """Reads what cpg_history writes; a last line that is not complete is left out."""
    whole_lines, _, _ = text.rpartition("\n")
    events = []
    for line in whole_lines.splitlines():
        time, _, rest = line.partition(" ")
        events.append(Event(float(time), rest))
    return History(name, events, complete)


def disagreements(histories: Sequence[History]) -> list[str]:
    """Everything wrong in and between histories of one group, as text; empty when all is well."""
    problems = [f"{history.name}: {error}" for history in histories for error in history.errors]
    for one, other in itertools.combinations(histories, 2):
        problems += _disagreements_of_two(one, other)
    return problems


def _disagreements_of_two(one: History, other: History) -> list[str]:
    problems = []
    names = f"{one.name} and {other.name}"
    ones, others = one.segments(), other.segments()
    position = {segment.ring: index for index, segment in enumerate(others) if segment.ring}
    for index, segment in enumerate(ones):
        match = position.get(segment.ring)
        if match is None:
            continue
        # The first configuration is told to a program where it joined, in the middle of it.
        whole = index > 1 and match > 1
        if _next_ring(one, ones, index) == _next_ring(other, others, match):
            mine, theirs = segment.events, others[match].events
            if ones[index - 1].ring != others[match - 1].ring:
                mine, theirs = _without_straddling(mine, theirs), _without_straddling(theirs, mine)
            problem = _compare(mine, theirs, whole)
        else:
            problem = _order(segment.events, others[match].events)
        if problem:
            problems.append(f"{names} in [{segment.ring}]: {problem}")
    return problems


def _next_ring(history: History, segments: Sequence[Segment], index: int) -> str:
    """What the program went into from a configuration."""
    if index + 1 < len(segments):
        return segments[index + 1].ring
    return "the end" if history.complete else f"the sudden end of {history.name}"


def _without_straddling(ones: Sequence[str], others: Sequence[str]) -> list[str]:
    """Leaves out what began in the previous configuration, which the other program was not in.

    A message is cut into frames; when the ring changes between two of them, the rest follows in the
    new ring, and only who has the beginning can deliver it: one message of each sender at most.
    """
    straddling = set()
    theirs = _first_messages(others)
    for sender, (first, *second) in _first_messages(ones).items():
        if first not in theirs.get(sender, [])[:1] and second == theirs.get(sender, [])[:1]:
            straddling.add(first)
    result = []
    for text in ones:
        if text in straddling:
            straddling.remove(text)
        else:
            result.append(text)
    return result


def _first_messages(events: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The first two messages of each sender."""
    result: dict[tuple[str, str], list[str]] = {}
    for text in events:
        if text.startswith("D"):
            _, node, pid, _ = text.split(" ", 3)
            of_sender = result.setdefault((node, pid), [])
            if len(of_sender) < 2:
                of_sender.append(text)
    return result


def _compare(ones: Sequence[str], others: Sequence[str], whole: bool) -> str:
    """Equal, or when one joined meanwhile: one the end of the other."""
    if not whole:
        common = min(len(ones), len(others))
        ones, others = ones[len(ones) - common :], others[len(others) - common :]
    for number, (left, right) in enumerate(itertools.zip_longest(ones, others)):
        if left != right:
            return f"event {number} of {len(ones)} and {len(others)} is {left!r} and {right!r}"
    return ""


def _order(ones: Sequence[str], others: Sequence[str]) -> str:
    """They parted: what both got, they got in the same order."""
    mine, theirs = set(ones), set(others)
    common_ones = [text for text in ones if text in theirs and _unique(text)]
    common_others = [text for text in others if text in mine and _unique(text)]
    for number, (left, right) in enumerate(zip(common_ones, common_others, strict=False)):
        if left != right:
            return f"message {number} of those common to both is {left!r} and {right!r}"
    return ""


def _unique(text: str) -> bool:
    """A message whose number makes its line the only one of its kind."""
    return text.startswith("D") and text.split(" ")[3] != "-"
