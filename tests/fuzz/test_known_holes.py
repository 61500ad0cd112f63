"""Holes that others had, by their names: the input that went through there does nothing here.

What each is about is taken from the commits that mended it (corosync, libqb) or from the report.
"""

from __future__ import annotations

import copy
import errno
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aisexec.config import load
from aisexec.config.grammar import parse
from aisexec.config.model import Destinations, Logging
from aisexec.log import Logger
from aisexec.log_outputs import LINE_MAX
from aisexec.messages import GROUP_SERVICES
from aisexec.net.crypto import Verdict
from aisexec.net.crypto_models import ALGORITHMS
from aisexec.net.sealed_frame import OVERHEAD
from aisexec.totem import wire
from aisexec.totem.core import State
from aisexec.totem.limits import PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.types import RingId
from aisexec.totem.wire import FrameError, FrameType
from ipc import cpg_layouts as cpg
from ipc._ring import Ring, RingError
from ipc.handshake import CREDENTIALS, Handshake, HandshakeError
from ipc.layouts import CONNECT_ID, CONNECT_REQUEST, CONNECT_RESPONSE, REQUEST_HEADER, ConnectRequest
from ipc.layouts import RequestHeader as Head
from ipc.limits import MESSAGE_SIZE_MAX
from tests.fuzz import ring
from tests.fuzz.executive import Stage, fragment_message, member_of_group
from tests.fuzz.records import Step, join
from tests.fuzz.targets import ipc_ring, ipc_server
from tests.sim.network import Network
from tests.unit.crypto_support import Nodes, keys

STRANGER = 77


def refused(frame: bytes, kind: str) -> None:
    """Counted under `kind` by every node that hears it; the ring does not notice."""
    net = Network(ring.MEMBERS)
    net.start()
    net.settle(ring.MEMBERS)
    rings = [node.totem.ring_id for node in net.nodes.values()]
    for node in net.nodes.values():
        before = node.totem.stats.dropped[kind]
        node.totem.receive([(frame, "192.0.2.66")], net.now)
        node.carry_out()
        assert node.totem.stats.dropped[kind] == before + 1
    net.run(1.0)
    assert rings == [node.totem.ring_id for node in net.nodes.values()]
    for state in (ring.gather, ring.commit, ring.recovery):
        ring.attack(state, join([Step(0, 0, frame)]))


# corosync, totemsrp.


def commit_token(entries: int) -> bytes:
    head = wire.header(FrameType.COMMIT_TOKEN, STRANGER)
    return wire.COMMIT_TOKEN.pack(wire.CommitTokenFixed(head, 1, RingId(STRANGER, 8), 0, 0, entries))


@pytest.mark.parametrize("size", range(wire.HEADER.size, wire.COMMIT_TOKEN.size))
def test_cve_2026_35091_commit_token_shorter_than_its_fixed_part(size: int) -> None:
    """corosync's check for this said "good" (a16614ac), and fields behind the end were read."""
    with pytest.raises(FrameError, match="needs"):
        wire.read_commit_token(commit_token(3)[:size])


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (commit_token(3)[:30], "truncated"),
        (commit_token(3), "truncated"),
        (commit_token(PROCESSOR_COUNT_MAX) + bytes(200), "truncated"),
        (commit_token(0xFFFFFFFF), "limit"),
        (commit_token(0x24924925), "limit"),  # times 28 bytes an entry it is 12 in 32 bits
    ],
)
def test_cve_2026_35091_in_a_ring(frame: bytes, kind: str) -> None:
    refused(frame, kind)


@pytest.mark.parametrize(
    ("proc", "failed"),
    [
        (0x80000000, 0x80000000),
        (0xFFFFFFFF, 1),
        (1, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x40000000, 0),
        (0x20000000, 0x20000000),
        (PROCESSOR_COUNT_MAX + 1, 0),
        (0, PROCESSOR_COUNT_MAX + 1),
    ],
)
def test_cve_2026_35092_counts_of_a_join_that_wrap_around(proc: int, failed: int) -> None:
    """Their sum was taken in 32 bits (4082294f), so a JOIN with huge lists looked long enough."""
    head = wire.header(FrameType.JOIN, STRANGER)
    refused(wire.JOIN.pack(wire.JoinFixed(head, STRANGER, proc, failed, 8)) + bytes(64), "limit")


