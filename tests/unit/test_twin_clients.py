"""Clients served the compiled way have the same life as those that the server serves alone."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from aisexec._clients import Clients
from aisexec.effects import CloseClient, Event, Events, Respond
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.totem.types import Unicast
from ipc import cpg_layouts as cpg
from ipc import requests as requests_module
from ipc import server as server_module
from ipc._event_batch import EventBatch
from ipc._ring import RingError
from ipc.layouts import (
    CONNECT_ID,
    CONNECT_REQUEST,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    ConnectRequest,
    RequestHeader,
)
from ipc.limits import MESSAGE_SIZE, MESSAGE_SIZE_MIN, READ_BYTES_MAX, REQUESTS_PER_TURN
from ipc.ringset import Credentials
from ipc.server import Server
from ipc.server_connection import Connection
from tests.fuzz.hub import ManualLoop
from tests.fuzz.targets.ipc_server import Client
from tests.sim.executives import Memory, join_request, mcast_request
from tests.sim.network import FAST

GROUP = b"twins"
ROUNDS_MAX = 3000
LOCAL_GET = REQUEST_HEADER.pack(RequestHeader(cpg.CpgRequest.LOCAL_GET, REQUEST_HEADER.size))
NO_CALL = REQUEST_HEADER.pack(RequestHeader(99, REQUEST_HEADER.size))
_numbers = itertools.count()


class Program:
    """A client and what it has seen."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self.conn = 0
        self.said = 0
        self.events: list[bytes] = []
        self.announced = 0
        self.answers: list[bytes] = []
        self.waiting: list[bytes] = []
        """Requests for which its ring had no room."""

    def write(self, announce: bool = True) -> None:
        """As much as there is room for, and a byte for each."""
        written = 0
        with suppress(RingError):
            while self.waiting and self.client.rings[0].write(self.waiting[0]):
                del self.waiting[0]
                written += 1
        if announce:
            self.client.send(bytes(written))

    def messages(self, sizes: list[int], guarantees: list[int]) -> list[bytes]:
        made = []
        for size, guarantee in zip(sizes, guarantees, strict=True):
            text = b"%d %d " % (self.number, self.said)
            self.said += 1
            made.append(mcast_request(text.ljust(size, b"."), guarantee))
        return made

    def read(self) -> None:
        with suppress(RingError):
            while (event := self.client.rings[2].read()) is not None:
                self.events.append(event)
        with suppress(OSError):
            while data := self.client.sock.recv(1 << 16):
                self.announced += len(data)
        self.read_answers()

    def read_answers(self) -> None:
        with suppress(RingError):
            while (answer := self.client.rings[1].read()) is not None:
                self.answers.append(answer)

    def heard(self) -> dict[object, list[bytes]]:
        """In order, for each sender: who is served first may differ."""
        found: dict[object, list[bytes]] = {}
        for event in self.events:
            if RESPONSE_HEADER.unpack(event).id == cpg.CpgEvent.DELIVER:
                body = event[cpg.DELIVER_EVENT.size :]
                found.setdefault(body.split()[0], []).append(body)
            else:
                found.setdefault("changes", []).append(event)
        return found


