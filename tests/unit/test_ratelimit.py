"""Saying the same thing once per interval and sender, in bounded memory, however many senders there are."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aisexec.ratelimit import RateLimit
from aisexec.totem.anomalies import Anomalies
from aisexec.totem.limits import ANOMALY_LOG_INTERVAL, ANOMALY_SENDERS_MAX
from aisexec.totem.stats import Stats
from ipc.limits import CAUSES_MAX
from ipc.ratelimit import WARNING, LimitedLog


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


@example([(0, 0.0), *((key, 0.0) for key in range(2, 9)), (1, 5.0), (1, 5.0)])
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


def test_bad_frames_of_invented_senders_do_not_fill_the_log() -> None:
    stats = Stats()
    anomalies = Anomalies(stats)
    count = 20 * ANOMALY_SENDERS_MAX
    lines = [anomalies.note("magic", f"sender {n}", "bad", 0.0) for n in range(count)]
    assert sum(line is not None for line in lines) <= ANOMALY_SENDERS_MAX
    assert len(anomalies._logged) <= ANOMALY_SENDERS_MAX
    assert stats.dropped == {"magic": count}
    late = anomalies.note("magic", "10.99.0.1", "bad", ANOMALY_LOG_INTERVAL)
    assert late is not None
    assert len(anomalies._logged) <= ANOMALY_SENDERS_MAX


def test_causes_without_end_do_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ipc.ratelimit.monotonic", lambda: now)
    lines: list[str] = []
    log = LimitedLog(lambda _, text: lines.append(text))
    for pid in range(50 * CAUSES_MAX):
        log.limited(f"closed {pid}", WARNING, f"client {pid}")
    assert len(lines) == CAUSES_MAX + 1
    assert len(log._quiet_until) <= CAUSES_MAX + 1
    now = 60.0
    log.limited("closed 1000000", WARNING, "later")
    assert lines[-1] == "later"
    assert len(log._quiet_until) == 1
