"""RateLimit: one permission per key and interval, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aisexec.ratelimit import RateLimit


def test_speaks_once_per_interval_and_counts_silence() -> None:
    limit = RateLimit(10.0)
    assert [limit.allow("a", t) for t in (0.0, 1.0, 9.9, 10.0, 10.1, 20.1)] == [0, None, None, 2, None, 1]


def test_keys_are_independent() -> None:
    limit = RateLimit(10.0)
    assert [limit.allow(key, 0.0) for key in "aba"] == [0, 0, None]


def test_keys_beyond_the_limit_share_one_permission() -> None:
    limit = RateLimit(10.0, keys_max=2)
    assert [limit.allow(key, 0.0) for key in range(6)] == [0, 0, 0, None, None, None]
    assert limit.allow(7, 10.0) == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 5)), max_size=300))
def test_memory_is_bounded_and_no_key_speaks_twice_in_an_interval(steps: list[tuple[int, float]]) -> None:
    limit = RateLimit(10.0, keys_max=8)
    now, spoke = 0.0, dict[int, float]()
    for key, pause in steps:
        now += pause
        if limit.allow(key, now) is not None:
            assert key not in spoke or now - spoke[key] >= 10.0
            spoke[key] = now
        assert len(limit._entries) <= 9
