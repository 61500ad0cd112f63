"""The compiled turn beside the driver's own way: datagrams read from a socket, and the same handed in."""

from __future__ import annotations

import copy
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from aisexec._timing import Timing
from aisexec._turn import Turn
from aisexec.driver import Driver
from aisexec.executive import Executive
from aisexec.net.addresses import raw
from aisexec.net.base import LinkChange, NetStats, Plain, Received, Source, Transport
from aisexec.net.limits import RECEIVE_SIZE_MAX
from aisexec.net.sockets import set_receive_buffer
from aisexec.totem import wire
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.types import RingId
from aisexec.totem.wire import FrameType
from ipc._event_batch import EventBatch
from tests.fuzz.captured import frames
from tests.fuzz.frames import any_frame, fields
from tests.fuzz.hub import ManualLoop
from tests.fuzz.records import Mutation, Step, join, mutation_of, steps
from tests.fuzz.ring import FORGER, MEMBERS, SETTINGS, How, adapt
from tests.sim.executives import mcast_request, started

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 10.0

ME: Final = 2
"""Not the one who holds the token of an idle ring."""
PEERS: Final = tuple(n for n in MEMBERS if n != ME)
CLIENT: Final = 1
ARRIVE: Final = 1
"""Bit of Step.what: the frames that have been sent so far are received now."""
WAITING_MAX: Final = 8
"""Frames that wait in the socket, so that neither they nor what they bring about overflow it."""
FRAME_MAX: Final = 9000
RING: Final = RingId(1, 8)
"""In seeds; the hearer's is put in its place."""
PATIENCE: Final = 10.0
SO_MEMINFO: Final = 55
"""Of which the first word is what waits in the socket."""


class Sockets:
    """Where frames come from, and where those go to that are sent to each of the others."""

    def __init__(self) -> None:
        self.own = self._bound()
        self.feeder = self._bound()
        self.peers = {nodeid: self._bound() for nodeid in PEERS}

    @staticmethod
    def _bound() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # A turn that waits in its socket finds it empty at once.
        made.setblocking(False)
        made.bind(("127.0.0.1", 0))
        set_receive_buffer(made, 1 << 22, "own", lambda priority, text: None)
        return made

    def empty(self) -> None:
        for each in (self.own, *self.peers.values()):
            with suppress(BlockingIOError):
                while True:
                    each.recv(1)

    def feed(self, frame: bytes) -> None:
        """Returns when it has arrived, for the kernel may take its time."""
        before = self._waiting()
        self.feeder.sendto(frame, self.own.getsockname())
        deadline = time.monotonic() + PATIENCE
        while self._waiting() == before:
            assert time.monotonic() < deadline, "a frame is lost"

    def _waiting(self) -> int:
        words = self.own.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
        waiting: int = struct.unpack_from("=I", words)[0]
        return waiting

    def holds_some(self) -> bool:
        return bool(select.select([self.own], [], [], 0)[0])


@cache
def sockets() -> Sockets:
    """The same for all inputs."""
    return Sockets()


