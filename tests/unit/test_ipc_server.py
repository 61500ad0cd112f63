"""The server half of the IPC: a raw client, Debian's libcpg, and clients that misbehave."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import gevent
import pytest
from gevent.hub import get_hub

from ipc import acceptor as acceptor_module
from ipc import limits
from ipc import requests as requests_module
from ipc import server as server_module
from ipc import server_connection as connection_module
from ipc import zerocopy as zerocopy_module
from ipc._ring import Ring
from ipc.handshake import abstract_address
from ipc.layouts import (
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    ConnectRequest,
    ConnectResponse,
    RequestHeader,
    ResponseHeader,
)
from ipc.ringset import Credentials
from ipc.server import Server
from ipc.server_connection import Connection, process_name
from ipc.stats import CutOff, Refusal
from ipc.sweep import sweep
from ipc.zerocopy import PREFIX, BufferCount, BufferTable

ROOT = Path(__file__).parents[2]
SERVICE = f"aisexec-test-{os.getpid()}"
ECHO, SILENT, EVENTS = 1, 2, 3


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Run the hub until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition not reached"
        gevent.sleep(0.0005)


def request(id: int, payload: bytes = b"") -> bytes:
    return REQUEST_HEADER.pack(RequestHeader(id, REQUEST_HEADER.size + len(payload))) + payload


class Toy:
    """Answers ECHO, keeps SILENT to itself, sends the payload's number of EVENTS."""

    def __init__(self) -> None:
        self.refusal = 0
        self.seen: list[tuple[int, bytes]] = []
        self.batches: list[int] = []
        self.batch = 0
        self.alive: dict[int, Connection] = {}
        self.closed_ids: list[int] = []
        self.room: int | None = None
        """Requests other than ECHO that still find room; None: all."""
        self.refused = 0

    def admit(self, service: str, creds: Credentials) -> int:
        return self.refusal

    def opened(self, conn: Connection) -> None:
        self.alive[conn.id] = conn

    def closed(self, conn: Connection) -> None:
        self.closed_ids.append(conn.id)
        del self.alive[conn.id]

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int:
        for taken, message in enumerate(messages):
            if (taken and time.monotonic() >= deadline) or not self.request(conn, message):
                return taken
        return len(messages)

    def request(self, conn: Connection, message: bytes) -> bool:
        header = REQUEST_HEADER.unpack(message)
        if self.room is not None and header.id != ECHO:
            if self.room <= 0:
                self.refused += 1
                return False
            self.room -= 1
        payload = message[REQUEST_HEADER.size :]
        self.seen.append((conn.id, payload))
        self.batch += 1
        if header.id == ECHO:
            conn.respond(RESPONSE_HEADER.pack(ResponseHeader(ECHO, 24 + len(payload), 1)) + payload)
        elif header.id == EVENTS:
            count, size = struct.unpack("<II", payload)
            for number in range(count):
                conn.event(struct.pack("<I", number), bytes(size - 4))
        self.work()
        return True

    def turn_over(self) -> None:
        self.batches.append(self.batch)
        self.batch = 0

    def work(self) -> None:
        """What a request costs beside."""

    def numbers(self, conn: int = 1) -> list[int]:
        """First payload words of a client's requests, in order of arrival."""
        return [struct.unpack_from("<I", payload)[0] for id, payload in self.seen if id == conn]


class Client:
    """A libqb client reduced to its bytes; every wait runs the hub."""

    def __init__(self, service: str = SERVICE, size: int = limits.MESSAGE_SIZE) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        self.sock.connect(abstract_address(service))
        self.sock.send(CONNECT_REQUEST.pack(ConnectRequest(-1, 24, size)))
        data = self.receive(CONNECT_RESPONSE.size + 1)
        assert len(data) == CONNECT_RESPONSE.size, "answer must be there in one piece"
        self.answer: ConnectResponse = CONNECT_RESPONSE.unpack(data)
        self.error = self.answer.error
        if self.error == 0:
            names = (
                name.rstrip(b"\0").decode()
                for name in (self.answer.request, self.answer.response, self.answer.event)
            )
            self.requests, self.responses, self.events = (
                Ring.open(name, self.answer.max_msg_size) for name in names
            )
            self.directory = os.path.dirname(self.requests.base)

    def receive(self, size: int) -> bytes:
        found: list[bytes] = []

        def ready() -> bool:
            with suppress(BlockingIOError):
                found.append(self.sock.recv(size))
            return bool(found)

        until(ready)
        return found[0]

    def send(self, message: bytes, announce: bool = True) -> None:
        until(lambda: self.requests.write(message))
        if announce:
            self.send_bytes(b"\x07")

    def send_bytes(self, data: bytes) -> None:
        def sent() -> bool:
            with suppress(BlockingIOError):
                return self.sock.send(data) == len(data)
            return False

        until(sent)

    def call(self, payload: bytes) -> bytes:
        self.send(request(ECHO, payload))
        return self.response()[24:]

    def response(self) -> bytes:
        found: list[bytes] = []

        def ready() -> bool:
            message = self.responses.read()
            if message is not None:
                found.append(message)
            return bool(found)

        until(ready)
        return found[0]

    def bytes_owed(self) -> int:
        """Announcement bytes that are on the socket now."""
        try:
            return len(self.sock.recv(1 << 20, socket.MSG_PEEK))
        except BlockingIOError:
            return 0

    def next_event(self) -> bytes:
        """As libqb: wait for the byte, read the chunk, take exactly one byte."""
        until(lambda: self.bytes_owed() > 0)
        message = self.events.read()
        assert message is not None, "byte before its chunk"
        assert len(self.sock.recv(1)) == 1
        return message

    def hung_up(self) -> bool:
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()
        if self.error == 0:
            for ring in (self.requests, self.responses, self.events):
                ring.close()


