"""Causal delivery: what a sender had delivered before it sent is delivered before (EVS, specification 5).

"If send(m) precedes send(m') and q delivers m', then q has delivered m before, if m can be delivered
there at all."  The last delivery before a sending stands for all earlier ones: these are in order already.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name, show
from aisexec.sim.history import Delivered, History, Life, Submitted, Violation

PROPERTY = "causal order"


def check(history: History) -> None:
    """Only messages that can be told apart."""
    if history.corrupted:
        return
    unique = index(history).unique
    cause: dict[int, int] = {}
    last: dict[Life, int] = {}
    for record in history.records:
        if isinstance(record, Delivered):
            if record.message in unique:
                last[record.life] = record.message
        elif isinstance(record, Submitted) and record.message in unique and record.life in last:
            cause[record.message] = last[record.life]
    for life, passages in index(history).passages.items():
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
                    f" {show(history, (other, before))}, which its sender had seen when it sent it",
                )
