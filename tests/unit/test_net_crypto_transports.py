"""udp and udpu with encryption, on loopback sockets: what arrives, and what the log says of the rest."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from aisexec.net.base import NetworkSettings, Security
from aisexec.net.sealed_frame import HEADER, OVERHEAD
from aisexec.totem.types import LOG_NOTICE
from tests.unit.net_support import Cluster, Node, frame, free_port

TOKEN, MCAST, JOIN = 0, 1, 3
KEY = Security("aes256", bytes(range(200)), "/etc/corosync/authkey")
PLAIN = NetworkSettings("udpu", 1, "127.0.0.11", 0)


@pytest.fixture(params=["udpu", "udp"])
def settings(request: pytest.FixtureRequest) -> NetworkSettings:
    # Between addresses of the loopback interface, multicast needs the group's interface only.
    return NetworkSettings(
        request.param, 1, "127.0.0.11", free_port(), mcast_address="239.192.77.1", security=KEY
    )


@pytest.fixture
def cluster(settings: NetworkSettings) -> Iterator[Cluster]:
    made = Cluster(settings, 3)
    yield made
    made.close()


def start(cluster: Cluster) -> None:
    """And let all prove themselves to each other."""
    cluster.start()
    for source in cluster:
        for target in cluster:
            if source is not target:
                meet(source, target)


def meet(source: Node, target: Node) -> None:
    def heard() -> bool:
        source.transport.unicast(target.settings.nodeid, [hello])
        return hello in target.frames

    hello = frame(JOIN, b"hello", source.settings.nodeid)
    target.wait(heard)
    target.received.clear()


def without_hellos(node: Node) -> list[bytes]:
    return [each for each in node.frames if b"hello" not in each]


def target(node: Node) -> tuple[str, int]:
    return node.settings.local_address, node.settings.port


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """Sends from an address of the nodelist, which udpu takes frames from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.12", 0))
        yield made


def test_frames_cross(cluster: Cluster) -> None:
    start(cluster)
    sent = [frame(MCAST, bytes([number]) * 1300) for number in range(50)]
    if cluster[1].settings.transport == "udpu":  # the loopback interface carries no multicast by itself
        cluster[2].transport.broadcast(sent)
        for nodeid in (1, 3):
            cluster[nodeid].wait(lambda nodeid=nodeid: without_hellos(cluster[nodeid]) == sent)  # type: ignore[misc]
    cluster[2].transport.unicast(3, [frame(TOKEN)])
    cluster[3].wait(lambda: without_hellos(cluster[3])[-1:] == [frame(TOKEN)])
    assert frame(TOKEN) not in cluster[1].frames


def test_what_is_on_the_wire_is_sealed(settings: NetworkSettings) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.12", settings.port))
        peer.settimeout(5)
        node = Node(replace(settings, members={1: "127.0.0.11", 2: "127.0.0.12"})).start()
        node.transport.unicast(2, [frame(TOKEN, b"payload")])
        datagram = peer.recv(2000)
        head = HEADER.unpack(datagram)
        assert (head.sender, head.target, head.counter) == (1, 2, 1)
        assert len(datagram) == len(frame(TOKEN, b"payload")) + OVERHEAD
        assert b"payload" not in datagram
        if settings.transport == "udpu":
            node.transport.broadcast([frame(MCAST)])
            assert HEADER.unpack(peer.recv(2000)).target == 0
        node.transport.close()


def test_frames_to_ourselves_are_not_sealed(cluster: Cluster) -> None:
    cluster.start()
    cluster[1].transport.unicast(1, [frame(TOKEN)])
    assert cluster[1].wait_frames(1) == [frame(TOKEN)]


def test_the_start_names_cipher_library_and_key(cluster: Cluster) -> None:
    lines = [text for priority, text in cluster[1].log if priority == LOG_NOTICE and "security" in text]
    assert len(lines) == 1
    for part in ("(openssl)", "aes256", "AES-256-GCM", "cryptography ", "/etc/corosync/authkey"):
        assert part in lines[0]
    assert str(KEY.key) not in repr(cluster[1].settings)