def token(entries: int) -> bytes:
    item = wire.RtrItem(RingId(1, 8), 1)
    head = wire.header(FrameType.ORF_TOKEN, STRANGER)
    return wire.OrfToken(head, 1, 1, 0, 0, RingId(1, 8), 0, 0, 0, (item,) * entries).pack()


@pytest.mark.parametrize("entries", [RETRANSMIT_ENTRIES_MAX + 1, 91, 4000])
def test_corosync_778_token_with_too_many_retransmit_entries(entries: int) -> None:
    """Turning the byte order of such a token wrote beyond a buffer of 1,500 bytes on the stack."""
    refused(token(entries), "limit")


def test_corosync_778_in_the_other_byte_order() -> None:
    swapped = bytearray(token(91))
    swapped[:2] = swapped[1::-1]
    refused(bytes(swapped), "byte_order")


@pytest.mark.parametrize("entries", [0x10000000, 0xFFFFFFFF, 0x0FFFFFFF])
def test_corosync_778_entries_that_are_not_there(entries: int) -> None:
    frame = bytearray(token(1))
    struct.pack_into("<I", frame, wire.ORF_TOKEN.offset_of("rtr_list_entries"), entries)
    refused(bytes(frame), "limit")


# corosync, coroparse.


@pytest.mark.parametrize(
    "text", [":", ": value", "\t:\t", ":{", "{", " {", ":}", "}", "totem {\n:\n}", "totem {\n:x", ":\0", "a:"]
)
def test_corosync_781_a_line_without_a_key(text: str) -> None:
    """An empty key made the parser write in front of its buffer."""
    root, problems = parse(text.encode(), "corosync.conf")
    assert not any(item.key == "" for item in root.items)
    assert bool(problems.found) == (text != "a:")


# corosync, totemcrypto.


@pytest.mark.parametrize("algorithm", ["aes256", "chacha20", *(n for n in ALGORITHMS if n.startswith("sha"))])
def test_cve_2018_1084_sealed_frame_shorter_than_its_overhead(algorithm: str) -> None:
    """The length less that of the hash became negative, and memory far away was authenticated."""
    nodes = Nodes((1, 2), make_keys=lambda _: keys(algorithm=algorithm))
    nodes.meet()
    datagram = nodes[1].seal(b"", nodes.now)
    assert len(datagram) == OVERHEAD
    for size in range(OVERHEAD):
        assert nodes[2].open(datagram[:size], nodes.now) is Verdict.FOREIGN
    assert nodes[2].open(datagram, nodes.now) == b""


def test_cve_2018_1084_sending_what_is_longer_than_a_frame() -> None:
    """Its second half (08cb2372): a long message was encrypted into a buffer too short for it."""
    nodes = Nodes((1, 2))
    nodes.meet()
    frame = bytes(200_000)
    assert nodes[2].open(nodes[1].seal(frame, nodes.now), nodes.now) == frame


# libqb, requests.


@pytest.mark.parametrize("size", [0, -1, -(1 << 31), (1 << 31) - 1, 15, 17, 1 << 20, (1 << 20) + 1])
def test_libqb_size_of_a_request_header(size: int) -> None:
    """The size was handed on as it came (mended in 2026, eb9e1a67): negative, or of what is not there."""
    stage = Stage()
    stage.settle()
    client = stage.connect()
    stage.request(client, REQUEST_HEADER.pack(Head(cpg.CpgRequest.LOCAL_GET, size)))
    assert f"header says {size}" in stage.closed[client]
    stage.check()


@pytest.mark.parametrize("length", range(REQUEST_HEADER.size))
def test_libqb_request_shorter_than_its_header(length: int) -> None:
    whole = REQUEST_HEADER.pack(Head(ipc_server.ECHO, REQUEST_HEADER.size))
    steps = [Step(ipc_server.CONNECT, 0, bytes(8)), Step(ipc_server.WRITE, 0, whole[:length])]
    ipc_server.fuzz(join(steps))


