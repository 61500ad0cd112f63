"""Collections happen when the token has just been passed on, in bounded portions."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from aisexec.garbage import FULL_EVERY, FULL_SHARE, MIDDLE_EVERY, NET, YOUNG, Garbage


class Knot:
    """Refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    garbage = Garbage()
    garbage.start()
    yield garbage
    garbage.stop()


def litter(count: int = YOUNG) -> weakref.ref[Knot]:
    for _ in range(count):
        knot = Knot()
    return weakref.ref(knot)


def test_nothing_is_collected_before_the_token_is_passed(garbage: Garbage) -> None:
    last = litter(5 * YOUNG)
    assert garbage.stats.collections == 0
    assert last() is not None
    garbage.token_passed()
    assert last() is None
    assert garbage.stats.collections == 1
    assert garbage.stats.objects >= 5 * YOUNG
    assert garbage.stats.us_each
    assert garbage.seconds > 0


def test_little_garbage_waits(garbage: Garbage) -> None:
    gc.collect(0)
    before = garbage.stats.collections
    litter(YOUNG // 4)
    garbage.token_passed()
    assert garbage.stats.collections == before


def test_what_start_up_made_is_not_looked_at() -> None:
    keep = [Knot() for _ in range(10)]
    garbage = Garbage()
    garbage.start()
    try:
        assert gc.get_freeze_count() > 10
        assert not any(thing is keep[0] for thing in gc.get_objects())
    finally:
        garbage.stop()
    assert gc.get_freeze_count() == 0


def test_what_survives_is_collected_later(garbage: Garbage) -> None:
    knot = Knot()
    old = weakref.ref(knot)
    litter()
    garbage.token_passed()  # it is in use: it survives among the young ones
    del knot
    for _ in range(MIDDLE_EVERY):
        assert garbage.stats.full == 0
        litter()
        garbage.token_passed()
    assert old() is None


def test_full_collections_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    garbage = Garbage(lambda: now)
    garbage.start()
    took = 0.1

    def slow(phase: str, info: dict[str, int]) -> None:
        nonlocal now
        if phase == "stop" and info["generation"] == 2:
            now += took

    gc.callbacks.insert(0, slow)
    try:
        monkeypatch.setattr(gc, "get_count", lambda: (YOUNG, 0, 0))
        full: list[float] = []
        for _ in range(3 * MIDDLE_EVERY * FULL_EVERY):
            garbage.token_passed()
            if garbage.stats.full > len(full):
                full.append(now)
            now += 0.1
    finally:
        gc.callbacks.remove(slow)
        garbage.stop()
    assert len(full) == 2
    assert full[1] - full[0] >= took / FULL_SHARE


def test_without_a_token_python_collects_itself(garbage: Garbage) -> None:
    last = litter(NET[0] + 2 * YOUNG)
    assert garbage.stats.not_after_token == 1
    assert last() is not None  # made after it
    assert garbage.stats.objects >= NET[0] - YOUNG


def test_all_is_as_before_in_the_end() -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    garbage = Garbage()
    garbage.token_passed()  # not started: nobody's business
    garbage.start()
    garbage.stop()
    garbage.stop()
    assert (gc.get_threshold(), gc.callbacks) == (thresholds, callbacks)
    assert garbage.stats.collections == 0
