"""Both transports between two network namespaces: IPv6, broadcast, interfaces that come and go."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from aisexec.net.base import LinkChange, NetworkSettings
from tests.unit.net_support import Node, frame

CLONE_NEWNET = 0x40000000
TOKEN, MCAST = 0, 1
PORT = 5405

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and the ip command (package iproute2)",
)

_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


class Lab:
    """Two namespaces joined by a cable; node n has 10.197.0.n, fd97::n and fe80::n."""

    def __init__(self) -> None:
        stem = f"nt{os.getpid()}x{next(_serial)}"
        self.names = {1: f"{stem}a", 2: f"{stem}b"}
        self.nodes: list[Node] = []

    def __enter__(self) -> Lab:
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        self.plug_in()
        return self

    def plug_in(self) -> None:
        one, two = self.names[1], self.names[2]
        ip("-n", one, "link", "add", "ntv", "type", "veth", "peer", "name", "ntv", "netns", two)
        for nodeid, name in self.names.items():
            self.address(nodeid, "add")
            for six in (f"fd97::{nodeid}/64", f"fe80::{nodeid}/64"):
                ip("-n", name, "address", "add", six, "dev", "ntv", "nodad")
        for name in self.names.values():
            ip("-n", name, "link", "set", "ntv", "up")

    def unplug(self) -> None:
        ip("-n", self.names[1], "link", "delete", "ntv")

    def link(self, nodeid: int, state: str) -> None:
        ip("-n", self.names[nodeid], "link", "set", "ntv", state)

    def address(self, nodeid: int, verb: str) -> None:
        ip("-n", self.names[nodeid], "address", verb, f"10.197.0.{nodeid}/24", "dev", "ntv")

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.transport.close()
        for name in self.names.values():
            ip("netns", "delete", name)

    @contextmanager
    def inside(self, nodeid: int) -> Iterator[None]:
        """This thread's new sockets belong to the node's namespace."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.names[nodeid]}") as there:
            assert _libc.setns(there.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert _libc.setns(home.fileno(), CLONE_NEWNET) == 0

    def start(self, settings: NetworkSettings, address: Callable[[int], str]) -> tuple[Node, Node]:
        members = {nodeid: address(nodeid) for nodeid in self.names}
        for nodeid in self.names:
            own = replace(settings, nodeid=nodeid, local_address=address(nodeid), members=members)
            node = Node(own)
            with self.inside(nodeid):
                node.start()
            self.nodes.append(node)
        return self.nodes[0], self.nodes[1]

    def check(self, nodeid: int) -> LinkChange:
        with self.inside(nodeid):
            return self.nodes[nodeid - 1].transport.check()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def four(nodeid: int) -> str:
    return f"10.197.0.{nodeid}"


def six(nodeid: int) -> str:
    return f"fd97::{nodeid}"


def link_local(nodeid: int) -> str:
    return f"fe80::{nodeid}"


UDP = NetworkSettings("udp", 1, "", PORT, mcast_address="239.192.111.9")
UDP6 = replace(UDP, mcast_address="ff15::4307")
UDP6_LINK = replace(UDP, mcast_address="ff02::4307")
BROADCAST = replace(UDP, broadcast=True)
UDPU = NetworkSettings("udpu", 1, "", PORT)


PROBE = frame(MCAST, b"probe")


def heard(receiver: Node) -> list[bytes]:
    return [each for each in receiver.frames if each != PROBE]


def wait_for_the_way(sender: Node, receiver: Node) -> None:
    """A fresh interface does not carry IPv6 multicast for a second or so; totem repeats its JOINs."""

    def probe() -> bool:
        sender.transport.broadcast([PROBE])
        return PROBE in receiver.frames

    receiver.received.clear()
    receiver.wait(probe)
    receiver.received.clear()


def exchange(one: Node, two: Node) -> None:
    """Both kinds of frame, both ways."""
    for sender, receiver in ((one, two), (two, one)):
        wait_for_the_way(sender, receiver)
        sender.transport.broadcast([frame(MCAST, b"m")])
        receiver.wait(lambda receiver=receiver: len(heard(receiver)) == 1)  # type: ignore[misc]
        sender.transport.unicast(receiver.settings.nodeid, [frame(TOKEN, b"t")])
        receiver.wait(lambda receiver=receiver: len(heard(receiver)) == 2)  # type: ignore[misc]
        assert heard(receiver) == [frame(MCAST, b"m"), frame(TOKEN, b"t")]
        assert receiver.received[-1][1] == sender.settings.local_address
        assert sender.transport.stats.send_errors == 0


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (UDP, four),
        (UDP6, six),
        (UDP6_LINK, link_local),
        (BROADCAST, four),
        (UDPU, four),
        (UDPU, six),
        (UDPU, link_local),
    ],
    ids=["udp", "udp6", "udp6-link-local", "broadcast", "udpu", "udpu6", "udpu6-link-local"],
)
def test_frames_cross(lab: Lab, settings: NetworkSettings, address: Callable[[int], str]) -> None:
    one, two = lab.start(settings, address)
    exchange(one, two)
    assert lab.check(1) == LinkChange.NONE


