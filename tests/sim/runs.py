"""Small runs and hand-made results for tests of what people see of a simulation."""

from __future__ import annotations

from aisexec.sim.history import (
    Delivered,
    Ended,
    History,
    Mark,
    Record,
    Regular,
    Started,
    Submitted,
    Synchronised,
    Transitional,
    Violation,
)
from aisexec.sim.plan import Plan, Step
from aisexec.sim.run import Result
from aisexec.totem.types import RingId

RING = RingId(1, 5)
LATER = RingId(1, 9)

PLAN = Plan(
    seed=3,
    nodes=(1, 2),
    heal=8.0,
    steps=(
        Step(0.0, "start", ("1",)),
        Step(0.0, "start", ("2",)),
        Step(3.0, "cut", ("1", "2", "1.5")),
        Step(4.0, "pause", ("2", "1.0")),
        Step(6.0, "crash", ("2",)),
    ),
)


def log(at: float, node: int, text: str) -> Mark:
    """As nodes of a traced run leave them behind."""
    return Mark(at, (node, 0), "log", text)


def hand_made(*, violated: bool = False) -> Result:
    """Two nodes: a ring, five messages, a link that is cut, a pause, a crash, a ring of one."""
    messages = [b"message %d " % i for i in range(1, 6)]
    records: list[Record] = [Started(0.0, (1, 0), 0), Started(0.0, (2, 0), 4)]
    for node in (1, 2):
        life = (node, 0)
        records.append(Transitional(1.0, life, RING, (node,)))
        records.append(Regular(1.0, life, RING, (1, 2), (), (3 - node,)))
        records.append(Synchronised(1.5, life, RING))
    records += [Submitted(2.0, (1, 0), number, False) for number in range(5)]
    records += [Delivered(2.1 + number / 100, (2, 0), 1, number) for number in range(5)]
    records += [Delivered(2.1 + number / 100, (1, 0), 1, number) for number in range(4)]
    records.append(Ended(6.0, (2, 0), "crash"))
    records.append(Transitional(7.0, (1, 0), LATER, (1,)))
    last = Delivered(7.0, (1, 0), 1, 4)
    records.append(last)
    records.append(Regular(7.0, (1, 0), LATER, (1,), (2,), ()))
    gather = "7 [TOTEM] entering GATHER state from 2(The token was lost in the OPERATIONAL state.)."
    marks = [
        (2, log(0.0, 1, "7 [TOTEM] entering GATHER state from 15(interface change).")),
        (len(records) - 4, Mark(3.0, None, "fault", "cut 1 2 1.5")),
        (len(records) - 4, Mark(4.0, None, "fault", "pause 2 1.0")),
        (len(records) - 4, Mark(6.0, None, "fault", "crash 2")),
        (len(records) - 3, log(6.5, 1, gather)),
        (len(records) - 3, log(6.6, 1, "4 [TOTEM] <something> & odd")),
        (len(records) - 3, log(6.7, 1, "6 [TOTEM] of no interest")),
    ]
    history = History(records=records, marks=marks, messages=messages)
    history.healed_at, history.ended_at, history.must_settle_by = 8.0, 10.0, 20.0
    violation = Violation("virtual synchrony", "1 <did> & 2 did not", (last,)) if violated else None
    return Result(PLAN, history, violation, events=77, virtual=10.0)
