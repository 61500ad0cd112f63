"""Runs of frames in one call: what is cut and joined, and what happens where the kernel refuses."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.net import datagram
from aisexec.net._datagrams import CALL_BYTES_MAX, SEGMENTS_MAX, receive, runs, send
from aisexec.net.addresses import SockAddr, from_raw, raw
from aisexec.net.base import NetworkSettings
from aisexec.net.segmentation import RETRY_AFTER, Refusers, ask_for_joined
from tests.twins import segmentation as twin
from tests.unit.net_support import Cluster, frame, free_port

TOKEN, MCAST = 0, 1


@pytest.fixture
def settings() -> NetworkSettings:
    return NetworkSettings("udpu", 1, "127.0.0.11", free_port())


@contextmanager
def pair(*, joined: bool) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Who receives and who sends."""
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with receiver, sender:
        if joined:
            assert ask_for_joined(receiver)
        receiver.bind(("127.0.0.1", 0))
        sender.bind(("127.0.0.1", 0))
        yield receiver, sender


def taken(
    receiver: socket.socket, *, room: int = 70000, frames_max: int = 1000, bytes_max: int = 1 << 20
) -> tuple[list[tuple[bytes, str]], int, int]:
    def judge(packed: bytes, size: int) -> str | None:
        return from_raw(packed)[0] if size < room else None

    return receive(
        receiver.fileno(), bytearray(room), {}, judge, frames_max=frames_max, bytes_max=bytes_max
    )


@given(st.lists(st.integers(0, 4) | st.sampled_from([1400, 1472, 9000, 60000]), max_size=400))
def test_runs_keep_order_and_limits(sizes: list[int]) -> None:
    frames = [bytes([n & 255]) * size for n, size in enumerate(sizes)]
    cut = list(twin.runs(frames))
    assert runs(frames) == [len(run) for run in cut]
    assert [f for run in cut for f in run] == frames
    for run in cut:
        assert 1 <= len(run) <= SEGMENTS_MAX
        assert len(run) == 1 or sum(map(len, run)) <= CALL_BYTES_MAX
        assert len({len(f) for f in run[:-1]}) <= 1
        assert len(run[-1]) <= len(run[0])


def test_equal_frames_go_together() -> None:
    assert runs([bytes(1472)] * 100 + [bytes(10)] + [bytes(1472)] * 2) == [44, 44, 13, 2]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("in_runs", [False, True])
def test_runs_arrive_frame_by_frame(joined: bool, in_runs: bool) -> None:
    frames = [b"a" * 700, b"b" * 700, b"c" * 3, b"d" * 700, b"", b"e" * 60000]
    with pair(joined=joined) as (receiver, sender):
        address = raw(receiver.getsockname())
        assert send(sender.fileno(), frames, 0, address, in_runs) == (6, 62103, 0, 0)
        assert taken(receiver) == ([(f, "127.0.0.1") for f in frames], 62103, 0)
        assert taken(receiver) == ([], 0, 0)


def test_a_run_arrives_in_one_buffer_where_that_is_asked_for() -> None:
    with pair(joined=True) as (receiver, sender):
        send(sender.fileno(), [b"a" * 700, b"b" * 700, b"c" * 3], 0, raw(receiver.getsockname()), True)
        assert len(receiver.recv(4000)) == 1403


def test_sending_goes_on_behind_what_has_failed() -> None:
    with pair(joined=False) as (receiver, sender):
        fd, address = sender.fileno(), raw(receiver.getsockname())
        frames = [b"a", bytes(70000), b"b", b"b"]
        assert send(fd, frames, 0, address, True) == (1, 1, errno.EMSGSIZE, 1)
        assert send(fd, frames, 2, address, True) == (4, 2, 0, 0)
        assert [f for f, _ in taken(receiver)[0]] == [b"a", b"b", b"b"]


def test_reading_ends_at_its_limits_and_leaves_the_rest() -> None:
    with pair(joined=False) as (receiver, sender):
        send(sender.fileno(), [b"abc"] * 10, 0, raw(receiver.getsockname()), True)
        assert len(taken(receiver, frames_max=3)[0]) == 3
        assert len(taken(receiver, bytes_max=6)[0]) == 2
        assert len(taken(receiver)[0]) == 5


