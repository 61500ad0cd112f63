"""A simulated node: the executive that runs in production, its disk, and the programs on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from aisexec.effects import CloseClient, Event, Events, ReadConfiguration, Respond, Shutdown
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.services.options import Findings, Reconfiguration
from aisexec.services.quorum import Quorum
from aisexec.services.reload import Reload
from aisexec.sim.history import (
    Delivered,
    Ended,
    Life,
    Reached,
    Reconfigured,
    Record,
    Regular,
    Sizes,
    Started,
    Stored,
    Submitted,
    Synchronised,
    Transitional,
    Verdict,
)
from aisexec.sim.program import Program, multicast_of
from aisexec.sim.sizes import sizes
from aisexec.totem.core import State
from aisexec.totem.settings import Settings
from aisexec.totem.types import Broadcast, Broadcasts, Configuration, Log, RingId, StoreRingId, Unicast
from ipc._event_batch import EventBatch

GROUP_SIMULATION = b"sim"
"""Messages of the workload that go to Totem without passing through a service."""

SOCKET_FRAMES_MAX = 2000
"""Frames that wait in the sockets of a node that does not run; the kernel drops what comes then."""

READING_TIME = 0.02
"""Seconds that it takes to read and check a configuration file."""

SCALED = ("token", "token_retransmit", "hold", "join", "consensus", "merge", "downcheck", "max_network_delay")
"""Timeouts that a changed configuration has other values of."""

RETRY_AFTER = 0.01
"""Seconds until a program that was told TRY_AGAIN tries again."""


class World(Protocol):
    """What a node needs of the network around it."""

    now: float
    traced: bool

    def record(self, record: Record) -> None: ...
    def mark(self, life: Life | None, kind: str, text: str) -> None: ...
    def intern(self, message: bytes) -> int: ...
    def unicast(self, source: int, target: int, frame: bytes) -> None: ...
    def broadcast(self, source: int, frame: bytes) -> None: ...
    def wake_at(self, node: Node, when: float) -> None: ...
    def later(self, delay: float, action: Callable[[], None]) -> None: ...


class Disk:
    """What outlives a crash."""

    def __init__(self) -> None:
        self.ring_seq = 0


class NoBuffers:
    """Simulated programs do not use zero-copy buffers."""

    def open_buffer(self, client: int, path: str, size: int) -> None:
        raise FileNotFoundError(path)

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        raise ValueError("no buffers here")

    def release_buffer(self, client: int, cookie: int) -> None:
        raise ValueError("no buffers here")


class WatchedExecutive(Executive):
    """Writes down what passes between Totem and what is above it."""

    def __init__(
        self, node: Node, settings: Settings, ring_seq: int, options: ExecutiveOptions
    ) -> None:
        super().__init__(settings, node.nodeid, ring_seq, options, NoBuffers())
        self.node = node
        self._installed = RingId(node.nodeid, ring_seq)
        """The last regular configuration's ring; Totem itself may be on its way to another."""
        self._multicasts.watch = self._taken
        self._submit = self.totem.submit
        self.totem.submit = self._watched_submit  # type: ignore[method-assign]

    def _watched_submit(self, group: bytes, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        taken = self._submit(group, parts, safe=safe)
        if taken:
            node, world = self.node, self.node.world
            message = world.intern(b"".join(parts))
            world.record(Submitted(world.now, node.life, message, safe, self.sync.running))
        return taken

    def take_multicasts(self, head: bytes, messages: list[bytes], first: int) -> int:
        taken = super().take_multicasts(head, messages, first)
        node, world = self.node, self.node.world
        for request in messages[first : first + taken]:
            message, safe = multicast_of(head, request)
            number = world.intern(message)
            world.record(Submitted(world.now, node.life, number, safe, self.sync.running))
        return taken

    def _taken(self, nodeid: int, message: bytes) -> None:
        node, world = self.node, self.node.world
        world.record(Delivered(world.now, node.life, nodeid, world.intern(message)))

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        node, world = self.node, self.node.world
        world.record(Delivered(world.now, node.life, nodeid, world.intern(message)))
        if group != GROUP_SIMULATION:
            super().deliver(group, nodeid, message)

    def configuration(self, change: Configuration) -> None:
        world, life = self.node.world, self.node.life
        if change.transitional:
            world.record(Transitional(world.now, life, change.ring_id, change.members))
        else:
            world.record(
                Regular(world.now, life, change.ring_id, change.members, change.left, change.joined)
            )
            self._installed = change.ring_id
            self._reached(synchronised=False)
        super().configuration(change)

    def reconfigure(self, new: Reconfiguration) -> None:
        super().reconfigure(new)
        world = self.node.world
        world.record(Reconfigured(world.now, self.node.life, new.settings.token))

    def synchronisation_done(self) -> None:
        self.node.world.record(Synchronised(self.node.world.now, self.node.life, self._installed))
        super().synchronisation_done()
        quorum = self.services.get(Quorum.id)
        if isinstance(quorum, Quorum):
            world, life = self.node.world, self.node.life
            waits = self.options.quorum.wait_for_all
            world.record(Verdict(world.now, life, self._installed, quorum.members, quorum.quorate, waits))
        self._reached(synchronised=True)

    def _reached(self, *, synchronised: bool) -> None:
        self.emit(Reached(0.0, self.node.life, self._installed, synchronised))  # type: ignore[arg-type]


class Node:
    """One node over all its lives."""

    def __init__(
        self,
        world: World,
        nodeid: int,
        settings: Settings,
        options: ExecutiveOptions,
        clock: tuple[float, float],
    ) -> None:
        """clock: what it shows at the network's time 0, and how many seconds it counts in one."""
        self.world = world
        self.nodeid = nodeid
        self.settings = settings
        self.file: Settings | None = settings
        """What its configuration file says; None: it is broken."""
        self._planned = settings
        self._read: list[int] = []
        """Readings of the file that ended while it was paused."""
        self.options = options
        self.disk = Disk()
        self.life: Life = (nodeid, -1)
        self.up = False
        self.paused = False
        self.scheduled = float("inf")
        """When the network will next look at our timers, in its time."""
        self.waiting: list[tuple[bytes, str]] = []
        """Frames in the sockets, while it is paused or busy."""
        self.turn = 0.0
        """Seconds between two looks at sockets and timers; 0 is at once."""
        self._turn_coming = False
        self.programs: dict[int, Program] = {}
        """By client number."""
        self.executive: WatchedExecutive
        self._offset, self._rate = clock
        self._carrying = False
        self._clients = 0

    # Its clock.

    def local(self, at: float) -> float:
        """The network's time on our clock."""
        return self._offset + at * self._rate

    def common(self, at: float) -> float:
        """Our time on the network's clock."""
        return (at - self._offset) / self._rate

    # Life and death.

    def start(self) -> None:
        """Begin a life; nothing happens if it is up."""
        if self.up:
            return
        self.life = (self.nodeid, self.life[1] + 1)
        self.up, self.paused, self.turn = True, False, 0.0
        self.waiting = []
        self._read = []
        self.settings = self.file or self.settings  # who starts a node sees to its file
        self.world.record(Started(self.world.now, self.life, self.disk.ring_seq))
        self.executive = WatchedExecutive(self, self.settings, self.disk.ring_seq, self.options)
        self.executive.start(self.local(self.world.now))
        self.carry_out()

    def end(self, how: str) -> None:
        """"crash", "lost" (with its disk) or "leave"."""
        if not self.up:
            return
        if how == "leave" and not self.paused:
            self.executive.leave(self.local(self.world.now))
            self.carry_out()
        elif how == "lost":
            self.disk = Disk()
        self.up = False
        self.scheduled = float("inf")
        for program in self.programs.values():
            program.ended("node")
        self.programs = {}
        self.world.record(Ended(self.world.now, self.life, how))

    def pause(self) -> None:
        """Stop running; the sockets go on filling."""
        self.paused = True

    def resume(self) -> None:
        """Run again: what the sockets kept first, then the timers, as the driver does it."""
        if not self.paused:
            return
        self.paused = False
        if self.up:
            self._drain()

    def _drain(self) -> None:
        frames, self.waiting = self.waiting, []
        if frames:
            self.receive(frames)
        self._due_timers()
        read, self._read = self._read, []
        for serial in read:
            self._have_read(self.life, serial)

    # What happens to it.

    def arrive(self, frame: bytes, sender: str) -> None:
        """A frame from the network."""
        if not self.up:
            return
        if self.paused or self.turn:
            if len(self.waiting) < SOCKET_FRAMES_MAX:
                self.waiting.append((frame, sender))
            self._wait_for_turn()
            return
        self.receive([(frame, sender)])

    def _wait_for_turn(self) -> None:
        if self.turn and not self._turn_coming:
            self._turn_coming = True
            self.world.later(self.turn, self._take_turn)

    def _take_turn(self) -> None:
        self._turn_coming = False
        if self.up and not self.paused:
            self._drain()

    def receive(self, frames: Sequence[tuple[bytes, str]]) -> None:
        """All that was in the sockets."""
        self.executive.receive(frames, self.local(self.world.now))
        self.carry_out()

    def timers(self) -> None:
        """The network thinks that a timer is due."""
        self.scheduled = float("inf")
        if not self.up or self.paused:
            return
        if self.turn:
            self._wait_for_turn()
        else:
            self._due_timers()

    def _due_timers(self) -> None:
        due = self.executive.next_timer()
        if due is None:
            return
        if self.common(due) <= self.world.now:
            # The conversion between the clocks may round to just before the deadline.
            self.executive.handle_timer(max(due, self.local(self.world.now)))
            self.carry_out()
        else:
            self._schedule()

    def submit(self, message: bytes, *, safe: bool) -> bool:
        """Straight to Totem."""
        if not self.serving:
            return False
        taken = self.executive.totem.submit(GROUP_SIMULATION, [message], safe=safe)
        self.carry_out()
        return taken

    # Configuration.

    def configure(self, factor: float) -> None:
        """Write its file: the timeouts of the plan times `factor`, or for 0 what cannot be read."""
        if not factor:
            self.file = None
            return
        times = {name: getattr(self._planned, name) * factor for name in SCALED}
        self.file = replace(self._planned, **times)

    def reload(self) -> None:
        """An operator tells it to reload the configuration of all nodes."""
        if not self.serving:
            return
        service, life = self.executive.services[Reload.id], self.life
        assert isinstance(service, Reload)
        service.request(lambda error: self.world.mark(life, "work", f"reload: {error.name}"))
        self.carry_out()

    def _have_read(self, life: Life, serial: int) -> None:
        if life != self.life or not self.up:
            return
        if self.paused:
            self._read.append(serial)
            return
        findings = Findings(("corosync.conf:1: it is broken",), None)
        if self.file is not None:
            findings = Findings((), Reconfiguration(self.file, self.options))
        self.executive.configuration_read(serial, findings, self.local(self.world.now))
        self.carry_out()

    # Programs.

    @property
    def serving(self) -> bool:
        """Clients would be let in and their multicasts taken."""
        return self.up and not self.paused and self.executive.ready and not self.executive.sync.running

    def connect(self, pid: int) -> None:
        """A program opens a connection to cpg, if it is let in."""
        if not self.up or self.paused or self.executive.client_admit("cpg", pid, 0, 0):
            return
        self._clients += 1
        program = Program(self.world, self.life, self._clients, pid)
        self.programs[program.client] = program
        self.executive.client_opened(program.client, "cpg", pid, 0, 0)
        self.carry_out()

    def program(self, pid: int) -> Program | None:
        """By pid."""
        return next((p for p in self.programs.values() if p.pid == pid), None)

    def exit(self, pid: int) -> None:
        """A program dies."""
        program = self.program(pid)
        if program is not None and not self.paused:
            self._close(program, "exit")
            self.carry_out()

    def _close(self, program: Program, how: str) -> None:
        del self.programs[program.client]
        program.ended(how)
        self.executive.client_closed(program.client, self.local(self.world.now))

    # What comes out of it.

    def carry_out(self) -> None:
        """Requests of programs as far as there is room, then all effects, until nothing is left."""
        if self._carrying or self.paused or not self.up:
            return
        self._carrying = True
        try:
            while (self.programs and self._requests()) or self._effects():
                pass
        finally:
            self._carrying = False
        self._schedule()

    def _requests(self) -> bool:
        executive = self.executive
        taken = False
        for program in list(self.programs.values()):
            while requests := program.next_requests():
                some = executive.client_requests(program.client, requests, 0, self.local(self.world.now))
                if not some:
                    break
                program.taken(some)
                taken = True
        return taken

    def _effects(self) -> bool:
        effects = self.executive.take_effects()
        for effect in effects:
            self._effect(effect)
        return bool(effects)

    def _effect(self, effect: object) -> None:
        world = self.world
        match effect:
            case Unicast(nodeid, frame):
                world.unicast(self.nodeid, nodeid, frame)
            case Broadcast(frame):
                world.broadcast(self.nodeid, frame)
            case Event(client, parts):
                if client in self.programs:
                    self.programs[client].event(b"".join(parts))
            case Events(clients, parts):
                for client in clients:
                    self._effect(Event(client, parts))
            case EventBatch():
                for clients, first, last in effect.runs():
                    for index in range(first, last):
                        self._effect(Events(clients, (effect.event(index),)))
            case Respond(client, message):
                if client in self.programs:
                    self._answered(self.programs[client], message)
            case Broadcasts(frames):
                for frame in frames:
                    self._effect(Broadcast(frame))
            case StoreRingId(seq):
                self.disk.ring_seq = seq
                world.record(Stored(world.now, self.life, seq))
            case Log(subsystem, priority, text):
                if world.traced and priority <= 7:
                    world.mark(self.life, "log", f"{priority} [{subsystem}] {text}")
            case CloseClient(client, reason):
                if client in self.programs:
                    self._close(self.programs[client], reason)
            case ReadConfiguration(serial):
                life = self.life
                world.later(READING_TIME, lambda: self._have_read(life, serial))
            case Reached():
                world.record(effect._replace(at=world.now))
            case Shutdown(reason, _, _):
                world.mark(self.life, "fault", f"shut down: {reason}")

    def _answered(self, program: Program, message: bytes) -> None:
        program.answer(message)
        if program.tired:
            self.world.later(RETRY_AFTER, lambda: self._rested(program))

    def _rested(self, program: Program) -> None:
        program.tired = False
        self.carry_out()

    def _schedule(self) -> None:
        due = self.executive.next_timer()
        if due is None:
            return
        when = max(self.common(due), self.world.now)
        if when < self.scheduled:
            self.scheduled = when
            self.world.wake_at(self, when)

    # For the judges.

    def in_step(self, members: tuple[int, ...]) -> bool:
        """Operational in a ring of these, synchronised, with nothing left to send."""
        if not self.serving:
            return False
        core = self.executive.totem._core
        return (
            core.state is State.OPERATIONAL
            and core.memb == members
            and not (core.q_new or core.q_trans or self.executive.totem._packer.staged)
            and not any(program.todo or program.tired for program in self.programs.values())
        )

    def position(self) -> tuple[object, int]:
        """Ring, and how far it has delivered."""
        core = self.executive.totem._core
        return core.ring_id, core.my_high_delivered

    def sizes(self) -> Sizes:
        """How full everything is that can grow."""
        return Sizes(self.world.now, self.life, sizes(self.executive))
