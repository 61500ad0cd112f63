"""A run as a picture: one lane per node, time to the right. SVG that needs nothing from elsewhere.

What has a length in time is drawn in one group that is only stretched when a reader looks closer; what has
none (marks, labels) is put at its place one by one.  `aisexec.sim.picture_page` makes use of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from aisexec.sim.history import Delivered, Ended, Mark, ProgramView, Regular, Started
from aisexec.sim.markup import element, number, titled, words
from aisexec.sim.moments import ENDS, numbers
from aisexec.sim.run import Result
from aisexec.sim.spans import (
    IN_STEP,
    SYNCHRONISING,
    FaultSpan,
    StateSpan,
    fault_spans,
    paused,
    state_spans,
    stream,
)
from aisexec.totem.types import LOG_WARNING, RingId

WIDTH = 1400.0
LEFT, RIGHT = 76.0, 24.0
"""Beside the plot, pixels: names of nodes, and the end of the last label."""
PLOT = WIDTH - LEFT - RIGHT
HEAD = 46.0
ROW = 15.0
"""A fault of the whole network."""
ROWS_MAX = 8
FOOT = 90.0
BINS = 700
"""Parts of time for which deliveries are counted."""
MARKS_MAX = 8_000
"""Marks and labels of one picture; what is beyond it is left out, and the picture says so."""
LABEL_MAX = 30
"""Letters; of a longer description of a fault only its verb is written."""
LETTER = 6.2
"""About the width of one, pixels."""

RINGS = ("#3b82c4", "#d9902f", "#2f9e77", "#b86aa8", "#6cb6dd", "#a58b2d", "#7f6fd0", "#7a9a3a")
"""Told apart by most people with and without full colour vision; none is the red of a violation."""

STYLE = """
text{font:11px system-ui,sans-serif;fill:#333}
.bg{fill:#fff}.name{font-weight:600}.faint{fill:#777}.head{font-size:14px;font-weight:600}
.axis{stroke:#999;stroke-width:1}.grid{stroke:#8884;stroke-width:1}
.lane{fill:#8881}.gather{fill:#9aa0a6}.commit{fill:#6f757b}.recovery{fill:#474c52}
.sync{fill-opacity:.5}.count{fill:#5b6770;fill-opacity:.75}
.fault{fill:#c77b1a;fill-opacity:.32}.side0{fill:#c77b1a;fill-opacity:.16}
.side1{fill:#7a5cc7;fill-opacity:.16}.side2{fill:#2b9aa0;fill-opacity:.16}.side3{fill:#6d8f1f;fill-opacity:.16}
.all{fill:#c77b1a;fill-opacity:.07}.link{fill:#c77b1a;fill-opacity:.13}
.pause{fill:url(#hatch)}.death{stroke:#b3261e;stroke-width:2;fill:none}
.leave{fill:#666}.birth{fill:#2f7d32}.ring{stroke:#333;stroke-width:1.5}
.warn{fill:#e0a100;stroke:#7a5800;stroke-width:.5}.view{fill:#555}
.phase{stroke:#2f7d32;stroke-width:1;stroke-dasharray:5 3}
.guilt{stroke:#d00000;stroke-width:2}.guilty{fill:none;stroke:#d00000;stroke-width:2}.bad{fill:#d00000}
@media (prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#16191d}.faint{fill:#999}.ring{stroke:#ddd}
.gather{fill:#5c6268}.commit{fill:#858b91}.recovery{fill:#b4bac0}.count{fill:#aeb8c0}.view{fill:#bbb}
.leave{fill:#aaa}.birth{fill:#67c06b}.phase{stroke:#67c06b}.death{stroke:#ff6b60}
.bad{fill:#ff5c50}.guilt,.guilty{stroke:#ff5c50}}
"""

HATCH = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#fff" fill-opacity=".55"/>'
    '<rect width="3" height="6" fill="#222" fill-opacity=".65"/></pattern>'
)


@dataclass
class Lane:
    """Where things of one node are drawn, pixels from the top."""

    top: float
    height: float
    bar: float
    """Height of the bar of states; what is above it is for deliveries."""

    @property
    def bar_top(self) -> float:
        """Upper edge of the bar."""
        return self.top + self.height - self.bar - 2


class Picture:
    """One run, drawn."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.history = result.history
        self.end = max(self.history.ended_at, result.virtual, 1e-9)
        """Of the plot, virtual seconds."""
        self.faults = fault_spans(result.plan)
        self.rows = _packed([f for f in self.faults if len(f.nodes) != 1])
        self.top = HEAD + ROW * max(1, len(self.rows)) + 20
        self.lanes = _lanes(result.plan.nodes, self.top)
        self.bottom = self.top + sum(lane.height + 3 for lane in self.lanes.values())
        self.height = self.bottom + FOOT
        self._colours: dict[RingId, str] = {}
        self._marks: list[str] = []
        self._left_out = 0

    def x(self, at: float) -> float:
        """In the stretched group."""
        return min(max(at, 0.0), self.end) / self.end * PLOT

    def svg(self) -> str:
        """The whole picture as one element."""
        bars = "".join((*self._shades(), *self._states(), *self._counts()))
        self._all_marks()
        left_out = f"; {self._left_out} marks are left out" if self._left_out else ""
        return element(
            "svg",
            element("style", STYLE),
            element("defs", HATCH, self._clip()),
            element("rect", cls="bg", width=WIDTH, height=self.height),
            self._title(left_out),
            "".join(self._names()),
            element("g", "".join(self._ticks()), id="ticks"),
            element(
                "g",
                element("g", bars, id="stretch", transform=f"translate({number(LEFT)} 0) scale(1 1)"),
                clip_path="url(#plot)",
            ),
            element("g", "".join(self._marks), id="marks"),
            self._legend(),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {number(WIDTH)} {number(self.height)}",
            width=WIDTH,
            height=self.height,
            id="run",
            data_end=repr(self.end),
            data_left=LEFT,
            data_plot=PLOT,
            data_top=self.top,
            data_bottom=self.bottom,
        )

    # Around the plot.

    def _clip(self) -> str:
        area = element("rect", x=LEFT, y=0.0, width=PLOT, height=self.height)
        return element("clipPath", area, id="plot")

    def _title(self, more: str) -> str:
        plan, result = self.result.plan, self.result
        outcome = result.what or "nothing wrong was found"
        cls = "bad" if result.failed else "faint"
        shown = outcome if len(outcome) <= 190 else outcome[:189] + "\u2026"
        about = f"seed {plan.seed}, {len(plan.nodes)} nodes, {self.end:.2f} virtual seconds{more}"
        return element(
            "g",
            element("text", words(about), x=LEFT, y=16.0, cls="head"),
            element("text", words(shown), titled(outcome), x=LEFT, y=32.0, cls=cls),
        )

    def _names(self) -> Iterator[str]:
        for node, lane in self.lanes.items():
            middle = lane.top + lane.height / 2 + 4
            yield element("rect", cls="lane", x=LEFT, y=lane.top, width=PLOT, height=lane.height)
            yield element("text", f"node {node}", x=LEFT - 8, y=middle, text_anchor="end", cls="name")

    def _ticks(self) -> Iterator[str]:
        step = tick_step(self.end)
        for i in range(int(self.end / step) + 1):
            x = LEFT + self.x(i * step)
            yield element("line", cls="grid", x1=x, x2=x, y1=self.top - 4, y2=self.bottom)
            label = f"{i * step:g} s"
            yield element("text", label, x=x, y=self.bottom + 13, text_anchor="middle", cls="faint")

    # What has a length in time.

    def _bar(
        self, begin: float, end: float, top: float, height: float, cls: str, text: str, **more: str
    ) -> str:
        left = self.x(begin)
        return element(
            "rect",
            titled(text),
            x=left,
            y=top,
            width=max(self.x(end) - left, 0.05),
            height=height,
            cls=cls,
            **more,
        )

    def _shades(self) -> Iterator[str]:
        """Faults: over the lanes that they concern, and a row each for those of more than one node."""
        for fault in self.faults:
            text = f"{fault.text}, {fault.begin:.4f} to {fault.end:.4f} s"
            sides = _sides(fault)
            for node in fault.nodes:
                lane = self.lanes[node]
                cls = "all" if len(fault.nodes) > 2 else "link"
                cls = f"side{sides[node] % 4}" if node in sides else cls
                if fault.verb != "pause":
                    yield self._bar(fault.begin, fault.end, lane.top, lane.height, f"{cls} f", text)
        for number_, row in enumerate(self.rows):
            for fault in row:
                text = f"{fault.text}, {fault.begin:.4f} to {fault.end:.4f} s"
                yield self._bar(fault.begin, fault.end, HEAD + ROW * number_, ROW - 2, "fault f", text)

    def _states(self) -> Iterator[str]:
        for node, spans in state_spans(self.history).items():
            lane = self.lanes[node]
            for span in spans:
                yield self._state(span, lane)
            for begin, end in paused(self.result.plan, self.history).get(node, ()):
                text = f"node {node} is paused, {begin:.4f} to {end:.4f} s"
                yield self._bar(begin, end, lane.bar_top, lane.bar, "pause", text)

    def _state(self, span: StateSpan, lane: Lane) -> str:
        times = f"{span.begin:.4f} to {span.end:.4f} s"
        if span.state not in (SYNCHRONISING, IN_STEP) or span.ring is None:
            cls = span.state.lower() if span.state in ("GATHER", "COMMIT", "RECOVERY") else "gather"
            text = f"node {span.life[0]}: {span.state}, {times}"
            return self._bar(span.begin, span.end, lane.bar_top, lane.bar, cls, text)
        text = f"node {span.life[0]}: {span.state}, ring {span.ring}: {numbers(span.members)}; {times}"
        cls = "sync" if span.state == SYNCHRONISING else "step"
        colour = self._colour(span.ring)
        return self._bar(span.begin, span.end, lane.bar_top, lane.bar, cls, text, fill=colour)

    def _colour(self, ring: RingId) -> str:
        return self._colours.setdefault(ring, RINGS[len(self._colours) % len(RINGS)])

    def _counts(self) -> Iterator[str]:
        """Deliveries over time, as a skyline above each bar; all lanes have one scale."""
        counts: dict[int, Counter[int]] = {node: Counter() for node in self.lanes}
        for record in self.history.records:
            if isinstance(record, Delivered):
                counts[record.life[0]][min(int(record.at / self.end * BINS), BINS - 1)] += 1
        most = max((max(c.values(), default=0) for c in counts.values()), default=0)
        for node, found in counts.items():
            lane, path = self.lanes[node], []
            room, wide = lane.bar_top - lane.top - 2, PLOT / BINS
            for place in sorted(found):
                # The root, so that one message can be seen beside a thousand.
                tall = room * (found[place] / most) ** 0.5
                box = f"h{number(wide)}v{number(-tall)}h{number(-wide)}z"
                path.append(f"M{number(place * wide)} {number(lane.bar_top)}{box}")
            if path:
                most_here = f"at most {max(found.values())} in {self.end / BINS:.4f} s"
                text = f"node {node}: messages delivered, {most_here}"
                yield element("path", titled(text), d="".join(path), cls="count d")

    # What has none.

    def _mark(self, at: float, y: float, *inside: str, cls: str = "", until: float | None = None) -> None:
        """`until`: a label that is only shown while it has room up to that time."""
        if len(self._marks) >= MARKS_MAX:
            self._left_out += 1
            return
        times = {"data_b": f"{at:.6f}"} | ({"data_e": f"{until:.6f}"} if until is not None else {})
        place = f"translate({number(LEFT + self.x(at))} {number(y)})"
        self._marks.append(element("g", *inside, cls=f"m {cls}".strip(), transform=place, **times))

    def _label(self, at: float, until: float, y: float, text: str, cls: str = "") -> None:
        wanted = len(text) * LETTER
        shown: dict[str, str | float] = {} if self.x(until) - self.x(at) >= wanted else {"display": "none"}
        inside = element("text", words(text), x=3.0, y=0.0, data_w=wanted, **shown)
        self._mark(at, y, inside, cls=f"l {cls}".strip(), until=until)

    def _all_marks(self) -> None:
        """The violation first, so that it is never left out."""
        self._phases()
        self._guilt()
        for number_, row in enumerate(self.rows):
            for fault in row:
                text = fault.text if len(fault.text) <= LABEL_MAX else fault.verb
                self._label(fault.begin, fault.end, HEAD + ROW * number_ + 10, text, "f")
        self._ring_labels()
        for item in stream(self.history):
            if item.life is not None and item.life[0] in self.lanes:
                self._item(item, self.lanes[item.life[0]])

    def _phases(self) -> None:
        tall = self.bottom - self.top + 10
        line = element("line", cls="phase", y2=tall)
        times = [("healed", self.history.healed_at), ("settled", self.history.settled_at)]
        for word, at in times:
            if at is not None and at <= self.end:
                text = titled(f"{word} at {at:.4f} s")
                aside = {"x": -3.0, "text_anchor": "end"} if word == "healed" else {"x": 3.0}
                name = element("text", word, y=tall + 22, cls="faint", **aside)
                self._mark(at, self.top - 10, line, name, text)

    def _guilt(self) -> None:
        result, violation = self.result, self.result.violation
        if not result.failed:
            return
        evidence = violation.evidence if violation is not None else ()
        at = max((record.at for record in evidence), default=self.end)
        tall = self.bottom - self.top + 10
        name = violation.property if violation is not None else "crash"
        near_the_end = self.x(at) > PLOT * 0.85
        label = element(
            "text", words(name), x=-4.0 if near_the_end else 4.0, y=-2.0, cls="bad",
            text_anchor="end" if near_the_end else "start",
        )  # fmt: skip
        line = element("line", cls="guilt", y2=tall)
        self._mark(at, self.top - 10, line, label, titled(result.what))
        for record in evidence:
            if record.life[0] in self.lanes:
                lane = self.lanes[record.life[0]]
                circle = element("circle", titled(str(record)), r=lane.bar / 2 + 3, cls="guilty")
                self._mark(record.at, lane.bar_top + lane.bar / 2, circle)

    def _ring_labels(self) -> None:
        """The name of a ring where its bar begins, when there is room."""
        for node, spans in state_spans(self.history).items():
            lane = self.lanes[node]
            known: RingId | None = None
            for place, span in enumerate(spans):
                if span.ring is None or span.ring == known:
                    known = span.ring
                    continue
                known = span.ring
                end = span.end
                for later in spans[place + 1 :]:
                    if later.ring != span.ring:
                        break
                    end = later.end
                if lane.bar >= 10:
                    self._label(span.begin, end, lane.bar_top + lane.bar - 3, f"{span.ring}", "r")

    def _item(self, item: object, lane: Lane) -> None:
        match item:
            case Started(at, life, ring_seq):
                text = f"node {life[0]} starts, life {life[1] + 1}, ring seq {ring_seq:x} on disk, {at:.4f} s"
                shape = element("path", titled(text), d="M0 -7L5 2H-5z", cls="birth")
                self._mark(at, lane.bar_top + lane.bar / 2, shape)
            case Ended(at, life, how):
                text = f"node {life[0]} {ENDS.get(how, how)}, {at:.4f} s"
                leaves = element("path", titled(text), d="M0 5L5 -4H-5z", cls="leave")
                crashes = element("path", titled(text), d="M-5 -5L5 5M-5 5L5 -5", cls="death")
                self._mark(at, lane.bar_top + lane.bar / 2, leaves if how == "leave" else crashes)
            case Regular(at, life, ring, members, left, joined):
                text = f"node {life[0]}: ring {ring}: {numbers(members)}"
                text += f"; left {numbers(left)}" if left else ""
                text += f"; joined {numbers(joined)}" if joined else ""
                line = element("line", titled(f"{text}; {at:.4f} s"), cls="ring", y2=lane.bar + 4)
                self._mark(at, lane.bar_top - 2, line)
            case ProgramView(at, life, pid, members):
                text = f"program {pid} on node {life[0]} sees {len(members)} members, {at:.4f} s"
                self._mark(at, lane.top + 3, element("circle", titled(text), r=1.6, cls="view"), cls="v")
            case Mark(at, life, "log", line) if _warning(line):
                shape = element("path", titled(f"{line}, {at:.4f} s"), d="M0 -4L4 3H-4z", cls="warn")
                self._mark(at, lane.top + 6, shape, cls="w")

    def _legend(self) -> str:
        y = self.bottom + 46
        parts: list[str] = []
        x = LEFT
        for shape, text in _LEGEND:
            parts.append(element("g", shape, transform=f"translate({number(x)} {number(y)})"))
            parts.append(element("text", words(text), x=x + 24, y=y + 9))
            x += 34 + LETTER * len(text)
            if x > WIDTH - 190:
                x, y = LEFT, y + 17
        return element("g", *parts)


def _box(cls: str, **more: str) -> str:
    return element("rect", width=18.0, height=10.0, cls=cls, **more)


_LEGEND = (
    (_box("gather"), "gather"),
    (_box("commit"), "commit"),
    (_box("recovery"), "recovery"),
    (_box("sync", fill=RINGS[0]), "ring, synchronising"),
    (_box("step", fill=RINGS[0]), "ring, in step (a colour each)"),
    (_box("", fill="#888") + _box("pause"), "paused"),
    (_box("fault"), "fault"),
    (_box("side0") + element("rect", x=9.0, width=9.0, height=10.0, cls="side1"), "sides of a partition"),
    (element("path", d="M9 0L14 9H4z", cls="birth"), "starts"),
    (element("path", d="M9 9L14 0H4z", cls="leave"), "leaves"),
    (element("path", d="M4 0L14 10M4 10L14 0", cls="death"), "crashes"),
    (element("path", d="M2 10v-3h4v-4h4v2h4v5z", cls="count"), "messages delivered"),
    (element("path", d="M9 1L13 8H5z", cls="warn"), "warning"),
    (element("circle", cx=9.0, cy=5.0, r=1.6, cls="view"), "view of a program"),
    (element("circle", cx=9.0, cy=5.0, r=5.0, cls="guilty"), "shows the violation"),
)


def svg(result: Result) -> str:
    """A file of its own. Run with trace=True, else states and warnings are not known."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Picture(result).svg() + "\n"


def tick_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, for about a dozen ticks."""
    step = 10.0**-6
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= 14:
                return step * factor
        step *= 10


def _lanes(nodes: tuple[int, ...], top: float) -> dict[int, Lane]:
    height, bar = (54.0, 16.0) if len(nodes) <= 8 else (36.0, 12.0) if len(nodes) <= 16 else (17.0, 8.0)
    return {node: Lane(top + place * (height + 3), height, bar) for place, node in enumerate(nodes)}


def _packed(faults: list[FaultSpan]) -> list[list[FaultSpan]]:
    """Into rows without overlaps; what finds no room is in the last."""
    rows: list[list[FaultSpan]] = []
    for fault in faults:
        for row in rows:
            if row[-1].end <= fault.begin:
                row.append(fault)
                break
        else:
            if len(rows) < ROWS_MAX:
                rows.append([fault])
            else:
                rows[-1].append(fault)
    return rows


def _sides(fault: FaultSpan) -> dict[int, int]:
    """Of a partition: the side each node is on."""
    if fault.verb != "partition":
        return {}
    parts = fault.text.split()[1].split("/")
    return {int(node): side for side, part in enumerate(parts) for node in part.split(",") if node}


def _warning(line: str) -> bool:
    priority = line.partition(" ")[0]
    return priority.isdigit() and int(priority) <= LOG_WARNING
