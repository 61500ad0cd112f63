"""A program's side of the IPC, facing a hostile executive: its set-up answer, rings, answers and events."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from ipc import client as ipc_client
from ipc import cpg_layouts as cpg
from ipc._ring import Ring, RingError
from ipc.connection import Connection, IpcError
from ipc.layouts import CONNECT_ID, CONNECT_RESPONSE, RESPONSE_HEADER, ConnectResponse
from ipc.waiting import ThreadWaiter, Waiter
from libais.cpg import Handle
from libais.errors import CsException
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.shared_ring import Scribbler
from tests.fuzz.targets import libais_events

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 10.0

ANSWER, RESPOND, EVENT, FIELD, CHUNK, SCRIBBLE, TRUNCATE, BYTES, HANG_UP, CALL = range(10)
"""Step.what; Step.where is ring, field or call.  A set-up answer comes first, by the rules or not."""

MESSAGE_MAX: Final = 3000


class Executive:
    """The other side of everything: a socket, three rings, and no scruples."""

    def __init__(self, directory: str) -> None:
        self.bases = [f"{directory}/qb-{name}" for name in ("request", "response", "event")]
        self.rings = [Ring.create(base, MESSAGE_MAX) for base in self.bases]
        self.scribblers = [Scribbler(base) for base in self.bases]
        self.program, self.sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.program.setblocking(False)
        self.sock.setblocking(False)

    def good_answer(self) -> bytes:
        names = map(os.fsencode, self.bases)
        return CONNECT_RESPONSE.pack(
            ConnectResponse(CONNECT_ID, CONNECT_RESPONSE.size, 0, 1, MESSAGE_MAX, 1, *names)
        )

    def answer(self, step: Step) -> None:
        """By the rules; or with the fixed part of the step's data; or the step's data."""
        good = self.good_answer()
        head = CONNECT_RESPONSE.offset_of("request")
        data = (good, step.data[:head] + good[head:], step.data)[step.where % 3]
        with suppress(OSError):
            self.sock.send(data)

    def write(self, ring: int, data: bytes) -> None:
        with suppress(RingError):
            self.rings[ring].write(data)

    def hang_up(self) -> None:
        self.sock.close()

    def close(self) -> None:
        self.hang_up()
        self.program.close()
        for scribbler in self.scribblers:
            scribbler.close()
        for ring in self.rings:
            ring.close()


class Impatient(ThreadWaiter):
    """Whoever would wait sees the executive die instead."""

    def __init__(self, executive: Executive) -> None:
        self._executive = executive

    def sleep(self, seconds: float) -> None:
        self._executive.hang_up()

    def poll(self, fd: int, events: int, timeout: float | None) -> int:
        flags = super().poll(fd, events, 0)
        if not flags and timeout is None:
            self._executive.hang_up()
            flags = super().poll(fd, events, 0)
        return flags

    def response(self, ring: Ring, seconds: float) -> bytes | None:
        chunk = ring.read(1)
        if chunk is None:
            self._executive.hang_up()
        return chunk


class FuzzedHandle(Handle):
    """A handle of the library on a connection made here."""

    def __init__(self, connection: Connection) -> None:
        self._made = connection
        super().__init__(deliver=_callback, confchg=_callback, totem_confchg=_callback)

    def _connect(self, service: str, timeout: float | None, waiter: Waiter | None) -> Connection:
        return self._made


def _callback(handle: Handle, event: object) -> None:
    """Takes what comes."""


def fuzz(data: bytes) -> None:
    """Every call ends: with what it is for, or an exception that the library declares."""
    directory = tempfile.mkdtemp(prefix="aisexec-fuzz-client-", dir="/dev/shm")
    before = len(os.listdir("/proc/self/fd"))
    try:
        executive = Executive(directory)
        try:
            _session(executive, list(steps(data)))
        finally:
            executive.close()
        assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _session(executive: Executive, script: list[Step]) -> None:
    for step in script:
        if step.what % 10 == ANSWER:
            executive.answer(step)
            break
    else:
        executive.hang_up()
    waiter = Impatient(executive)
    try:
        answer = ipc_client._handshake(executive.program, "cpg", MESSAGE_MAX, 0.0, waiter)
        rings = ipc_client._open_rings(answer, "cpg")
    except IpcError:
        return
    handle = FuzzedHandle(Connection("cpg", executive.program, rings, answer.max_msg_size, waiter))
    try:
        for step in script:
            _take(executive, handle, step)
    finally:
        handle.close()


def _take(executive: Executive, handle: Handle, step: Step) -> None:
    ring = step.where % 3
    scribbler = executive.scribblers[ring]
    number = int.from_bytes(step.data[:8], "little")
    match step.what % 10:
        case 1:
            executive.write(1, step.data)
        case 2:
            executive.write(2, step.data)
            with suppress(OSError):
                executive.sock.send(b"\0")
        case 3:
            scribbler.header_field(step.where >> 2, number)
        case 4:
            scribbler.chunk(scribbler.read_point() if step.where & 128 else step.where, number, step.where)
            scribbler.post(1 + (step.where >> 4))
        case 5:
            scribbler.data_bytes_at(step.where * 16, step.data)
            scribbler.header_bytes(step.where * 33, step.data)
        case 6:
            scribbler.truncate(bool(step.where & 128), number % 20_000)
        case 7:
            with suppress(OSError):
                executive.sock.send(bytes(step.where))
        case 8:
            executive.hang_up()
        case 9:
            _call(handle, step.where)
        case _:
            pass


def _iterate(handle: Handle) -> None:
    for number, _ in enumerate(handle.iteration()):
        if number > 20:
            return


def _call(handle: Handle, which: int) -> None:
    calls: tuple[Callable[[], object], ...] = (
        handle.local_get,
        lambda: handle.membership_get("group"),
        lambda: handle.join("group"),
        lambda: handle.leave("group"),
        lambda: handle.mcast_joined(b"hello"),
        lambda: handle.mcast_joined(bytes(2_000_000)),
        lambda: _iterate(handle),
        lambda: list(handle.events(0)),
        handle.dispatch,
        lambda: handle.zcb_alloc(100),
        handle.finalize,
        handle.flow_control_state_get,
    )
    with suppress(CsException):
        calls[which % len(calls)]()


CALLS: Final = 12


def _fields(step: Step) -> Sequence[Leaf]:
    match step.what % 10:
        case 0:
            return tuple(leaves(CONNECT_RESPONSE))
        case 1:
            responses = (cpg.LOCAL_GET_RESPONSE, cpg.MEMBERSHIP_GET_RESPONSE, cpg.ITERATION_NEXT_RESPONSE)
            return tuple(leaf for layout in responses for leaf in leaves(layout))
        case 2:
            return libais_events._fields(step)
        case _:
            return (Leaf(0, "I", 4), Leaf(0, "Q", 8))


@cache
def seeds() -> Sequence[bytes]:
    """Every call with an answer, then the same with something amiss."""
    good = Step(ANSWER, 0, b"")
    ok = cpg.pack_response(0, 1)
    answers = [
        cpg.LOCAL_GET_RESPONSE.pack(cpg.LocalGetResponse(7, cpg.LOCAL_GET_RESPONSE.size, 1, 5)),
        cpg.pack_membership([cpg.Address(1, 2)])[:MESSAGE_MAX],
        ok,
        ok,
        ok,
        ok,
        cpg.ITERATION_INITIALIZE_RESPONSE.pack(cpg.IterationInitializeResponse(9, 32, 1, 1)),
        ok,
        ok,
        ok,
        ok,
        ok,
    ]
    found = [[good, Step(RESPOND, 0, answer), Step(CALL, n, b"")] for n, answer in enumerate(answers)]
    entry = cpg.IterationNextResponse(10, cpg.ITERATION_NEXT_RESPONSE.size, 1, 5, b"group", 1, 2)
    walk = [answers[6], cpg.ITERATION_NEXT_RESPONSE.pack(entry), cpg.pack_response(10, 29), ok]
    found.append([good, *(Step(RESPOND, 0, answer) for answer in walk), Step(CALL, 6, b"")])
    for error in (6, 9, 12, 255, -1):
        refused = Step(RESPOND, 0, cpg.pack_response(0, error))
        found.append([good, refused, refused, *(Step(CALL, n, b"") for n in (2, 3, 9))])
    for seed in libais_events.seeds():
        events = [Step(EVENT, 0, step.data) for step in steps(seed)]
        found.append([good, *events, Step(CALL, 7, b""), *events, Step(CALL, 8, b"")])
    for value in (0, 0xFFFFFFFF, 1 << 31):
        number = struct.pack("<Q", value)
        for field in range(8):
            spoilt = [Step(FIELD, field << 2 | ring, number) for ring in range(3)]
            found.append([good, *spoilt, *(Step(CALL, n, b"") for n in (0, 4, 7, 8))])
        found.append([good, Step(TRUNCATE, 1, number), Step(CALL, 0, b""), Step(TRUNCATE, 130, number)])
        found.append([good, Step(CHUNK, 129, number), Step(CHUNK, 130, number), Step(CALL, 0, b"")])
    found.append([good, Step(BYTES, 200, b""), Step(CALL, 7, b""), Step(HANG_UP, 0, b""), Step(CALL, 0, b"")])
    fixed = ConnectResponse(CONNECT_ID, CONNECT_RESPONSE.size, 0, 1, MESSAGE_MAX, 1, b"/a", b"/b", b"/c")
    found.append([Step(ANSWER, 1, CONNECT_RESPONSE.pack(fixed)[:64]), Step(CALL, 0, b"")])
    found.append([Step(ANSWER, 2, CONNECT_RESPONSE.pack(fixed))])
    found.append([Step(ANSWER, 2, RESPONSE_HEADER.pack(RESPONSE_HEADER.cls(CONNECT_ID, 24, -11)))])
    return [join(parts) for parts in found]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of what the executive says, or the order of things."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Set-up answers, answers and events from their layouts, and calls in between."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, integer, mixed, step, step_lists, structure

    fixed = structure(CONNECT_RESPONSE).map(lambda data: data[: CONNECT_RESPONSE.offset_of("request")])
    answer = step(st.just(ANSWER), fixed | cut(structure(CONNECT_RESPONSE)), st.integers(0, 2))
    numbers = integer("Q").map(lambda value: struct.pack("<Q", value))
    response = cut(structure(RESPONSE_HEADER)) | structure(cpg.MEMBERSHIP_GET_RESPONSE)
    any_step = (
        step(st.just(RESPOND), response)
        | step(st.just(EVENT), cut(st.one_of(*map(structure, libais_events.HEADS.values()))))
        | step(st.integers(3, 8), numbers)
        | step(st.just(CALL), st.just(b""))
    )
    begun = step_lists(any_step).map(lambda rest: join([Step(ANSWER, 0, b"")]) + rest)
    return mixed(begun, step_lists(answer | any_step), damaged(seeds(), mutate))
