"""Whole executives on the virtual network, and programs that talk to them in real request bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from aisexec.effects import CloseClient, Event, Events, Respond, Shutdown
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.services.cpg import Cpg
from aisexec.services.quorum import Quorum
from aisexec.services.votequorum import VoteQuorum
from aisexec.services.votequorum_state import Ballot
from aisexec.totem.settings import Settings
from aisexec.totem.stack import Totem
from aisexec.totem.types import Broadcast, Broadcasts, Configuration, Log, StoreRingId, Unicast
from ipc import cpg_layouts as cpg
from ipc._event_batch import EventBatch
from ipc.errors import CsError
from ipc.layout import Layout
from ipc.layouts import RESPONSE_HEADER
from tests.sim.network import FAST, Machine, VirtualNetwork

HEADER_SIZE = RESPONSE_HEADER.size


class Installed(NamedTuple):
    """Put between the effects where a regular configuration was installed ..."""

    change: Configuration


class Synchronised(NamedTuple):
    """... and where its synchronisation was through."""

    ring_id: object


class RecordingExecutive(Executive):
    """Marks configurations in the stream of effects, so that programs' histories can be compared."""

    def configuration(self, change: Configuration) -> None:
        if not change.transitional:
            self.emit(Installed(change))  # type: ignore[arg-type]
        super().configuration(change)

    def synchronisation_done(self) -> None:
        super().synchronisation_done()
        self.emit(Synchronised(self.totem.ring_id))  # type: ignore[arg-type]


