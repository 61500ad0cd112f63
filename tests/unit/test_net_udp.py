"""Transport udp on loopback sockets: multicast and broadcast."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from aisexec.exit_codes import ExitCode
from aisexec.net import datagram
from aisexec.net.base import NetError, NetworkSettings
from aisexec.net.sockets import set_multicast_sender
from tests.unit.net_support import Cluster, Node, frame, free_port

TOKEN, MCAST, MERGE, JOIN, COMMIT, CANCEL = range(6)
GROUP = "239.192.111.7"


@pytest.fixture
def settings() -> NetworkSettings:
    return NetworkSettings("udp", 1, "127.0.0.11", free_port(), mcast_address=GROUP)


@pytest.fixture
def cluster(settings: NetworkSettings) -> Iterator[Cluster]:
    made = Cluster(settings, 3).start()
    yield made
    made.close()


def test_a_broadcast_reaches_all_others_in_order_from_the_port_below(cluster: Cluster) -> None:
    sent = [frame(MCAST, bytes([i]) * 1400) for i in range(100)]
    cluster[2].transport.broadcast(sent)
    for nodeid in (1, 3):
        assert cluster[nodeid].wait_frames(100) == sent
        assert {sender for _, sender in cluster[nodeid].received} == {"127.0.0.12"}
    assert cluster[2].transport.stats.sent_frames == 100


def test_everything_leaves_from_the_port_below(settings: NetworkSettings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.12", settings.port))
        peer.settimeout(5)
        node = Node(replace(settings, members={1: "127.0.0.11", 2: "127.0.0.12"})).start()
        node.transport.unicast(2, [frame(TOKEN)])
        assert peer.recvfrom(100) == (frame(TOKEN), ("127.0.0.11", settings.port - 1))
        node.transport.close()


def test_messages_go_before_tokens_and_joins_after(settings: NetworkSettings) -> None:
    cluster = Cluster(settings, 2).start()
    sender, receiver = cluster[1], cluster[2]
    token, commit = frame(TOKEN), frame(COMMIT)
    join, first, second, cancel = frame(JOIN), frame(MCAST, b"1"), frame(MCAST, b"2"), frame(CANCEL)
    sender.transport.unicast(2, [token])
    sender.transport.broadcast([join, first])
    sender.transport.unicast(2, [commit])
    sender.transport.broadcast([cancel, second])
    receiver.wait_frames(6)
    assert receiver.turns == 1
    assert receiver.frames == [first, cancel, second, token, commit, join]
    cluster.close()


def test_without_a_token_messages_and_joins_keep_their_order(cluster: Cluster) -> None:
    sent = [frame(MCAST), frame(JOIN), frame(MERGE), frame(JOIN), b"\x70"]
    cluster[1].transport.broadcast(sent)
    assert cluster[2].wait_frames(5) == sent


def test_a_token_to_ourselves_comes_after_the_messages(cluster: Cluster) -> None:
    cluster[1].transport.broadcast([frame(JOIN), frame(MCAST)])
    cluster[2].transport.unicast(2, [frame(TOKEN)])
    assert cluster[2].wait_frames(3) == [frame(MCAST), frame(TOKEN), frame(JOIN)]


def test_socket_options(cluster: Cluster) -> None:
    transport = cluster[1].transport
    sender: socket.socket = transport._sender  # type: ignore[attr-defined]
    assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
    assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
    assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 64
    assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0
    assert sender.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6


def test_a_second_executive_with_the_same_address_is_refused(
    settings: NetworkSettings, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "BIND_PAUSE", 0.0001)
    with pytest.raises(NetError, match="Another program has the port") as caught:
        Node(settings).start()
    assert caught.value.exit_code == ExitCode.FAILURE


def test_other_groups_on_the_same_port_are_not_heard(settings: NetworkSettings) -> None:
    node = Node(settings).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.12", 0))
        set_multicast_sender(sender, "127.0.0.12", socket.if_nametoindex("lo"), 1)
        sender.sendto(frame(MCAST, b"other"), ("239.192.111.8", settings.port))
        sender.sendto(frame(MCAST, b"ours"), (GROUP, settings.port))
        assert node.wait_frames(1) == [frame(MCAST, b"ours")]
    node.transport.close()


@pytest.mark.parametrize(
    "change",
    [
        {"mcast_address": "ff15::1"},
        {"mcast_address": ""},
        {"local_address": "::1", "broadcast": True},
    ],
)
def test_groups_that_do_not_fit_are_an_error(settings: NetworkSettings, change: dict[str, object]) -> None:
    with pytest.raises(NetError) as caught:
        Node(replace(settings, **change))  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.FATAL_ERROR