class Side:
    """An executive in a ring of its own, a server, and their clients."""

    def __init__(self, compiled: bool) -> None:
        self.loop = ManualLoop()
        self.service = f"aisexec-twin-{os.getpid()}-{next(_numbers)}"
        self.run_dir = tempfile.mkdtemp(prefix="aisexec-twin-", dir="/dev/shm")
        self.executive = Executive(FAST, 1, 0, ExecutiveOptions(), Memory())
        self.server = Server(
            self.loop, [self.service], self, log=lambda priority, text: None, run_dir=self.run_dir
        )
        self.server.start()
        self.server.wait_for_poll(True)
        self.clients = Clients(self.executive, self.server) if compiled else None
        self.taken_compiled = 0
        self.opened_last = 0
        self.past: dict[int, Any] = {}
        self.programs: dict[int, Program] = {}
        self.frames: list[bytes] = []
        self.closed_for: list[tuple[int, str]] = []
        self.seen = Counter[str]()
        self.now = 0.0
        self.executive.start(self.now)
        self.until(lambda: self.executive.ready)

    def close(self) -> None:
        for program in self.programs.values():
            program.client.close()
        self.server.stop()
        shutil.rmtree(self.run_dir)

    # The handler of ipc.server.

    def admit(self, service: str, creds: Credentials) -> int:
        return 0

    def opened(self, conn: Connection) -> None:
        self.executive.client_opened(conn.id, "cpg", conn.creds.pid, 0, 0)
        self.opened_last = conn.id
        # So that it is soon full of bytes that the client does not take.
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int:
        taken = 0
        while some := self.executive.client_requests(conn.id, messages, taken, self.now):
            taken += some
            if taken >= len(messages):
                break
        return taken

    def turn_over(self) -> None:
        pass

    def closed(self, conn: Connection) -> None:
        self.past[conn.id] = conn.stats
        self.closed_for.append((conn.id, (conn.doomed or "").replace(self.run_dir, "")[:30]))
        self.executive.client_closed(conn.id, self.now)

    # A turn.

    def token(self) -> None:
        self.carry_out()
        frames, self.frames = self.frames, []
        if not frames:
            due = self.executive.next_timer()
            assert due is not None
            self.now = max(self.now, due)
            self.executive.handle_timer(self.now)
        else:
            self.executive.receive([(frame, "self") for frame in frames], self.now)
        self.carry_out()

    def serve(self) -> None:
        """As the driver does when the token is here."""
        more = True
        if self.clients is not None:
            taken, more = self.clients.poll(self.now)
            self.taken_compiled += taken
        if more:
            self.server.poll()
            while self.server.has_more and self.server.poll():
                pass
        self.carry_out()

    def carry_out(self) -> None:
        while effects := self.executive.take_effects():
            self.server.flush_follows = True
            for effect in effects:
                self.carry_out_one(effect)
            self.server.flush_follows = False
            if self.clients is not None:
                # Announces what there is.
                self.clients.send(EventBatch())
            self.server.flush()
        self.server.set_flow_level(self.service, self.executive.flow_level())
        for conn in self.server.connections.values():
            self.seen.update(blocked=conn.blocked, queueing=bool(conn._queue), stopped=conn.stopped)

    def carry_out_one(self, effect: object) -> None:
        connections = self.server.connections
        match effect:
            case Unicast(_, frame):
                self.frames.append(frame)
            case EventBatch() if self.clients is not None:
                self.clients.send(effect)
            case EventBatch():
                for receivers, first, last in effect.runs():
                    for client in receivers:
                        if client in connections:
                            connections[client].events(effect, first, last)
                self.server.flush()
            case Event(client, parts) if client in connections:
                connections[client].event(*parts)
            case Events(receivers, parts):
                for client in receivers:
                    if client in connections:
                        connections[client].event(*parts)
            case Respond(client, message) if client in connections:
                connections[client].respond(message)
            case CloseClient(client, reason) if client in connections:
                connections[client].close(reason)
            case _:
                pass

    def rest(self) -> None:
        """What waits for room, for a timer or to be closed."""
        self.server.resume()
        self.loop.expire()
        self.loop.turn()
        self.carry_out()

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(ROUNDS_MAX):
            self.serve()
            self.token()
            self.rest()
            if condition():
                return
        raise AssertionError("never came")

    def settled(self) -> bool:
        """Everything that was written has been taken and delivered."""
        totem, server = self.executive.totem, self.server
        for program in self.programs.values():
            program.write()
            program.read_answers()
        if any(program.waiting for program in self.programs.values() if program.conn in server.connections):
            return False
        if server.has_more or server._requests.stopped or server._doomed:
            return False
        if any(conn.unread or conn.held or self.pending(conn) for conn in server.connections.values()):
            return False
        core = totem.core
        return (
            not totem.frames_waiting()
            and not totem.packer.staged
            and core.my_high_delivered == core.my_high_seq
            and not self.executive.sync.running
        )

    def pending(self, conn: Connection) -> int:
        return 0 if conn.doomed is not None else conn.rings.request.pending()

    # Steps.

    def step(self, step: Step) -> None:
        program = self.programs.get(step.number)
        if program is None:
            if step.what == "connect":
                self.connect(step)
            return
        getattr(self, step.what)(program, step)
        self.serve()
        for _ in range(step.tokens):
            self.token()
            self.serve()
            self.rest()
        if step.settle:
            self.until(self.settled)

    def connect(self, step: Step) -> None:
        client = Client(self.service)
        size = CONNECT_REQUEST.size
        client.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, size, step.size)))
        self.opened_last = 0
        self.until(lambda: self.opened_last != 0)
        assert client.open_rings()
        self.programs[step.number] = program = Program(client, step.number)
        program.conn = self.opened_last
        program.waiting.append(join_request(GROUP, 100 + step.number))
        program.write()
        self.until(lambda: self.settled() and len(program.answers) == 1)

    def burst(self, program: Program, step: Step) -> None:
        program.waiting += program.messages(step.sizes, step.guarantees)
        program.write()

    def mixed(self, program: Program, step: Step) -> None:
        """Questions, and what is no request, among the messages."""
        odd = itertools.cycle((LOCAL_GET, NO_CALL))
        for message in program.messages(step.sizes, step.guarantees):
            program.waiting += [message, next(odd)]
        program.write()

    def bytes_alone(self, program: Program, step: Step) -> None:
        """They announce what is not there."""
        program.client.send(bytes(len(step.sizes)))

    def late_bytes(self, program: Program, step: Step) -> None:
        """The requests are there before they are announced."""
        self.until(self.settled)
        program.waiting += program.messages(step.sizes, step.guarantees)
        before = len(program.waiting)
        program.write(announce=False)
        self.serve()
        for _ in range(before - len(program.waiting)):
            program.client.send(b"x")

    def read(self, program: Program, step: Step) -> None:
        program.read()

    def hang_up(self, program: Program, step: Step) -> None:
        """With something on its lips."""
        self.until(self.settled)
        self.burst(program, step)
        program.client.sock.close()

    def spoil(self, program: Program, step: Step) -> None:
        """Behind some good requests, of which nobody can say any more where they begin."""
        self.until(self.settled)
        scribbler = program.client.scribblers[0]
        at = scribbler.read_point()
        program.waiting += program.messages(step.sizes, step.guarantees)
        program.write(announce=False)
        scribbler.chunk(at, 1 << 30, 0)
        program.client.send(b"x")
        program.waiting.clear()

    def spoil_events(self, program: Program, step: Step) -> None:
        """The reader says that it is where no chunk is."""
        self.until(self.settled)
        program.client.scribblers[2].truncate(True, 0)
        self.burst(program, step)

    def short(self, program: Program, step: Step) -> None:
        """Behind good ones a request that has no header: the end."""
        self.until(self.settled)
        program.waiting += [*program.messages(step.sizes[:20], step.guarantees[:20]), b"short"]
        program.write()
        program.waiting.clear()

    # What came of it.

    def result(self) -> dict[str, object]:
        stats = {conn.id: conn.stats for conn in self.server.connections.values()} | self.past
        programs = self.programs.values()
        return {
            "heard": {program.number: program.heard() for program in programs},
            "announced": {program.number: program.announced for program in programs},
            "answers": {program.number: program.answers for program in programs},
            "closed": sorted(self.closed_for),
            "requests": {id: each.requests for id, each in stats.items()},
            "responses": {id: each.responses for id, each in stats.items()},
            "dispatched": {id: each.dispatched for id, each in stats.items()},
            "waiting": {id: (each.queueing, each.queued, each.sent) for id, each in stats.items()},
            "recv_retries": {id: each.recv_retries for id, each in stats.items()},
            "taken": self.server._requests.taken,
            "told of nothing": self.server.stats.events_per_notification.counts[0],
            "cut off": self.server.stats.cut_off,
            "alive": sorted(self.server.connections),
            "closed so many": self.server.stats.closed,
        }


