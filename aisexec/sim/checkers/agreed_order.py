"""Agreed delivery: one total order in each configuration, without holes (EVS, specification 6).

In the regular configuration what one member has delivered is the beginning of what any other has.  In
the transitional configurations behind it messages of those who did not come along may be missing; the
order is the same, and of those who did come along, nothing is left out.
"""

from __future__ import annotations

from collections import Counter

from aisexec.sim.checkers.index import Index, Message, Passage, index, name, show, when
from aisexec.sim.history import History, Life, Violation

PROPERTY = "agreed order"


def check(history: History) -> None:
    """Ring by ring."""
    if history.corrupted:
        return
    indexed = index(history)
    for passages in indexed.rings.values():
        if len(passages) > 1:
            _check_prefix(history, passages)
            _check_order(history, passages)
    _check_holes(history, indexed)


def _check_prefix(history: History, passages: list[Passage]) -> None:
    longest = max(passages, key=lambda passage: len(passage.regular))
    for passage in passages:
        mine = passage.regular
        if mine != longest.regular[: len(mine)]:
            at = next(i for i, (x, y) in enumerate(zip(mine, longest.regular, strict=False)) if x != y)
            (one, record), (two, other) = when(passage, at), when(longest, at)
            raise Violation(
                PROPERTY,
                f"in ring {passage.ring} message {at + 1} is {show(history, mine[at])} at"
                f" {name(passage.life)}{one} and {show(history, longest.regular[at])} at"
                f" {name(longest.life)}{two}",
                (*record, *other),
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
                tuple(
                    record
                    for passage in (one, two)
                    for record in passage.records
                    if (record.sender, record.message) in (message, last_message)
                ),
            )
        last, last_message = at, message


def _check_holes(history: History, indexed: Index) -> None:
    """What one sender has sent is delivered in that order and without gaps, within one configuration.

    What was sent during a synchronisation goes ahead of what waits for its end: two sequences.
    """
    place: dict[int, tuple[Life, bool, int]] = {}
    counts: Counter[tuple[Life, bool]] = Counter()
    for passages in indexed.passages.values():
        for passage in passages:
            for sent in passage.submitted:
                if sent.message in indexed.unique:
                    kind = sent.life, sent.synchronising
                    place[sent.message] = *kind, counts[kind]
                    counts[kind] += 1
    for passages in indexed.passages.values():
        for passage in passages:
            _check_senders(history, indexed, passage, place)


def _check_senders(
    history: History, indexed: Index, passage: Passage, place: dict[int, tuple[Life, bool, int]]
) -> None:
    announced = passage.transitional
    along = () if announced is None else announced.members
    last: dict[tuple[Life, bool], int] = {}
    for number, (sender, message) in enumerate(passage.delivered):
        known = place.get(message)
        if known is None:
            continue
        life, synchronising, at = known
        before = last.get((life, synchronising))
        if before is not None:
            gap_is_wrong = number < len(passage.regular) or sender in along
            if at <= before or (gap_is_wrong and at != before + 1):
                _, record = when(passage, number)
                raise Violation(
                    PROPERTY,
                    f"{name(passage.life)} delivers {show(history, (sender, message))} in ring"
                    f" {passage.ring} at {passage.records[number].at:.6f}; it is number {at + 1} that"
                    f" {name(life)} sent, and the last one delivered was number {before + 1}",
                    (indexed.unique[message], *record),
                )
        last[life, synchronising] = at