def test_senders_are_judged_once_and_too_long_frames_always() -> None:
    asked: list[tuple[str, int]] = []
    names: dict[bytes, str] = {}

    def judge(packed: bytes, size: int) -> str | None:
        asked.append((from_raw(packed)[0], size))
        if size < 100:
            names[packed] = "somebody"
        return names.get(packed) if size < 100 else None

    with pair(joined=False) as (receiver, sender):
        for data in (b"a", b"b", bytes(1000), b"c"):
            sender.sendto(data, receiver.getsockname())
        arguments = (receiver.fileno(), bytearray(100), names, judge)
        frames, size, trouble = receive(*arguments, frames_max=10, bytes_max=1000)
    assert frames == [(b"a", "somebody"), (b"b", "somebody"), (b"c", "somebody")]
    assert (size, trouble) == (3, 0)
    assert asked == [("127.0.0.1", 1), ("127.0.0.1", 100)]


def test_a_closed_socket_is_told_of() -> None:
    with pair(joined=False) as (receiver, sender):
        fd, address = sender.fileno(), raw(receiver.getsockname())
    assert send(fd, [b"a", b"b"], 0, address, True) == (0, 0, errno.EBADF, 2)
    assert receive(fd, bytearray(10), {}, lambda packed, size: None, frames_max=9, bytes_max=9) == (
        [],
        0,
        errno.EBADF,
    )


@pytest.mark.parametrize("address", [("10.1.2.3", 5405), ("fe80::1:2", 5405, 0, 7)])
def test_addresses_as_the_kernel_has_them(address: SockAddr) -> None:
    assert from_raw(raw(address)) == address[:2]


def test_ipv6_addresses_reach_the_kernel() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("::1", 0))
        send(receiver.fileno(), [b"a"], 0, raw(receiver.getsockname()), True)
        assert taken(receiver) == ([(b"a", "::1")], 1, 0)


def test_a_transport_sends_and_takes_runs(settings: NetworkSettings) -> None:
    cluster = Cluster(settings, 2).start()
    frames = [frame(MCAST, bytes([n]) * 1000) for n in range(200)] + [frame(MCAST, b"end")]
    cluster[1].transport.broadcast(frames)
    assert cluster[2].wait_frames(len(frames)) == frames
    assert cluster[1].transport.stats.sent_frames == len(frames)
    cluster.close()


def test_the_token_comes_behind_the_messages_and_to_one_node_only(settings: NetworkSettings) -> None:
    cluster = Cluster(settings, 3).start()
    frames = [frame(MCAST, bytes([n]) * 1000) for n in range(20)]
    token = frame(TOKEN, bytes(44))
    cluster[1].transport.broadcast_and_pass(frames, 2, token)
    assert cluster[2].wait_frames(21) == [*frames, token]
    assert cluster[3].wait_frames(20) == frames
    cluster[1].transport.broadcast_and_pass(frames, 1, token)
    assert cluster[1].wait_frames(1) == [token]
    assert cluster[2].wait_frames(41)[21:] == frames
    cluster.close()


def test_a_destination_that_refuses_gets_them_one_by_one(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(
        fd: int, frames: list[bytes], start: int, address: bytes, in_runs: bool
    ) -> tuple[int, int, int, int]:
        calls.append(in_runs)
        if in_runs:
            return start, 0, errno.EIO, len(frames) - start  # no checksum offload
        return send(fd, frames, start, address, in_runs)

    monkeypatch.setattr(datagram, "send", refuse)
    cluster = Cluster(settings, 2).start()
    frames = [frame(MCAST, bytes([n])) for n in range(50)]
    cluster[1].transport.broadcast(frames)
    cluster[1].transport.broadcast(frames)
    assert cluster[2].wait_frames(100) == frames * 2
    assert calls == [True, False, False]
    assert cluster[1].transport.stats.send_errors == 0
    cluster.close()


def test_refusers_are_tried_again() -> None:
    refusers = Refusers()
    now = [0.0]

    def clock() -> float:
        return now[0]

    assert refusers.takes_runs(b"a", clock)
    refusers.refused(b"a", 1.0)
    now[0] = RETRY_AFTER
    assert not refusers.takes_runs(b"a", clock)
    assert refusers.takes_runs(b"b", clock)
    now[0] = RETRY_AFTER + 1.0
    assert refusers.takes_runs(b"a", clock)