class Memory:
    """Zero-copy buffers of simulated programs: the cookie is the path."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, int], bytearray] = {}
        self.files: dict[str, bytearray] = {}

    def open_buffer(self, client: int, path: str, size: int) -> None:
        if path not in self.files:
            raise FileNotFoundError(path)
        buffer = self.files[path]
        cookie = len(self.buffers) + 1
        buffer[8:16] = cookie.to_bytes(8, "little")
        self.buffers[client, cookie] = buffer

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        buffer = self.buffers[client, cookie]
        if offset + size > len(buffer):
            raise ValueError("outside")
        return bytes(buffer[offset : offset + size])

    def release_buffer(self, client: int, cookie: int) -> None:
        del self.buffers[client, cookie]


@dataclass
class Program:
    """A process connected to one node's cpg service; sees decoded events."""

    node: ExecutiveNode
    id: int
    pid: int
    group: bytes = b""
    history: list[tuple[Any, ...]] = field(default_factory=list)
    """("R", ring id) and ("S", ring id) of its node, and what the program itself gets: ("D", nodeid,
    message), ("P", nodeid, place, fragment), ("V", members, left, joined), ("T", ring id, members)."""
    answers: deque[bytes] = field(default_factory=deque)
    waiting: deque[bytes] = field(default_factory=deque)
    """Requests the executive has not taken yet: what stays in the request ring."""
    closed: str = ""
    """Why the executive has closed the connection."""

    # Calls.

    def send(self, request: bytes) -> None:
        self.waiting.append(request)
        self.node.carry_out()

    def call(self, request: bytes, within: float = 10.0) -> bytes:
        """A synchronous call; the virtual clock goes on until it is answered."""
        assert not self.answers
        self.send(request)
        net = self.node.net
        assert net.run_until(lambda: bool(self.answers) or bool(self.closed), net.now + within), "no answer"
        return self.answers.popleft() if self.answers else b""

    def error(self, request: bytes) -> CsError:
        return CsError(RESPONSE_HEADER.unpack(self.call(request)).error)

    def join(self, group: bytes, flags: int = 0) -> CsError:
        error = self.error(join_request(group, self.pid, flags))
        if error is CsError.OK:
            self.group = group
        return error

    def leave(self) -> CsError:
        size = cpg.LEAVE_REQUEST.size
        request = cpg.LeaveRequest(cpg.CpgRequest.LEAVE, size, len(self.group), self.group, self.pid)
        return self.error(cpg.LEAVE_REQUEST.pack(request))

    def mcast(self, message: bytes, guarantee: int = cpg.Guarantee.AGREED) -> None:
        self.send(mcast_request(message, guarantee))

    def fragment(self, place: int, fragment: bytes, total: int) -> CsError:
        return self.error(fragment_request(place, fragment, total))

    def membership(self, group: bytes) -> list[tuple[int, int]]:
        size = cpg.MEMBERSHIP_GET_REQUEST.size
        request = cpg.MembershipGetRequest(cpg.CpgRequest.MEMBERSHIP_GET, size, len(group), group)
        answer = self.call(cpg.MEMBERSHIP_GET_REQUEST.pack(request))
        return [(a.nodeid, a.pid) for a in cpg.unpack_membership(answer)]

    def iterate(self, kind: int, group: bytes = b"") -> list[tuple[bytes, int, int]]:
        size = cpg.ITERATION_INITIALIZE_REQUEST.size
        first = cpg.IterationInitializeRequest(
            cpg.CpgRequest.ITERATION_INITIALIZE, size, len(group), group, kind
        )
        answer = cpg.ITERATION_INITIALIZE_RESPONSE.unpack(
            self.call(cpg.ITERATION_INITIALIZE_REQUEST.pack(first))
        )
        if answer.error != CsError.OK:
            raise ValueError(CsError(answer.error))
        entries = []
        while True:
            entry = cpg.ITERATION_NEXT_RESPONSE.unpack(
                self.call(self._iteration(cpg.CpgRequest.ITERATION_NEXT, answer.iteration_handle))
            )
            if entry.error != CsError.OK:
                assert entry.error == CsError.NO_SECTIONS
                break
            entries.append((entry.group[: entry.group_length], entry.nodeid, entry.pid))
        end = self._iteration(cpg.CpgRequest.ITERATION_FINALIZE, answer.iteration_handle)
        assert self.error(end) is CsError.OK
        assert self.error(end) is CsError.LIBRARY
        return entries

    @staticmethod
    def _iteration(call: int, handle: int) -> bytes:
        size = cpg.ITERATION_REQUEST.size
        return cpg.ITERATION_REQUEST.pack(cpg.IterationRequest(call, size, handle))

    def exit(self) -> None:
        """Die, or close the connection: the executive cannot tell."""
        self.node.disconnect(self)

    # What it saw.

    @property
    def messages(self) -> list[bytes]:
        return [event[2] for event in self.history if event[0] == "D"]

    @property
    def views(self) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.history if event[0] == "V"]

    @property
    def members(self) -> list[tuple[int, int]]:
        """By the last configuration change of its group."""
        return list(self.views[-1][0]) if self.views else []

    def receive(self, event: bytes) -> None:
        head = RESPONSE_HEADER.unpack(event)
        assert head.size == len(event)
        assert head.error == CsError.OK
        match head.id:
            case cpg.CpgEvent.CONFCHG:
                change = cpg.unpack_confchg(event)
                assert not any(a.reason for a in change.members)
                members = tuple((a.nodeid, a.pid) for a in change.members)
                self.history.append(("V", members, tuple(change.left), tuple(change.joined)))
            case cpg.CpgEvent.DELIVER:
                message = cpg.DELIVER_EVENT.unpack(event)
                body = event[cpg.DELIVER_EVENT.size :]
                assert message.msglen == len(body)
                self.history.append(("D", (message.nodeid, message.pid), body))
            case cpg.CpgEvent.PARTIAL_DELIVER:
                part = cpg.PARTIAL_DELIVER_EVENT.unpack(event)
                body = event[cpg.PARTIAL_DELIVER_EVENT.size :]
                assert part.fraglen == len(body)
                self.history.append(("P", (part.nodeid, part.pid), part.type, body, part.msglen))
            case cpg.CpgEvent.TOTEM_CONFCHG:
                ring = cpg.unpack_totem_confchg(event)
                self.history.append(("T", (ring.ring_nodeid, ring.ring_seq), ring.members))
            case _:
                raise AssertionError(f"event {head.id}")


