"""The server half of the IPC: set-up requests in pieces, rings and zero-copy buffers of hostile clients."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import struct
import tempfile
from array import array
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from ipc._ring import Ring, RingError
from ipc.cpg_layouts import ZC_ALLOC_REQUEST
from ipc.handshake import abstract_address
from ipc.layouts import (
    CONNECT_ID,
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    ConnectRequest,
    RequestHeader,
    ResponseHeader,
)
from ipc.limits import BUFFER_SIZE_MAX, MESSAGE_SIZE_MAX, MESSAGE_SIZE_MIN
from ipc.ringset import Credentials
from ipc.server import Server
from ipc.server_connection import Connection
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.hub import ManualLoop
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.shared_ring import HEADER_LEAVES, Scribbler

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

(
    RAW, CONNECT, BYTES, WRITE, FIELD, CHUNK, SCRIBBLE, TRUNCATE, TURN, HANG_UP, DESCRIPTORS, FLOW, RENAME,
) = range(13)  # fmt: skip
"""Step.what; Step.where is client (two low bits), ring (the next two) and variant."""

CLIENTS: Final = 3
ECHO, BUFFER, EVENTS = 1, 9, 2
"""Requests of the toy service behind the server."""
BUFFER_PATH: Final = "/dev/shm/corosync_zerocopy-aisexec-fuzz"
_numbers = itertools.count()


class BufferFile:
    """The file behind a client's zero-copy buffer, which the client cuts short when it is in use."""

    def __init__(self) -> None:
        self._fd = -1
        self.shrinks = False

    def make(self) -> None:
        """There is one, whoever has removed it."""
        self.close()
        self._fd = os.open(BUFFER_PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, 4096)

    def truncate(self) -> None:
        if self.shrinks:
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            with suppress(FileNotFoundError):
                os.unlink(BUFFER_PATH)
        self._fd = -1


class Toy:
    """Echoes; opens zero-copy buffers; sends events."""

    def __init__(self) -> None:
        self.alive: dict[int, Connection] = {}
        self.file = BufferFile()

    def admit(self, service: str, creds: Credentials) -> int:
        return 0

    def opened(self, conn: Connection) -> None:
        self.alive[conn.id] = conn

    def closed(self, conn: Connection) -> None:
        del self.alive[conn.id]

    def turn_over(self) -> None:
        pass

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int:
        for message in messages:
            self._request(conn, message)
        return len(messages)

    def _request(self, conn: Connection, message: bytes) -> None:
        header = REQUEST_HEADER.unpack(message)
        if header.id == BUFFER and len(message) >= ZC_ALLOC_REQUEST.size:
            self._buffer(conn, message)
        elif header.id == EVENTS:
            conn.event(message[:100], bytes(200))
        else:
            conn.respond(RESPONSE_HEADER.pack(ResponseHeader(ECHO, 24, 1)) + message[:64])

    def _buffer(self, conn: Connection, message: bytes) -> None:
        request = ZC_ALLOC_REQUEST.unpack(message)
        path = request.path_to_file.split(b"\0")[0].decode("utf-8", "surrogateescape")
        try:
            cookie = conn.open_buffer(path, request.map_size)
        except OSError:
            return
        self.file.truncate()
        try:
            assert len(conn.read_buffer(cookie, 0, 16)) == 16
        except RingError:
            pass
        finally:
            conn.release_buffer(cookie)


