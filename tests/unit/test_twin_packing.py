"""The compiled packer and its twin in plain Python make the same packets of the same messages."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aisexec.totem._packing import NET_MTU_MAX, NET_MTU_MIN, PARTS_MAX, Packer
from tests.twins.packing import Packer as Twin

Queued = tuple[bytes, int]


class Pair:
    """Both packers side by side; what they make is compared at every step."""

    def __init__(self, net_mtu: int) -> None:
        self.sizes: list[int] = []
        """Of all packets so far."""
        self._packets: list[Queued] = []
        self._expected: list[Queued] = []
        self._packer = Packer(net_mtu, lambda *queued: self._packets.append(queued))
        self._twin = Twin(net_mtu, lambda *queued: self._expected.append(queued))

    def add(self, parts: list[bytes], guarantee: int) -> None:
        self._packer.add(parts, guarantee)
        self._twin.add(parts, guarantee)
        self._compare()

    def flush(self) -> None:
        self._packer.flush()
        self._twin.flush()
        self._compare()

    def _compare(self) -> None:
        assert self._packets == self._expected
        assert self._packer.staged == self._twin.staged
        self.sizes += [len(packet) for packet, _ in self._packets]
        self._packets.clear()
        self._expected.clear()


def message(draw: random.Random, net_mtu: int) -> list[bytes]:
    """Sizes that meet each other at the edges of packets."""
    def size() -> int:
        near = draw.choice((0, 0, net_mtu, 2 * net_mtu, 5 * net_mtu))
        return max(0, near + draw.randrange(-40, 40)) if draw.random() < 0.5 else draw.randrange(200)

    return [draw.randbytes(size()) for _ in range(draw.randint(0, 5))]


@pytest.mark.parametrize("seed", range(40))
def test_random_streams(seed: int) -> None:
    draw = random.Random(seed)
    net_mtu = draw.choice((NET_MTU_MIN, 65, 66, 100, 210, 500, 1410, 8910, NET_MTU_MAX))
    pair = Pair(net_mtu)
    for _ in range(200):
        if draw.random() < 0.15:  # the token is here
            pair.flush()
        guarantee = 0 if draw.random() < 0.9 else 1
        pair.add(message(draw, net_mtu), guarantee)
    pair.flush()
    assert len(pair.sizes) > 10
    assert max(pair.sizes) <= net_mtu


SIZES = st.lists(st.lists(st.integers(0, 450), max_size=4), max_size=12)


@given(SIZES)
@example([[190], [3], [2], [1], [1]])
@example([[199], [198], [197], [196], [195], [194], [193], [192], [191], [190], [189]])
@example([[100, 99], [100, 98], [100, 97], [0, 0], [], [0, 500, 0, 0]])
def test_sizes(sizes: list[list[int]]) -> None:
    pair = Pair(210)
    for index, parts in enumerate(sizes):
        pair.add([bytes([index]) * size for size in parts], 0)
    pair.flush()


def test_every_size_behind_every_fill() -> None:
    """All ways in which the end of a small packet can fall."""
    for first in range(60):
        for second in range(130):
            pair = Pair(NET_MTU_MIN)
            pair.add([b"a" * first], 0)
            pair.add([b"bbbb", b"c" * second], 0)
            pair.add([b"d"], 0)
            pair.flush()


def test_a_copy_goes_on_where_it_was() -> None:
    made: list[Queued] = []
    packer = Packer(210, lambda *queued: made.append(queued))
    packer.add([b"x" * 300], 1)
    made.clear()
    for one in (copy.deepcopy(packer), packer):
        one.add([b"y" * 300], 1)
        one.flush()
    half = len(made) // 2
    assert half
    assert made[:half] == made[half:]


def test_fragment_numbers_wrap() -> None:
    pair = Pair(210)
    pair.add([b"head", bytes(200_000)], 0)
    pair.flush()
    assert len(pair.sizes) > 600


@pytest.mark.parametrize("net_mtu", [NET_MTU_MIN - 1, NET_MTU_MAX + 1, -1, 0])
def test_impossible_sizes_of_packets_are_refused(net_mtu: int) -> None:
    with pytest.raises(ValueError, match="packets of"):
        Packer(net_mtu, print)


def test_what_is_no_message_is_refused_and_leaves_nothing() -> None:
    packer = Packer(210, print)
    with pytest.raises(ValueError, match="limit"):
        packer.add([b"x"] * (PARTS_MAX + 1), 0)
    with pytest.raises(TypeError):
        packer.add([bytearray(3)], 0)  # type: ignore[list-item]
    assert not packer.staged


def test_a_queue_that_fails_is_reported() -> None:
    def fail(packet: bytes, guarantee: int) -> None:
        raise KeyError(len(packet))

    packer = Packer(210, fail)
    packer.add([b"short"], 0)
    with pytest.raises(KeyError):
        packer.flush()
    assert not packer.staged
