"""Transport udpu on loopback sockets."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from aisexec.exit_codes import ExitCode
from aisexec.net import datagram
from aisexec.net.base import LinkChange, NetError, NetworkSettings
from aisexec.net.limits import BIND_RETRIES, OWN_FRAMES_MAX, REPORT_INTERVAL, SEND_FAILURES_WARNED
from tests.unit.net_support import Cluster, Node, frame, free_port

TOKEN, MCAST, JOIN = 0, 1, 3


@pytest.fixture
def settings() -> NetworkSettings:
    return NetworkSettings("udpu", 1, "127.0.0.11", free_port())


@pytest.fixture
def cluster(settings: NetworkSettings) -> Iterator[Cluster]:
    made = Cluster(settings, 3).start()
    yield made
    made.close()


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.99", 0))
        yield made


def target(node: Node) -> tuple[str, int]:
    return node.settings.local_address, node.settings.port


def test_a_broadcast_reaches_all_others_in_order(cluster: Cluster) -> None:
    sent = [frame(MCAST, bytes([i]) * 1400) for i in range(100)]
    cluster[2].transport.broadcast(sent)
    for nodeid in (1, 3):
        assert cluster[nodeid].wait_frames(100) == sent
        assert {sender for _, sender in cluster[nodeid].received} == {"127.0.0.12"}
        assert cluster[nodeid].transport.stats.received_bytes == sum(map(len, sent))
    assert cluster[2].frames == []
    assert cluster[2].transport.stats.sent_frames == 200


def test_a_burst_is_one_batch(cluster: Cluster) -> None:
    cluster[2].transport.broadcast([frame(MCAST, bytes(100))] * 50)
    cluster[1].wait_frames(50)
    assert cluster[1].turns == 1


def test_arrival_order_is_kept_between_tokens_and_messages(cluster: Cluster) -> None:
    sent = [frame(JOIN), frame(TOKEN), frame(MCAST)]
    cluster[1].transport.broadcast(sent[:1])
    cluster[1].transport.unicast(2, sent[1:2])
    cluster[1].transport.broadcast(sent[2:])
    assert cluster[2].wait_frames(3) == sent
    assert cluster[3].wait_frames(2) == [sent[0], sent[2]]


def test_frames_leave_from_the_local_address_and_port(settings: NetworkSettings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.12", settings.port))
        peer.settimeout(5)
        node = Node(replace(settings, members={1: "127.0.0.11", 2: "127.0.0.12"})).start()
        node.transport.unicast(2, [frame(TOKEN)])
        assert peer.recvfrom(100) == (frame(TOKEN), target(node))
        node.transport.broadcast([frame(MCAST)])
        assert peer.recvfrom(100) == (frame(MCAST), target(node))
        node.transport.close()


def test_a_frame_to_ourselves_comes_back_on_the_next_turn(cluster: Cluster) -> None:
    node = cluster[1]
    node.transport.unicast(1, [frame(TOKEN)])
    assert node.turns == 0
    assert node.wait_frames(1) == [frame(TOKEN)]
    assert node.received[0][1] == "127.0.0.11"
    assert node.transport.stats.sent_frames == 0


def test_a_frame_to_ourselves_before_start_is_kept(settings: NetworkSettings) -> None:
    node = Node(settings)
    node.transport.unicast(1, [frame(TOKEN)])
    node.start()
    assert node.wait_frames(1) == [frame(TOKEN)]
    node.transport.close()


def test_a_token_that_goes_round_and_round_lets_clients_in(settings: NetworkSettings) -> None:
    node = Node(settings)
    mine, theirs = socket.socketpair()
    turn_of_client: list[int] = []

    def round_again() -> None:
        node.received += node.transport.receive()
        turns = len(node.received)
        if turns == 10:
            theirs.send(b"request")
        if turns < 500:
            node.transport.unicast(1, [frame(TOKEN)])

    def client_ready() -> None:
        turn_of_client.append(len(node.received))
        client.stop()

    client = gevent.get_hub().loop.io(mine.fileno(), 1)
    client.start(client_ready)
    node.transport.start(round_again)
    node.transport.unicast(1, [frame(TOKEN)])
    node.wait(lambda: len(node.received) == 500)
    assert turn_of_client
    assert turn_of_client[0] <= 12
    client.close()
    mine.close()
    theirs.close()
    node.transport.close()


def test_frames_to_ourselves_are_limited(settings: NetworkSettings) -> None:
    node = Node(settings).start()
    node.transport.unicast(1, [frame(TOKEN)] * (OWN_FRAMES_MAX + 5))
    assert len(node.wait_frames(OWN_FRAMES_MAX)) == OWN_FRAMES_MAX
    assert node.transport.stats.send_dropped == 5
    assert any("are dropped" in text for text in node.warnings)
    node.transport.close()


def test_unlisted_senders_are_dropped_counted_and_named_once(
    cluster: Cluster, stranger: socket.socket
) -> None:
    node = cluster[1]
    for _ in range(20):
        stranger.sendto(frame(MCAST), target(node))
    node.wait(lambda: node.transport.stats.rejected_unlisted == 20)
    assert node.frames == []
    assert [text for text in node.warnings if "127.0.0.99" in text] == node.warnings
    assert len(node.warnings) == 1


def test_unlisted_senders_are_accepted_when_asked_for(
    settings: NetworkSettings, stranger: socket.socket
) -> None:
    node = Node(replace(settings, block_unlisted_ips=False, members={1: "127.0.0.11"})).start()
    stranger.sendto(frame(MCAST), target(node))
    node.wait_frames(1)
    assert node.received == [(frame(MCAST), "127.0.0.99")]
    node.transport.close()


def test_the_log_limit_lets_a_line_through_after_the_interval_and_counts_the_rest(
    settings: NetworkSettings, stranger: socket.socket
) -> None:
    now = [100.0]
    node = Node(settings, lambda: now[0]).start()
    for count in (5, 6):
        for _ in range(count - node.transport.stats.rejected_unlisted):
            stranger.sendto(frame(MCAST), target(node))
        node.wait(lambda count=count: node.transport.stats.rejected_unlisted == count)  # type: ignore[misc]
        now[0] += REPORT_INTERVAL
    assert len(node.warnings) == 2
    assert node.warnings[1].endswith("(4 more of these since the last line)")
    node.transport.close()


def test_too_long_datagrams_are_dropped(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # UDP over IPv4 cannot carry a datagram beyond the real limit, so the limit comes down to it.
    monkeypatch.setattr(datagram, "RECEIVE_SIZE_MAX", 1000)
    cluster = Cluster(settings, 2).start()
    cluster[1].transport.broadcast([bytes(1001)])
    cluster[1].transport.broadcast([bytes(1000)])
    assert cluster[2].wait_frames(1) == [bytes(1000)]
    assert cluster[2].transport.stats.rejected_oversized == 1
    assert "127.0.0.11" in cluster[2].warnings[0]
    cluster.close()


def test_empty_and_tiny_datagrams_are_handed_on(cluster: Cluster) -> None:
    cluster[1].transport.broadcast([b"", b"\x70"])
    assert cluster[2].wait_frames(2) == [b"", b"\x70"]


def test_a_failed_send_is_counted_and_explained_and_the_others_get_theirs(
    settings: NetworkSettings,
) -> None:
    # From a loopback address nothing can be sent to the world: EINVAL, like a lost local address.
    members = {2: "192.0.2.77", 1: "127.0.0.11", 3: "127.0.0.13"}
    node = Node(replace(settings, members=members)).start()
    other = Node(replace(settings, nodeid=3, local_address="127.0.0.13", members=members)).start()
    node.transport.broadcast([frame(MCAST)] * 3)
    assert other.wait_frames(3) == [frame(MCAST)] * 3
    assert node.transport.stats.send_errors == 3
    assert node.transport.stats.send_dropped == 0
    (line,) = node.warnings
    assert "node 2 at 192.0.2.77" in line
    assert "Invalid argument" in line
    assert "ip address" in line
    node.transport.close()
    other.transport.close()


def test_many_failures_in_a_row_get_the_warning_that_corosync_gives(settings: NetworkSettings) -> None:
    node = Node(replace(settings, members={1: "127.0.0.11", 2: "192.0.2.77"})).start()
    node.transport.broadcast([frame(MCAST)] * SEND_FAILURES_WARNED)
    assert not any("firewall" in text for text in node.warnings)
    node.transport.broadcast([frame(MCAST)])
    assert any("Totem is unable to form a cluster" in text for text in node.warnings)
    node.transport.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS])
def test_a_full_queue_counts_as_dropped(
    cluster: Cluster, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster[1]

    def full(fd: int, frames: list[bytes], start: int, *rest: object) -> tuple[int, int, int, int]:
        """A send buffer or device queue without room, which loopback never is."""
        return start, 0, number, len(frames) - start

    monkeypatch.setattr(datagram, "send", full)
    node.transport.broadcast([frame(MCAST)] * 2)
    assert (node.transport.stats.send_dropped, node.transport.stats.send_errors) == (4, 0)
    assert len(node.warnings) == 2  # one a destination


def test_a_node_without_address_is_named_once(cluster: Cluster) -> None:
    cluster[1].transport.unicast(77, [frame(TOKEN)])
    cluster[1].transport.unicast(77, [frame(TOKEN)])
    assert cluster[1].transport.stats.unknown_nodes == 2
    (line,) = cluster[1].warnings
    assert "Node 77" in line


def test_sockets_ask_for_priority_and_buffers(cluster: Cluster) -> None:
    sock: socket.socket = cluster[1].transport._sender  # type: ignore[attr-defined]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
    assert not sock.getblocking()
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    assert granted >= min(16 * 136192, int(Path("/proc/sys/net/core/rmem_max").read_text()))


def test_a_taken_port_is_waited_for(settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram, "BIND_PAUSE", 0.001)
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    holder.bind(("127.0.0.11", settings.port))
    node = Node(settings)

    def let_go_after_the_third_try() -> None:
        while len(node.retries) < 3:
            gevent.sleep(0)
        holder.close()

    helper = gevent.spawn(let_go_after_the_third_try)
    node.start()
    helper.join()
    assert len(node.retries) >= 3
    node.transport.unicast(1, [frame(TOKEN)])
    node.wait_frames(1)
    node.transport.close()


def test_a_taken_port_is_an_error_in_the_end(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "BIND_PAUSE", 0.0001)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.11", settings.port))
        node = Node(settings)
        with pytest.raises(NetError) as caught:
            node.start()
    assert caught.value.exit_code == ExitCode.FAILURE
    assert f"127.0.0.11:{settings.port}" in caught.value.text
    assert "Another program has the port" in caught.value.text
    assert len(node.retries) == BIND_RETRIES
    assert len(node.warnings) == 1


def test_an_address_of_no_interface_is_an_error(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "BIND_PAUSE", 0.0001)
    with pytest.raises(NetError) as caught:
        Node(replace(settings, local_address="198.51.100.7")).start()
    assert caught.value.exit_code == ExitCode.FATAL_ERROR
    assert "198.51.100.7" in caught.value.text


def test_a_missing_interface_is_an_error(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram, "BIND_PAUSE", 0.0001)
    with pytest.raises(NetError, match="nt-none") as caught:
        Node(replace(settings, interface_name="nt-none")).start()
    assert caught.value.exit_code == ExitCode.FATAL_ERROR


@pytest.mark.parametrize("members", [{2: "fd00::9"}, {2: "node2.example"}])
def test_unusable_members_are_an_error(settings: NetworkSettings, members: dict[int, str]) -> None:
    with pytest.raises(NetError) as caught:
        Node(replace(settings, members=members))
    assert caught.value.exit_code == ExitCode.FATAL_ERROR


def test_ipv6(settings: NetworkSettings) -> None:
    members = {1: "0:0:0:0:0:0:0:1"}
    node = Node(replace(settings, local_address="::1", members=members)).start()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        # Same address, so it is listed, though spelt differently.
        sender.sendto(frame(MCAST), ("::1", settings.port))
        node.wait_frames(1)
    assert node.received == [(frame(MCAST), "::1")]
    node.transport.close()


def test_test_loss_is_deterministic_announced_and_counted(
    settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [frame(MCAST, i.to_bytes(2, "big")) for i in range(400)]

    def survivors() -> list[bytes]:
        monkeypatch.delenv("AISEXEC_TEST_DROP_RX", raising=False)
        sender = Node(replace(settings, members={1: "127.0.0.11", 2: "127.0.0.12"})).start()
        monkeypatch.setenv("AISEXEC_TEST_DROP_RX", "25,42")
        lossy = Node(
            replace(sender.settings, nodeid=2, local_address="127.0.0.12")
        ).start()
        assert any("TEST ONLY: 25 %" in text for text in lossy.warnings)
        for at in range(0, 400, 100):
            sender.transport.broadcast(sent[at : at + 100])
            lossy.wait(lambda at=at: lossy.transport.stats.received_frames == at + 100)  # type: ignore[misc]
        assert lossy.transport.stats.test_dropped == 400 - len(lossy.frames)
        sender.transport.close()
        lossy.transport.close()
        return lossy.frames

    first = survivors()
    assert 250 < len(first) < 350
    assert survivors() == first


@pytest.mark.parametrize("value", ["5", "a,b", "101,1", "-1,1", "nan,1"])
def test_a_wrong_test_loss_is_an_error(
    settings: NetworkSettings, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISEXEC_TEST_DROP_RX", value)
    with pytest.raises(NetError, match="AISEXEC_TEST_DROP_RX"):
        Node(settings)


def test_closed_is_silent(cluster: Cluster) -> None:
    node = cluster[1]
    node.transport.unicast(1, [frame(TOKEN)])
    node.transport.close()
    node.transport.close()
    node.transport.broadcast([frame(MCAST)])
    node.transport.unicast(2, [frame(TOKEN)])
    assert node.transport.receive() == []
    cluster[2].transport.unicast(3, [frame(TOKEN)])
    cluster[3].wait_frames(1)  # the hub has been round
    assert node.turns == 0
    assert node.warnings == []


def test_check_of_a_healthy_interface_changes_nothing(cluster: Cluster) -> None:
    assert cluster[1].transport.check() == LinkChange.NONE


def test_nodes_are_added_and_taken_away_while_it_runs(settings: NetworkSettings) -> None:
    everybody = Cluster(settings, 3)
    members = everybody[1].settings.members
    pair = {nodeid: members[nodeid] for nodeid in (1, 2)}
    for node in everybody:
        node.transport.reconfigure(pair, block_unlisted_ips=True)
    everybody.start()
    plain = everybody[1].transport.plain()
    assert plain is not None
    assert set(plain.addresses) == {2}

    everybody[3].transport.reconfigure(members, block_unlisted_ips=True)
    everybody[3].transport.broadcast([frame(MCAST, b"too early")])
    everybody[1].wait(lambda: everybody[1].transport.stats.rejected_unlisted > 0)
    assert everybody[1].received == []
    for node in everybody:
        node.transport.reconfigure(members, block_unlisted_ips=True)
    assert set(plain.addresses) == {2, 3}
    everybody[3].transport.broadcast([frame(MCAST, b"now")])
    everybody[1].transport.unicast(3, [frame(TOKEN)])
    assert everybody[1].wait_frames(1) == [frame(MCAST, b"now")]
    assert everybody[3].wait_frames(1) == [frame(TOKEN)]

    for nodeid in (1, 2):
        everybody[nodeid].transport.reconfigure(pair, block_unlisted_ips=True)
    assert set(plain.addresses) == {2}
    everybody[3].transport.broadcast([frame(MCAST, b"too late")])
    rejected = everybody[1].transport.stats
    everybody[1].wait(lambda: rejected.rejected_unlisted > 1)
    assert len(everybody[1].received) == 1
    everybody[1].transport.broadcast_and_pass([frame(MCAST, b"both")], 2, frame(TOKEN))
    everybody[2].wait(lambda: frame(TOKEN) in everybody[2].frames)
    assert frame(MCAST, b"both") not in everybody[3].frames
    everybody.close()


def test_strangers_may_be_let_in_and_shut_out_again(cluster: Cluster, stranger: socket.socket) -> None:
    node = cluster[1]
    members = node.settings.members
    node.transport.reconfigure(members, block_unlisted_ips=False)
    stranger.sendto(frame(MCAST), target(node))
    node.wait_frames(1)
    node.transport.reconfigure(members, block_unlisted_ips=True)
    stranger.sendto(frame(MCAST), target(node))
    node.wait(lambda: node.transport.stats.rejected_unlisted == 1)
    assert len(node.received) == 1