class World:
    """A server with a toy behind it and a directory of its own for the rings."""

    def __init__(self, sysv: bool = False) -> None:
        self.toy = Toy()
        self.logged: list[tuple[int, str]] = []
        self.run_dir = tempfile.mkdtemp(prefix="aisexec-test-ipc-", dir="/dev/shm")
        self.server = Server(
            get_hub().loop,
            [SERVICE, SERVICE + "b"],
            self.toy,
            log=lambda priority, text: self.logged.append((priority, text)),
            sysv=sysv,
            run_dir=self.run_dir,
        )
        self.clients: list[Client] = []

    def client(self, service: str = SERVICE, size: int = limits.MESSAGE_SIZE) -> Client:
        self.clients.append(Client(service, size))
        return self.clients[-1]

    def connection(self) -> Connection:
        (conn,) = self.toy.alive.values()
        return conn

    def log_has(self, text: str) -> bool:
        return any(text in line for _, line in self.logged)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # What fits into a turn must not depend on how busy this machine is.
    monkeypatch.setattr(requests_module, "TURN_TIME", 60.0)
    world = World()
    world.server.start()
    try:
        yield world
        for client in world.clients:
            client.close()
        world.server.stop()
        assert os.listdir(world.run_dir) == []
        assert world.server.queued_bytes == 0
    finally:
        world.server.stop()
        shutil.rmtree(world.run_dir)


def raw_connection(service: str = SERVICE) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    sock.connect(abstract_address(service))
    return sock


