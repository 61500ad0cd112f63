"""Failing plans become small, and still fail in the same way."""

from __future__ import annotations

import pytest

from aisexec.sim.faults import make_plan
from aisexec.sim.history import Ended, History, Violation
from aisexec.sim.plan import NetworkProfile, Plan, Step, parse
from aisexec.sim.run import Result, run
from aisexec.sim.shrink import Shrinker, failure, told

NOISE = tuple(Step(float(i), "send", ("1", "1001", "10", "100")) for i in range(40))
PLAN = Plan(
    seed=1,
    nodes=(1, 2, 3, 4),
    network=NetworkProfile(loss=0.1, tail=0.2),
    timeouts={"token": 3.0, "consensus": 3.6},
    heal=50.0,
    steps=tuple(
        sorted(
            (*NOISE, Step(7.1234, "crash", ("2",)), Step(20.5678, "partition", ("1,3/2,4", "7.5"))),
            key=lambda step: step.at,
        )
    ),
)


def verbs(plan: Plan) -> list[str]:
    return [step.verb for step in plan.steps]


def needs_both(plan: Plan) -> bool:
    """A crash, and a partition later."""
    return "crash" in verbs(plan) and "partition" in verbs(plan)[verbs(plan).index("crash") :]


def test_only_what_is_needed_remains() -> None:
    shrinker = Shrinker(PLAN, needs_both)
    small = shrinker.shrink()
    assert verbs(small) == ["crash", "partition"]
    # The crash needs its node, the partition two sides.
    assert len(small.nodes) == 2
    assert 2 in small.nodes
    assert small.network == NetworkProfile()
    assert small.timeouts == {}
    assert small.heal < 50.0
    assert [step.at for step in small.steps] == [0.0, 13.0]
    assert float(small.steps[1].arguments[1]) < 0.1
    assert not shrinker.exhausted
    assert parse(small.text()) == small
    assert told(PLAN, shrinker).startswith("from 42 steps and 4 nodes to 2 steps and 2 nodes in ")


def test_what_matters_is_kept() -> None:
    def fails(plan: Plan) -> bool:
        sends = [step for step in plan.steps if step.verb == "send"]
        return len(sends) >= 3 and plan.network.loss > 0 and all(int(s.arguments[2]) >= 7 for s in sends)

    small = Shrinker(PLAN, fails).shrink()
    assert verbs(small) == ["send"] * 3
    assert small.network == NetworkProfile(loss=0.1)
    assert {step.arguments for step in small.steps} == {("1", "1001", "7", "1")}


def test_nodes_go_from_partitions_and_links() -> None:
    steps = (
        Step(1.0, "partition", ("1/2/3,4", "1.0")),
        Step(2.0, "cut", ("3", "1", "1.0")),
        Step(3.0, "raw", ("4", "1", "10", "safe")),
    )
    plan = PLAN.with_steps(steps)
    small = Shrinker(plan, lambda p: "cut" in verbs(p) and "raw" in verbs(p)).shrink()
    assert small.nodes == (1, 3, 4)
    assert verbs(small) == ["cut", "raw"]
    sides = Shrinker(plan, lambda p: any(s.verb == "partition" for s in p.steps)).shrink()
    assert len(sides.nodes) == 2
    assert sides.steps[0].arguments[0].count("/") == 1


def test_tries_are_bounded_and_never_repeated() -> None:
    asked: list[str] = []

    def fails(plan: Plan) -> bool:
        asked.append(plan.text())
        return needs_both(plan)

    shrinker = Shrinker(PLAN, fails, tries_max=25)
    shrinker.shrink()
    assert len(asked) == shrinker.tries == 25
    assert shrinker.exhausted
    assert needs_both(shrinker.plan)
    assert len(set(asked)) == len(asked)
    assert told(PLAN, shrinker).endswith("in 25 runs, all that are allowed")


def test_when_interrupted_the_smallest_so_far_is_there() -> None:
    tries = 0

    def fails(plan: Plan) -> bool:
        nonlocal tries
        tries += 1
        if tries > 10:
            raise KeyboardInterrupt
        return needs_both(plan)

    shrinker = Shrinker(PLAN, fails)
    with pytest.raises(KeyboardInterrupt):
        shrinker.shrink()
    assert len(shrinker.plan.steps) < len(PLAN.steps)
    assert needs_both(shrinker.plan)


def test_the_way_a_run_fails() -> None:
    result = Result(PLAN, History())
    assert failure(result) == ""
    result.violation = Violation("self-delivery", "node 1 never got its message 7")
    assert failure(result) == "self-delivery"
    result.crash = "Traceback (most recent call last):\n  ...\nKeyError: 17\n"
    other = Result(PLAN, History(), crash="Traceback (most recent call last):\nKeyError: 4\n")
    assert failure(result) == failure(other) == "crash KeyError"


def nobody_crashes(history: History) -> None:
    """A checker that is wrong on purpose."""
    for record in history.records:
        if isinstance(record, Ended) and record.how == "crash":
            raise Violation("immortality", f"node {record.life[0]} is gone", (record,))


def test_a_real_run_shrinks() -> None:
    seed = next(s for s in range(1, 50) if "crash" in verbs(make_plan(s)))
    plan = make_plan(seed)
    assert failure(run(plan, checkers=(nobody_crashes,))) == "immortality"
    shrinker = Shrinker(
        plan, lambda smaller: failure(run(smaller, checkers=(nobody_crashes,))) == "immortality"
    )
    small = shrinker.shrink()
    assert verbs(small) == ["start", "crash"]
    assert small.steps[0].at == 0.0
    assert len(small.nodes) == 1
