"""The picture of a run: well-formed, self-contained, and what is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aisexec.sim import picture as picture_module
from aisexec.sim.faults import make_plan
from aisexec.sim.history import ProgramView, Regular
from aisexec.sim.markup import element, words
from aisexec.sim.picture import PLOT, Picture, svg, tick_step
from aisexec.sim.picture_page import LAYERS, SCRIPT, html
from aisexec.sim.run import run
from aisexec.totem.types import RingId
from tests.sim.runs import PLAN, hand_made

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


def of_class(root: ElementTree.Element, cls: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if cls in e.get("class", "").split()]


def tooltips(root: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in root.iter(f"{SVG}title")]


def plot_part(root: ElementTree.Element, cls: str) -> list[ElementTree.Element]:
    """Elements of the stretched group; the legend shows the same classes."""
    (stretch,) = [e for e in root.iter(f"{SVG}g") if e.get("id") == "stretch"]
    return of_class(stretch, cls)


def test_a_picture_is_well_formed_and_needs_nothing_else() -> None:
    for result in (hand_made(), hand_made(violated=True), run(make_plan(4), trace=True, checkers=())):
        text = svg(result)
        parsed(text)
        assert re.findall(r"https?://[^\"']*", text) == ["http://www.w3.org/2000/svg"]
        assert set(re.findall(r"url\([^)]*\)", text)) <= {"url(#hatch)", "url(#plot)"}
        assert "href" not in text


def test_text_is_escaped() -> None:
    result = hand_made(violated=True)
    assert result.violation is not None
    result.violation.args = ("virtual synchrony: \x00 \ud800 ]]> <script>alert(1)</script>",)
    root = parsed(svg(result))
    assert not list(root.iter("script"))
    assert any("<script>alert(1)</script>" in tip for tip in tooltips(root))
    assert words("a\x0b\ufffe<&\"'>") == "a\ufffd\ufffd&lt;&amp;&quot;&#x27;&gt;"
    assert element("a", "x", stroke_width=1.50, cls="b") == '<a stroke-width="1.5" class="b">x</a>'


def test_lanes_states_and_faults_are_where_they_belong() -> None:
    root = parsed(svg(hand_made()))
    assert {"node 1", "node 2"} <= {e.text for e in root.iter(f"{SVG}text")}
    # 0 to 1 s of 10 s, and 6.5 to 7 s.
    gathering = [(float(e.get("x", "")), float(e.get("width", ""))) for e in plot_part(root, "gather")]
    unit = PLOT / 10
    expected = [(0.0, unit), (6.5 * unit, 0.5 * unit), (0.0, unit)]
    assert gathering == [pytest.approx(pair, abs=0.01) for pair in expected]
    (pause,) = plot_part(root, "pause")
    assert float(pause.get("x", "")) == pytest.approx(4 * unit, abs=0.01)
    # The link that is cut concerns both lanes, and has a row and a label.
    assert len(plot_part(root, "link")) == 2
    assert len(plot_part(root, "fault")) == 1
    assert any(e.text == "cut 1 2" for e in root.iter(f"{SVG}text"))
    assert len(plot_part(root, "count")) == 2
    rings = [e.get("fill") for e in plot_part(root, "step")]
    assert len(rings) == 2
    assert len(set(rings)) == 1
    # The first ring at node 1, the ring it is in alone later, the first ring at node 2.
    first, alone, second = (e.get("fill") for e in plot_part(root, "sync"))
    assert first == second == rings[0] != alone


def test_marks_of_lives_configurations_warnings_and_phases() -> None:
    root = parsed(svg(hand_made()))
    tips = tooltips(root)
    for wanted in (
        "node 2 starts, life 1, ring seq 4 on disk, 0.0000 s",
        "node 2 CRASHES, 6.0000 s",
        "node 1: ring 1.9: 1; left 2; 7.0000 s",
        "healed at 8.0000 s",
        "cut 1 2, 3.0000 to 4.5000 s",
        "node 2 is paused, 4.0000 to 5.0000 s",
        "4 [TOTEM] <something> & odd, 6.6000 s",
    ):
        assert wanted in tips, wanted
    assert not any("of no interest" in tip for tip in tips)


def test_the_violation_is_marked() -> None:
    calm = parsed(svg(hand_made()))
    assert not of_class(calm, "guilt")
    root = parsed(svg(hand_made(violated=True)))
    (line,) = of_class(root, "guilt")
    marks = [e for e in root.iter(f"{SVG}g") if line in list(e)]
    assert marks[0].get("data-b") == "7.000000"
    # One in the lane, one in the legend.
    assert len(of_class(root, "guilty")) == 2
    assert any(e.text == "virtual synchrony" for e in root.iter(f"{SVG}text"))


def test_a_crash_is_marked_at_the_end() -> None:
    result = hand_made()
    result.crash = "Traceback\nKeyError: '<x>'\n"
    root = parsed(svg(result))
    (line,) = of_class(root, "guilt")
    assert next(e for e in root.iter(f"{SVG}g") if line in list(e)).get("data-b") == "10.000000"


@pytest.mark.parametrize("nodes", [2, 8, 16, 64, 128])
def test_lanes_do_not_overlap(nodes: int) -> None:
    result = hand_made()
    result.plan = replace(PLAN, nodes=tuple(range(1, nodes + 1)))
    picture = Picture(result)
    lanes = list(picture.lanes.values())
    assert all(a.top + a.height < b.top for a, b in pairwise(lanes))
    assert lanes[-1].top + lanes[-1].height <= picture.bottom < picture.height
    assert all(lane.top < lane.bar_top < lane.top + lane.height for lane in lanes)
    parsed(picture.svg())


def test_marks_are_bounded_and_the_picture_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_module, "MARKS_MAX", 20)
    result = hand_made(violated=True)
    for i in range(100):
        result.history.records.append(ProgramView(8 + i / 100, (1, 0), 7, (), (), ()))
        result.history.records.append(Regular(9.0, (1, 0), RingId(1, 100 + i), (1,), (), ()))
    root = parsed(svg(result))
    assert any("marks are left out" in (e.text or "") for e in root.iter(f"{SVG}text"))
    assert of_class(root, "guilt")


def test_ticks_are_round_numbers() -> None:
    assert [tick_step(span) for span in (10.0, 14.1, 0.03, 700.0)] == [1, 2, pytest.approx(0.005), 50]


def test_a_page_has_the_picture_the_plan_and_the_timeline() -> None:
    result = hand_made(violated=True)
    text = html(result)
    start, end = text.index("<svg"), text.index("</svg>") + 6
    parsed(text[start:end])
    assert "steps 5" in text
    assert "0.000000 start 1" in text
    assert "*** VIOLATION of virtual synchrony: 1 &lt;did&gt; &amp; 2 did not ***" in text
    assert "1 <did>" not in text
    assert re.findall(r"(?:src|href)\s*=", text) == []
    assert set(re.findall(r"https?://[^\"']*", text)) == {"http://www.w3.org/2000/svg"}
    for cls, _ in LAYERS:
        assert f'data-layer="{cls}"' in text


def test_layers_name_what_is_drawn() -> None:
    result = run(make_plan(4), trace=True, checkers=())
    text = Picture(result).svg() + svg(hand_made())
    for cls, name in LAYERS:
        assert re.search(rf'class="[^"]*\b{cls}\b', text), name


def test_the_script_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to check the syntax with")
    file = tmp_path / "script.js"
    file.write_text(SCRIPT)
    done = subprocess.run([node, "--check", str(file)], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