class Step(NamedTuple):
    """What a client does, and how many tokens go by."""

    what: str
    number: int
    sizes: list[int] = []  # noqa: RUF012
    guarantees: list[int] = []  # noqa: RUF012
    size: int = 0
    tokens: int = 0
    settle: bool = False


SIZES: tuple[Callable[[random.Random], list[int]], ...] = (
    lambda draw: [draw.randrange(20, 200) for _ in range(draw.randint(1, 8))],
    lambda draw: [draw.randrange(20, 60) for _ in range(draw.randint(40, 3 * REQUESTS_PER_TURN))],
    lambda draw: [draw.randrange(20, 6000) for _ in range(draw.randint(1, 60))],
    lambda draw: [3000] * draw.randint(20, 60),
    lambda draw: [30, draw.randrange(READ_BYTES_MAX - 200, 3 * READ_BYTES_MAX), 30],
)
DOINGS = ("burst",) * 12 + ("mixed", "mixed", "bytes_alone", "late_bytes", "read", "read", "read")
ENDS = ("hang_up", "hang_up", "spoil", "short", "spoil_events")


def life(seed: int) -> Iterator[Step]:
    """Of three or more clients."""
    draw = random.Random(seed)
    sizes_of: dict[int, int] = {}
    born = 0
    for _ in range(40):
        if len(sizes_of) < 3 or draw.random() < 0.05:
            born += 1
            # A ring that is soon full, or one that takes requests of any length.
            sizes_of[born] = draw.choice((MESSAGE_SIZE_MIN, MESSAGE_SIZE, MESSAGE_SIZE))
            yield Step("connect", born, size=sizes_of[born])
            continue
        number = draw.choice(list(sizes_of))
        ends = draw.random() < 0.06
        what = draw.choice(ENDS if ends else DOINGS)
        sizes = draw.choice(SIZES)(draw)
        if ends or what in ("late_bytes", "bytes_alone"):
            sizes = [draw.randrange(20, 100) for _ in range(draw.randint(1, 30))]
        # The rings take no longer ones.
        sizes = [min(size, sizes_of[number] - 200) for size in sizes]
        guarantees = [draw.choice((2, 2, 2, 3)) for _ in sizes]
        tokens = draw.choice((0, 0, 0, 1, 3))
        if ends:
            del sizes_of[number]
        yield Step(what, number, sizes, guarantees, 0, tokens, ends or draw.random() < 0.15)


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into a turn must not depend on how busy this machine is."""
    monkeypatch.setattr(requests_module, "TURN_TIME", 60.0)
    monkeypatch.setattr(server_module, "CLOSING_TIME", 60.0)


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    """The compiled way, and the long one."""
    both = Side(compiled=True), Side(compiled=False)
    yield both
    for side in both:
        side.close()


def finish(side: Side) -> dict[str, object]:
    """Everybody has read everything."""

    def read() -> bool:
        for program in side.programs.values():
            program.read()
        waits = any(not conn.idle() or conn.waiting() for conn in side.server.connections.values())
        return side.settled() and not waits

    side.until(read)
    return side.result()


@pytest.mark.parametrize("seed", range(12))
def test_a_life(seed: int, sides: tuple[Side, Side]) -> None:
    compiled, plain = sides
    for step in life(seed):
        for side in sides:
            side.step(step)
    results = [finish(side) for side in sides]
    for key in results[0]:
        assert results[0][key] == results[1][key], key
    for program in compiled.programs.values():
        if program.conn in compiled.server.connections:  # nothing has been lost on the way
            heard = program.heard().get(b"%d" % program.number, [])
            assert [int(body.split()[1].rstrip(b".")) for body in heard] == list(range(program.said))
            assert program.announced == len(program.events)
    assert compiled.taken_compiled > 100
    assert plain.taken_compiled == 0
    assert all(side.seen["blocked"] and side.seen["stopped"] for side in sides)


def test_of_what_finds_no_room_little_is_kept_in_memory(sides: tuple[Side, Side]) -> None:
    compiled, _ = sides
    for number in range(1, 5):
        compiled.step(Step("connect", number, size=MESSAGE_SIZE))
    for number in range(1, 5):
        program = compiled.programs[number]
        program.waiting += program.messages([20_000] * 20, [2] * 20)
        program.write()
    assert compiled.clients is not None
    taken, more = compiled.clients.poll(compiled.now)
    assert taken
    assert more
    held = [sum(map(len, conn.held)) for conn in compiled.server.connections.values()]
    assert 0 < sum(held) <= READ_BYTES_MAX
    finish(compiled)
    for program in compiled.programs.values():
        assert len(program.heard()[b"%d" % program.number]) == 20


def test_who_is_alone_is_served_without_the_server(sides: tuple[Side, Side]) -> None:
    compiled, _ = sides
    compiled.step(Step("connect", 1, size=MESSAGE_SIZE))
    program = compiled.programs[1]
    assert compiled.clients is not None
    for _ in range(3):
        program.waiting += program.messages([30] * REQUESTS_PER_TURN, [2] * REQUESTS_PER_TURN)
        program.write()
        assert compiled.clients.poll(compiled.now) == (REQUESTS_PER_TURN, False)
        assert compiled.clients.poll(compiled.now) == (0, False)
        compiled.until(compiled.settled)
    compiled.step(Step("connect", 2, size=MESSAGE_SIZE))
    other = compiled.programs[2]
    other.client.sock.close()
    assert compiled.clients.poll(compiled.now) == (0, True)
    compiled.until(lambda: len(compiled.server.connections) == 1)
    assert compiled.clients.poll(compiled.now) == (0, False)