def pack(layout: Layout[Any], *values: Any) -> bytes:
    return layout.pack(layout.cls(*values))


def join_request(group: bytes, pid: int, flags: int = 0) -> bytes:
    size = cpg.JOIN_REQUEST.size
    return pack(cpg.JOIN_REQUEST, cpg.CpgRequest.JOIN, size, len(group), group[:128], pid, flags)


def mcast_request(message: bytes, guarantee: int = cpg.Guarantee.AGREED) -> bytes:
    size = cpg.MCAST_REQUEST.size + len(message)
    return pack(cpg.MCAST_REQUEST, cpg.CpgRequest.MCAST, size, 0, guarantee, len(message)) + message


def fragment_request(place: int, fragment: bytes, total: int) -> bytes:
    call, size = cpg.CpgRequest.PARTIAL_MCAST, cpg.PARTIAL_MCAST_REQUEST.size + len(fragment)
    agreed = cpg.Guarantee.AGREED
    return (
        pack(cpg.PARTIAL_MCAST_REQUEST, call, size, 0, agreed, total, len(fragment), place) + fragment
    )


class ExecutiveNode:
    """One node and the programs on it."""

    def __init__(self, net: Cluster, nodeid: int, options: ExecutiveOptions) -> None:
        self.net = net
        self.nodeid = nodeid
        self.options = options
        self.alive = True
        self.frozen = False
        self.inbox: list[tuple[bytes, str]] = []
        self.log: list[str] = []
        self.programs: dict[int, Program] = {}
        self.past: list[Program] = []
        self.shutdown: Shutdown | None = None
        self._carrying = False
        self._ids = 0
        self._boot()

    def _boot(self) -> None:
        self.memory = Memory()
        self.executive = RecordingExecutive(
            self.net.settings, self.nodeid, self.net.disk.get(self.nodeid, 0), self.options, self.memory
        )

    @property
    def machine(self) -> Machine:
        return self.executive

    @property
    def stack(self) -> Totem:
        return self.executive.totem

    @property
    def cpg(self) -> Cpg:
        service = self.executive.services[Cpg.id]
        assert isinstance(service, Cpg)
        return service

    @property
    def quorum(self) -> Quorum:
        service = self.executive.services[Quorum.id]
        assert isinstance(service, Quorum)
        return service

    @property
    def ballot(self) -> Ballot:
        service = self.executive.services[VoteQuorum.id]
        assert isinstance(service, VoteQuorum)
        return service.ballot

    def ready(self) -> bool:
        return self.executive.ready and not self.executive.sync.running

    def start(self) -> None:
        self.executive.start(self.net.now)
        self.carry_out()

    def restart(self) -> None:
        """After Cluster.kill()."""
        assert not self.alive
        self.alive = True
        self.frozen = False
        self.inbox = []
        self.shutdown = None
        self._boot()
        self.start()

    # Programs.

    def connect(self, pid: int, uid: int = 0) -> Program:
        assert self.executive.client_admit("cpg", pid, uid, uid) == 0
        self._ids += 1
        program = Program(self, self._ids, pid)
        self.programs[program.id] = program
        self.executive.client_opened(program.id, "cpg", pid, uid, uid)
        self.carry_out()
        return program

    def disconnect(self, program: Program) -> None:
        del self.programs[program.id]
        self.past.append(program)
        if self.alive:
            self.executive.client_closed(program.id, self.net.now)
            self.carry_out()

    def lose_programs(self) -> None:
        """Their node is gone."""
        self.past.extend(self.programs.values())
        self.programs = {}

    # Effects.

    def carry_out(self) -> None:
        """Requests of programs as far as there is room, then all effects."""
        if self._carrying or self.frozen or not self.alive:
            return
        self._carrying = True
        try:
            while self._take_requests() or self._effects():
                pass
        finally:
            self._carrying = False
        if self.alive:
            self.net.wake(self)

    def _take_requests(self) -> bool:
        taken = False
        for program in list(self.programs.values()):
            while program.waiting:
                requests = list(islice(program.waiting, 50))
                some = self.executive.client_requests(program.id, requests, 0, self.net.now)
                if not some:
                    break
                for _ in range(some):
                    program.waiting.popleft()
                taken = True
        return taken

    def _effects(self) -> bool:
        effects = self.executive.take_effects()
        for effect in effects:
            self._effect(effect)
        return bool(effects)

    def _effect(self, effect: object) -> None:
        match effect:
            case Unicast(nodeid, frame):
                self.net.transmit(self.nodeid, nodeid, frame)
            case Broadcast(frame):
                for other in self.net.nodes:
                    if other != self.nodeid:
                        self.net.transmit(self.nodeid, other, frame)
            case Broadcasts(frames):
                for frame in frames:
                    self._effect(Broadcast(frame))
            case StoreRingId(seq):
                self.net.disk[self.nodeid] = seq
            case Log(subsystem, priority, text):
                if priority <= 7:
                    self.log.append(f"{self.net.now:.3f} [{subsystem}] {text}")
            case Respond(client, message):
                if client in self.programs:
                    self.programs[client].answers.append(bytes(message))
            case Event(client, parts):
                if client in self.programs:
                    self.programs[client].receive(b"".join(parts))
            case Events(clients, parts):
                for client in clients:
                    self._effect(Event(client, parts))
            case EventBatch():
                for clients, first, last in effect.runs():
                    for index in range(first, last):
                        self._effect(Events(clients, (effect.event(index),)))
            case CloseClient(client, reason):
                program = self.programs.get(client)
                if program is not None:
                    program.closed = reason
                    del self.programs[client]
                    self.past.append(program)
                    self.executive.client_closed(client, self.net.now)
            case Shutdown():
                self.shutdown = effect
            case Installed(change):
                self._mark("R", change.ring_id)
            case Synchronised(ring_id):
                self._mark("S", ring_id)

    def _mark(self, kind: str, ring_id: object) -> None:
        for program in self.programs.values():
            program.history.append((kind, ring_id))