class Wire:
    """What both transports do."""

    refusers_known = False

    def __init__(self) -> None:
        self.stats = NetStats()
        self.sent: dict[int, list[bytes]] = {nodeid: [] for nodeid in PEERS}
        self.unknown = 0
        self._own_frames: list[Received] = []
        self._orders: dict[int, list[int]] = {}

    def drain(self) -> list[bytes]:
        raise NotImplementedError

    def send(self, nodeid: int, frame: bytes) -> None:
        raise NotImplementedError

    def receive(self) -> list[Received]:
        received = [(frame, FORGER) for frame in self.drain()]
        self.count_received([frame for frame, _ in received])
        return received + self._take_own()

    def count_received(self, received: Sequence[bytes]) -> None:
        self.stats.received_frames += len(received)
        self.stats.received_bytes += sum(map(len, received))

    def _take_own(self) -> list[Received]:
        taken, self._own_frames = self._own_frames, []
        return taken

    def _from(self, nodeid: int) -> list[int]:
        self._orders[nodeid] = [other for other in PEERS if other != nodeid]
        return self._orders[nodeid]

    def unicast(self, nodeid: int, frames: Sequence[bytes]) -> None:
        if nodeid == ME:
            self._own_frames += [(frame, "ourselves") for frame in frames]
        elif nodeid not in PEERS:
            self.unknown += 1
        else:
            for frame in frames:
                self.stats.sent_frames += 1
                self.stats.sent_bytes += len(frame)
                self.send(nodeid, frame)

    def broadcast(self, frames: Sequence[bytes]) -> None:
        for nodeid in PEERS:
            self.unicast(nodeid, frames)

    def broadcast_and_pass(self, frames: Sequence[bytes], nodeid: int, token: bytes) -> None:
        self.broadcast(frames)
        self.unicast(nodeid, (token,))

    def go_on_sending(self, nodeid: int, frames: list[bytes]) -> None:
        """A kernel that does not cut runs."""
        self.unicast(nodeid, frames)

    def check(self) -> LinkChange:
        return LinkChange.NONE

    def plain(self) -> Plain | None:
        return None


class Listed(Wire):
    """For the driver's own way: frames in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[bytes] = deque()

    def drain(self) -> list[bytes]:
        found = list(self.waiting)
        self.waiting.clear()
        return found

    def send(self, nodeid: int, frame: bytes) -> None:
        self.sent[nodeid].append(frame)

    def until_token(self) -> list[bytes]:
        """What a turn reads while nothing has paused."""
        found = []
        while self.waiting:
            found.append(self.waiting.popleft())
            if found[-1][2:4] == bytes([wire.VERSION, FrameType.ORF_TOKEN]):
                break
        return found


class Socketed(Wire):
    """For the turn, which reads and writes the socket itself."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets = sockets()
        self.sockets.empty()

    def drain(self) -> list[bytes]:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.sockets.own.recv(RECEIVE_SIZE_MAX))
        return found

    def send(self, nodeid: int, frame: bytes) -> None:
        self.sockets.own.sendto(frame, self.sockets.peers[nodeid].getsockname())

    def plain(self) -> Plain | None:
        own = self.sockets.own
        source = Source(own.fileno(), bytearray(RECEIVE_SIZE_MAX + 1), {}, lambda address, size: FORGER)
        peers = self.sockets.peers.items()
        return Plain(source, {nodeid: raw(peer.getsockname()) for nodeid, peer in peers})

    def collect(self) -> None:
        """What has been sent so far; all of it arrives."""
        peers = self.sockets.peers
        while sum(map(len, self.sent.values())) < self.stats.sent_frames:
            ready = select.select(list(peers.values()), [], [], PATIENCE)[0]
            assert ready, "a frame that was sent is lost"
            for nodeid, peer in peers.items():
                if peer in ready:
                    self.sent[nodeid].append(peer.recv(RECEIVE_SIZE_MAX))


class Ear:
    """A connection whose ring is always full, so that everything goes through its hands."""

    doomed = None
    service = "cpg"
    _queue = (b"the first",)

    def __init__(self) -> None:
        self.heard: list[object] = []

    def events(self, batch: EventBatch, first: int, last: int) -> None:
        self.heard += [batch.event(index) for index in range(first, last)]

    def event(self, *parts: Any) -> None:
        self.heard.append(b"".join(parts))

    def respond(self, message: bytes) -> None:
        self.heard.append(("answer", message))

    def close(self, reason: str) -> None:
        self.heard.append(("closed", reason))

    def set_flow_level(self, level: int) -> None:
        self.heard.append(("level", level))


class Disk:
    """Of unlimited life."""

    def store(self, seq: int) -> str | None:
        return None


