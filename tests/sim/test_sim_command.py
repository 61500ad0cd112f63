"""The command aisexec-sim: what it runs, what it says, its exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from aisexec.sim import main as command
from aisexec.sim.faults import PROFILES, make_plan
from aisexec.sim.history import Violation
from aisexec.sim.main import main
from aisexec.sim.mutations import MUTATIONS
from aisexec.sim.options import FAILED, INTERRUPTED, OK, USAGE, build_parser, seed_range
from aisexec.sim.plan import VERBS, NetworkProfile, Plan, parse
from aisexec.sim.run import Result, run
from tests.sim.runs import hand_made


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrunken plans go to the working directory; commands that are shown name the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/aisexec-sim"])


@pytest.fixture
def partitions_fail(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Runs are not made: a plan with a partition in it fails."""
    asked: list[Plan] = []

    def fake(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        asked.append(plan)
        result = hand_made(violated=any(step.verb == "partition" for step in plan.steps))
        result.plan = replace(plan, nodes=result.plan.nodes, steps=())
        return result

    monkeypatch.setattr(command, "run", fake)
    return asked


def partitioned(count: int) -> list[int]:
    """The first seeds that have a partition in them."""
    seeds = (s for s in range(1, 1000) if any(step.verb == "partition" for step in make_plan(s).steps))
    return [next(seeds) for _ in range(count)]


def test_one_run_says_how_fast_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "4"]) == OK
    out = capsys.readouterr().out
    assert re.search(r"seed 4, 5 nodes, \d+ steps: \d+ events, [\d.]+ virtual seconds in .* times real", out)
    assert "nothing wrong was found" in out


def test_many_runs_in_two_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "10-15", "--jobs", "2", "--json"]) == OK
    summary = json.loads(capsys.readouterr().out)
    assert (summary["runs"], summary["wanted"], summary["failed"]) == (6, 6, 0)
    assert summary["seeds_per_second"] > 0
    one_by_one = [run(make_plan(seed), checkers=()) for seed in range(10, 16)]
    assert summary["events"] == sum(result.events for result in one_by_one)
    assert summary["virtual_seconds"] == pytest.approx(sum(r.virtual for r in one_by_one), abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--seed, --seeds or --plan"),
        (["--seeds", "9-3"], "no seed in this range"),
        (["--seeds", "some"], "give a number"),
        (["--seed", "1", "--profile", "x"], "there are all, mixed"),
        (["--seed", "1", "--mutation", "none-such"], "--list-mutations"),
        (["--seed", "1", "--picture", "x.gif"], ".svg or .html"),
        (["--seed", "1", "--trace", "no/where"], "no such directory"),
        (["--seed", "1", "--output", "nowhere"], "no such directory"),
        (["--plan", "nowhere.plan"], "No such file"),
        (["--plan", "x.plan", "--nodes", "3"], "leave them out"),
    ],
)
def test_wrong_command_lines(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USAGE
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("words", ["--seed x", "--nodes 129", "--jobs 0", "--seed 1 --seeds 2"])
def test_options_are_checked(words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == USAGE


@pytest.mark.parametrize(
    "text",
    [
        "nodes 1 2\nheal 3\n1.0 crash 2\n",
        "seed 1\nnodes 1 2\nheal 3\n1.0 explode 2\n",
        "seed 1\nnodes 1 2\nheal 3\n1.0 crash 7\n",
        "seed 1\nnodes 1 2\ntimeouts patience=3\nheal 3\n",
        "seed 1\nnodes 1 2\nheal 3\n1.0 raw 1 1 1 maybe\n",
    ],
)
def test_a_plan_that_means_nothing_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.plan").write_text(text)
    assert main(["--plan", "bad.plan"]) == USAGE
    assert "bad.plan: " in capsys.readouterr().err


def test_a_plan_repeats_the_run_of_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "6", "--print-plan"]) == OK
    text = capsys.readouterr().out
    assert parse(text) == make_plan(6)
    Path("six.plan").write_text(text)
    assert main(["--plan", "six.plan", "--trace", "from-plan", "--picture", "a.svg"]) == OK
    assert main(["--seed", "6", "--trace", "from-seed", "--picture", "b.svg"]) == OK
    assert Path("from-plan").read_bytes() == Path("from-seed").read_bytes()
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()


