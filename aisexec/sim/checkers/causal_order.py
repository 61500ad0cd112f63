"""Causal delivery: what a sender had delivered before it sent is delivered before (EVS, specification 5).

If one message was sent by somebody who had delivered another, whoever delivers both, delivers that other
one first.  The last delivery before a sending stands for all earlier ones: these are in order already.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name, show
from aisexec.sim.history import Delivered, History, Life, Submitted, Violation

PROPERTY = "causal order"


def check(history: History) -> None:
    """Only messages that can be told apart."""
    if history.corrupted:
        return
    indexed = index(history)
    unique = indexed.unique
    cause: dict[int, int] = {}
    last: dict[Life, int] = {}
    for record in history.records:
        if isinstance(record, Delivered):
            if record.message in unique:
                last[record.life] = record.message
        elif isinstance(record, Submitted) and record.message in unique and record.life in last:
            cause[record.message] = last[record.life]
    for life, passages in indexed.passages.items():
        place: dict[int, int] = {}
        for passage in passages:
            for _, message in passage.delivered:
                if message in unique:
                    place[message] = len(place)
        for message, at in place.items():
            before = cause.get(message)
            if before is not None and place.get(before, -1) > at:
                sender, other = unique[message].life[0], unique[before].life[0]
                raise Violation(
                    PROPERTY,
                    f"{name(life)} delivers {show(history, (sender, message))} before"
                    f" {show(history, (other, before))}, which its sender had seen when it sent it at"
                    f" {unique[message].at:.6f}",
                    tuple(r for p in passages for r in p.records if r.message in (message, before)),
                )
