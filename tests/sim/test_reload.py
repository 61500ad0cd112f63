"""Timeouts that change at run time, on simulated clusters: every checker stays happy."""

from __future__ import annotations

import pytest

from aisexec.sim.faults import make_plan
from aisexec.sim.history import Delivered, Reconfigured, Record
from aisexec.sim.plan import Plan, PlanError, Step
from aisexec.sim.run import Result, run

NODES = (1, 2, 3)
TOKEN = 1.0


def carried_out(*steps: Step, nodes: tuple[int, ...] = NODES) -> Result:
    births = tuple(Step(0.0, "start", (str(node),)) for node in nodes)
    times = [4.0 + i / 50 for i in range(50)]
    work = tuple(
        Step(at, "raw", (str(nodes[i % len(nodes)]), "5", "700", "agreed")) for i, at in enumerate(times)
    )
    in_order = tuple(sorted(births + work + steps, key=lambda step: step.at))
    plan = Plan(seed=1, nodes=nodes, heal=8.0, timeouts={"token": TOKEN, "consensus": 1.2}, steps=in_order)
    result = run(plan)
    assert not result.failed, result.what + result.crash
    return result


def configured(at: float, factor: float, nodes: tuple[int, ...] = NODES) -> tuple[Step, ...]:
    return tuple(Step(at, "configure", (str(node), str(factor))) for node in nodes)


def changes(result: Result) -> dict[int, list[float]]:
    """Token timeouts that came into force, by node."""
    found: dict[int, list[float]] = {node: [] for node in result.plan.nodes}
    for record in result.history.records:
        if isinstance(record, Reconfigured):
            found[record.life[0]].append(record.token)
    return found


def places(records: list[Record]) -> set[int]:
    """The message that had been delivered last when a node went over to other timeouts."""
    last: dict[object, int] = {}
    found = set()
    for record in records:
        if isinstance(record, Delivered):
            last[record.life] = record.message
        elif isinstance(record, Reconfigured):
            found.add(last[record.life])
    return found


def test_all_nodes_go_over_at_the_same_place_in_the_order_of_messages() -> None:
    result = carried_out(*configured(4.4, 0.5), Step(4.41, "reload", ("2",)))
    assert changes(result) == {1: [0.5], 2: [0.5], 3: [0.5]}
    assert len(places(result.history.records)) == 1


def test_each_node_takes_its_own_file() -> None:
    result = carried_out(
        *configured(4.4, 0.5), Step(4.4, "configure", ("3", "0.8")), Step(4.41, "reload", ("1",))
    )
    assert changes(result) == {1: [0.5], 2: [0.5], 3: [0.8]}


@pytest.mark.parametrize("broken", NODES)
def test_one_broken_file_and_nothing_changes(broken: int) -> None:
    result = carried_out(
        *configured(4.4, 0.5), Step(4.4, "configure", (str(broken), "0")), Step(4.41, "reload", ("1",))
    )
    assert changes(result) == {1: [], 2: [], 3: []}


def test_orders_on_several_nodes_at_once_are_carried_out_one_after_the_other() -> None:
    result = carried_out(
        *configured(4.4, 0.5), *(Step(4.41, "reload", (str(node),)) for node in NODES for _ in range(2))
    )
    assert {tuple(tokens) for tokens in changes(result).values()} == {(0.5,) * 6}


def test_the_node_that_was_asked_dies() -> None:
    """Before the order nothing has happened anywhere, behind it all have gone over."""
    for delay in (0.005, 0.015, 0.021, 0.024, 0.03, 0.045, 0.06, 0.1):
        result = carried_out(
            *configured(4.4, 0.5), Step(4.41, "reload", ("1",)), Step(4.41 + delay, "crash", ("1",))
        )
        found = changes(result)
        assert found[2] == found[3]
        assert found[2] in ([], [0.5])


def test_a_node_that_dies_during_the_check_does_not_hold_up_the_others() -> None:
    result = carried_out(*configured(4.4, 0.5), Step(4.41, "reload", ("1",)), Step(4.42, "crash", ("3",)))
    assert changes(result) == {1: [0.5], 2: [0.5], 3: []}


def test_a_dead_node_is_missed_after_the_new_time_not_the_old_one() -> None:
    result = carried_out(*configured(4.4, 0.2), Step(4.41, "reload", ("1",)), Step(6.0, "crash", ("3",)))
    regular = [r for r in result.history.records if type(r).__name__ == "Regular" and r.at > 6.0]
    assert regular[0].at < 6.0 + 0.2 * (TOKEN + 1.2) + 0.1


def test_a_plan_cannot_ask_for_longer_timeouts_than_it_is_judged_by() -> None:
    with pytest.raises(PlanError):
        carried_out(*configured(4.4, 3.0))


@pytest.mark.parametrize("seed", range(40))
def test_among_faults(seed: int) -> None:
    result = run(make_plan(seed, profile="reload"))
    assert not result.failed, f"aisexec-sim --seed {seed} --profile reload\n{result.what}\n{result.crash}"
