"""Deadlines of services."""

from __future__ import annotations

import pytest

from aisexec.services.timers import Alarms


def test_one_that_fails_does_not_take_the_others_along() -> None:
    alarms, rung = Alarms(), list[int]()

    def broken() -> None:
        raise ZeroDivisionError

    alarms.start(1.0, lambda: rung.append(1))
    alarms.start(2.0, broken)
    alarms.start(3.0, lambda: rung.append(3))
    cancelled = alarms.start(3.0, lambda: rung.append(4))
    with pytest.raises(ZeroDivisionError):
        alarms.run(5.0)
    cancelled.cancel()
    assert (rung, alarms.next()) == ([1], 3.0)
    alarms.run(5.0)
    assert (rung, alarms.next()) == ([1, 3], None)


def test_what_is_started_meanwhile_waits_for_the_next_time() -> None:
    alarms, rung = Alarms(), list[float]()

    def again() -> None:
        rung.append(1.0)
        alarms.start(1.0, again)

    again()
    alarms.run(2.0)
    assert len(rung) == 2
    assert alarms.next() == 1.0
