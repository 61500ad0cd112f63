"""Runs of frames in one call: what is cut and joined, and what happens where the kernel refuses."""

from __future__ import annotations

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.net import datagram
from aisexec.net.base import NetworkSettings
from aisexec.net.segmentation import (
    CALL_BYTES_MAX,
    RETRY_AFTER,
    SEGMENTS_MAX,
    SOL_UDP,
    UDP_GRO,
    Refusers,
    ask_for_joined,
    runs,
    segment_size,
    send_run,
)
from tests.unit.net_support import Cluster, frame, free_port

MCAST = 1


@pytest.fixture
def settings() -> NetworkSettings:
    return NetworkSettings("udpu", 1, "127.0.0.11", free_port())


@given(st.lists(st.integers(1, 4) | st.sampled_from([1400, 1472, 9000, 60000]), max_size=400))
def test_runs_keep_order_and_limits(sizes: list[int]) -> None:
    frames = [bytes([n & 255]) * size for n, size in enumerate(sizes)]
    cut = list(runs(frames))
    assert [f for run in cut for f in run] == frames
    for run in cut:
        assert 1 <= len(run) <= SEGMENTS_MAX
        assert len(run) == 1 or sum(map(len, run)) <= CALL_BYTES_MAX
        assert len({len(f) for f in run[:-1]}) <= 1
        assert len(run[-1]) <= len(run[0])


def test_equal_frames_go_together() -> None:
    frames = [bytes(1472)] * 100 + [bytes(10)] + [bytes(1472)] * 2
    assert [len(run) for run in runs(frames)] == [44, 44, 13, 2]


@pytest.mark.parametrize(
    ("ancillary", "size"),
    [
        ([], 500),
        ([(SOL_UDP, UDP_GRO, (100).to_bytes(4, "little"))], 100),
        ([(SOL_UDP, UDP_GRO, (500).to_bytes(4, "little"))], 500),
        ([(SOL_UDP, UDP_GRO, (0).to_bytes(4, "little"))], 500),
        ([(SOL_UDP, UDP_GRO, (-1).to_bytes(4, "little", signed=True))], 500),
        ([(SOL_UDP, UDP_GRO, b"\1")], 500),
        ([(0, 0, bytes(4))], 500),
    ],
)
def test_what_the_kernel_says_of_a_buffer(ancillary: list[tuple[int, int, bytes]], size: int) -> None:
    assert segment_size(ancillary, 500) == size


def test_a_run_arrives_frame_by_frame_where_offload_is_not_asked_for() -> None:
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with receiver, sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        frames = [b"a" * 700, b"b" * 700, b"c" * 3]
        assert send_run(sender, frames, receiver.getsockname()) == 1403
        assert [receiver.recv(2000) for _ in frames] == frames


def test_a_run_arrives_in_one_buffer_where_it_is() -> None:
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with receiver, sender:
        assert ask_for_joined(receiver)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        send_run(sender, [b"a" * 700, b"b" * 700, b"c" * 3], receiver.getsockname())
        buffer = bytearray(4000)
        size, ancillary, _, _ = receiver.recvmsg_into([buffer], 64)
        assert (size, segment_size(ancillary, size)) == (1403, 700)


def test_a_transport_sends_and_takes_runs(settings: NetworkSettings) -> None:
    cluster = Cluster(settings, 2).start()
    frames = [frame(MCAST, bytes([n]) * 1000) for n in range(200)] + [frame(MCAST, b"end")]
    cluster[1].transport.broadcast(frames)
    assert cluster[2].wait_frames(len(frames)) == frames
    assert cluster[1].transport.stats.sent_frames == len(frames)
    cluster.close()


def test_a_destination_that_refuses_gets_them_one_by_one(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(*arguments: object) -> int:
        calls.append(arguments)
        raise OSError(errno.EIO, "no checksum offload")

    monkeypatch.setattr(datagram, "send_run", refuse)
    cluster = Cluster(settings, 2).start()
    frames = [frame(MCAST, bytes([n])) for n in range(50)]
    cluster[1].transport.broadcast(frames)
    cluster[1].transport.broadcast(frames)
    assert cluster[2].wait_frames(100) == frames * 2
    assert len(calls) == 1
    assert cluster[1].transport.stats.send_errors == 0
    cluster.close()


def test_refusers_are_tried_again() -> None:
    refusers = Refusers()
    assert refusers.takes_runs("a", 0.0)
    refusers.refused("a", 1.0)
    assert not refusers.takes_runs("a", RETRY_AFTER)
    assert refusers.takes_runs("b", RETRY_AFTER)
    assert refusers.takes_runs("a", RETRY_AFTER + 1.0)