def test_models_and_all_algorithms_talk(settings: NetworkSettings) -> None:
    for algorithm in ("aes128", "aes192", "aes256", "chacha20", "sha256", "md5"):
        made = Cluster(replace(settings, port=free_port()), 2)
        for nodeid, model in ((1, "openssl"), (2, "pycryptodome")):
            security = Security(algorithm, KEY.key, "a key", model)
            made.nodes[nodeid] = Node(replace(made[nodeid].settings, security=security))
        start(made)
        made.close()


def test_another_key_is_told_on_both_sides(cluster: Cluster) -> None:
    other = Security("aes256", bytes(200), "/elsewhere/authkey")
    cluster.nodes[2] = Node(replace(cluster[2].settings, security=other))
    cluster.start()
    for _ in range(5):
        cluster[1].transport.unicast(2, [frame(JOIN)])
        cluster[2].transport.unicast(1, [frame(JOIN)])
    for nodeid, sender, source in ((1, "127.0.0.12", KEY.key_source), (2, "127.0.0.11", other.key_source)):
        node = cluster[nodeid]
        node.wait(lambda node=node: node.transport.stats.refused["invalid"] == 5)  # type: ignore[misc]
        assert node.frames == []
        (line,) = node.warnings
        assert line.startswith("Received message has invalid digest... ignoring.")
        assert sender in line
        assert source in line
        assert "copy the same key file to all nodes" in line


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (frame(JOIN) + bytes(100), "it is not encrypted (corosync 3, or aisexec without secauth)"),
        (b"\xfe\xfe" + bytes(100), "corosync 2.3 or a later 2.x"),
        (b"\xff\xff" + bytes(100), "corosync 2.2"),
        (b"\x03\x00\x22\xff" + bytes(100), "corosync 1.x or openais"),
        (b"\x01\x81" + bytes(100), "kronosnet's"),
        (b"\xc0\x70" + bytes(100), "other byte order"),
        (random.Random(1).randbytes(200), "encrypted by kronosnet or by corosync 1.x, or comes from another"),
        (b"", "not Totem's"),
        (b"\x5e\xa1\x01", "too short"),
        (b"\x5e\xa1\x02" + bytes(100), "version 2, this node uses 1"),
    ],
)  # fmt: skip
def test_foreign_formats_are_named(
    cluster: Cluster, stranger: socket.socket, datagram: bytes, expected: str
) -> None:
    node = cluster[1].start()
    for _ in range(3):
        stranger.sendto(datagram, target(node))
    node.wait(lambda: node.transport.stats.refused["foreign"] == 3)
    (line,) = node.warnings
    assert expected in line
    assert "127.0.0.12" in line
    assert node.frames == []


def test_another_algorithm_is_named_on_both_sides(cluster: Cluster) -> None:
    cluster.nodes[2] = Node(replace(cluster[2].settings, security=replace(KEY, algorithm="sha1")))
    cluster.start()
    cluster[1].transport.unicast(2, [frame(JOIN)])
    cluster[2].transport.unicast(1, [frame(JOIN)])
    for nodeid, theirs, ours in ((1, "sha1", "aes256"), (2, "aes256", "sha1")):
        node = cluster[nodeid]
        node.wait(lambda node=node: bool(node.warnings))  # type: ignore[misc]
        assert f"has different crypto type ({theirs}), this node uses {ours}" in node.warnings[0]


def test_replayed_frames_are_named_once(cluster: Cluster, stranger: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
        cluster.nodes[3].transport.close()
        start_two(cluster)
        tap.bind(("127.0.0.13", cluster[1].settings.port))
        tap.settimeout(5)
        cluster[1].transport.unicast(3, [frame(TOKEN, b"for node 3")])
        captured = tap.recv(2000)
    for _ in range(4):
        stranger.sendto(captured, target(cluster[2]))
        stranger.sendto(captured, target(cluster[1]))
    cluster[2].wait(lambda: cluster[2].transport.stats.refused["misdirected"] == 4)
    cluster[1].wait(lambda: cluster[1].transport.stats.refused["reflected"] == 4)
    assert [text for text in cluster[2].warnings if "a frame meant for node 3" in text] == cluster[2].warnings
    assert len(cluster[2].warnings) == 1
    assert len(cluster[1].warnings) == 1
    assert "with the nodeid of this node (1) from 127.0.0.12" in cluster[1].warnings[0]


def start_two(cluster: Cluster) -> None:
    cluster[1].start()
    cluster[2].start()
    meet(cluster[1], cluster[2])
    meet(cluster[2], cluster[1])
