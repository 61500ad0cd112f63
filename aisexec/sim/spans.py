"""What lasted from when to when in a run: faults, and the states and rings of each node."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from aisexec.sim.history import (
    Ended,
    History,
    Life,
    Mark,
    Record,
    Regular,
    Started,
    Synchronised,
)
from aisexec.sim.plan import VERBS, Plan, Step, parameters
from aisexec.totem.types import RingId

LASTING = frozenset(verb for verb in VERBS if parameters(verb)[-1] == "SECONDS")
"""Faults that end by themselves; their last argument says after how many seconds."""

SYNCHRONISING = "OPERATIONAL, synchronising"
IN_STEP = "OPERATIONAL"
"""The services are synchronised: programs are served."""

_ENTERING = re.compile(r"entering (\w+) state(?: from \d+\((.*)\))?\.$")


class FaultSpan(NamedTuple):
    """A fault that lasts, virtual seconds."""

    begin: float
    end: float
    verb: str
    text: str
    """Without the duration: "cut 1 2"."""
    nodes: tuple[int, ...]
    """Whom it concerns; all nodes for faults of the whole network."""


class StateSpan(NamedTuple):
    """A node between two changes of its state, virtual seconds."""

    begin: float
    end: float
    life: Life
    state: str
    """A state of the membership protocol, SYNCHRONISING or IN_STEP."""
    ring: RingId | None
    """In the two operational states."""
    members: tuple[int, ...]


def stream(history: History) -> Iterator[Record | Mark]:
    """Records and marks in the order in which they were made."""
    marks, place = history.marks, 0
    for number, record in enumerate(history.records):
        while place < len(marks) and marks[place][0] <= number:
            yield marks[place][1]
            place += 1
        yield record
    for _, mark in marks[place:]:
        yield mark


def entered(mark: Mark) -> tuple[str, str] | None:
    """The state that a log line says a node enters, and why."""
    found = _ENTERING.search(mark.text) if mark.kind == "log" and "entering " in mark.text else None
    return (found[1], found[2] or "") if found else None


def fault_spans(plan: Plan) -> list[FaultSpan]:
    """In order of their begin."""
    return [_fault_span(plan, step) for step in plan.steps if step.verb in LASTING and step.at < plan.heal]


def _fault_span(plan: Plan, step: Step) -> FaultSpan:
    *arguments, seconds = step.arguments
    named = zip(parameters(step.verb), arguments, strict=False)
    nodes = tuple(int(word) for name, word in named if name in ("NODE", "FROM", "TO"))
    end = min(step.at + float(seconds), plan.heal)
    return FaultSpan(step.at, end, step.verb, " ".join((step.verb, *arguments)), nodes or plan.nodes)


class _Lane:
    """The spans of one node while they are found."""

    def __init__(self) -> None:
        self.spans: list[StateSpan] = []
        self._begin = 0.0
        self._life: Life | None = None
        self._state = ""
        self._ring: RingId | None = None
        self._members: tuple[int, ...] = ()
        self._in_step: RingId | None = None

    def close(self, at: float) -> None:
        """The state ends here; one that took no time is not worth a span."""
        if self._life is not None and at > self._begin:
            ring = self._ring if self._state in (SYNCHRONISING, IN_STEP) else None
            members = self._members if ring else ()
            self.spans.append(StateSpan(self._begin, at, self._life, self._state, ring, members))
        self._begin = at

    def read(self, item: Record | Mark) -> None:
        """What it says about the state. Log lines come behind the records of the same instant."""
        match item:
            case Started(at, life, _):
                self.close(at)
                self._life, self._state, self._ring = life, "GATHER", None
            case Ended(at):
                self.close(at)
                self._life = None
            case Regular(at, _, ring, members):
                self.close(at)
                self._state, self._ring, self._members = SYNCHRONISING, ring, members
            case Synchronised(at, _, ring):
                self.close(at)
                self._state, self._in_step = IN_STEP, ring
            case Mark(at):
                state = entered(item)
                if state is not None:
                    self.close(at)
                    self._state = state[0]
                    if self._state == "OPERATIONAL":
                        self._state = IN_STEP if self._in_step == self._ring else SYNCHRONISING


def state_spans(history: History) -> dict[int, list[StateSpan]]:
    """By node, in order of time; there is none while a node is down."""
    lanes: dict[int, _Lane] = defaultdict(_Lane)
    for item in stream(history):
        if item.life is not None:
            lanes[item.life[0]].read(item)
    for lane in lanes.values():
        lane.close(history.ended_at)
    return {node: lanes[node].spans for node in sorted(lanes)}


def paused(plan: Plan, history: History) -> dict[int, list[tuple[float, float]]]:
    """When each node did not run although it was up, without overlaps."""
    lives: dict[int, list[list[float]]] = defaultdict(list)
    for record in history.records:
        if isinstance(record, Started):
            lives[record.life[0]].append([record.at, history.ended_at])
        elif isinstance(record, Ended):
            lives[record.life[0]][-1][1] = record.at
    result: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for span in fault_spans(plan):
        if span.verb != "pause":
            continue
        known = result[span.nodes[0]]
        for begin, end in lives[span.nodes[0]]:
            if not begin <= span.begin < end:
                continue
            first, last = span.begin, min(span.end, end)
            if known and span.begin <= known[-1][1]:
                before = known.pop()
                first, last = before[0], max(before[1], last)
            known.append((first, last))
    return dict(result)
