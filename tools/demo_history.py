"""What programs saw, view by view, and whether it is what virtual synchrony promises.

Two programs that were together in two views, one behind the other, have to have delivered the same
messages in the same order in the first of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class ViewId(NamedTuple):
    """A view as all its members know it: ring id, and the members' node and process ids."""

    ring: str
    members: tuple[tuple[int, int], ...]


class Message(NamedTuple):
    """A delivered message: all messages of one process are different."""

    node: int
    pid: int
    text: str


@dataclass
class Stay:
    """The time a program spent in a view: the messages (node, process id, hash) in their order."""

    view: ViewId
    messages: list[Message] = field(default_factory=list)


class History:
    """What one program on `node` saw, from its start to its end."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.stays: list[Stay] = []
        self.closed = False
        """Set when the program is about to be told to end: what follows is not compared."""

    def changed(self, ring: str, members: Sequence[Sequence[int]]) -> None:
        """A new view."""
        if self.closed:
            return
        view = ViewId(ring, tuple((node, pid) for node, pid in members))
        # Of several changes at once only the last is a view to be in: nothing is sent in the others.
        if self.stays and not self.stays[-1].messages:
            self.stays.pop()
        self.stays.append(Stay(view))

    def delivered(self, message: Message) -> None:
        """A message."""
        if not self.closed:
            self.stays[-1].messages.append(message)


def check_histories(histories: Sequence[History]) -> dict[str, str]:
    """What has to hold, and for each what is wrong with it; empty when it holds."""
    pairs = list(itertools.combinations(histories, 2))
    shared = [(one, other, stay, rival) for one, other in pairs for stay, rival in together(one, other)]
    messages = sum(len(stay.messages) for _, _, stay, _ in shared)
    return {
        f"same messages in the same order in {len(shared)} shared stays, {messages} deliveries compared": (
            "" if shared else "no two programs stayed together"
        )
        or first_difference(shared),
        "where ways parted, one had delivered the beginning of what the other had": parted(pairs),
        "no message was delivered twice": repeated(histories),
    }


def together(one: History, other: History) -> list[tuple[Stay, Stay]]:
    """The stays in views that both left for the same next view, or where both stayed to the end."""
    following = {stay.view: (stay, after) for stay, after in with_next(other)}
    return [
        (stay, following[stay.view][0])
        for stay, after in with_next(one)
        if stay.view in following and following[stay.view][1] == after
    ]


def with_next(history: History) -> list[tuple[Stay, ViewId | None]]:
    """Each stay and the view that came behind it."""
    views = [stay.view for stay in history.stays[1:]]
    return list(zip(history.stays, [*views, None], strict=True))


def first_difference(shared: Sequence[tuple[History, History, Stay, Stay]]) -> str:
    """Where the deliveries of two programs differ first."""
    for one, other, stay, rival in shared:
        if stay.messages != rival.messages:
            place = common_length(stay.messages, rival.messages)
            return (
                f"nodes {one.node} and {other.node} differ at message {place} of ring {stay.view.ring}"
                f" ({len(stay.messages)} and {len(rival.messages)} messages)"
            )
    return ""


def common_length(one: Sequence[object], other: Sequence[object]) -> int:
    """How many elements at the beginning are equal."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def parted(pairs: Sequence[tuple[History, History]]) -> str:
    """A view that two programs left for different ones with contradictory orders."""
    for one, other in pairs:
        stays = {stay.view: stay for stay in other.stays}
        for stay in one.stays:
            rival = stays.get(stay.view)
            if rival is None:
                continue
            length = min(len(stay.messages), len(rival.messages))
            if stay.messages[:length] != rival.messages[:length]:
                return f"nodes {one.node} and {other.node} contradict each other in ring {stay.view.ring}"
    return ""


def repeated(histories: Sequence[History]) -> str:
    """A message that a program got twice."""
    for history in histories:
        counts = Counter(message for stay in history.stays for message in stay.messages)
        twice = [message for message, count in counts.items() if count > 1]
        if twice:
            return f"node {history.node} got {len(twice)} messages from node {twice[0].node} more than once"
    return ""