@cache
def prepared() -> tuple[Executive, float]:
    """A member of a ring of three with a program, and the time; to be copied."""
    net = started(MEMBERS, settings=SETTINGS)
    program = net.nodes[ME].connect(1000)
    assert program.id == CLIENT
    program.join(b"fuzzed")
    net.run(0.2)
    return net.nodes[ME].executive, net.now


class Side:
    """A driver at a standing clock, with an ear."""

    def __init__(self, transport: Wire) -> None:
        executive, self.now = prepared()
        self.executive = copy.deepcopy(executive)
        self.transport = transport
        self.log: list[tuple[str, int, str]] = []
        self.ear = Ear()
        self.driver = Driver(
            lambda buffers: self.executive,
            cast(Transport, transport),
            Disk(),
            lambda *line: self.log.append(line),
        )
        self.timing = Timing(clock=self.clock, cpu=lambda: 0.0)
        self.driver._now = self.clock
        self.driver._timing = self.timing
        server = self.driver._server
        server.connections[CLIENT] = cast(Any, self.ear)
        # Not started: it listens to nobody, but may be told to wait.
        server._clients_watcher = ManualLoop().io(-1, 0)
        server._clients_watcher.start(lambda: None)

    def clock(self) -> float:
        return self.now

    def arrive(self) -> None:
        """Everything that has been fed is received."""
        raise NotImplementedError

    def feed(self, frame: bytes) -> None:
        raise NotImplementedError

    def say(self, size: int) -> None:
        self.executive.client_requests(CLIENT, [mcast_request(bytes(size))] * 3, 0, self.now)
        self.driver._turn()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.driver._timer_due()

    def close(self) -> None:
        driver = self.driver
        for watcher in (driver._timer, driver._impatience):
            if watcher is not None:
                watcher.stop()
                watcher.close()

    def result(self) -> dict[str, object]:
        core = self.executive.totem.core
        return {
            "sent": self.transport.sent,
            "net": self.transport.stats,
            "unknown": self.transport.unknown,
            "ring": (core.state, core.ring_id, core.memb),
            "numbers": (core.my_aru, core.my_high_seq, core.my_high_delivered, core.my_token_seq),
            "held": core.token_held,
            "queue": [list(core.q_new), list(core.q_trans)],
            "stats": core.stats,
            "timer": self.executive.next_timer(),
            "heard": self.ear.heard,
            "log": self.log,
            "holds": self.timing.token.token_hold_us.counts,
            "frames": self.timing.loop.frames_per_receive.counts,
            "polled": self.driver._server.waits_for_poll,
            "level": self.driver._flow_level,
            "left over": [self.executive._effects, core.effects, self.transport._own_frames],
        }


class Compiled(Side):
    """By the turn."""

    def __init__(self) -> None:
        super().__init__(transport := Socketed())
        self.wire = transport
        driver = self.driver
        self.turn = driver._light = Turn(
            driver, self.executive, cast(Transport, transport), driver._server, self.timing
        )
        self.executive.totem.token_leaves = self.turn.token_leaves

    def feed(self, frame: bytes) -> None:
        self.wire.sockets.feed(frame)

    def arrive(self) -> None:
        while self.wire.sockets.holds_some() or self.wire._own_frames:
            self.turn.ready()
            self.wire.collect()

    def result(self) -> dict[str, object]:
        self.wire.collect()
        return super().result()


class Long(Side):
    """By the driver alone."""

    def __init__(self) -> None:
        super().__init__(transport := Listed())
        self.listed = transport
        self.executive.totem.token_leaves = self.driver._token_leaves

    def feed(self, frame: bytes) -> None:
        self.listed.waiting.append(frame)

    def arrive(self) -> None:
        while self.listed.waiting or self.listed._own_frames:
            core = self.executive.totem.core
            paused = self.now - core.last_pause_check > core.settings.token / 2
            found = self.listed.drain() if paused else self.listed.until_token()
            self.listed.count_received(found)
            self.driver._handle([(frame, FORGER) for frame in found] + self.listed._take_own())
            self.driver._rest()


