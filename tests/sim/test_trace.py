"""The timeline of a run: what it says, where, and that it is the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aisexec.messages import EXEC_HEADER, ExecHeader, exec_id
from aisexec.services.cpg_joinlist import MCAST, PROCLEAVE, SERVICE
from aisexec.sim import moments as moments_module
from aisexec.sim.faults import make_plan
from aisexec.sim.history import Delivered, Mark, ProgramDelivered, ProgramSent, Submitted
from aisexec.sim.moments import moments
from aisexec.sim.names import Names
from aisexec.sim.run import run
from aisexec.sim.spans import IN_STEP, SYNCHRONISING, fault_spans, paused, state_spans
from aisexec.sim.trace import COLUMN_MAX, trace
from tests.sim.runs import LATER, PLAN, RING, hand_made, log


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def test_each_node_has_a_column() -> None:
    text = trace(hand_made())
    (head,) = lines_with(text, "node 1 ")
    first, second = head.index("node 1"), head.index("node 2")
    (disk,) = lines_with(text, "starts (ring seq 4 on disk)")
    (empty,) = lines_with(text, "starts (empty disk)")
    assert (empty.index("starts"), disk.index("starts")) == (first, second)
    assert second - first == COLUMN_MAX + 1


def test_moments_are_told_in_words() -> None:
    text = trace(hand_made())
    for wanted in (
        "GATHER: interface change",
        "T 1.5: 1",
        "R 1.5: 1 2; joined 2",
        "in step in 1.5",
        "5 delivered: 1.1..1.5",
        "--- cut 1 2 1.5 ---",
        "--- no longer cut 1 2 ---",
        "PAUSES for 1.0 s",
        "goes on",
        "CRASHES",
        "GATHER: The token was lost in the OPERATIONAL state.",
        "[TOTEM] <something> & odd",
        "R 1.9: 1; left 2",
        "nothing wrong was found",
    ):
        assert wanted in text, wanted
    assert "of no interest" not in text
    assert "VIOLATION" not in text


def test_times_grow_and_stand_at_the_left() -> None:
    text = trace(hand_made())
    times = [float(line[:10]) for line in text.splitlines() if line[:10].strip().replace(".", "").isdigit()]
    assert times == sorted(times)
    assert {0.0, 1.0, 3.0, 4.5, 5.0, 6.0, 7.0} <= set(times)


def test_signs_of_the_states() -> None:
    text = trace(hand_made())
    (head,) = lines_with(text, "node 1 ")
    second = head.index("node 2")

    def sign(word: str) -> str:
        (line,) = lines_with(text, word)
        return line[second : second + 1]

    (paused_line,) = lines_with(text, "PAUSES")
    assert paused_line.strip().startswith("4.000000 |")
    assert sign("GATHER: interface change") == ":"
    assert sign("4 delivered: 1.1..1.4") == "|"
    # The node is down: nothing stands at its place.
    assert sign("[TOTEM] <something>") == ""


def test_the_violation_is_marked_where_it_shows() -> None:
    text = trace(hand_made(violated=True))
    (line,) = lines_with(text, "* 1 delivered: 1.5 (message 4)")
    assert text.splitlines().index(line) > text.splitlines().index(lines_with(text, "T 1.9")[0])
    assert "\n           *** VIOLATION of virtual synchrony: 1 <did> & 2 did not ***\n" in text
    assert "FAILED: virtual synchrony" in text
    assert "Delivered(at=7.0, life=(1, 0), sender=1, message=4)" in text


def test_a_crash_is_told_with_its_traceback() -> None:
    result = hand_made()
    result.crash = 'Traceback:\n  File "x.py"\nKeyError: 5\n'
    text = trace(result)
    assert "*** crash: KeyError: 5 ***" in text
    assert '    File "x.py"' in text


def test_many_nodes_have_signs_and_a_note() -> None:
    plan = replace(PLAN, nodes=tuple(range(1, 65)))
    result = hand_made()
    result.plan = plan
    text = trace(result)
    # Their numbers are written downwards.
    tens = next(line for line in text.splitlines() if line.lstrip().startswith("node "))
    ones = text.splitlines()[text.splitlines().index(tens) + 1]
    assert ones.split() == [str(n % 10) for n in plan.nodes]
    (line,) = lines_with(text, "2: 5 delivered: 1.1..1.5")
    assert line.index("#") == ones.index("2")
    assert max(map(len, text.splitlines())) <= 11 + 2 * 64 + 160


def test_long_deliveries_are_told_apart_in_time() -> None:
    result = hand_made()
    records = result.history.records
    records += [Submitted(8.0, (1, 0), 5 + i, False) for i in range(40)]
    records += [Delivered(8.0 + i * 0.04, (1, 0), 1, 5 + i) for i in range(40)]
    result.history.messages += [b"message %d " % i for i in range(6, 46)]
    told = [m for m in moments(result) if m.kind == "delivery" and m.at >= 8.0]
    assert 5 < len(told) < 40
    assert told[-1].text.endswith("1.45")


def test_states_entered_again_and_again_are_told_once() -> None:
    result = hand_made()
    place = len(result.history.records)
    for at in (8.0, 8.1, 8.2):
        for node in (1, 2):
            text = "7 [TOTEM] entering GATHER state from 8(foreign message in gather state)."
            result.history.marks.append((place, log(at, node, text)))
    result.history.marks.append((place, log(8.3, 1, "4 [TOTEM] in between")))
    result.history.marks.append((place, log(8.4, 1, "7 [TOTEM] entering GATHER state from 8(foreign).")))
    told = [(m.at, m.node, m.text) for m in moments(result) if m.at >= 8.0 and m.node]
    text = "GATHER: foreign message in gather state; 3 times until 8.200000"
    assert told == [
        (8.0, 1, text),
        (8.0, 2, text),
        (8.3, 1, "[TOTEM] in between"),
        (8.4, 1, "GATHER: foreign"),
    ]


def test_of_a_long_run_the_middle_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "MOMENTS_MAX", 10)
    found = moments(hand_made())
    assert len(found) == 11
    assert "moments are left out here" in found[5].text
    assert found[0].text.startswith("starts")


def test_messages_of_programs_and_services_have_names() -> None:
    result = hand_made()
    history = result.history
    history.messages += [EXEC_HEADER.pack(ExecHeader(exec_id(SERVICE, f), 16)) for f in (MCAST, PROCLEAVE)]
    history.records += [Submitted(8.0, (2, 0), 5, False), Submitted(8.0, (2, 0), 6, False)]
    history.records.append(ProgramSent(8.0, (2, 0), 1004, b"g", 9))
    history.records.append(ProgramDelivered(8.1, (1, 0), 7, (2, 1004), 9))
    names = Names(history)
    assert names.totem([(2, 5), (2, 6), (1, 0), (1, 2), (2, 99)]) == (
        "4 delivered: 2.?99, 2.1, 1.1, 1.3; 1 of services"
    )
    assert names.totem([(2, 6)]) == "1 of services delivered"
    assert names.program([(1004, 9)]) == "1004#1"
    assert "7 got 1: 1004#1" in trace(result)


def test_spans_of_states_faults_and_pauses() -> None:
    result = hand_made()
    one = [(s.begin, s.end, s.state, s.ring) for s in state_spans(result.history)[1]]
    assert one == [
        (0.0, 1.0, "GATHER", None),
        (1.0, 1.5, SYNCHRONISING, RING),
        (1.5, 6.5, IN_STEP, RING),
        (6.5, 7.0, "GATHER", None),
        (7.0, 10.0, SYNCHRONISING, LATER),
    ]
    assert state_spans(result.history)[2][-1].end == 6.0
    cut, pause = fault_spans(PLAN)
    assert (cut.begin, cut.end, cut.text, cut.nodes) == (3.0, 4.5, "cut 1 2", (1, 2))
    assert (pause.begin, pause.end, pause.nodes) == (4.0, 5.0, (2,))
    assert paused(PLAN, result.history) == {2: [(4.0, 5.0)]}


def test_log_lines_of_one_instant_come_behind_its_records() -> None:
    """A batch of effects may end recovery and name the state afterwards."""
    result = hand_made()
    place = len(result.history.records)
    for text in ("entering RECOVERY state.", "entering OPERATIONAL state."):
        result.history.marks.append((place, Mark(7.0, (1, 0), "log", f"7 [TOTEM] {text}")))
    assert state_spans(result.history)[1][-1].state == SYNCHRONISING


@pytest.mark.parametrize("seed", [4, 11])
def test_real_runs_have_a_timeline_that_ends_in_step(seed: int) -> None:
    result = run(make_plan(seed), trace=True, checkers=())
    text = trace(result)
    assert "settled: all that are up are in step" in text
    assert "--- all healed ---" in text
    for node in result.history.alive:
        assert f"node {node}" in text
    assert text == trace(run(make_plan(seed), trace=True, checkers=()))


def test_traces_are_equal_whatever_the_hash_seed(tmp_path: Path) -> None:
    """Nothing may depend on the order of a set; PYTHONHASHSEED changes that of strings and bytes."""
    traces = []
    for hash_seed in ("0", "1", "4242"):
        file = tmp_path / f"trace{hash_seed}"
        command = [sys.executable, "-m", "aisexec.sim", "--seed", "17", "--nodes", "6", "--no-shrink"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C"}
        pages = ["--trace", str(file), "--picture", str(tmp_path / f"{hash_seed}.html")]
        done = subprocess.run([*command, *pages], env=environment, capture_output=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr.decode()
        traces.append((file.read_bytes(), (tmp_path / f"{hash_seed}.html").read_bytes()))
    assert len(traces[0][0]) > 2000
    assert len(set(traces)) == 1