@pytest.mark.parametrize("size", [MESSAGE_SIZE_MAX + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF3, 0xFFFFFFFF])
def test_libqb_set_up_request_for_rings_that_are_too_big(size: int, tmp_path: Path) -> None:
    """Rounded up to pages in 32 bits these are small; libqb takes any wish, and fills /dev/shm."""
    world = ipc_server.World(str(tmp_path))
    try:
        client = world.connect(0)
        client.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, size)))
        world.loop.turn()
        answer = CONNECT_RESPONSE.unpack(client.sock.recv(CONNECT_RESPONSE.size))
        assert answer.error == -errno.EMSGSIZE
        assert os.listdir(tmp_path) == []
    finally:
        world.close()


@pytest.mark.parametrize("size", [0, (1 << 30) + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_libqb_ring_of_impossible_size(size: int, tmp_path: Path) -> None:
    for make in (Ring.create, Ring.open):
        with pytest.raises(RingError) as caught:
            make(f"{tmp_path}/ring", size)
        assert caught.value.errno == errno.EINVAL
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [0, -1, 12, 23, 25, 1 << 30, -(1 << 31)])
def test_libqb_set_up_request_that_lies_about_its_own_size(size: int, tmp_path: Path) -> None:
    """There is one set-up request, and it has 24 bytes, whatever it says."""
    world = ipc_server.World(str(tmp_path))
    try:
        client = world.connect(0)
        client.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, size, 20_000)))
        world.loop.turn()
        assert client.open_rings()
    finally:
        world.close()


class ShortCredentials(SimpleNamespace):
    """A socket on which the kernel delivers fewer bytes of credentials than there are."""

    def __init__(self, size: int) -> None:
        super().__init__(size=size)

    def setblocking(self, flag: bool) -> None: ...
    def setsockopt(self, *options: Any) -> None: ...
    def fileno(self) -> int:
        return -1

    def recvmsg(self, size: int, ancillary: int) -> tuple[bytes, Sequence[tuple[int, int, bytes]], int, None]:
        request = CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, 20_000))
        credentials = CREDENTIALS.pack(1, 0, 0)[: self.size]
        return request, [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)], 0, None


@pytest.mark.parametrize("size", range(CREDENTIALS.size))
def test_libqb_credentials_shorter_than_they_should_be(size: int) -> None:
    """They were copied without a look at their length (mended in 2026, 6ab8cb63): the rest was chance."""
    handshake = Handshake(ShortCredentials(size), "cpg", 0.0)  # type: ignore[arg-type]
    with pytest.raises(HandshakeError, match="no credentials"):
        handshake.receive()


def test_libqb_semaphore_with_futex_flags_of_the_peer(tmp_path: Path) -> None:
    """glibc's sem_clockwait() and sem_post() abort on a semaphore like this one."""
    steps = [Step(ipc_ring.FIELD, field, b"\xff" * 8) for field in (4, 5, 6)]
    reads = [Step(what, 0, b"") for what in (ipc_ring.CREATOR_READS, ipc_ring.OPENER_READS)]
    for wiped in (steps, steps[1:]):
        ipc_ring.fuzz(b"\0" + join([*wiped, *reads, Step(ipc_ring.OPENER_WRITES, 7, b"x" * 40), *reads]))


# libqb, log.


def test_cve_2023_39976_a_very_long_log_message(tmp_path: Path) -> None:
    """libqb's black box counted the message without its head."""
    path = tmp_path / "log"
    to = Destinations(to_logfile=True, logfile=str(path), to_stderr=False, to_syslog=False)
    logger = Logger(Logging(default=to))
    for size in (LINE_MAX - 100, LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 1_000_000):
        logger.log("MAIN", 3, "x" * size)
    logger.close()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    assert max(map(len, lines)) <= LINE_MAX + 1


# libcpg.


