"""The profiler that a signal turns on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aisexec import sampling
from aisexec.sampling import FILE_NAME, Sampler
from tests.harness.wait import wait_until
from tools.bench import profiling
from tools.bench.profiling import by_function, parse_folded

BUSY = 20.0
"""Seconds of work after which a sample must have been taken."""


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def sampler(tmp_path: Path, log: list[str]) -> Iterator[Sampler]:
    sampler = Sampler(log.append, tmp_path)
    yield sampler
    if sampler.running:
        sampler.stop()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def work_until(done: Callable[[], bool]) -> None:
    """Without a pause, so that CPU time goes by."""
    wait_until(lambda: sum(range(1000)) and done(), BUSY, "enough samples", poll=0)


def samples(sampler: Sampler) -> int:
    return sum(sampler._stacks.values())


def test_where_time_goes(sampler: Sampler, tmp_path: Path, log: list[str]) -> None:
    sampler.toggle()
    work_until(lambda: samples(sampler) >= 5)
    sampler.toggle()
    own, total = by_function(parse_folded((tmp_path / FILE_NAME).read_text()))
    assert sum(own.values()) >= 5
    assert total[f"{__name__}:work_until"] >= 5
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    assert "samples" in log[-1]


def test_a_late_signal_does_not_kill(sampler: Sampler) -> None:
    sampler.start()
    sampler.stop()
    signal.raise_signal(signal.SIGPROF)


def test_it_ends_by_itself(sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TIME_MAX", 0.0)
    sampler.start()
    work_until(lambda: not sampler.running)
    assert (tmp_path / FILE_NAME).exists()


def test_stacks_are_bounded(sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STACKS_MAX", 0)
    sampler.start()
    work_until(lambda: samples(sampler) >= 2)
    sampler.stop()
    assert (tmp_path / FILE_NAME).read_text().startswith("other ")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, log: list[str]) -> None:
    sampler = Sampler(log.append, tmp_path / "missing")
    sampler.start()
    sampler.stop()
    assert "could not be written" in log[-1]
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def test_both_sides_know_the_file() -> None:
    assert profiling.FILE_NAME == FILE_NAME
