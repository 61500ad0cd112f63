"""Deliberate faults in the core are noticed: the checkers can fail, each for the right reason."""

from __future__ import annotations

import pytest

from aisexec.sim import checkers
from aisexec.sim.checkers import ALL, Checker
from aisexec.sim.faults import PROFILES, make_plan
from aisexec.sim.mutations import MUTATIONS
from aisexec.sim.run import run

SEEDS = 60
"""Within which each has to be noticed; most are at the first few."""

EVENTS_MAX = 100_000
"""A run that is none the worse for a fault needs a tenth of it."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_caught(name: str) -> None:
    mutation = MUTATIONS[name]
    others: list[str] = []
    for seed in range(SEEDS):
        plan = make_plan(seed, profile=mutation.profile)
        result = run(plan, mutation=name, events_max=EVENTS_MAX)
        if result.violation is not None and result.violation.property in mutation.caught_by:
            assert result.violation.text
            return
        if result.failed:
            others.append(f"seed {seed}: {result.what}")
    pytest.fail("\n".join([f"{mutation.text}: not noticed in {SEEDS} seeds", *others]))


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__module__.rsplit(".", 1)[1])
def test_each_checker_notices_something_without_the_others(check: Checker) -> None:
    named = property_of(check)
    for seed in range(SEEDS):
        for name, mutation in MUTATIONS.items():
            if named not in mutation.caught_by:
                continue
            plan = make_plan(seed, profile=mutation.profile)
            violation = run(plan, mutation=name, checkers=[check], events_max=EVENTS_MAX).violation
            if violation is not None and violation.property == named:
                return
    pytest.fail(f"{named}: no mutation is noticed")


def property_of(check: Checker) -> str:
    name: str = getattr(checkers, check.__module__.rsplit(".", 1)[1]).PROPERTY
    return name


def test_each_says_what_is_wrong_and_who_should_notice() -> None:
    properties = {property_of(check) for check in ALL}
    assert len(properties) == len(ALL)
    for name, mutation in MUTATIONS.items():
        assert set(mutation.caught_by) <= properties, name
        assert mutation.profile in PROFILES, name
        assert mutation.text


def test_nothing_is_left_behind() -> None:
    plan = make_plan(0)
    before = run(plan).history.records
    for name in MUTATIONS:
        run(plan, mutation=name, events_max=20_000)
    assert run(plan).history.records == before