def test_a_trace_on_standard_output_is_alone_there(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["--seed", "4", "--trace", "-", "--picture", "x.html"]) == OK
    captured = capsysbinary.readouterr()
    assert captured.out.startswith(b"seed 4\n")
    assert b"times real time" in captured.err
    assert Path("x.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("partitions_fail")
def test_a_failure_is_shown_with_what_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    (seed,) = partitioned(1)
    assert main(["--seed", str(seed)]) == FAILED
    out = capsys.readouterr().out
    file = f"aisexec-sim-{seed}.plan"
    assert f"seed {seed} FAILED: virtual synchrony: 1 <did> & 2 did not" in out
    assert f"repeat it: aisexec-sim --seed {seed}\n" in out
    assert f"look at it: aisexec-sim --plan {file} --trace -\n" in out
    small = parse(Path(file).read_text())
    assert [step.verb for step in small.steps] == ["partition"]
    assert "virtual synchrony" in Path(file).read_text().splitlines()[0]
    # The shrunken plan is a plan like any other.
    assert main(["--plan", file, "--no-shrink"]) == FAILED
    assert f"repeat it: aisexec-sim --plan {file}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("partitions_fail")
def test_of_many_the_failed_are_listed_and_the_first_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    failing = partitioned(5)
    last = failing[-1]
    arguments = ["--seeds", f"1-{last}", "--json", "--picture", "first.svg", "--trace", "first.txt"]
    assert main([*arguments, "--output", "."]) == FAILED
    summary = json.loads(capsys.readouterr().out)
    assert summary["failed"] == 5
    assert [failure["seed"] for failure in summary["failures"]] == failing
    assert {failure["property"] for failure in summary["failures"]} == {"virtual synchrony"}
    # Only some are shrunken.
    plans = [failure.get("plan") for failure in summary["failures"]]
    assert plans == [f"aisexec-sim-{seed}.plan" for seed in failing[:3]] + [None, None]
    assert Path("first.txt").read_text().startswith(f"seed {failing[0]}\n")
    assert f"seed {failing[0]}," in Path("first.svg").read_text()


@pytest.mark.usefixtures("partitions_fail")
def test_ends_after_so_many_failures(capsys: pytest.CaptureFixture[str]) -> None:
    failing = partitioned(2)
    assert main(["--seeds", "900", "--failures", "2", "--no-shrink", "--json"]) == FAILED
    summary = json.loads(capsys.readouterr().out)
    assert (summary["failed"], summary["runs"]) == (2, failing[-1])


def test_the_repeating_command_has_all_that_matters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        result = hand_made()
        result.violation = Violation("self-delivery", "no")
        return result

    monkeypatch.setattr(command, "run", fake)
    mutation = next(iter(MUTATIONS))
    arguments = ["--seed", "8", "--profile", "lossy", "--nodes", "3", "--mutation", mutation]
    assert main([*arguments, "--no-shrink"]) == FAILED
    assert f"repeat it: aisexec-sim {' '.join(arguments)}\n" in capsys.readouterr().out


def test_profiles_can_take_turns(partitions_fail: list[Plan]) -> None:
    assert main(["--seeds", "0-7", "--profile", "all", "--no-shrink", "--failures", "0"]) in (OK, FAILED)
    names = list(PROFILES)
    expected = [make_plan(s, profile=names[s % len(names)]).text() for s in range(8)]
    assert [plan.text() for plan in partitions_fail] == expected


def test_a_run_that_hangs_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        while True:
            pass

    monkeypatch.setattr(command, "run", hang)
    assert main(["--seed", "1", "--patience", "0.2", "--no-shrink"]) == FAILED
    assert "FAILED: crash: aisexec.sim.main.OverdueError: more than 0.2 s" in capsys.readouterr().out


def test_no_more_runs_are_begun_when_the_time_is_over(
    partitions_fail: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seeds", "1000", "--seconds", "0", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["runs"] == len(partitions_fail) < 1000


def test_an_exception_of_a_checker_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        raise ValueError("a checker fell over")

    monkeypatch.setattr(command, "run", broken)
    assert main(["--seed", "1", "--no-shrink"]) == FAILED
    assert "crash: ValueError: a checker fell over" in capsys.readouterr().out


def test_interrupted_with_what_was_done_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = 0

    def interrupted(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        nonlocal done
        done += 1
        if done > 3:
            raise KeyboardInterrupt
        return hand_made()

    monkeypatch.setattr(command, "run", interrupted)
    assert main(["--seeds", "100"]) == INTERRUPTED
    assert "interrupted: 3 of 100 runs, 0 failed" in capsys.readouterr().out


def test_interrupted_while_shrinking_the_smallest_so_far_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = 0

    def interrupted(plan: Plan, *, trace: bool = False, mutation: str = "") -> Result:
        nonlocal done
        done += 1
        if done > 5:
            raise KeyboardInterrupt
        return hand_made(violated=True)

    monkeypatch.setattr(command, "run", interrupted)
    assert main(["--seeds", "7-7"]) == FAILED
    assert "interrupted: 1 of 1 runs, 1 failed" in capsys.readouterr().out
    assert len(parse(Path("aisexec-sim-7.plan").read_text()).steps) < len(make_plan(7).steps)


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-profiles"]) == OK
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PROFILES)
    assert main(["--list-mutations"]) == OK
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(MUTATIONS)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "exit status: 0" in capsys.readouterr().out


def test_ranges_of_seeds() -> None:
    assert seed_range("3") == range(1, 4)
    assert seed_range("5-7") == range(5, 8)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_ends_all_processes(number: signal.Signals, jobs: int, tmp_path: Path) -> None:
    """SIGINT as from a terminal, to the whole group; SIGTERM to the command alone."""
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "aisexec.sim", "--seeds", "1000000", "--jobs", str(jobs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[2])}
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            seen = bytearray()

            def has_begun() -> bool:
                if select.select([ours], [], [], 0.1)[0]:
                    seen.extend(os.read(ours, 4096))
                return re.search(rb"[1-9]\d* of 1000000 runs", seen) is not None

            wait_until(has_begun)
            workers = children(process.pid)
            assert len(workers) >= jobs - 1
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == INTERRUPTED
    assert re.search(rb"interrupted: [1-9]\d* of 1000000 runs, 0 failed", out)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


ROOT = Path(__file__).parents[2]


def test_the_manual_page_has_all_options_and_steps() -> None:
    page = (ROOT / "docs/man/aisexec-sim.8").read_text()
    plain = page.replace("\\-", "-")
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert [name for name in sorted(options - {"-h", "--help"}) if name not in plain] == []
    steps = set(re.findall(r"^\.BI (\w+) ", page, re.MULTILINE))
    assert steps == set(VERBS)
    assert [f.name for f in fields(NetworkProfile) if f.name not in page] == []


def test_the_guide_names_files_that_exist() -> None:
    guide = (ROOT / "docs/simulation.md").read_text()
    table = guide[guide.index("## Where things are") :]
    named = set(re.findall(r"`(\w+\.py)`", table))
    there = {path.name for path in (ROOT / "aisexec/sim").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == there
