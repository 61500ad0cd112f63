"""A run as a list of moments that a person would name: what its timeline is written from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aisexec.sim.history import (
    Delivered,
    Ended,
    History,
    Mark,
    Process,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramView,
    Record,
    Refused,
    Regular,
    Started,
    Synchronised,
    Transitional,
)
from aisexec.sim.names import Names
from aisexec.sim.run import Result
from aisexec.sim.spans import entered, fault_spans, paused, stream
from aisexec.totem.types import LOG_WARNING
from ipc.cpg_layouts import Reason
from ipc.errors import CsError

MOMENTS_MAX = 50_000
"""Of one run; of a longer one the middle is left out."""

RESOLUTION = 100
"""Deliveries that nothing else of the node comes between are told together, but not for longer than
this part of the run, so that it can be seen when nothing was delivered."""

MEMBERS_SHOWN = 12
"""Members of a configuration or group that are spelt out."""

AGAIN = "; "
"""Before how often a state was entered."""

ENDS = {"crash": "CRASHES", "leave": "leaves in order", "lost": "CRASHES and loses its disk"}


class Moment(NamedTuple):
    """One line of a timeline."""

    at: float
    """Virtual seconds"""
    node: int | None
    """None: all nodes, or the network between them"""
    kind: str
    """life, state, configuration, delivery, program, work, fault, log, verdict"""
    text: str
    guilty: bool = False
    """It is evidence of the violation."""


def moments(result: Result) -> list[Moment]:
    """In the order in which they happened. The run must have been traced for states, faults and logs."""
    found = _without_repetitions(_Reader(result).read())
    more = len(found) - MOMENTS_MAX
    if more <= 0:
        return found
    half = MOMENTS_MAX // 2
    gap = Moment(found[half].at, None, "verdict", f"{more} moments are left out here")
    return [*found[:half], gap, *found[-half:]]


def _without_repetitions(found: Sequence[Moment]) -> list[Moment]:
    """A node that enters the same state for the same reason again and again does so in one line."""
    result: list[Moment] = []
    last: dict[int | None, tuple[int, int]] = {}
    """By node: place of its last moment, and how often that was said."""
    for moment in found:
        place, times = last.get(moment.node, (-1, 0))
        same = place >= 0 and moment.kind == "state" == result[place].kind
        text = result[place].text.partition(AGAIN)[0] if same else ""
        if text == moment.text:
            last[moment.node] = place, times + 1
            again = f"{AGAIN}{times + 1} times until {moment.at:.6f}"
            result[place] = result[place]._replace(text=text + again)
        else:
            last[moment.node] = len(result), 1
            result.append(moment)
    return result


def numbers(nodes: Sequence[int]) -> str:
    """Node ids, cut short when there are many: "1 2 5"."""
    text = " ".join(map(str, nodes[:MEMBERS_SHOWN]))
    return text + (f" and {len(nodes) - MEMBERS_SHOWN} more" if len(nodes) > MEMBERS_SHOWN else "")


def group_text(group: bytes) -> str:
    """A group's name as people write it."""
    return group.decode("utf-8", "backslashreplace")


class _Deliveries:
    """Messages that one node delivered with nothing in between."""

    def __init__(self, first: float) -> None:
        self.first = first
        self.last = first
        self.order = 0
        self.shown = ""
        """If it is evidence, the message in the words of the violation."""
        self.totem: list[tuple[int, int]] = []
        self.programs: dict[int, list[tuple[int, int]]] = {}


