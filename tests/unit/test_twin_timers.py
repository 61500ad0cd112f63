"""The compiled timers and their twin in plain Python."""

from __future__ import annotations

import random

import pytest

from aisexec.totem.timers import Timer, Timers
from tests.twins.timers import Timers as Twin


@pytest.mark.parametrize("seed", range(30))
def test_same_deadlines(seed: int) -> None:
    draw = random.Random(seed)
    kinds = list(Timer)
    ours: Timers[Timer] = Timers(kinds)
    theirs: Twin[Timer] = Twin(kinds)
    for _ in range(400):
        what, timer = draw.random(), draw.choice(kinds)
        if what < 0.5:
            deadline = draw.randrange(20) / 4
            ours.start(timer, deadline)
            theirs.start(timer, deadline)
        elif what < 0.7:
            several = draw.sample(kinds, draw.randrange(4))
            ours.stop(*several)
            theirs.stop(*several)
        else:
            now = draw.randrange(20) / 4
            assert ours.pop_due(now) is theirs.pop_due(now)
        assert ours.next() == theirs.next()
        assert ours.armed == theirs.armed
        assert ours.running(timer) is theirs.running(timer)


def test_kinds_are_limited() -> None:
    with pytest.raises(ValueError, match="17 kinds"):
        Timers(range(17))
