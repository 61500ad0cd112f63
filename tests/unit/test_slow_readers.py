"""The ring waits for its readers, but not for ever."""

from __future__ import annotations

from aisexec.slow_readers import BEHIND, FAR_BEHIND, PAUSE_MAX, SlowReaders


def test_nobody_waits_for_a_reader_that_keeps_up() -> None:
    readers = SlowReaders()
    assert [readers.pause(n) for n in (0, 1000, BEHIND, 0)] == [0.0] * 4
    assert readers.pauses == 0


def test_each_visit_waits_longer_while_more_and_more_is_unread() -> None:
    readers = SlowReaders()
    middle = (BEHIND + FAR_BEHIND) // 2
    assert 0.0 < readers.pause(BEHIND + 1) < PAUSE_MAX / 1000
    assert readers.pause(middle) == PAUSE_MAX / 2
    assert [readers.pause(FAR_BEHIND + n) for n in (0, 1, FAR_BEHIND)] == [PAUSE_MAX] * 3
    assert readers.pauses == 5


def test_who_does_not_read_at_all_holds_up_nobody_for_nothing() -> None:
    readers = SlowReaders()
    assert readers.pause(2 * BEHIND) > 0.0
    assert [readers.pause(2 * BEHIND) for _ in range(5)] == [0.0] * 5


def test_a_reader_that_catches_up_is_left_alone() -> None:
    readers = SlowReaders()
    assert readers.pause(3 * BEHIND) > 0.0
    assert readers.pause(2 * BEHIND) == 0.0
    assert readers.pause(3 * BEHIND) > 0.0