class _Reader:
    """Goes through a history once; `order` keeps moments of one instant in their order."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._history: History = result.history
        self._names = Names(self._history)
        self._span = max(self._history.ended_at, result.virtual) / RESOLUTION
        self._found: list[tuple[float, int, Moment]] = []
        self._open: dict[int, _Deliveries] = {}
        self._order = 0
        violation = result.violation
        # Not by equality: records of different kinds can be equal as tuples.
        self._evidence = set(map(id, violation.evidence)) if violation else set()

    def read(self) -> list[Moment]:
        """All of them."""
        for item in stream(self._history):
            self._order += 1
            if isinstance(item, Mark):
                self._mark(item)
            else:
                self._record(item)
        for node in sorted(self._open):
            self._flush(node)
        self._ends_of_faults()
        self._verdict()
        self._found.sort(key=lambda entry: entry[:2])
        return [moment for _, _, moment in self._found]

    def _add(self, moment: Moment, order: int = 0) -> None:
        self._found.append((moment.at, order or self._order, moment))

    # Records.

    def _record(self, record: Record) -> None:
        if isinstance(record, Delivered | ProgramDelivered):
            self._delivered(record)
            return
        told = self._told(record)
        guilty = id(record) in self._evidence
        if told is None and guilty:
            told = "record", str(record)
        if told is not None:
            self._flush(record.life[0])
            self._add(Moment(record.at, record.life[0], *told, guilty))

    def _told(self, record: Record) -> tuple[str, str] | None:
        match record:
            case Started(_, (_, number), ring_seq):
                again = f", life {number + 1}" if number else ""
                disk = f"ring seq {ring_seq:x} on disk" if ring_seq else "empty disk"
                return "life", f"starts ({disk}{again})"
            case Ended(_, _, how):
                return "life", ENDS.get(how, how)
            case Transitional(_, _, ring, members):
                return "configuration", f"T {ring}: {numbers(members)}"
            case Regular(_, _, ring, members, left, joined):
                changes = (("left", left), ("joined", joined))
                change = "".join(f"; {word} {numbers(nodes)}" for word, nodes in changes if nodes)
                return "configuration", f"R {ring}: {numbers(members)}{change}"
            case Synchronised(_, _, ring):
                return "configuration", f"in step in {ring}"
            case ProgramJoined(_, _, pid, group):
                return "program", f"{pid} is in {group_text(group)}"
            case ProgramView(_, _, pid, members, left, joined):
                return "program", f"{pid} sees {_view(members, left, joined)}"
            case ProgramEnded(_, _, pid, how):
                return "program", f"{pid} ends: {how}"
            case Refused(_, _, pid, request, error):
                return "program", f"{pid}: {request} refused: {_error(error)}"
        return None

    def _delivered(self, record: Delivered | ProgramDelivered) -> None:
        node = record.life[0]
        mine = self._open.get(node)
        guilty = id(record) in self._evidence
        if mine is not None and (guilty or mine.shown or record.at - mine.first > self._span):
            self._flush(node)
            mine = None
        if mine is None:
            mine = self._open[node] = _Deliveries(record.at)
        mine.last, mine.order = record.at, self._order
        if guilty:
            mine.shown = f" (message {record.message})"
        if isinstance(record, Delivered):
            mine.totem.append((record.sender, record.message))
        else:
            got = mine.programs.setdefault(record.pid, [])
            got.append((record.sender[1], record.message))

    def _flush(self, node: int) -> None:
        mine = self._open.pop(node, None)
        if mine is None:
            return
        told = [("delivery", self._names.totem(mine.totem))] if mine.totem else []
        for pid, messages in mine.programs.items():
            told.append(("program", f"{pid} got {len(messages)}: {self._names.program(messages)}"))
        for kind, text in told:
            self._add(Moment(mine.last, node, kind, text + mine.shown, bool(mine.shown)), mine.order)

    # Marks.

    def _mark(self, mark: Mark) -> None:
        match mark.kind:
            case "log":
                self._log(mark)
            case "work":
                self._work(mark)
            case _:
                self._fault(mark)

    def _log(self, mark: Mark) -> None:
        node = mark.life[0] if mark.life else None
        state = entered(mark)
        if state is not None:
            # That it is operational is said by the regular configuration.
            if state[0] != "OPERATIONAL":
                text = f"{state[0]}: {state[1]}" if state[1] else state[0]
                self._say(mark.at, node, "state", text)
            return
        priority, _, text = mark.text.partition(" ")
        if priority.isdigit() and int(priority) <= LOG_WARNING:
            self._say(mark.at, node, "log", text)

    def _say(self, at: float, node: int | None, kind: str, text: str) -> None:
        if node is not None:
            self._flush(node)
        self._add(Moment(at, node, kind, text))

    def _work(self, mark: Mark) -> None:
        verb, *arguments = mark.text.split()
        match verb, arguments:
            case "connect", [node, pid]:
                text = f"{pid} connects"
            case "join", [node, pid, group]:
                text = f"{pid} joins {group}"
            case "quit", [node, pid]:
                text = f"{pid} leaves its group"
            case "exit", [node, pid]:
                text = f"{pid} dies"
            case "send", [node, pid, count, size]:
                text = f"{pid} sends {count} x {size} B"
            case "pieces", [node, pid, count, size]:
                text = f"{pid} sends 1 x {count} pieces of {size} B"
            case "raw", [node, count, size, guarantee]:
                text = f"sends {count} x {size} B, {guarantee}"
            case _:
                node, text = "", mark.text
        self._add(Moment(mark.at, int(node) if node else None, "work", text))

    def _fault(self, mark: Mark) -> None:
        verb = mark.text.partition(" ")[0]
        if verb in ("start", "crash", "lose", "leave"):
            return  # the node says so itself, if it had any effect
        node = mark.life[0] if mark.life else None
        text = mark.text
        match mark.text.split():
            case "pause", name, seconds:
                node, text = int(name), f"PAUSES for {seconds} s"
            case "slow", name, delay, seconds:
                node, text = int(name), f"hears all {delay} s late for {seconds} s"
            case "busy", name, turn, seconds:
                node, text = int(name), f"looks up every {turn} s only, for {seconds} s"
            case "replay", count, name:
                node, text = int(name), f"gets {count} old frames again"
        self._say(mark.at, node, "fault", text)

    def _ends_of_faults(self) -> None:
        """Faults end without a mark of their own; `all healed` says it for those that last till then."""
        self._order += 1
        plan, ended = self._result.plan, self._history.ended_at
        if not self._history.marks:
            return
        for span in fault_spans(plan):
            if span.end < min(plan.heal, ended) and len(span.nodes) != 1:
                self._add(Moment(span.end, None, "fault", f"no longer {span.text}"))
        for node, times in paused(plan, self._history).items():
            for _, end in times:
                if end < ended:
                    self._add(Moment(end, node, "fault", "goes on"))

    def _verdict(self) -> None:
        result, history = self._result, self._history
        self._order += 1
        if result.violation is not None:
            text = f"VIOLATION of {result.violation}"
            self._add(Moment(self._when_violated(), None, "verdict", text, True))
        if result.crash:
            self._add(Moment(history.ended_at, None, "verdict", result.what, True))
        if history.settled_at is not None:
            self._add(Moment(history.settled_at, None, "verdict", "settled: all that are up are in step"))

    def _when_violated(self) -> float:
        violation = self._result.violation
        times = [record.at for record in violation.evidence] if violation is not None else []
        return max(times, default=self._history.ended_at)


def _view(
    members: tuple[Process, ...],
    left: tuple[tuple[int, int, int], ...],
    joined: tuple[tuple[int, int, int], ...],
) -> str:
    words = [_processes([f"{node}/{pid}" for node, pid in members]) or "nobody"]
    for name, changes in (("left", left), ("joined", joined)):
        if changes:
            words.append(f"{name} " + _processes([f"{n}/{pid} {_reason(why)}" for n, pid, why in changes]))
    return "; ".join(words)


def _processes(words: list[str]) -> str:
    more = len(words) - MEMBERS_SHOWN
    return ", ".join(words[:MEMBERS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _reason(number: int) -> str:
    try:
        return Reason(number).name.lower()
    except ValueError:
        return f"reason {number}"


def _error(number: int) -> str:
    try:
        return CsError(number).name
    except ValueError:
        return f"error {number}"
