"""Self-delivery: a process delivers what it sends, unless it fails (EVS, specification 4).

In the order of sending and without gaps.  Messages of a synchronisation go ahead of those that wait
for its end, so the two kinds are looked at apart.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Index, index, name, show
from aisexec.sim.history import History, Life, Submitted, Violation

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


def _check_life(
    history: History, indexed: Index, life: Life, *, synchronising: bool, whole: bool
) -> None:
    unique = indexed.unique
    passages = indexed.passages[life]
    sent = [
        s
        for passage in passages
        for s in passage.submitted
        if s.synchronising is synchronising and s.message in unique
    ]
    ours = {s.message for s in sent}
    got = [m for p in passages for sender, m in p.delivered if sender == life[0] and m in ours]
    for number, message in enumerate(got):
        if message != sent[number].message:
            raise _missing(history, sent[number], f"delivers its later {show(history, (life[0], message))}")
    if whole and len(got) < len(sent):
        raise _missing(history, sent[len(got)], "never")


def _missing(history: History, sent: Submitted, instead: str) -> Violation:
    what = show(history, (sent.life[0], sent.message))
    return Violation(
        PROPERTY,
        f"{name(sent.life)} sends {what} at {sent.at:.6f} and "
        + ("never delivers it" if instead == "never" else f"{instead} before it or without it"),
        (sent,),
    )
