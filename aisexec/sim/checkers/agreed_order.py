"""Agreed delivery: one total order in each configuration, without holes (EVS, specifications 5 and 6.1, 6.2).

In the regular configuration what one member has delivered is the beginning of what any other has; in
the transitional configurations behind it there may be holes, but the order is the same.
"""

from __future__ import annotations

from collections import Counter

from aisexec.sim.checkers.index import Message, Passage, index, name, show
from aisexec.sim.history import History, Violation

PROPERTY = "agreed order"


def check(history: History) -> None:
    """Ring by ring."""
    if history.corrupted:
        return
    for passages in index(history).rings.values():
        if len(passages) > 1:
            _check_prefix(history, passages)
            _check_order(history, passages)


def _check_prefix(history: History, passages: list[Passage]) -> None:
    longest = max(passages, key=lambda passage: len(passage.regular))
    for passage in passages:
        mine = passage.regular
        if mine != longest.regular[: len(mine)]:
            at = next(i for i, (x, y) in enumerate(zip(mine, longest.regular, strict=False)) if x != y)
            raise Violation(
                PROPERTY,
                f"in ring {passage.ring} message {at + 1} is {show(history, mine[at])} at"
                f" {name(passage.life)} and {show(history, longest.regular[at])} at {name(longest.life)}",
            )


def _check_order(history: History, passages: list[Passage]) -> None:
    different = {tuple(passage.delivered): passage for passage in passages}
    sequences = list(different)
    for number, one in enumerate(sequences):
        for two in sequences[number + 1 :]:
            _compare(history, different[one], different[two], _once(one), _once(two))


def _once(sequence: tuple[Message, ...]) -> list[Message]:
    """Messages whose bytes came once: others cannot be told apart."""
    counts = Counter(sequence)
    return [message for message in sequence if counts[message] == 1]


def _compare(
    history: History, one: Passage, two: Passage, left: list[Message], right: list[Message]
) -> None:
    place = {message: i for i, message in enumerate(right)}
    last, last_message = -1, None
    for message in left:
        at = place.get(message)
        if at is None:
            continue
        if at < last:
            assert last_message is not None
            raise Violation(
                PROPERTY,
                f"in ring {one.ring} {name(one.life)} delivers {show(history, last_message)} before"
                f" {show(history, message)}, {name(two.life)} the other way round",
            )
        last, last_message = at, message