def fuzz(data: bytes) -> None:
    """Both have sent, told and become the same."""
    compiled, plain = Compiled(), Long()
    try:
        fed = 0
        for step in steps(data):
            fed = _take((compiled, plain), step, fed)
        for side in (compiled, plain):
            side.arrive()
        _compare(compiled, plain)
    finally:
        compiled.close()
        plain.close()


def _take(sides: tuple[Side, Side], step: Step, fed: int) -> int:
    """How many frames wait afterwards."""
    frame: bytes | None = None
    arrives = bool(step.what & How.PASS_TIME)
    if not step.what & (How.PASS_TIME | How.SUBMIT):
        frame = adapt(step.data[:FRAME_MAX], step, sides[0].executive.totem.core)
        arrives = bool(step.what & ARRIVE) or fed + 1 >= WAITING_MAX
    for side in sides:
        if frame is not None:
            side.feed(frame)
        if arrives:
            side.arrive()
        if step.what & How.PASS_TIME:
            side.pass_time(step.where / 100)
        elif step.what & How.SUBMIT:
            side.say(step.where * 20)
    _compare(*sides)
    return 0 if arrives else fed + (frame is not None)


def _compare(compiled: Side, plain: Side) -> None:
    one, other = compiled.result(), plain.result()
    for key in one:
        assert one[key] == other[key], key


def token(seq: int, token_seq: int, aru: int) -> bytes:
    """From the one before us, its numbers differences to ours."""
    header = wire.header(FrameType.ORF_TOKEN, 1)
    numbers = seq & 0xFF, token_seq & 0xFF, aru & 0xFF
    return wire.OrfToken(header, *numbers, 0, RING, 0, 0, 0, ()).pack()


def message(seq: int, size: int) -> bytes:
    """Of a member, likewise."""
    head = wire.pack_mcast_header(wire.Encapsulated.PLAIN, 1, seq & 0xFF, 0, RING, 0)
    return head + bytes(PACKET_HEAD.size) + bytes(size)


def seeds() -> Sequence[bytes]:
    """Tokens that go round, with messages before and behind them, super-packets, with ours to be sent."""
    ours, now = How.RING | How.NUMBERS | How.MEMBER, ARRIVE
    again = Step(ours | now, 0, token(0, 1, 0))
    later = Step(How.PASS_TIME, 1, b"")
    say, much = Step(How.SUBMIT, 5, b""), Step(How.SUBMIT, 200, b"")
    run = [Step(ours, 0, message(n, 700)) for n in range(1, 5)]
    behind = Step(ours | now, 0, token(4, 1, 4))
    found = [
        [again] * 6,
        [again, say, again, again, later, again],
        [*run, behind, again, again],
        [again, much, again, much, again, much, again, again, again],
        [say, *run, behind, again, *run[:2], again, later, later],
        [Step(ours, 0, token(0, 1, 0)), *run, behind, again],
        [run[0], run[2], again, again, run[1], again, again],
        [again, Step(How.PASS_TIME, 80, b""), again, again],
        [Step(now, 0, b""), Step(now, 0, b"junk"), again, Step(0, 0, bytes(5000)), again],
        [again, *[Step(ours, 0, message(n, 60)) for n in range(1, 8)], again, again],
    ]
    for frame in frames()[::5]:
        found.append([again, Step(ours | now, 0, frame), again, later, Step(now, 1, frame), again])
    return [join(each) for each in found]


_SEEDS: Final = seeds()
mutate: Mutation = mutation_of(lambda step: fields(step.data), _SEEDS)


def inputs() -> SearchStrategy[bytes]:
    """Frames from the layouts, and spoilt good ones."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, mixed, step, step_lists

    return mixed(step_lists(step(st.integers(0, 127), any_frame())), damaged(_SEEDS, mutate))