def test_own_broadcasts_are_not_taken_for_foreign_ones(lab: Lab) -> None:
    one, two = lab.start(BROADCAST, four)
    one.transport.broadcast([frame(MCAST)] * 3)
    two.wait_frames(3)
    one.wait(lambda: one.transport.stats.own_echoes > 0)  # three, or one that carries all
    assert one.frames == []


def test_an_interface_that_is_down_is_noticed_once_and_mended(lab: Lab) -> None:
    one, two = lab.start(UDP, four)
    lab.link(1, "down")
    assert lab.check(1) == LinkChange.DOWN
    assert lab.check(1) == LinkChange.NONE
    one.transport.broadcast([frame(MCAST)])
    assert one.transport.stats.send_errors == 1
    assert "10.197.0.1" in one.warnings[-1]
    one.transport.stats.send_errors = 0
    lab.link(1, "up")
    assert lab.check(1) == LinkChange.UP
    assert lab.check(1) == LinkChange.NONE
    exchange(one, two)
    texts = [text for _, text in one.log]
    assert texts.count("The network interface is down.") == 1
    assert texts.count("The network interface [10.197.0.1] is now up.") == 2


@pytest.mark.parametrize("settings", [UDP, UDPU, BROADCAST], ids=["udp", "udpu", "broadcast"])
def test_an_address_that_goes_and_comes_back(lab: Lab, settings: NetworkSettings) -> None:
    one, two = lab.start(settings, four)
    lab.address(1, "delete")
    assert lab.check(1) == LinkChange.DOWN
    lab.address(1, "add")
    assert lab.check(1) == LinkChange.UP
    exchange(one, two)


@pytest.mark.parametrize(("settings", "address"), [(UDP, four), (UDP6, six)], ids=["ipv4", "ipv6"])
def test_an_interface_that_is_replaced(
    lab: Lab, settings: NetworkSettings, address: Callable[[int], str]
) -> None:
    one, two = lab.start(settings, address)
    lab.unplug()
    assert lab.check(1) == LinkChange.DOWN
    lab.plug_in()
    assert lab.check(1) == LinkChange.UP
    # The other end has not looked meanwhile: a new interface under the same address.
    assert lab.check(2) == LinkChange.UP
    exchange(one, two)


def test_starting_with_the_interface_down(lab: Lab) -> None:
    lab.link(1, "down")
    one, two = lab.start(UDP, four)
    assert any("ntv is down" in text for text in one.warnings)
    assert lab.check(1) == LinkChange.NONE
    lab.link(1, "up")
    assert lab.check(1) == LinkChange.UP
    exchange(one, two)


def test_a_named_interface_must_carry_the_address(lab: Lab) -> None:
    one, two = lab.start(replace(UDP, interface_name="ntv"), four)
    exchange(one, two)


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs the nft command (package nftables)")
def test_a_firewall_that_forbids_sending_is_named(lab: Lab) -> None:
    one, _ = lab.start(UDPU, four)
    rules = "add table ip t; add chain ip t out { type filter hook output priority 0; policy drop; }"
    subprocess.run(
        ["ip", "netns", "exec", lab.names[1], "nft", rules], check=True, capture_output=True, timeout=20
    )
    one.transport.broadcast([frame(MCAST)])
    assert one.transport.stats.send_errors == 1
    assert "firewall" in one.warnings[-1]
    assert "Operation not permitted" in one.warnings[-1]


def test_a_group_is_heard_on_its_own_interface_only(lab: Lab) -> None:
    ip("-n", lab.names[1], "link", "add", "nto", "type", "veth", "peer", "name", "nto", "netns", lab.names[2])
    for nodeid, name in lab.names.items():
        ip("-n", name, "address", "add", f"10.198.0.{nodeid}/24", "dev", "nto")
        ip("-n", name, "link", "set", "nto", "up")
    one, two = lab.start(UDP, four)
    # Another cluster on the second cable with the same group and port, as on the receiving machine.
    other_settings = replace(UDP, nodeid=2, local_address="10.198.0.2", members={2: "10.198.0.2"})
    other = Node(other_settings)
    listener = Node(replace(other_settings, nodeid=1, local_address="10.198.0.1"))
    for nodeid, node in ((2, other), (1, listener)):
        with lab.inside(nodeid):
            node.start()
        lab.nodes.append(node)
    other.transport.broadcast([frame(MCAST, b"other")])
    assert listener.wait_frames(1) == [frame(MCAST, b"other")]
    two.transport.broadcast([frame(MCAST, b"ours")])
    assert one.wait_frames(1) == [frame(MCAST, b"ours")]
