"""Basic delivery: only what was sent is delivered, and by each process once (EVS, specification 1).

Who delivers a message in a configuration does so because a member sent it in that configuration; it
delivers it in no other one and not a second time, and nobody delivers it in another one.
"""

from __future__ import annotations

from collections import Counter

from aisexec.sim.checkers.index import Index, Message, Passage, index, name, show
from aisexec.sim.history import Delivered, History, Submitted, Violation

PROPERTY = "delivered once"


def check(history: History) -> None:
    """Messages with equal bytes count together."""
    if history.corrupted:
        return
    indexed = index(history)
    for record in indexed.unsent:
        raise _unsent(history, indexed, record)
    where: dict[int, Passage] = {}
    for mine in indexed.passages.values():
        times: Counter[Message] = Counter()
        for passage in mine:
            times.update(passage.delivered)
            _check_senders(history, indexed, passage, where)
        for message, count in times.items():
            if count > len(indexed.sent.get(message, ())):
                raise _too_often(history, indexed, mine, message)


def _check_senders(
    history: History, indexed: Index, passage: Passage, where: dict[int, Passage]
) -> None:
    unique = indexed.unique
    here = {other.life for other in indexed.rings[passage.ring]} if passage.ring is not None else set()
    for record in passage.records:
        if record.sender not in passage.members:
            raise _wrong(history, passage, record, f"whose sender is none of {passage.members}")
        sent = unique.get(record.message)
        if sent is None:
            continue
        other = where.setdefault(record.message, passage)
        if other.ring != passage.ring:
            raise _wrong(history, passage, record, f"which {name(other.life)} delivers in ring {other.ring}")
        if sent.life not in here:
            raise _wrong(history, passage, record, f"which {name(sent.life)} sent, never in that ring", sent)


def _unsent(history: History, indexed: Index, record: Delivered) -> Violation:
    message = record.sender, record.message
    sent = indexed.sent.get(message, [])
    how = f"which is sent at {sent[0].at:.6f} only" if sent else "which was never sent"
    return Violation(
        PROPERTY,
        f"{name(record.life)} delivers {show(history, message)} at {record.at:.6f}, {how}",
        (record, *sent[:1]),
    )


def _too_often(
    history: History, indexed: Index, passages: list[Passage], message: Message
) -> Violation:
    records = [r for p in passages for r in p.records if (r.sender, r.message) == message]
    sent = indexed.sent.get(message, [])
    one_too_many = records[len(sent)]
    return Violation(
        PROPERTY,
        f"{name(one_too_many.life)} delivers {show(history, message)} at {one_too_many.at:.6f} for time"
        f" {len(sent) + 1}; it was sent {len(sent)} times only",
        (*sent, *records),
    )


def _wrong(
    history: History, passage: Passage, record: Delivered, why: str, *sent: Submitted
) -> Violation:
    return Violation(
        PROPERTY,
        f"{name(passage.life)} delivers {show(history, (record.sender, record.message))} in ring"
        f" {passage.ring} at {record.at:.6f}, {why}",
        (*sent, record),
    )
