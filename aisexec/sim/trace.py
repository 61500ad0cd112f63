"""The timeline of a run as text: one column per node, time at the left, one moment a line.

The text depends on the run alone, not on the terminal or the machine: two traces of one plan are equal
to the last byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from aisexec.sim.moments import Moment, moments
from aisexec.sim.run import Result

WIDTH = 150
"""Characters of a line that columns are made for."""

COLUMN_MIN = 24
"""Narrower ones cannot be read; the lines are longer then."""

COLUMN_MAX = 60

COLUMNS_MAX = 12
"""With more nodes a column has only the sign of their state, and what happens stands at the right."""

LEGEND = """\
  |  operational     :  gathering, committing or recovering     =  paused     (blank)  down
  T  transitional configuration     R  regular configuration, by ring id: members; who left; who joined
  5 delivered: 1.4..1.8   Totem messages of node 1, its fourth to eighth     1004#2  of program 1004
  *  shows the violation
"""

_SIGNS = {"COMMIT": ":", "RECOVERY": ":", "GATHER": ":"}


def trace(result: Result, *, width: int = WIDTH) -> str:
    """The whole timeline. Run with trace=True, else states, faults and log lines are not known."""
    sheet = _Sheet(result.plan.nodes, width)
    parts = [_head(result), LEGEND, sheet.head()]
    parts.extend(sheet.line(moment) for moment in moments(result))
    parts.append(_tail(result))
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _head(result: Result) -> str:
    plan = result.plan
    lines = plan.with_steps(()).text().splitlines()
    return "\n".join([*lines, f"steps {len(plan.steps)}, see aisexec-sim --print-plan", ""])


def _tail(result: Result) -> str:
    history = result.history
    settled = f"settled at {history.settled_at:.6f}" if history.settled_at is not None else "not settled"
    lines = [
        "",
        f"healed at {history.healed_at:.6f}, {settled} (by {history.must_settle_by:.6f} at the latest), "
        f"ended at {history.ended_at:.6f}, {result.events} events, {len(history.records)} records",
        f"FAILED: {result.what}" if result.failed else "nothing wrong was found",
    ]
    if result.violation is not None:
        lines.extend(f"  {record}" for record in result.violation.evidence)
    if result.crash:
        lines.extend("  " + line for line in result.crash.splitlines())
    return "\n".join(lines)


class _Sheet:
    """The columns, and the state of each node from line to line."""

    def __init__(self, nodes: Sequence[int], width: int) -> None:
        self._nodes = tuple(nodes)
        self._place = {node: i for i, node in enumerate(self._nodes)}
        self._signs = [" "] * len(self._nodes)
        self._paused: dict[int, str] = {}
        """By place: the sign of when it goes on."""
        self._time = -1.0
        self._narrow = len(nodes) > COLUMNS_MAX
        wanted = (width - len(_time(0.0))) // max(1, len(nodes)) - 1
        self._column = 1 if self._narrow else max(COLUMN_MIN, min(COLUMN_MAX, wanted))
        self._note = max(COLUMN_MIN, width - len(_time(0.0)) - 2 * len(nodes))

    def head(self) -> str:
        """Names of the nodes; when there is only room for a sign, written downwards."""
        if not self._narrow:
            return self._row("", [f"node {node}" for node in self._nodes])
        names = [str(node) for node in self._nodes]
        longest = max(map(len, names))
        rows = [[name.rjust(longest)[i] for name in names] for i in range(longest)]
        return "\n".join(self._row("node" if i == 0 else "", row) for i, row in enumerate(rows))

    def line(self, moment: Moment) -> str:
        """One moment; more than one line where its column is too narrow for the text."""
        time = "" if moment.at == self._time else _time(moment.at)
        self._time = moment.at
        if moment.node is None or moment.node not in self._place:
            return self._across(time, moment)
        place = self._place[moment.node]
        self._learn(place, moment)
        text = f"* {moment.text}" if moment.guilty else moment.text
        if self._narrow:
            return self._noted(time, place, f"{moment.node}: {text}")
        rows = []
        for piece in wrap(text, self._column, subsequent_indent="  ") or [""]:
            cells = list(self._signs)
            cells[place] = piece
            rows.append(self._row(time, cells))
            time = ""
        return "\n".join(rows)

    def _across(self, time: str, moment: Moment) -> str:
        """What concerns all nodes goes over all columns."""
        mark = "***" if moment.guilty else "---"
        return f"{time:>{len(_time(0.0))}} {mark} {moment.text} {mark}"

    def _noted(self, time: str, place: int, text: str) -> str:
        rows = []
        for number, piece in enumerate(wrap(text, self._note, subsequent_indent="  ") or [""]):
            cells = list(self._signs)
            if number == 0:
                cells[place] = "#"
            rows.append(f"{self._row(time if number == 0 else '', cells)} {piece}")
        return "\n".join(rows)

    def _row(self, time: str, cells: Sequence[str]) -> str:
        row = " ".join(cell.ljust(self._column) for cell in cells)
        return f"{time:>{len(_time(0.0))}} {row}".rstrip()

    def _learn(self, place: int, moment: Moment) -> None:
        match moment.kind:
            case "life":
                self._paused.pop(place, None)
                self._signs[place] = ":" if moment.text.startswith("starts") else " "
            case "state":
                self._enter(place, ":")
            case "configuration" if moment.text.startswith("R "):
                self._enter(place, "|")
            case "fault" if moment.text.startswith("PAUSES"):
                if self._signs[place] not in " =":
                    self._paused[place] = self._signs[place]
                    self._signs[place] = "="
            case "fault" if moment.text == "goes on" and place in self._paused:
                self._signs[place] = self._paused.pop(place)

    def _enter(self, place: int, sign: str) -> None:
        if place in self._paused:
            self._paused[place] = sign
        else:
            self._signs[place] = sign


def _time(at: float) -> str:
    return f"{at:10.6f}"
