"""Histograms; how long the token was held and the loop was away, and what was to blame."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec._timing import Timing
from aisexec.counters import flatten
from aisexec.timing import Cause
from ipc._histogram import BITS_MAX, Histogram


@given(st.lists(st.integers(0, 2**40)))
def test_every_number_is_counted_below_its_power_of_two(numbers: list[int]) -> None:
    histogram = Histogram()
    for number in numbers:
        histogram.add(number)
    assert len(histogram) == len(numbers)
    items = list(histogram.items())
    assert items == sorted(items)
    for limit, count in items:
        if limit < 1 << BITS_MAX:
            assert count == sum(limit // 2 <= number < limit for number in numbers)


@dataclass
class Figures:
    size: Histogram = field(default_factory=Histogram)
    other: int = 5


def test_keys_of_a_histogram() -> None:
    figures = Figures()
    for number in (0, 3, 2, 64):
        figures.size.add(number)
    assert dict(flatten("stats.toy", figures)) == {
        "stats.toy.size_below_1": 1,
        "stats.toy.size_below_4": 2,
        "stats.toy.size_below_128": 1,
        "stats.toy.other": 5,
    }


class Machine:
    """Time, processor time and time of collections, passing as told."""

    def __init__(self) -> None:
        self.now = self.cpu = self.collecting = 0.0
        self.timing = Timing(lambda: self.collecting, lambda: self.now, lambda: self.cpu)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    def collect(self, seconds: float) -> None:
        self.work(seconds)
        self.collecting += seconds

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


CAUSES = {
    "work": Cause.HANDLER,
    "collect": Cause.COLLECTION,
    "wait": Cause.NOT_SCHEDULED,
}


@pytest.mark.parametrize("what", CAUSES)
def test_longest_gap_and_its_cause(what: str, machine: Machine) -> None:
    for seconds in (0.02, 0.05, 0.03):
        machine.wait(7)
        machine.timing.wakes()
        machine.work(seconds / 4)
        getattr(machine, what)(seconds * 3 / 4)
        machine.timing.sleeps()
    assert set(machine.timing.loop.gap_us_longest) == {CAUSES[what]}
    assert machine.timing.loop.gap_us_longest[CAUSES[what]] == pytest.approx(50_000, abs=2)
    assert len(machine.timing.loop.gap_us) == 3


def test_idle_time_is_nobodys_fault(machine: Machine) -> None:
    for _ in range(5):
        machine.timing.wakes()
        machine.work(0.0001)
        machine.timing.sleeps()
        machine.wait(10)
    assert machine.timing.loop.gap_us_longest == {}
    assert [limit for limit, _ in machine.timing.loop.gap_us.items()] == [128]


def test_token_that_is_passed_on_at_once(machine: Machine) -> None:
    timing = machine.timing
    timing.wakes()
    timing.token_came(machine.now)
    machine.work(0.004)
    timing.token_passed(3)
    machine.work(1)
    assert timing.turn_over()
    assert not timing.turn_over()
    assert list(timing.token.token_hold_us.items()) == [(4096, 1)]
    assert timing.token.token_hold_us_longest == {Cause.HANDLER: 4000}


def test_token_kept_on_purpose_does_not_count(machine: Machine) -> None:
    timing = machine.timing
    timing.token_came(machine.now)
    assert not timing.turn_over()
    machine.wait(0.2)
    timing.token_passed(0)
    assert not timing.turn_over()
    assert len(timing.token.token_hold_us) == 0


def test_means_as_corosync_has_them(machine: Machine) -> None:
    timing = machine.timing
    assert dict(timing.token_means()) == {}
    for backlog in range(201):
        timing.token_came(machine.now)
        machine.work(0.003)
        timing.token_passed(backlog)
        machine.wait(0.007)
    assert dict(timing.token_means()) == {
        "mtt_rx_token": 10,
        "avg_token_workload": 3,
        "avg_backlog_calc": 150,
    }
