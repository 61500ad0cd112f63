"""What a member of a group saw, and what the histories of several members have to agree on.

The rules are those of extended virtual synchrony, as far as programs can see them: two members that
went through the same configuration and on into the same next one have seen the same between.
"""

from __future__ import annotations

import itertools
from collections import Counter
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
    """The T line; empty when there was none."""
    events: list[str] = field(default_factory=list)


@dataclass
class History:
    """All a program saw, in order."""

    name: str
    events: list[Event]
    complete: bool = False
    """All that was sent has arrived (see `scenarios.Group.histories`): the last configuration counts, too."""
    may_miss: int = 1
    """Messages of each sender that it may miss in a configuration which it entered from another one.

    A message is cut into frames.  When the ring changes between two of them, the rest follows in the new
    ring, and only who has the beginning can deliver it.  corosync also drops all complete messages of
    that sender up to the next frame that ends with one.
    """

    def may_miss_of_strangers(self, apart: bool) -> int:
        """What it may miss beside a program that came from another configuration (`apart`) or along with it.

        Ours treat a sender that joins them alike. Stock beside ours does not: it drops whole messages
        that ours deliver.
        """
        return self.may_miss if apart or self.may_miss > 1 else 0

    @property
    def errors(self) -> list[str]:
        """What the program itself found wrong."""
        return [event.text for event in self.events if event.kind == "E"]

    @property
    def deliveries(self) -> list[Event]:
        """Messages only."""
        return [event for event in self.events if event.kind == "D"]

    def sequence(self) -> list[str]:
        """The messages, without times."""
        return [event.text for event in self.deliveries]

    def segments(self) -> list[Segment]:
        """Cut at every configuration of totem; the first segment begins with the program's own join.

        A program may be told its first configuration twice: because it is new, and because it asked.
        """
        result = [Segment("")]
        for event in self.events:
            if event.kind != "T":
                result[-1].events.append(event.text)
            elif not result[-1].ring:
                result[-1].ring = event.text
            elif event.text != result[-1].ring:
                result.append(Segment(event.text))
        return result

    def longest_gap(self, since: float, until: float) -> float:
        """Longest time without a message, in seconds, between two points in time."""
        times = [since, *(e.time for e in self.deliveries if since <= e.time <= until), until]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def parse(text: str, name: str) -> History:
    """Reads what cpg_history writes; a last line that is not complete is left out."""
    whole_lines, _, _ = text.rpartition("\n")
    events = []
    for line in whole_lines.splitlines():
        time, _, rest = line.partition(" ")
        events.append(Event(float(time), rest))
    return History(name, events)


def disagreements(histories: Sequence[History]) -> list[str]:
    """Everything wrong in and between histories of one group, as text; empty when all is well."""
    problems = [f"{history.name}: {error}" for history in histories for error in history.errors]
    for one, other in itertools.combinations(histories, 2):
        problems += _disagreements_of_two(one, other)
    return problems


class View(NamedTuple):
    """One configuration as one program lived through it."""

    history: History
    events: Sequence[str]
    first: bool
    """The program joined in it."""
    came_from: str
    """T line of the configuration before."""
    went_to: str
    """And of the one after."""


def _views(history: History) -> dict[str, View]:
    segments = history.segments()
    last = "the end" if history.complete else f"sudden end of {history.name}"
    rings = [f"start of {history.name}", *(segment.ring for segment in segments), last]
    return {
        segment.ring: View(history, segment.events, index == 0, rings[index], rings[index + 2])
        for index, segment in enumerate(segments)
    }


def _disagreements_of_two(one: History, other: History) -> list[str]:
    ones, others = _views(one), _views(other)
    problems = []
    for ring in ones.keys() & others.keys():
        mine, theirs = ones[ring], others[ring]
        if mine.went_to == theirs.went_to:
            problem = _compare_whole(mine, theirs)
        else:
            problem = _compare_order(mine.events, theirs.events)
        if problem:
            problems.append(f"{one.name} and {other.name} in [{ring}]: {problem}")
    return problems


def _compare_whole(mine: View, theirs: View) -> str:
    """They went through the configuration together, from the later one's join on."""
    ones, others = mine.events, theirs.events
    if mine.first and ones and ones[0] in others:
        others = others[others.index(ones[0]) :]
    elif theirs.first and others and others[0] in ones:
        ones = ones[ones.index(others[0]) :]
    elif mine.first or theirs.first:
        return "none of them saw the other join"
    apart = mine.came_from != theirs.came_from
    ones, others = (
        _without_missed(ones, others, theirs.history.may_miss_of_strangers(apart)),
        _without_missed(others, ones, mine.history.may_miss_of_strangers(apart)),
    )
    for number, (left, right) in enumerate(itertools.zip_longest(ones, others)):
        if left != right:
            return f"event {number} of {len(ones)} and {len(others)} is {left!r} and {right!r}"
    return ""


def _without_missed(ones: Sequence[str], others: Sequence[str], may_miss: int) -> Sequence[str]:
    """Leaves out what the other may miss: some messages of each sender, before all that it has."""
    theirs = _by_sender(others)
    left_out: Counter[str] = Counter()
    for sender, messages in _by_sender(ones).items():
        arrived = theirs.get(sender, [])
        missed = len(messages) - len(arrived)
        if 0 < missed <= may_miss and messages[missed:] == arrived:
            left_out.update(messages[:missed])
    result = []
    for text in ones:
        if left_out[text]:
            left_out[text] -= 1
        else:
            result.append(text)
    return result


def _by_sender(events: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    result: dict[tuple[str, str], list[str]] = {}
    for text in events:
        if text.startswith("D"):
            _, node, pid, _ = text.split(" ", 3)
            result.setdefault((node, pid), []).append(text)
    return result


def _compare_order(ones: Sequence[str], others: Sequence[str]) -> str:
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