class Cluster(VirtualNetwork[ExecutiveNode]):
    """Executives on the virtual network."""

    def __init__(
        self,
        nodeids: Sequence[int],
        seed: int = 0,
        settings: Settings = FAST,
        *,
        options: ExecutiveOptions | None = None,
        special: dict[int, ExecutiveOptions] | None = None,
    ) -> None:
        """special: options of single nodes."""
        self._options = options or ExecutiveOptions()
        self._special = special or {}
        super().__init__(nodeids, seed, settings)

    def make(self, nodeid: int) -> ExecutiveNode:
        return ExecutiveNode(self, nodeid, self._special.get(nodeid, self._options))

    def kill(self, nodeid: int) -> None:
        super().kill(nodeid)
        self.nodes[nodeid].lose_programs()

    def leave(self, nodeid: int) -> None:
        """An orderly end."""
        node = self.nodes[nodeid]
        node.executive.leave(self.now)
        node.carry_out()
        self.kill(nodeid)

    def up(self) -> list[int]:
        return [n for n, node in self.nodes.items() if node.alive]

    def drained(self) -> bool:
        """No request waits and all nodes have delivered all that was sent."""
        return all(
            not (node.stack._core.q_new or node.stack._core.q_trans or node.stack._packer.staged)
            and not any(program.waiting for program in node.programs.values())
            for node in self.nodes.values()
            if node.alive
        )


def started(nodeids: Iterable[int], seed: int = 0, **more: Any) -> Cluster:
    """A cluster that has formed its ring."""
    net = Cluster(list(nodeids), seed, **more)
    net.start()
    net.settle(list(nodeids))
    return net
