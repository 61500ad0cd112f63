"""Which visits of the token wait for clients, and how long."""

from __future__ import annotations

from aisexec.batching import PAUSE_MAX, PAUSES_OF_A_ROTATION_MAX, STREAM_MIN, STREAM_RATE, pause


def test_single_messages_never_wait() -> None:
    for taken in range(STREAM_MIN):
        assert pause(taken, 1e-5, 0, 17, 3) == 0.0


def test_a_trickle_does_not_wait_however_slow_the_ring() -> None:
    for since in (0.001, 0.01, 0.1):
        assert pause(int(0.9 * STREAM_RATE * since), since, 0, 17, 3) == 0.0
        assert pause(int(1.1 * STREAM_RATE * since), since, 0, 17, 3) == PAUSE_MAX


def test_a_stream_waits_until_it_fills_the_visit() -> None:
    assert pause(STREAM_MIN, 1e-5, 5, 17, 3) == PAUSE_MAX
    assert pause(1000, 1e-5, 16, 17, 2) == PAUSE_MAX
    assert pause(1000, 1e-5, 17, 17, 3) == 0.0


def test_a_rotation_does_not_become_slow_with_many_members() -> None:
    for members in (1, 2, 3, 4, 16, 64):
        assert pause(50, 1e-5, 3, 17, members) * members <= PAUSES_OF_A_ROTATION_MAX + 1e-12
