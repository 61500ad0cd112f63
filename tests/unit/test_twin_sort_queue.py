"""The compiled sort queue and its twin in plain Python keep, miss, order and release the same frames."""

from __future__ import annotations

import copy
import random

import pytest

from aisexec.totem import wire
from aisexec.totem.limits import SORT_QUEUE_SIZE
from aisexec.totem.sequence import MASK, following
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.types import RingId
from tests.twins.sort_queue import SortQueue as Twin

RING = RingId(1, 40)
MEMBERS = frozenset((1, 2, 3))
STARTS = (0, 1, 7, 0x7FFFFF00, 0xFFFFC000, 0xFFFFFF80)


def mcast(draw: random.Random, seq: int) -> bytes:
    """Mostly an ordinary frame."""
    nodeid = draw.choice((1, 2, 3, 3, 3)) if draw.random() < 0.97 else 9
    ring = RING if draw.random() < 0.97 else RingId(1, 36)
    kind = wire.Encapsulated.PLAIN if draw.random() < 0.97 else wire.Encapsulated.RECOVERY
    guarantee = draw.choice((0, 0, 0, 1, 2))
    frame = wire.pack_mcast_header(kind, nodeid, seq, draw.randrange(1000), ring, guarantee)
    frame += draw.randbytes(draw.randrange(40))
    if draw.random() < 0.03:
        at = draw.randrange(13)
        frame = frame[:at] + draw.randbytes(1) + frame[at + 1 :]
    return frame[: draw.randrange(60)] if draw.random() < 0.02 else frame


class Pair:
    """Both queues; each question is put to both."""

    def __init__(self, head: int) -> None:
        self.queue, self.twin = SortQueue(), Twin()
        self.queue.head = self.twin.head = head

    def ask(self, method: str, *args: object) -> object:
        answer = getattr(self.queue, method)(*args)
        assert answer == getattr(self.twin, method)(*args), (method, args)
        return answer

    def compare(self) -> None:
        assert self.queue.frames == self.twin.frames
        assert self.queue.head == self.twin.head
        assert len(self.queue) == len(self.twin)
        assert self.queue.miss_count == len(self.twin.misses)


@pytest.mark.parametrize("head", STARTS)
@pytest.mark.parametrize("seed", range(8))
def test_random_rings(seed: int, head: int) -> None:
    draw = random.Random(seed)
    pair = Pair(head)
    high = delivered = (head - 1) & MASK
    for _ in range(300):
        near = (delivered + draw.randrange(-3, 30)) & MASK
        what = draw.random()
        if what < 0.3:
            frame = mcast(draw, near)
            if len(frame) >= wire.MCAST_SIZE:
                pair.ask("add", near, frame)
        elif what < 0.5:
            base = following(high)
            run = [(mcast(draw, (base + i) & MASK), "x") for i in range(draw.randrange(12))]
            start = draw.randrange(len(run) + 1)
            answer = pair.ask("take_run", run, start, *RING, MEMBERS, 80, high)
            assert isinstance(answer, tuple)
            high = answer[1]
        elif what < 0.6 and pair.queue.in_range(near) and near not in pair.queue:
            pair.ask("miss", near)
        elif what < 0.8:
            safe = (delivered + draw.randrange(-2, 6)) & MASK
            found = pair.ask("ordered", delivered, high, draw.random() < 0.7, safe)
            assert isinstance(found, list)
            delivered = (delivered + len(found)) & MASK
        elif what < 0.9:
            pair.ask("contiguous_from", delivered)
        elif pair.queue.head != following(delivered):
            pair.ask("release", pair.queue.head, delivered)
        for seq in (near, high, delivered, following(high)):
            pair.ask("in_range", seq)
            pair.ask("get", seq)
            pair.ask("__contains__", seq)
        pair.compare()


def test_the_window_ends_where_it_should() -> None:
    pair = Pair(5)
    frame = mcast(random.Random(0), 5)
    for seq in (4, 5, 4 + SORT_QUEUE_SIZE, 5 + SORT_QUEUE_SIZE):
        pair.ask("add", seq, frame)
    pair.compare()
    assert sorted(pair.queue.frames) == [5, 4 + SORT_QUEUE_SIZE]


def test_a_copy_is_its_own() -> None:
    queue = SortQueue()
    queue.add_run(3, [b"three", b"four"])
    queue.miss(9)
    copied = copy.deepcopy(queue)
    queue.release(0, 4)
    assert copied.frames == {3: b"three", 4: b"four"}
    assert copied.miss_count == 1
    assert copied.miss(9) == 2
    assert len(queue) == 0


def test_what_is_there_is_not_missed() -> None:
    queue = SortQueue()
    queue.add(3, b"three")
    with pytest.raises(ValueError, match="not missing"):
        queue.miss(3)
    with pytest.raises(TypeError):
        queue.add_run(4, [b"four", "five"])  # type: ignore[list-item]
