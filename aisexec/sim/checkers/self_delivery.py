"""Self-delivery: a process delivers what it sends, unless it fails (EVS, specification 3).

In the order of sending and without gaps.  Messages of a synchronisation go ahead of those that wait
for its end, so the two kinds are looked at apart.

Of a life that failed, too: what somebody has delivered in a configuration was sent in it, so its sender
delivers it before it leaves that configuration.  And nobody waits for ever for its own message in a
configuration that lasts.
"""

from __future__ import annotations

from collections import defaultdict

from aisexec.sim.checkers.index import Index, Message, Passage, index, name, show
from aisexec.sim.history import Delivered, History, Life, Submitted, Violation

PROPERTY = "self-delivery"


def check(history: History) -> None:
    """Who is up at the end must have delivered everything; who failed, the beginning of it."""
    if history.corrupted:
        return
    indexed = index(history)
    for life in indexed.passages:
        whole = life not in indexed.ended and history.settled_at is not None
        for synchronising in (False, True):
            _check_life(history, indexed, life, synchronising=synchronising, whole=whole)
    for passages in indexed.rings.values():
        _check_witnesses(history, indexed, passages)


def _check_life(
    history: History, indexed: Index, life: Life, *, synchronising: bool, whole: bool
) -> None:
    passages = indexed.passages[life]
    every = [s for passage in passages for s in passage.submitted]
    others = {s.message for s in every if s.synchronising is not synchronising}
    sent = [s for s in every if s.synchronising is synchronising and s.message not in others]
    ours = {s.message for s in sent}
    got = [r for p in passages for r in p.records if r.sender == life[0] and r.message in ours]
    for number, record in enumerate(got):
        if number >= len(sent) or record.message != sent[number].message:
            raise _instead(history, sent[min(number, len(sent) - 1)], record)
    if len(got) < len(sent):
        waiting = sent[len(got)]
        if whole:
            raise _never(history, waiting, "and never delivers it")
        since = max([waiting.at, *(record.at for record in got[-1:])])
        _check_patience(history, indexed, waiting, since)


def _check_patience(history: History, indexed: Index, waiting: Submitted, since: float) -> None:
    """As long as healing may take, in one ring that is in step, has to be enough."""
    patience = history.must_settle_by - history.healed_at
    end = min(indexed.until(waiting.life), history.ended_at)
    for passage in indexed.passages[waiting.life]:
        if passage.synchronised_at is None:
            continue
        begin = max(since, passage.synchronised_at)
        until = min(passage.left_at, end)
        if until - begin > patience:
            raise _never(
                history,
                waiting,
                f"and does not deliver it in ring {passage.ring} from {begin:.6f} until {until:.6f}",
            )


def _check_witnesses(history: History, indexed: Index, passages: list[Passage]) -> None:
    """All of one ring."""
    moved_on = {passage.life: passage for passage in passages if passage.follower is not None}
    delivered: dict[Life, dict[int, Delivered]] = defaultdict(dict)
    for passage in passages:
        for record in passage.records:
            sent = indexed.unique.get(record.message)
            if sent is not None:
                delivered[sent.life].setdefault(record.message, record)
    for life, messages in delivered.items():
        sender = moved_on.get(life)
        if sender is None:
            continue
        missing = messages.keys() - {record.message for record in sender.records}
        if missing:
            witness = messages[min(missing)]
            raise _never(
                history,
                indexed.unique[witness.message],
                f"in ring {sender.ring}, where {name(witness.life)} delivers it at {witness.at:.6f}, and"
                f" goes on to ring {sender.follower} without having delivered it",
                witness,
            )


def _show(history: History, sent: Submitted) -> str:
    message: Message = sent.life[0], sent.message
    return f"{name(sent.life)} sends {show(history, message)} at {sent.at:.6f}"


def _instead(history: History, sent: Submitted, record: Delivered) -> Violation:
    later = show(history, (record.sender, record.message))
    return Violation(
        PROPERTY,
        f"{_show(history, sent)} and delivers its {later} at {record.at:.6f} in its place",
        (sent, record),
    )


def _never(history: History, sent: Submitted, how: str, *evidence: Delivered) -> Violation:
    return Violation(PROPERTY, f"{_show(history, sent)} {how}", (sent, *evidence))
