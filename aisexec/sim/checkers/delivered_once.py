"""Basic delivery: only what was sent is delivered, and by each process once (EVS, specification 1).

"If p delivers m in configuration c, then q in c has originated m, and p delivers m in no other
configuration and not again in c."
"""

from __future__ import annotations

from collections import Counter, defaultdict

from aisexec.sim.checkers.index import name, show
from aisexec.sim.history import Delivered, History, Life, Submitted, Violation

PROPERTY = "delivered once"


def check(history: History) -> None:
    """Messages with equal bytes count together."""
    if history.corrupted:
        return
    sent: Counter[tuple[int, int]] = Counter()
    got: dict[Life, Counter[tuple[int, int]]] = defaultdict(Counter)
    for record in history.records:
        if isinstance(record, Submitted):
            sent[record.life[0], record.message] += 1
        elif isinstance(record, Delivered):
            message = record.sender, record.message
            mine = got[record.life]
            mine[message] += 1
            if mine[message] > sent[message]:
                times = "was never sent" if not sent[message] else f"was sent {sent[message]} times only"
                raise Violation(
                    PROPERTY,
                    f"{name(record.life)} delivers {show(history, message)} at {record.at:.6f} for the"
                    f" {mine[message]}. time; it {times}",
                    (record,),
                )