class Client:
    """As much of a client as it pleases to be."""

    def __init__(self, service: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        self.sock.connect(abstract_address(service))
        self.rings: list[Ring] = []
        self.scribblers: list[Scribbler] = []

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.sock.send(data, socket.MSG_NOSIGNAL)

    def open_rings(self) -> bool:
        """Read the answer, if there is a good one."""
        with suppress(OSError):
            answer = self.sock.recv(CONNECT_RESPONSE.size)
            if len(answer) < CONNECT_RESPONSE.size:
                return False
            response = CONNECT_RESPONSE.unpack(answer)
            if response.error:
                return False
            for name in (response.request, response.response, response.event):
                base = name.split(b"\0")[0].decode()
                self.rings.append(Ring.open(base, response.max_msg_size))
                self.scribblers.append(Scribbler(base))
            return True
        return False

    def close(self) -> None:
        self.sock.close()
        for scribbler in self.scribblers:
            scribbler.close()
        for ring in self.rings:
            ring.close()


class World:
    """A server and its clients, all in this process."""

    def __init__(self, run_dir: str) -> None:
        self.loop = ManualLoop()
        self.toy = Toy()
        self.service = f"aisexec-fuzz-{os.getpid()}-{next(_numbers)}"
        self.lines: list[str] = []
        self.server = Server(
            self.loop, [self.service], self.toy, log=lambda _, text: self.lines.append(text), run_dir=run_dir
        )
        self.server.start()
        self.clients: list[Client | None] = [None] * CLIENTS

    def connect(self, index: int) -> Client:
        self.hang_up(index)
        client = self.clients[index] = Client(self.service)
        return client

    def hang_up(self, index: int) -> None:
        client, self.clients[index] = self.clients[index], None
        if client is not None:
            client.close()

    def close(self) -> None:
        for index in range(CLIENTS):
            self.hang_up(index)
        self.server.stop()
        self.toy.file.close()


def fuzz(data: bytes) -> None:
    """The server goes on serving others, and keeps nothing of those who are gone."""
    run_dir = tempfile.mkdtemp(prefix="aisexec-fuzz-ipc-", dir="/dev/shm")
    before = _descriptors()
    try:
        world = World(run_dir)
        try:
            for step in steps(data):
                _take(world, step)
            world.loop.turn()
            _check_service(world)
        finally:
            world.close()
        assert not world.toy.alive
        assert not world.server.connections
        assert not world.loop.watches
        assert _descriptors() == before, "descriptors are left open"
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _take(world: World, step: Step) -> None:
    index, ring_number = (step.where & 3) % CLIENTS, (step.where >> 2 & 3) % 3
    number = int.from_bytes(step.data[:8], "little")
    if step.what % 13 == RAW:
        world.connect(index).send(step.data)
        return
    if step.what % 13 == CONNECT:
        _handshake(world, index, number & 0xFFFFFFFF)
        return
    client = world.clients[index]
    if client is None:
        return
    match step.what % 13:
        case 2:
            client.send(step.data)
        case 3 if client.rings:
            if BUFFER_PATH.encode() in step.data:
                world.toy.file.make()
                world.toy.file.shrinks = bool(step.where & 16)
            with suppress(RingError):
                client.rings[0].write(step.data)
            client.send(b"\0" * (1 + (step.where >> 6)))
        case 4 if client.rings:
            client.scribblers[ring_number].header_field(step.where >> 4, number)
        case 5 if client.rings:
            scribbler = client.scribblers[ring_number]
            at = scribbler.read_point() if step.where & 128 else step.where
            scribbler.chunk(at, number, step.where >> 4)
            scribbler.post(1 + (step.where >> 4))
            client.send(b"\0")
        case 6 if client.rings:
            client.scribblers[ring_number].data_bytes_at(step.where * 8, step.data)
            client.scribblers[ring_number].header_bytes(step.where * 33, step.data)
        case 7 if client.rings:
            client.scribblers[ring_number].truncate(bool(step.where & 128), number % 30_000)
        case 8:
            world.loop.turn()
            if step.where & 128:
                world.loop.expire()
        case 9:
            if step.where & 128:
                with suppress(OSError):
                    client.sock.shutdown(socket.SHUT_WR if step.where & 64 else socket.SHUT_RDWR)
            else:
                world.hang_up(index)
        case 10:
            _send_descriptors(client, step)
        case 11:
            world.server.set_flow_level(world.service, step.where % 3)
        case 12 if client.rings:
            _replace_directory(client, step)
        case _:
            pass
    world.loop.turn()


def _handshake(world: World, index: int, size: int) -> None:
    """By the rules, but for the size: a modest one, or one beyond the limit."""
    client = world.connect(index)
    if size <= MESSAGE_SIZE_MAX:
        size %= 20_000
    client.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, size)))
    world.loop.turn()
    client.open_rings()


def _send_descriptors(client: Client, step: Step) -> None:
    descriptors = array("i", [client.sock.fileno()] * (1 + step.where % 3))
    with suppress(OSError):
        client.sock.sendmsg([step.data or b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def _replace_directory(client: Client, step: Step) -> None:
    """The directory of the rings belongs to the client."""
    directory = os.path.dirname(client.rings[0].base)
    with suppress(OSError):
        if step.where & 128:
            os.rename(directory, directory + "-away")
        else:
            os.mkdir(f"{directory}/{step.where}")


def _check_service(world: World) -> None:
    world.server.set_flow_level(world.service, 0)
    for _ in range(3):
        world.loop.turn()
        world.loop.expire()
    witness = Client(world.service)
    try:
        size = CONNECT_REQUEST.size
        witness.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, size, MESSAGE_SIZE_MIN)))
        world.loop.turn()
        assert witness.open_rings(), f"nobody is let in any more: {world.lines[-3:]}"
        witness.rings[0].write(REQUEST_HEADER.pack(RequestHeader(ECHO, REQUEST_HEADER.size)))
        witness.send(b"\0")
        world.loop.turn()
        assert witness.rings[1].read() is not None, "no answer"
    finally:
        witness.close()
    world.loop.turn()


