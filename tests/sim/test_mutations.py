"""Deliberate faults in the core are noticed: the checkers can fail, each for the right reason."""

from __future__ import annotations

import pytest

from aisexec.sim.faults import make_plan
from aisexec.sim.mutations import MUTATIONS
from aisexec.sim.run import run

PROFILES = ("mixed", "storm", "safe", "crashes")
SEEDS = 80
"""Within which each has to be noticed; most are at the first few."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_caught(name: str) -> None:
    for seed in range(SEEDS):
        plan = make_plan(seed, profile=PROFILES[seed % len(PROFILES)])
        result = run(plan, mutation=name, events_max=100_000)
        if not result.failed:
            continue
        assert result.violation is not None, result.crash
        assert result.violation.property in (*MUTATIONS[name].caught_by, "boundedness"), result.what
        return
    pytest.fail(f"{MUTATIONS[name].text}: not noticed in {SEEDS} seeds")


def test_nothing_is_left_behind() -> None:
    plan = make_plan(0)
    before = run(plan).history.records
    for name in MUTATIONS:
        run(plan, mutation=name, events_max=20_000)
    assert run(plan).history.records == before
