"""The compiled stopwatch and histogram beside their plain twins: told the same, they say the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from aisexec._timing import Timing
from ipc._histogram import Histogram
from tests.twins import histogram as plain_histogram
from tests.twins import timing as plain_timing


class Machine:
    """Its clocks are read by both."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        # Powers of two, so that sums do not depend on the order of addition.
        self.now = self.cpu = self.collecting = 0.0
        clocks = (lambda: self.collecting, lambda: self.now, lambda: self.cpu)
        self.compiled, self.plain = Timing(*clocks), plain_timing.Timing(*clocks)

    def pass_time(self) -> None:
        seconds = self.draw.randrange(1, 100) / 2 ** self.draw.choice((8, 12, 16, 20))
        self.now += seconds
        if self.draw.random() < 0.6:
            self.cpu += seconds
            if self.draw.random() < 0.4:
                self.collecting += seconds

    def both(self, act: Callable[[Any], object]) -> None:
        assert act(self.compiled) == act(self.plain)

    def compare(self) -> None:
        self.both(lambda timing: list(timing.token.token_hold_us.items()))
        self.both(lambda timing: timing.token.token_hold_us_longest)
        self.both(lambda timing: list(timing.loop.gap_us.items()))
        self.both(lambda timing: timing.loop.gap_us_longest)
        self.both(lambda timing: dict(timing.token_means()))


@pytest.mark.parametrize("seed", range(20))
def test_stopwatches_agree(seed: int) -> None:
    machine = Machine(seed)
    draw = machine.draw
    for step in range(600):
        backlog = draw.randrange(500)
        now = machine.now
        act = draw.choice((
            lambda timing: timing.wakes(),
            lambda timing: timing.sleeps(),
            lambda timing, now=now: timing.token_came(now),
            lambda timing, backlog=backlog: timing.token_passed(backlog),
            lambda timing: timing.turn_over(),
        ))  # fmt: skip
        machine.both(act)
        machine.pass_time()
        if step % 50 == 0:
            machine.compare()
    machine.compare()
    assert machine.compiled.loop.gap_us_longest


def test_histograms_agree() -> None:
    draw = random.Random(1)
    compiled, plain = Histogram(), plain_histogram.Histogram()
    for number in [
        0,
        1,
        2**31,
        2**32 - 1,
        2**32,
        2**63,
        *(draw.getrandbits(draw.randrange(1, 50)) for _ in range(999)),
    ]:
        compiled.add(number)
        plain.add(number)
    assert list(compiled.items()) == list(plain.items())
    assert len(compiled) == len(plain) == 1005