def _fields(step: Step) -> Sequence[Leaf]:
    if step.what % 13 == RAW:
        return tuple(leaves(CONNECT_REQUEST))
    if step.what % 13 == WRITE:
        return tuple(leaves(ZC_ALLOC_REQUEST))
    return (Leaf(0, "I", 4), Leaf(0, "Q", 8))


def _number(value: int) -> bytes:
    return struct.pack("<Q", value)


@cache
def seeds() -> Sequence[bytes]:
    """A session by the rules, then what breaks them."""
    good = CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, MESSAGE_SIZE_MIN))
    connect = Step(CONNECT, 0, _number(MESSAGE_SIZE_MIN))
    echo = Step(WRITE, 0, REQUEST_HEADER.pack(RequestHeader(ECHO, REQUEST_HEADER.size)))
    events = Step(WRITE, 0, REQUEST_HEADER.pack(RequestHeader(EVENTS, 40)) + bytes(24))
    names = (BUFFER_PATH, "/dev/shm/corosync_zerocopy-x", "/etc/passwd", "/dev/shm/../etc/passwd")
    paths = (*(name.encode() for name in names), b"\xff\xfe")
    buffers = [
        ZC_ALLOC_REQUEST.pack(ZC_ALLOC_REQUEST.cls(BUFFER, ZC_ALLOC_REQUEST.size, size, path))
        for path in paths
        for size in (100, 4096, BUFFER_SIZE_MAX + 1)
    ]
    found = [
        [Step(RAW, 0, good), Step(TURN, 0, b""), echo],
        [Step(RAW, 0, good[:10]), Step(TURN, 0, b""), Step(BYTES, 0, good[10:]), Step(TURN, 128, b"")],
        [Step(RAW, 0, good[:1]), Step(DESCRIPTORS, 0, good[1:]), Step(TURN, 128, b"")],
        [Step(CONNECT, 0, _number(0xFFFFFFFF)), echo],
        [connect, echo, events, echo, Step(FLOW, 1, b""), echo, echo, Step(FLOW, 0, b""), echo],
        [connect, echo, Step(HANG_UP, 0, b""), connect, Step(HANG_UP, 128, b""), Step(TURN, 0, b"")],
        [connect, *(Step(WRITE, n % 2 * 16, request) for n, request in enumerate(buffers))],
        [connect, Step(RENAME, 128, b""), Step(HANG_UP, 0, b"")],
        [connect, Step(RENAME, 0, b""), Step(HANG_UP, 0, b"")],
        [connect, *[events] * 30],
    ]
    for ring in range(3):
        for field in range(len(HEADER_LEAVES)):
            found.append([connect, Step(FIELD, ring << 2 | field << 4, _number(0xFFFFFFFF)), echo, events])
        found.append([connect, Step(CHUNK, ring << 2, _number(1 << 31)), echo, events])
        found.append([connect, Step(TRUNCATE, ring << 2, _number(0)), echo, events])
        found.append([connect, Step(TRUNCATE, ring << 2 | 128, _number(0)), echo, events])
        found.append([connect, Step(SCRIBBLE, ring << 2, b"\xa1" * 64), echo, events])
    return [join(parts) for parts in found]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The order, a number, or a field of a request."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Set-up requests from their layout, and any steps behind a good one."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, integer, mixed, step, step_lists, structure

    numbers = integer("Q").map(_number)
    request = structure(ZC_ALLOC_REQUEST)
    raw = step(st.just(RAW), cut(structure(CONNECT_REQUEST)))
    any_step = raw | step(st.integers(1, 12), numbers | cut(request) | st.binary(max_size=40))
    begun = st.builds(
        lambda rest: join([Step(CONNECT, 0, _number(MESSAGE_SIZE_MIN))]) + rest, step_lists(any_step)
    )
    return mixed(begun, step_lists(any_step), damaged(seeds(), mutate))