@pytest.mark.parametrize(
    "pieces",
    [
        [(40, 30, cpg.PartialType.FIRST), (40, 30, cpg.PartialType.LAST)],
        [(10, 11, cpg.PartialType.FIRST)],
        [(40, 10, cpg.PartialType.FIRST), (40, 10, cpg.PartialType.LAST)],
        [(40, 10, cpg.PartialType.FIRST), (30, 30, cpg.PartialType.LAST)],
        [(40, 10, cpg.PartialType.FIRST), (0xFFFFFFFF, 10, cpg.PartialType.CONTINUED)],
        [(40, 10, cpg.PartialType.FIRST), (40, 10, 77)],
    ],
)
def test_libcpg_fragments_of_another_node_that_do_not_fit(pieces: list[tuple[int, int, int]]) -> None:
    """libcpg copies them into a buffer of the size that the first one announced: see LibraryModel."""
    stage = Stage()
    stage.settle()
    member_of_group(stage)
    for total, size, place in pieces:
        stage.deliver(GROUP_SERVICES, 2, fragment_message(2, total, bytes(size), place))
    whole = [(20, 10, cpg.PartialType.FIRST), (20, 10, cpg.PartialType.LAST)]
    for total, size, place in whole:
        stage.deliver(GROUP_SERVICES, 2, fragment_message(2, total, b"." * size, place))
    assert [list(library.heard) for library in stage.libraries.values()] == [[b"." * 20]]
    stage.check()


# Ours, and stock's too: rings that one forged token kept in RECOVERY for ever.


FROM_A_MEMBER = ring.How.RING | ring.How.NUMBERS | ring.How.MEMBER


def forged_token(*, aru: int, aru_addr: int, retrans_flg: int) -> bytes:
    head = wire.header(FrameType.ORF_TOKEN, 1)
    return wire.OrfToken(head, 0, 1, aru, aru_addr, RingId(1, 0), 0, 0, retrans_flg, ()).pack()


def first_ring_recovering() -> Network:
    """There is no old ring, so nobody has messages of it."""
    net = ring.started()
    return ring.first_in(net, State.RECOVERY)


@pytest.mark.parametrize("flag", [1, 2, 0xFFFFFFFF])
@pytest.mark.parametrize("hearer", [1, 2, 3])
def test_a_token_that_speaks_of_old_messages_nobody_has(flag: int, hearer: int) -> None:
    frame = forged_token(aru=0, aru_addr=0, retrans_flg=flag)
    steps = [Step(ring.How.PASS_TIME, 0, b""), Step(hearer | FROM_A_MEMBER, 0, frame)]
    ring.attack(first_ring_recovering, join(steps))


def test_old_messages_of_nodes_that_were_no_members() -> None:
    """A member may send old messages again, but not invent senders: each would open a reassembly buffer."""
    net = copy.deepcopy(ring.prepared(ring.recovery))
    core = net.nodes[2].totem._core
    assert net.run_until(lambda: core.state is State.RECOVERY, net.now + 1.0)
    piece = PACKET_HEAD.struct.pack(0, 0, 1, 0, 1) + struct.pack("<H", 500) + bytes(500)
    core.q_retrans.clear()
    for number in range(500):
        seq = core.old_high + 1 + number
        head = wire.pack_mcast_header(
            wire.Encapsulated.PLAIN, 1000 + number, seq, 0, core.old_ring_id, 0
        )
        core.q_retrans[seq] = head + piece
    net.settle(ring.MEMBERS, within=ring.PEACE)
    ring.check_bounds(net)
    for node in net.nodes.values():
        assert {event[1] for event in node.app.history if event[0] == "D"} <= set(ring.MEMBERS)
        assert set(node.totem._regular.open_sizes) <= set(ring.MEMBERS)
        assert node.totem.stats.dropped["nodeid"] == 500


@pytest.mark.parametrize("hearer", [1, 2, 3])
def test_a_token_whose_aru_a_stranger_holds_down(hearer: int) -> None:
    frame = forged_token(aru=0xFFFFFFFF, aru_addr=STRANGER, retrans_flg=0)
    ring.attack(first_ring_recovering, join([Step(hearer | FROM_A_MEMBER, 0, frame)]))


# Ours: files of legal size that took minutes.


@pytest.mark.parametrize(
    "line",
    [
        "tokem: 1\n",
        "totem {{\nkey{0}: 1\n}}\n",
        "section{0} {{\n}}\n",
        "nodelist {{\nnode {{\nnam{0}: x\n}}\n}}\n",
    ],
)
def test_a_file_full_of_unknown_names_is_refused_soon(line: str, tmp_path: Path) -> None:
    path = tmp_path / "corosync.conf"
    path.write_text("".join(line.format(number) for number in range(3000)))
    started = time.process_time()
    load(str(path), {})
    assert time.process_time() - started < 8.0