def ends(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ---------------------------------------------------------------- set-up


def test_handshake_answer_and_files(world: World) -> None:
    client = world.client()
    answer = client.answer
    assert (answer.id, answer.size, answer.error, answer.connection_type) == (-1, 12328, 0, 1)
    assert answer.max_msg_size == limits.MESSAGE_SIZE
    conn = world.connection()
    name = os.path.basename(client.directory)
    assert name.startswith(f"qb-{os.getpid()}-{os.getpid()}-{conn.fd}-")
    assert os.stat(client.directory).st_mode & 0o7777 == 0o770
    assert sorted(os.listdir(client.directory)) == sorted(
        f"qb-{kind}-{SERVICE}-{part}"
        for kind in ("request", "response", "event")
        for part in ("header", "data")
    )
    assert client.requests.ref_count == 2
    assert conn.creds == (os.getpid(), os.getuid(), os.getgid())
    assert conn.stats.procname == process_name(os.getpid()) != ""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_files_belong_to_the_client(world: World) -> None:
    code = f"""
import os, socket, sys
os.setgid(12345); os.setuid(54321)
sock = socket.socket(socket.AF_UNIX)
sock.connect({abstract_address(SERVICE)!r})
sock.send({CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000))!r})
sys.stdout.write(str(len(sock.recv(20000)))); sys.stdout.flush()
sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    until(lambda: world.toy.alive)
    directory = world.connection().rings.directory
    for path in [directory, *(f"{directory}/{name}" for name in os.listdir(directory))]:
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (54321, 12345)
    assert world.connection().creds == (child.pid, 54321, 12345)
    child.communicate(timeout=10)
    until(lambda: not world.toy.alive)


@pytest.mark.parametrize("refusal", [errno.EAGAIN, errno.EACCES, errno.ENOSYS])
def test_refusal_is_answered_in_full(world: World, refusal: int) -> None:
    world.toy.refusal = refusal
    client = world.client()
    assert client.error == -refusal
    assert client.answer.max_msg_size == 0
    until(client.hung_up)
    assert os.listdir(world.run_dir) == []
    denied = f"Denied connection attempt from {os.getuid()}:{os.getgid()}"
    assert world.log_has(denied) == (refusal == errno.EACCES)


def test_small_wishes_are_raised_and_huge_ones_refused(world: World) -> None:
    assert world.client(size=1).answer.max_msg_size == limits.MESSAGE_SIZE_MIN
    assert world.client(size=limits.MESSAGE_SIZE_MAX).error == 0
    assert world.client(size=limits.MESSAGE_SIZE_MAX + 1).error == -errno.EMSGSIZE
    assert world.client(size=0xFFFFFFFF).error == -errno.EMSGSIZE


def test_no_process_takes_all_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CLIENTS_PER_PROCESS_MAX", 2)
    assert [world.client().error for _ in range(3)] == [0, 0, -errno.EMFILE]
    assert world.log_has("does it forget to disconnect?")
    assert world.server.stats.refused == {Refusal.PROCESS: 1}
    other = subprocess.Popen(
        [sys.executable, "-c", DYING_CLIENT, SERVICE, "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    until(lambda: len(world.toy.alive) == 3)
    other.communicate()
    until(lambda: len(world.toy.alive) == 2)
    world.clients.pop(0).close()
    until(lambda: len(world.toy.alive) == 1)
    assert world.client().error == 0


def test_few_are_let_in_at_a_time(world: World) -> None:
    """Making the rings of many would keep the network waiting."""
    sockets = [raw_connection() for _ in range(3 * limits.CONNECTIONS_PER_TURN)]
    for sock in sockets:
        sock.send(CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000)))
    opened: list[int] = []
    original = world.server._end_turn

    def end_turn() -> None:
        opened.append(len(world.toy.alive))
        original()

    world.server._end_turn = end_turn  # type: ignore[method-assign]
    until(lambda: len(world.toy.alive) == len(sockets))
    steps = [after - before for before, after in pairwise([0, *opened])]
    assert 0 < max(steps) <= limits.CONNECTIONS_PER_TURN
    for sock in sockets:
        sock.close()
    until(lambda: not world.toy.alive)


def test_full_memory_is_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.server, "_run_dir", world.run_dir + "/absent")
    assert world.client().error == -errno.ENOENT
    assert world.log_has("Cannot make rings")


def test_limit_of_clients(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CLIENTS_MAX", 3)
    for _ in range(3):
        assert world.client().error == 0
    assert world.client().error == -errno.EMFILE
    world.clients[0].close()
    until(lambda: len(world.toy.alive) == 2)
    assert world.client().error == 0


def test_descriptors_running_out(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 4 + limits.DESCRIPTORS_RESERVED, hard))
    try:
        assert world.client().error == 0
        assert [world.client().error for _ in range(30)][-1] == -errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert world.client().error == 0


def test_accept_without_descriptors_does_not_spin(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = raw_connection()
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        until(lambda: world.log_has("Cannot accept"))
        lines = len(world.logged)
        before = time.process_time()
        gevent.sleep(limits.ACCEPT_PAUSE / 2)
        assert len(world.logged) == lines
        assert time.process_time() - before < limits.ACCEPT_PAUSE / 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    sock.send(CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000)))
    until(lambda: world.toy.alive)
    sock.close()
    until(lambda: not world.toy.alive)


def test_half_open_connections_are_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "HANDSHAKE_TIMEOUT", 0.1)
    silent = raw_connection()
    partial = raw_connection()
    partial.send(b"\xff" * 23)
    until(lambda: ends(silent) and ends(partial))
    assert world.log_has("without set-up request")
    assert world.client().error == 0


def test_too_many_half_open_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "HANDSHAKES_MAX", 4)
    half_open = [raw_connection() for _ in range(6)]
    until(lambda: ends(half_open[0]) and ends(half_open[1]))
    assert world.client().error == 0
    assert not any(ends(sock) for sock in half_open[3:])
    for sock in half_open:
        sock.close()


def test_request_in_pieces(world: World) -> None:
    sock = raw_connection()
    data = CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000))
    for start in range(0, 24, 8):
        sock.send(data[start : start + 8])
        gevent.sleep(0.002)
    until(lambda: world.toy.alive)
    sock.close()
    until(lambda: not world.toy.alive)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.0\r\n\r\n" * 3, bytes(24), CONNECT_REQUEST.pack(ConnectRequest(-2, 24, 20000))],
    ids=["http", "zeros", "event socket"],
)
def test_foreign_talk_is_closed_without_answer(world: World, data: bytes) -> None:
    sock = raw_connection()
    sock.send(data)
    until(lambda: ends(sock))
    assert world.client().error == 0


def test_descriptors_sent_along_are_not_kept(world: World) -> None:
    sock = raw_connection()
    before = len(os.listdir("/proc/self/fd"))
    pipe = os.pipe()
    rights = struct.pack("2i", *pipe)
    data = CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000))
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    for fd in pipe:
        os.close(fd)
    until(lambda: world.toy.alive)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    sock.close()
    until(lambda: not world.toy.alive)


def test_name_taken_is_said_clearly(world: World) -> None:
    second = Server(get_hub().loop, ["free" + SERVICE, SERVICE], Toy(), log=lambda *_: None)
    with pytest.raises(OSError, match="already served in this network namespace") as caught:
        second.start()
    assert caught.value.errno == errno.EADDRINUSE
    third = Server(get_hub().loop, ["free" + SERVICE], Toy(), log=lambda *_: None)
    third.start()
    third.stop()


# ---------------------------------------------------------------- requests


def test_requests_are_answered_in_order(world: World) -> None:
    client = world.client()
    assert client.call(b"hello") == b"hello"
    for number in range(1000):
        client.send(request(SILENT, struct.pack("<I", number)))
    assert client.call(b"last") == b"last"
    payloads = [payload for _, payload in world.toy.seen]
    assert payloads == [b"hello", *(struct.pack("<I", n) for n in range(1000)), b"last"]
    assert world.connection().stats.requests == 1002
    assert world.connection().stats.responses == 2
    assert max(world.toy.batches) <= limits.REQUESTS_PER_TURN
    assert client.bytes_owed() == 0, "responses come without a byte"


def test_one_turn_serves_all_ready_clients(world: World) -> None:
    clients = [world.client() for _ in range(5)]
    for client in clients:
        client.requests.write(request(SILENT, b"x"))
    for client in clients:
        client.sock.send(b"\0")
    until(lambda: len(world.toy.seen) == 5)
    assert world.toy.batches == [5]


def test_bytes_without_requests_are_harmless(world: World) -> None:
    client = world.client()
    client.sock.send(bytes(200))
    assert client.call(b"x") == b"x"
    assert world.connection().stats.recv_retries > 0


@pytest.mark.parametrize("message", [b"", b"x" * 15])
def test_request_without_header_closes_the_client(world: World, message: bytes) -> None:
    client, other = world.client(), world.client()
    client.send(message)
    until(client.hung_up)
    assert client.requests.ref_count == 0
    assert world.log_has(f"request of {len(message)} bytes")
    assert other.call(b"x") == b"x"


def scribble(client: Client) -> None:
    with open(client.requests.base + "-data", "r+b") as file:
        file.write(os.urandom(1 << 16))


def truncate_all(client: Client) -> None:
    for name in os.listdir(client.directory):
        os.truncate(f"{client.directory}/{name}", 0)


def bad_semaphore(client: Client) -> None:
    with open(client.requests.base + "-header", "r+b") as file:
        file.seek(8208)
        file.write(b"\xff" * 32)


@pytest.mark.parametrize("spoil", [scribble, truncate_all, bad_semaphore])
def test_spoiled_rings_close_only_their_client(world: World, spoil: Callable[[Client], None]) -> None:
    client, other = world.client(), world.client()
    client.call(b"x")
    client.requests.write(request(ECHO))
    spoil(client)
    client.sock.send(b"\0\0")
    until(client.hung_up)
    assert other.call(b"y") == b"y"
    assert len(world.toy.alive) == 1


def poke_at_random(rng: random.Random, fd: int) -> None:
    words = [0, 4, 8, 8204, 8208, 8212, 8216, 8240, rng.randrange(20000)]
    chunk = struct.pack("<II", 40, 0xA1A1A1A1)
    os.pwrite(fd, rng.choice([rng.randbytes(8), bytes(8), b"\xff" * 8, chunk]), rng.choice(words))
    if rng.random() < 0.05:
        os.ftruncate(fd, rng.choice([0, 4096, 8300]))


@pytest.mark.parametrize("seed", range(4))
def test_random_garbage_harms_nobody_else(world: World, seed: int) -> None:
    rng = random.Random(seed)
    good = world.client()
    for _ in range(25):
        bad = world.client(size=rng.choice([12328, 70000, limits.MESSAGE_SIZE]))
        fds = [os.open(f"{bad.directory}/{name}", os.O_RDWR) for name in os.listdir(bad.directory)]
        for _ in range(rng.randrange(1, 30)):
            message = request(rng.choice([ECHO, SILENT, 99]), rng.randbytes(rng.randrange(3000)))
            with suppress(OSError):
                bad.requests.write(message)
            poke_at_random(rng, rng.choice(fds))
            with suppress(OSError):
                bad.sock.send(rng.randbytes(rng.randrange(1, 9)))
            for conn in list(world.toy.alive.values()):
                if conn.id != 1:
                    conn.event(rng.randbytes(rng.randrange(24, 5000)))
            assert good.call(b"still here") == b"still here"
        for fd in fds:
            os.close(fd)
        bad.close()
        until(lambda: len(world.toy.alive) == 1)
    assert good.call(b"and well") == b"and well"


@pytest.mark.parametrize("ring", ["event", "response"])
def test_truncation_found_while_sending(world: World, ring: str) -> None:
    client = world.client()
    os.truncate(f"{client.directory}/qb-{ring}-{SERVICE}-data", 0)
    client.send(request(ECHO) if ring == "response" else request(EVENTS, struct.pack("<II", 3, 100)))
    until(client.hung_up)
    assert world.toy.closed_ids == [1]


def test_directory_replaced_by_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    client = world.client()
    victim = tmp_path / os.path.basename(client.requests.base + "-data")
    victim.write_text("precious")
    os.rename(client.directory, client.directory + "x")
    os.symlink(tmp_path, client.directory)
    client.close()
    until(lambda: not world.toy.alive)
    assert victim.read_text() == "precious"
    assert world.log_has("Cannot remove")
    os.unlink(client.directory)
    shutil.rmtree(client.directory + "x")


# ---------------------------------------------------------------- events


def test_event_bytes_match_events_and_are_batched(world: World) -> None:
    client = world.client()
    conn = world.connection()
    client.send(request(EVENTS, struct.pack("<II", 500, 64)))
    until(lambda: client.bytes_owed() == 500)
    for number in range(500):
        assert client.next_event()[:4] == struct.pack("<I", number)
    assert client.bytes_owed() == 0
    assert client.events.read() is None
    assert conn.stats.dispatched == 500
    assert conn.owed == 0
    assert list(world.server.stats.events_per_notification.items()) == [(512, 1)]
    assert list(world.server.stats.requests_per_turn.items()) == [(2, 1)]


def test_events_outside_a_turn_need_no_flush(world: World) -> None:
    client = world.client()
    world.connection().event(b"a" * 24, b"b")
    assert client.next_event() == b"a" * 24 + b"b"


def test_full_ring_queues_in_order_and_nothing_is_lost(world: World) -> None:
    client = world.client()
    conn = world.connection()
    count, size = 400, 20000
    client.send(request(EVENTS, struct.pack("<II", count, size)))
    until(lambda: conn.stats.queueing == 1)
    assert conn.stats.queued > 300
    assert client.call(b"requests go on") == b"requests go on"
    for number in range(count):
        event = client.next_event()
        assert (len(event), event[:4]) == (size, struct.pack("<I", number))
    assert client.bytes_owed() == 0
    assert (conn.stats.queueing, conn.stats.queued, conn.stats.dispatched) == (0, 0, count)
    until(lambda: not world.server._waiting and "retry" not in world.server._timers)
    assert world.server.queued_bytes == 0
    assert conn.idle()


def test_queue_moves_at_the_clients_pace(world: World) -> None:
    # 1 MB events: one fits the ring at a time, so each waits for the client to read the one before
    client = world.client()
    client.send(request(EVENTS, struct.pack("<II", 30, 1000000)))
    until(lambda: world.connection().stats.queueing == 1)
    assert world.connection().stats.queued == 29
    for number in range(30):
        assert client.next_event()[:4] == struct.pack("<I", number)


def test_more_bytes_than_the_socket_takes(world: World) -> None:
    client = world.client()
    conn = world.connection()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    for number in range(2000):
        conn.event(struct.pack("<I", number))
        world.server.flush()
    assert conn.owed > 0
    for number in range(2000):
        assert client.next_event() == struct.pack("<I", number)
    assert (conn.owed, client.bytes_owed()) == (0, 0)


def test_client_that_never_reads_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "EVENT_QUEUE_BYTES_MAX", 3_000_000)
    client, other = world.client(), world.client()
    client.send(request(EVENTS, struct.pack("<II", 100, 100_000)))
    until(client.hung_up)
    assert len(world.toy.alive) == 1
    assert world.log_has("does not read events")
    assert world.server.stats.cut_off == {CutOff.EVENTS: 1}
    assert other.call(b"x") == b"x"
    assert world.server.queued_bytes == 0


def test_all_queues_together_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "QUEUES_TOTAL_BYTES_MAX", 5_000_000)
    big, small = world.client(), world.client()
    small.send(request(EVENTS, struct.pack("<II", 20, 100_000)))
    until(lambda: len(world.toy.seen) == 1)
    big.send(request(EVENTS, struct.pack("<II", 80, 100_000)))
    until(big.hung_up)
    for number in range(20):
        assert small.next_event()[:4] == struct.pack("<I", number)


def test_responses_wait_for_room_and_have_a_limit(world: World) -> None:
    client = world.client()
    payload = bytes(400_000)
    for _ in range(8):
        client.send(request(ECHO, payload))
    until(lambda: len(world.toy.seen) == 8)
    for _ in range(8):
        assert client.response()[24:] == payload
    for _ in range(20):
        if client.hung_up():
            break
        client.send(request(ECHO, payload))
        until(lambda: client.requests.pending() == 0 or client.hung_up())
    until(client.hung_up)
    assert world.log_has("does not read responses")
    assert world.server.stats.cut_off == {CutOff.RESPONSES: 1}


def test_event_longer_than_the_clients_ring(world: World) -> None:
    client = world.client(size=12328)
    world.connection().event(bytes(20000))
    until(client.hung_up)
    assert world.toy.closed_ids == [1]


# ---------------------------------------------------------------- flow control


def test_level_is_told_to_the_clients_of_the_service(world: World) -> None:
    first, other = world.client(), world.client(SERVICE + "b")
    world.server.set_flow_level(SERVICE, 2)
    assert first.requests.flow_level == 2
    assert other.requests.flow_level == 0
    late = world.client()
    assert late.requests.flow_level == 2
    assert late.call(b"questions are answered all the same") == b"questions are answered all the same"
    world.server.set_flow_level(SERVICE, 0)
    assert first.requests.flow_level == 0
    (stats,) = (conn.stats for conn in world.toy.alive.values() if conn.id == 1)
    assert (stats.flow_control, stats.flow_control_count) == (0, 2)


def numbered(client: Client, numbers: range, size: int = 4) -> None:
    """Requests that need room, announced together."""
    for number in numbers:
        client.send(request(SILENT, struct.pack("<I", number).ljust(size, b"\0")), announce=False)
    client.send_bytes(bytes(len(numbers)))


def test_without_room_requests_wait_and_nothing_is_lost(world: World) -> None:
    client = world.client()
    world.toy.room = 0
    numbered(client, range(200))
    until(lambda: world.server.stats.put_off == 1)
    for room in (1, 7, 49, 50, 51, 200):
        world.toy.room = room
        world.server.resume()
        until(lambda: world.server.stats.put_off > 1 or len(world.toy.seen) == 200)
        world.server.stats.put_off = 1
    until(lambda: len(world.toy.seen) == 200)
    assert world.toy.numbers() == list(range(200))
    assert world.connection().stats.overload > 1


def test_who_waits_for_room_costs_nothing_and_is_missed_when_dead(world: World) -> None:
    client, other = world.client(), world.client()
    world.toy.room = 0
    numbered(client, range(100))
    numbered(other, range(100))
    until(lambda: world.server.stats.put_off == 2)
    before, refused = time.process_time(), world.toy.refused
    gevent.sleep(0.1)
    assert time.process_time() - before < 0.05
    assert world.toy.refused == refused
    client.close()
    until(lambda: world.toy.closed_ids == [1])
    world.toy.room = None
    world.server.resume()
    until(lambda: len(world.toy.seen) == 100)
    assert world.toy.numbers(2) == list(range(100))


def test_polled_server_sleeps_until_it_is_polled(world: World) -> None:
    client = world.client()
    world.server.wait_for_poll(True)
    numbered(client, range(30))
    before = time.process_time()
    gevent.sleep(0.1)
    assert time.process_time() - before < 0.05
    assert world.toy.seen == []
    assert world.server.poll() == 30
    assert world.toy.numbers(1) == list(range(30))
    assert world.server.poll() == 0
    world.server.wait_for_poll(False)
    numbered(client, range(30, 60))
    until(lambda: world.toy.numbers(1) == list(range(60)))


def test_who_waits_for_room_in_a_polled_server_costs_nothing_afterwards(world: World) -> None:
    client, other = world.client(), world.client()
    world.server.wait_for_poll(True)
    world.toy.room = 0
    numbered(client, range(20))
    world.server.poll()
    world.server.poll()
    assert world.server.stats.put_off == 1
    world.server.wait_for_poll(False)
    before = time.process_time()
    gevent.sleep(0.1)
    assert time.process_time() - before < 0.05
    world.toy.room = None
    world.server.resume()
    until(lambda: world.toy.numbers(1) == list(range(20)))
    numbered(client, range(20, 40))
    numbered(other, range(3))
    until(lambda: world.toy.numbers(1) == list(range(40)) and world.toy.numbers(2) == list(range(3)))


def test_who_was_blocked_while_it_waited_is_read_again_by_a_polled_server(world: World) -> None:
    client = world.client()
    conn = world.connection()
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    world.server.wait_for_poll(True)
    world.toy.room = 0
    numbered(client, range(3))
    world.server.poll()
    assert conn.stopped
    while not conn.blocked:  # it does not take the bytes that announce its events
        conn.event(b"an event")
        world.server.flush()
    world.toy.room = None
    world.server.resume()
    numbered(client, range(3, 6))
    until(world.server.poll)
    assert world.toy.numbers(1) == list(range(6))


def test_clients_that_die_while_the_server_is_polled_are_missed(world: World) -> None:
    client = world.client()
    world.server.wait_for_poll(True)
    world.toy.room = 0
    numbered(client, range(20))
    world.server.poll()
    client.close()
    until(lambda: world.server.poll() == 0 and world.toy.closed_ids == [1])
    world.server.wait_for_poll(False)
    assert world.server.active_count == 0


def test_questions_of_others_are_answered_while_a_client_waits_for_room(world: World) -> None:
    flooding, asking = world.client(), world.client()
    world.toy.room = 0
    numbered(flooding, range(50))
    until(lambda: world.server.stats.put_off == 1)
    for _ in range(10):
        assert asking.call(b"x") == b"x"
    assert world.toy.numbers(1) == []


def test_who_got_nothing_comes_first_when_there_is_room_again(world: World) -> None:
    flooding, modest = world.client(), world.client()
    world.toy.room = 0
    numbered(flooding, range(40))
    until(lambda: world.server.stats.put_off == 1)
    numbered(modest, range(1))
    until(lambda: world.server.stats.put_off == 2)
    order = []
    for _ in range(3):
        world.toy.room = 10
        world.server.resume()
        order.append([id for id, _ in world.toy.seen])
        world.toy.seen.clear()
    assert order == [[1] * 10, [2] + [1] * 9, [1] * 10]


def test_few_are_asked_in_vain(world: World) -> None:
    count = limits.REFUSALS_PER_TURN * 3
    clients = [world.client() for _ in range(count)]
    world.toy.room = 0
    for client in clients:
        numbered(client, range(2))
    until(lambda: world.server.stats.put_off == count)
    world.toy.refused = 0
    world.server.resume()
    assert world.toy.refused == limits.REFUSALS_PER_TURN
    world.toy.room = 2 * count
    world.server.resume()
    assert sorted(world.toy.seen) == [(n, struct.pack("<I", k)) for n in range(1, count + 1) for k in (0, 1)]


def test_little_is_kept_in_memory_without_room(world: World) -> None:
    """What finds no room stays in the client's ring, whose size it chose itself."""
    clients = [world.client() for _ in range(5)]
    world.toy.room = 0
    for client in clients:
        numbered(client, range(40), 20_000)
    until(lambda: world.server.stats.put_off == 5)
    held = [sum(map(len, conn.held)) for conn in world.toy.alive.values()]
    assert max(held) <= limits.READ_BYTES_MAX
    assert sum(held) <= limits.READ_BYTES_MAX + 4 * limits.READ_BYTES_WITHOUT_ROOM
    while len(world.toy.seen) < 200:
        world.toy.room = 3
        world.server.resume()
        gevent.sleep(0.0005)
    for id in range(1, 6):
        assert world.toy.numbers(id) == list(range(40))


def test_slow_requests_end_the_turn_but_not_the_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose every request takes long does not keep the others from theirs."""
    slow, quick = world.client(), world.client()
    monkeypatch.setattr(requests_module, "TURN_TIME", limits.TURN_TIME)
    monkeypatch.setattr(world.toy, "work", lambda: time.sleep(limits.TURN_TIME))
    numbered(slow, range(30))
    numbered(quick, range(2))
    until(lambda: len(world.toy.seen) == 32)
    assert [id for id, _ in world.toy.seen][:5].count(2) == 2
    assert world.toy.numbers(1) == list(range(30))
    assert world.server.stats.turns_cut > 0
    assert max(world.toy.batches) <= 2


def test_handler_may_close_clients_and_flush_in_the_middle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [world.client(SERVICE + suffix) for suffix in ("", "b", "", "b")]
    doomed = {conn.id for conn in world.toy.alive.values() if conn.id in (1, 2)}
    seen: list[int] = []

    def refuse(conn: Connection, message: bytes) -> bool:
        seen.append(conn.id)
        assert conn.id in world.toy.alive
        for other in list(world.toy.alive.values()):
            if other.id in doomed:
                other.close("in the middle")
        world.server.flush()
        return False

    monkeypatch.setattr(world.toy, "request", refuse)
    for client in clients:
        client.requests.write(request(ECHO))
    for client in clients:
        client.sock.send(b"\0")
    until(lambda: clients[0].hung_up() and clients[1].hung_up())
    until(lambda: {3, 4} <= set(seen) <= {1, 3, 4})
    monkeypatch.undo()
    world.server.resume()
    assert clients[2].response()
    assert clients[3].response()
    assert not world.server._requests.stopped


# ---------------------------------------------------------------- the end


def test_server_closes_a_client(world: World) -> None:
    client = world.client()
    world.connection().close("told so")
    assert world.toy.alive, "not in the middle of a turn"
    until(client.hung_up)
    assert client.requests.ref_count == 0
    assert world.log_has("told so")
    assert world.server.stats.closed == 1
    assert world.server.stats.cut_off == {CutOff.RULES: 1}


def test_requests_before_a_hang_up_are_taken(world: World) -> None:
    client = world.client()
    for number in range(5):
        client.send(request(SILENT, bytes([number])))
    client.close()
    until(lambda: not world.toy.alive)
    assert [payload for _, payload in world.toy.seen] == [bytes([n]) for n in range(5)]


def test_stop_closes_all_and_leaves_nothing() -> None:
    assert gevent.get_hub().loop is not None  # has descriptors of its own from its first use on
    before = set(os.listdir("/proc/self/fd"))
    world = World()
    world.server.start()
    clients = [world.client() for _ in range(3)]
    half = raw_connection()
    world.server.stop()
    world.server.stop()
    assert not world.toy.alive
    assert os.listdir(world.run_dir) == []
    until(lambda: all(client.hung_up() for client in clients) and ends(half))
    for client in clients:
        client.close()
    half.close()
    assert set(os.listdir("/proc/self/fd")) == before
    os.rmdir(world.run_dir)


@pytest.mark.parametrize("door", ["opened", "request", "turn_over", "closed"])
def test_handler_may_stop_the_server(world: World, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(world.toy, door)

    def stopping(*args: object) -> object:
        result = original(*args)
        world.server.stop()
        return result

    other, client = world.client(SERVICE + "b"), world.client()
    monkeypatch.setattr(world.toy, door, stopping)
    pending = [raw_connection() for _ in range(3)]
    if door == "opened":
        pending[0].send(CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 20000)))
    elif door in ("request", "turn_over"):
        client.send(request(ECHO))
    else:
        client.close()
    until(other.hung_up)
    assert not world.toy.alive
    for sock in pending:
        sock.close()


def test_system_v_rings_serve_our_clients() -> None:
    world = World(sysv=True)
    world.server.start()
    client = world.client()
    assert client.requests.sysv
    assert client.call(b"x") == b"x"
    client.send(request(EVENTS, struct.pack("<II", 3, 1000)))
    assert [client.next_event()[0] for _ in range(3)] == [0, 1, 2]
    client.close()
    until(lambda: not world.toy.alive)
    world.server.stop()
    os.rmdir(world.run_dir)


DYING_CLIENT = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import socket
from ipc._ring import Ring
from ipc.handshake import abstract_address
from ipc.layouts import CONNECT_REQUEST, CONNECT_RESPONSE, ConnectRequest
socks = []
for _ in range(int(sys.argv[2])):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(abstract_address(sys.argv[1]))
    sock.send(CONNECT_REQUEST.pack(ConnectRequest(-1, 24, 1 << 20)))
    answer = CONNECT_RESPONSE.unpack(sock.recv(20000))
    rings = [Ring.open(n.rstrip(b"\\0").decode(), 1 << 20) for n in (answer.request, answer.event)]
    rings[0].write(bytes(7))  # half a header: what a client killed in the middle leaves
    socks.append((sock, rings))
print("connected", flush=True)
sys.stdin.read()
"""


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS in /proc/self/status")


def test_two_hundred_connections_leave_nothing(world: World) -> None:
    def round_of(count: int) -> None:
        before = len(world.toy.closed_ids)
        child = subprocess.Popen(
            [sys.executable, "-c", DYING_CLIENT, SERVICE, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        polite = []
        for _ in range(count):
            client = Client()
            client.call(b"x" * 100_000)
            client.send(request(EVENTS, struct.pack("<II", 30, 50_000)))
            polite.append(client)
        until(lambda: len(world.toy.alive) == 2 * count, 30)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        for client in polite:
            client.close()
        until(lambda: len(world.toy.closed_ids) == before + 2 * count, 30)
        world.toy.seen.clear()

    round_of(25)  # fills the allocator's pools
    descriptors, memory = len(os.listdir("/proc/self/fd")), resident_kib()
    for _ in range(4):
        round_of(25)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert os.listdir(world.run_dir) == []
    assert resident_kib() - memory < 8192
    assert not any((world.server._by_fd, world.server._waiting, world.server._by_process))
    assert not world.server._requests.stopped


# ---------------------------------------------------------------- zero copy


@pytest.fixture
def buffer_path() -> Iterator[str]:
    fd, path = tempfile.mkstemp(prefix=PREFIX, dir="/dev/shm")
    os.ftruncate(fd, 8192)
    os.close(fd)
    yield path
    with suppress(FileNotFoundError):
        os.unlink(path)


def test_buffer_is_taken_over(world: World, buffer_path: str) -> None:
    world.client()
    conn = world.connection()
    with open(buffer_path, "r+b") as file:
        cookie = conn.open_buffer(buffer_path, 8192)
        assert not os.path.exists(buffer_path)
        file.seek(0)
        assert struct.unpack("<QQ", file.read(16)) == (0, cookie)
        file.seek(56)
        file.write(b"payload")
        file.flush()
        assert conn.read_buffer(cookie, 56, 7) == b"payload"
        with pytest.raises(ValueError, match="mapping"):
            conn.read_buffer(cookie, 8190, 3)
        file.truncate(0)
        with pytest.raises(OSError, match="truncated"):
            conn.read_buffer(cookie, 56, 7)
    conn.release_buffer(cookie)
    for use in (conn.release_buffer, lambda c: conn.read_buffer(c, 0, 1)):
        with pytest.raises(KeyError):
            use(cookie)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("elsewhere", errno.EACCES),
        ("no prefix", errno.EACCES),
        ("link", errno.ELOOP),
        ("fifo", errno.EACCES),
        ("traversal", errno.EACCES),
        ("directory", errno.EISDIR),
        ("absent", errno.ENOENT),
    ],
)
def test_only_proper_files_become_buffers(
    tmp_path: Path, buffer_path: str, kind: str, number: int
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(8192))
    os.unlink(buffer_path)
    path = buffer_path
    if kind == "elsewhere":
        path = str(tmp_path / (PREFIX + "x"))
        shutil.copy(victim, path)
    elif kind == "no prefix":
        path = "/dev/shm/aisexec-test-" + os.path.basename(path)
    elif kind == "link":
        os.symlink(victim, path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "traversal":
        path = f"/dev/shm/{PREFIX}/../..{victim}"
    with pytest.raises(OSError, match=re.escape(os.path.basename(path))) as caught:
        BufferTable(0, BufferCount()).open(path, 8192)
    assert caught.value.errno == number
    assert victim.stat().st_size == 8192
    if kind in ("link", "fifo"):
        assert os.path.lexists(path)
    if kind == "directory":
        os.rmdir(path)


def test_buffers_of_other_users_and_absurd_sizes(buffer_path: str) -> None:
    with pytest.raises(OSError, match="file of uid"):
        BufferTable(os.getuid() + 1, BufferCount()).open(buffer_path, 8192)
    for size in (0, 15, limits.BUFFER_SIZE_MAX + 1, 1 << 63):
        with pytest.raises(OSError, match="buffer of"):
            BufferTable(0, BufferCount()).open(buffer_path, size)
    assert os.path.exists(buffer_path)


def test_number_and_bytes_of_buffers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    count = BufferCount()
    table, other = BufferTable(os.getuid(), count), BufferTable(os.getuid(), count)
    made = []

    def make(table: BufferTable = table) -> int:
        fd, path = tempfile.mkstemp(prefix=PREFIX, dir="/dev/shm")
        os.close(fd)
        made.append(path)
        return table.open(path, 4096)

    try:
        cookies = [make() for _ in range(limits.BUFFERS_PER_CLIENT_MAX)]
        with pytest.raises(OSError, match="buffers of"):
            make()
        table.release(cookies[0])
        make()
        monkeypatch.setattr(zerocopy_module, "BUFFERS_MAX", len(cookies) + 1)
        make(other)
        with pytest.raises(OSError, match="of all clients"):
            make(other)
        table.close()
        assert count.open == 1
        make(other)
    finally:
        table.close()
        other.close()
    assert count.open == 0
    for path in made:
        with suppress(FileNotFoundError):
            os.unlink(path)


# ---------------------------------------------------------------- sweep


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_sweep_removes_only_what_dead_servers_left(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    dead = dead_pid()

    def make(name: str, files: Sequence[str] = ("qb-event-cpg-header", "qb-event-cpg-data")) -> Path:
        path = tmp_path / name
        path.mkdir()
        for file in files:
            (path / file).write_bytes(bytes(100))
        return path

    gone = [
        make(f"qb-{dead}-100-29-aB3xyz"),
        make(f"qb-{dead}-100-30-abcd_123", []),
        make(f"qb-{os.getpid()}-100-30-abcdef"),
    ]
    kept = [
        make(f"qb-{sleeper.pid}-100-29-aB3xyz"),
        make(f"qb-1-{dead}-29-aB3xyz"),
        make(f"qb-{dead}-100-29-foreig", ["qb-event-cpg-data", "precious"]),
        make(f"qb-{dead}-100-29-toolongname"),
        make(f"qb-corosync-{dead}-blackbox"),
        make("pulse-shm"),
    ]
    link = tmp_path / f"qb-{dead}-100-31-abcdef"
    link.symlink_to(kept[0])
    lines: list[str] = []
    assert sweep(lambda _, text: lines.append(text), str(tmp_path)) == 3
    sleeper.communicate()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    assert len(os.listdir(kept[0])) == 2
    assert any("other files" in line for line in lines)
    assert sweep(lambda *_: None, str(tmp_path / "absent")) == 0


# ---------------------------------------------------------------- Debian's libcpg

LIBCPG_SERVER = f"""
import signal, struct, sys
sys.path.insert(0, {str(ROOT)!r})
import gevent
from ipc.server import Server
ANSWERS = {{
    4: struct.pack("<ixxxxixxxxixxxxIxxxx", 7, 32, 1, 77),
    8: struct.pack("<ixxxxixxxxixxxx", 12, 24, 1),
}}
class Toy:
    def admit(self, service, creds): return 0
    def opened(self, conn): print("opened", flush=True)
    def closed(self, conn): print("closed", flush=True)
    def requests(self, conn, messages, deadline):
        for message in messages:
            conn.respond(ANSWERS[struct.unpack_from("<i", message)[0]])
        return len(messages)
    def turn_over(self): pass
server = Server(gevent.get_hub().loop, ["cpg"], Toy(), log=lambda *_: None, run_dir=sys.argv[1])
server.start()
print("ready", flush=True)
gevent.get_hub().join()
"""

LIBCPG_CLIENT = """
import ctypes, os, signal, sys
cpg = ctypes.CDLL("libcpg.so.4")
handle, nodeid = ctypes.c_uint64(), ctypes.c_uint()
callbacks = (ctypes.c_void_p * 2)()
print(cpg.cpg_initialize(ctypes.byref(handle), callbacks),
      cpg.cpg_local_get(handle, ctypes.byref(nodeid)), nodeid.value, flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
print(cpg.cpg_finalize(handle))
"""


def network_namespace() -> list[str]:
    """Command prefix that gives a process an abstract namespace of its own."""
    prefix = ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-rn"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("cannot make a network namespace (needs unshare and root or user namespaces)")
    return prefix


def test_debians_libcpg_connects_calls_and_leaves(tmp_path: Path) -> None:
    if not list(Path("/usr/lib").glob("*/libcpg.so.4")):
        pytest.skip("libcpg.so.4 is not installed")
    run_dir = tempfile.mkdtemp(prefix="aisexec-test-cpg-", dir="/dev/shm")
    server = subprocess.Popen(
        [*network_namespace(), sys.executable, "-c", LIBCPG_SERVER, run_dir],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        assert server.stdout.readline() == "ready\n"
        inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net"]
        if os.getuid() != 0:
            inside = ["nsenter", "-U", "--preserve-credentials", f"-t{server.pid}", "-n"]
        for ending, output in (("polite", "1 1 77\n1\n"), ("killed", "1 1 77\n")):
            done = subprocess.run(
                [*inside, sys.executable, "-c", LIBCPG_CLIENT, ending],
                capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert done.stdout == output, done.stderr
            assert [server.stdout.readline(), server.stdout.readline()] == ["opened\n", "closed\n"]
            until(lambda: os.listdir(run_dir) == [])
    finally:
        server.kill()
        server.communicate()
        shutil.rmtree(run_dir)


def test_a_request_that_the_handler_fails_with_costs_its_client_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *report: failed.append(report[1]))
    first, second = world.client(), world.client()
    poison = request(ECHO, b"poison")

    def work() -> None:
        if world.toy.seen[-1][1] == b"poison":
            raise ZeroDivisionError

    monkeypatch.setattr(world.toy, "work", work)
    for message in (request(ECHO, b"before"), poison, request(ECHO, b"behind")):
        first.send(message, announce=False)
    first.send_bytes(b"\7" * 3)
    second.send(request(ECHO, b"other"))
    assert second.response()[24:] == b"other"
    until(first.hung_up)
    until(lambda: len(world.toy.alive) == 1)
    assert failed == [ZeroDivisionError]
    failed.clear()
    assert (0, b"behind") not in world.toy.seen
    assert world.log_has("internal error while its request was handled")
    assert world.server.stats.cut_off[CutOff.FAULT] == 1
    assert second.call(b"again") == b"again"


def test_one_that_fails_when_there_is_room_again_leaves_the_others_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *report: None)
    world.toy.room = 0
    first, second = world.client(), world.client()
    for client, payload in ((first, b"poison"), (second, b"other")):
        client.send(request(SILENT, payload))
    until(lambda: world.toy.refused >= 2)

    def work() -> None:
        if world.toy.seen[-1][1] == b"poison":
            raise ZeroDivisionError

    monkeypatch.setattr(world.toy, "work", work)
    world.toy.room = 10
    world.server.resume()
    assert [payload for _, payload in world.toy.seen] == [b"poison", b"other"]
    until(first.hung_up)
    assert second.call(b"again") == b"again"
