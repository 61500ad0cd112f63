"""Sequence numbers that wrap, the window of frames, flow control arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.totem.flow_control import FlowControl
from aisexec.totem.limits import SORT_QUEUE_SIZE
from aisexec.totem.sequence import BEFORE_FIRST, distance, earlier, following, later, lt, lte
from aisexec.totem.sort_queue import SortQueue

NEAR = st.integers(min_value=0, max_value=5000)


def test_the_start_values_come_before_the_first_number() -> None:
    assert lt(BEFORE_FIRST, 0)
    assert lte(BEFORE_FIRST, 0)
    assert not lt(0, BEFORE_FIRST)
    assert following(BEFORE_FIRST) == 0


@given(st.sampled_from([0, 1, 0x7FFFFFF0, 0x80000000, 0x80000010, 0xFFFF0000, 0xFFFFFF00]), NEAR, NEAR)
def test_numbers_near_each_other_compare_as_integers(base: int, a: int, b: int) -> None:
    x, y = (base + a) & 0xFFFFFFFF, (base + b) & 0xFFFFFFFF
    if 0x80000000 in range(min(x, y), max(x, y) + 1):
        return  # stock's comparison changes its rule there (spec 2.2); no ring gets that far
    assert lt(x, y) == (a < b)
    assert lte(x, y) == (a <= b)
    assert earlier(x, y) == (x if a <= b else y)
    assert later(x, y) == (y if a <= b else x)
    assert distance(x, y) == max(0, b - a)


def test_queue_keeps_what_lies_in_its_window_once() -> None:
    queue = SortQueue()
    assert queue.add(1, b"one")
    assert not queue.add(1, b"again")
    assert queue.get(1) == b"one"
    assert not queue.add(SORT_QUEUE_SIZE, b"too far")
    assert queue.add(SORT_QUEUE_SIZE - 1, b"last")
    queue.release(0, 9)
    assert queue.get(1) is None
    assert queue.add(SORT_QUEUE_SIZE + 9, b"now in range")
    assert not queue.add(9, b"released")


def test_queue_finds_the_contiguous_end_and_counts_misses() -> None:
    queue = SortQueue()
    for seq in (1, 2, 3, 5):
        queue.add(seq, b"")
    assert queue.contiguous_from(0) == 3
    assert [queue.miss(4) for _ in range(3)] == [1, 2, 3]
    queue.add(4, b"")
    assert queue.contiguous_from(3) == 5
    assert queue.miss_count == 0
    assert queue.miss(6) == 1


def test_queue_works_across_the_wrap() -> None:
    queue = SortQueue()
    queue.head = 0xFFFFFFF0
    for i in range(32):
        assert queue.add((0xFFFFFFF0 + i) & 0xFFFFFFFF, b"")
    assert queue.contiguous_from(0xFFFFFFEF) == 0xF
    queue.release(0xFFFFFFF0, 0x3)
    assert len(queue) == 12


def test_flow_control_never_exceeds_window_nor_visit() -> None:
    flow = FlowControl()
    args = {"backlog": 0, "queued": 100, "window_size": 50, "max_messages": 17}
    assert flow.allowance(fcc=0, **args) == 17
    assert flow.allowance(fcc=40, **args) == 10
    assert flow.allowance(fcc=50, **args) == 0
    assert flow.allowance(fcc=1000, **args) == 17, "a forged sum must not silence the ring"


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 17)), min_size=1, max_size=50))
def test_what_a_member_puts_into_the_token_it_takes_out_again(visits: list[tuple[int, int]]) -> None:
    flow = FlowControl()
    fcc = backlog = 0
    for queued, sent in visits:
        fcc, backlog = flow.account(fcc=fcc, backlog=backlog, queued=queued, sent=sent)
        assert (fcc, backlog) == (sent, queued)


def test_backlog_shares_the_window() -> None:
    flow = FlowControl()
    flow.account(fcc=0, backlog=0, queued=100, sent=0)
    shares = flow.allowance(fcc=0, backlog=400, queued=100, window_size=50, max_messages=17)
    assert shares == 50 * 100 // 400


@pytest.mark.parametrize("bad", [0xFFFFFFFF, 0x80000000, SORT_QUEUE_SIZE])
def test_out_of_range_numbers_are_not_in_the_window(bad: int) -> None:
    assert not SortQueue().in_range(bad)
