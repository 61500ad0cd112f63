"""Nodes, the clock, and the frames in flight: nothing moves unless the script says so.

The nodes are real: `aisexec.totem.stack.Totem` under a small application that writes down what it is
told.  What happens is said in lines, in the order in which it happens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from aisexec.totem.core import Core
from aisexec.totem.settings import Settings
from aisexec.totem.stack import Totem
from aisexec.totem.timers import Timer
from aisexec.totem.types import (
    LOG_DEBUG,
    LOG_NOTICE,
    Broadcast,
    Broadcasts,
    Configuration,
    Effect,
    InterfaceCheck,
    Log,
    StoreRingId,
    Unicast,
)
from tests.golden import frames
from tests.golden.coverage import Coverage

DEFAULTS = Settings(token=1.0, token_retransmit=0.238, hold=0.18, consensus=1.2)
"""What corosync makes of `token: 1000` in a cluster of two; the rest are its defaults."""

DELIVERIES_MAX = 20_000
"""Frames that one command may deliver: a ring that never comes to rest must not hang the test."""


class ScriptError(Exception):
    """The script asks for what cannot be, or an `expect` does not hold."""


class Detail(IntEnum):
    """How much is said."""

    nothing = 0
    notices = 1
    """Log lines that an operator sees without debug."""
    events = 2
    """All log lines, deliveries, configurations."""
    frames = 3
    """And every frame sent, delivered or lost, and every timer that runs out."""


@dataclass
class Flight:
    """A frame on its way."""

    source: int
    target: int
    frame: bytes
    held: bool = False

    @property
    def label(self) -> str:
        """For lists and loss reports."""
        return f"{self.source}->{self.target} {frames.describe(self.frame)}"

    @property
    def short(self) -> str:
        """What is enough where the frame has been shown when it was sent."""
        number = frames.seq(self.frame)
        seq = "" if number is None else f" seq={frames.number(number)}"
        return f"{self.source}->{self.target} {frames.kind(self.frame)}{seq}"


@dataclass
class Selection:
    """Which frames in flight a command is about."""

    source: int | None = None
    target: int | None = None
    kind: str | None = None
    seq: int | None = None
    count: int | None = None
    """None is the command's default."""

    def fits(self, source: int, target: int, frame: bytes) -> bool:
        """Is this frame meant?"""
        return (
            (self.source is None or self.source == source)
            and (self.target is None or self.target == target)
            and (self.kind is None or self.kind == frames.kind(frame))
            and (self.seq is None or self.seq == frames.seq(frame))
        )


@dataclass
class Node:
    """One member: its protocol stack, and what its application saw."""

    world: World
    nodeid: int
    totem: Totem = field(init=False)
    alive: bool = True
    paused: bool = False
    interface_up: bool = True
    inbox: list[tuple[bytes, str]] = field(default_factory=list)
    delivered: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.boot()

    @property
    def core(self) -> Core:
        """The ring's state."""
        return self.totem._core

    @property
    def running(self) -> bool:
        """Handles frames and timers."""
        return self.alive and not self.paused

    def boot(self) -> None:
        """A new process."""
        self.totem = Totem(self.world.settings, self.nodeid, self.world.disk.get(self.nodeid, 0), self)
        self.inbox.clear()
        self.delivered.clear()

    def say(self, text: str, detail: Detail = Detail.events) -> None:
        """A line about this node."""
        self.world.say(f"  {self.nodeid} {text}", detail)

    # What the stack asks and tells.  Effects left behind so far come first, so that lines are in order.

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        """Upper."""
        self.flush()
        self.delivered.append((nodeid, message))
        self.say(f"delivers {frames.message(message)} of {nodeid}")

    def configuration(self, change: Configuration) -> None:
        """Upper."""
        self.flush()
        if change.transitional:
            what, others = "transitional", f"left {frames.ids(change.left)}"
        else:
            what, others = "regular", f"joined {frames.ids(change.joined)}"
        self.say(f"{what} configuration {change.ring_id}: members {frames.ids(change.members)} {others}")
        if not change.transitional and not self.world.manual_sync:
            self.totem.synchronised()

    def token_passed(self) -> None:
        """Upper."""
        self.flush()
        self.say("may send after the token has passed")

    def flush(self) -> None:
        """Carry out what the stack has left behind."""
        while effects := self.totem.take_effects():
            for effect in effects:
                self._effect(effect)

    def _effect(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case Unicast(nodeid, frame):
                self._say_sent(str(nodeid), frame)
                world.send(self.nodeid, (nodeid,), frame)
            case Broadcast(frame):
                self._say_sent("all", frame)
                world.send(self.nodeid, (n for n in world.nodes if n != self.nodeid), frame)
            case Broadcasts(several):
                for frame in several:
                    self._effect(Broadcast(frame))
            case StoreRingId(seq):
                world.disk[self.nodeid] = seq
                self.say(f"stores ring seq {seq:x}", Detail.frames)
            case Log(_, priority, text):
                world.coverage.log(self.nodeid, text)
                if priority <= LOG_DEBUG:
                    self.say(text.rstrip(), Detail.notices if priority <= LOG_NOTICE else Detail.events)
            case InterfaceCheck():
                self.say("looks at the network interface", Detail.frames)


    def _say_sent(self, to: str, frame: bytes) -> None:
        if self.world.detail >= Detail.frames:
            self.say(f"sends to {to}: {frames.describe(frame)}", Detail.frames)


class World:
    """What a script acts on."""

    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage
        self.settings = DEFAULTS
        self.manual_sync = False
        self.now = 0.0
        self.nodes: dict[int, Node] = {}
        self.disk: dict[int, int] = {}
        self.flights: list[Flight] = []
        self.cuts: list[Callable[[int, int, bytes], bool]] = []
        self.detail = Detail.frames
        self.lines: list[str] = []

    # Saying.

    def say(self, text: str, detail: Detail = Detail.events) -> None:
        """A line of output, if the script wants to know so much."""
        if detail <= self.detail:
            self.lines.append(re.sub(r"\s+$", "", text))

    def answer(self, text: str) -> None:
        """A line that was asked for."""
        self.lines.append(text)

    def node(self, nodeid: int) -> Node:
        """The node a command names; raises ScriptError for one that is not there."""
        if nodeid not in self.nodes:
            raise ScriptError(f"there is no node {nodeid}")
        return self.nodes[nodeid]

    # The network.

    def send(self, source: int, targets: Iterable[int], frame: bytes) -> None:
        """Put a frame on its way, unless the link is cut."""
        for target in targets:
            if target not in self.nodes:
                self.say(f"  {source}->{target} lost: no such node", Detail.frames)
            elif source != target and not self._connected(source, target, frame):
                self.say(f"  {source}->{target} {frames.kind(frame)} lost", Detail.frames)
            else:
                self.flights.append(Flight(source, target, frame))

    def _connected(self, source: int, target: int, frame: bytes) -> bool:
        if not (self.nodes[source].interface_up and self.nodes[target].interface_up):
            return False
        return not any(cut(source, target, frame) for cut in self.cuts)

    def matching(self, selection: Selection, default: int | None, *, held: bool = False) -> list[Flight]:
        """Frames in flight that a command means, oldest first; raises ScriptError when there is none."""
        flights = [
            flight
            for flight in self.flights
            if flight.held == held and selection.fits(flight.source, flight.target, flight.frame)
        ]
        count = default if selection.count is None else selection.count
        if not flights or (selection.count is not None and len(flights) < selection.count):
            waiting = "".join(f"\n    {flight.label}" for flight in self.flights) or " nothing"
            raise ScriptError(f"no such frame in flight; there is:{waiting}")
        return flights if count is None else flights[:count]

    def arrive(self, flight: Flight) -> None:
        """A frame reaches its target."""
        self.flights.remove(flight)
        in_flight, accepted = len(self.flights), self.nodes[flight.target].core.my_token_seq
        node = self.nodes[flight.target]
        if not node.alive:
            self.say(f"{flight.short} finds nobody", Detail.frames)
            return
        if node.paused:
            self.say(f"{flight.short} waits", Detail.frames)
            node.inbox.append((flight.frame, f"node{flight.source}"))
            return
        self.say(flight.short, Detail.frames)
        self.hand_in(node, flight.source, flight.frame)
        if len(self.flights) == in_flight and node.core.token_held and node.core.my_token_seq != accepted:
            self.say(f"  {node.nodeid} keeps the token", Detail.frames)

    def hand_in(self, node: Node, source: int, frame: bytes) -> None:
        """A node takes a frame."""
        node.totem.receive([(frame, f"node{source}")], self.now)
        node.flush()

    def stabilize(self) -> None:
        """Deliver everything, in the order sent, until nothing is in flight; time stands still."""
        visits = 0
        for _ in range(DELIVERIES_MAX):
            flight = next((f for f in self.flights if not f.held), None)
            if flight is None:
                self._say_idle(visits, len(self.lines))
                return
            before = len(self.lines)
            self.arrive(flight)
            if self._is_idle(flight, self.lines[before:]):
                del self.lines[before:]
                visits += 1
            else:
                self._say_idle(visits, before)
                visits = 0
        raise ScriptError(f"no rest after {DELIVERIES_MAX} deliveries")

    def _is_idle(self, flight: Flight, said: list[str]) -> bool:
        """A token that was passed on as it came is not worth two lines."""
        if self.detail < Detail.frames or frames.kind(flight.frame) != "token" or len(said) != 2:
            return False
        came, went = (re.sub(r"#\S+ ", "", text) for text in (frames.describe(flight.frame), said[1]))
        return went.endswith(f": {came}")

    def _say_idle(self, visits: int, at: int) -> None:
        if visits:
            self.lines.insert(at, f"(the token goes on as it is: {visits} visits)")

    # Time.

    def advance(self, seconds: float, after_each: Callable[[], None]) -> None:
        """Let time go by and run the timers that come due; `after_each` is called after every one."""
        end = self.now + seconds
        while (due := self._next_timer()) is not None and due[0] <= end + 1e-9:
            self.step()
            after_each()
        self.now = end

    def step(self) -> None:
        """Let time go by until the next timer comes due, and run it."""
        due = self._next_timer()
        if due is None:
            raise ScriptError("no timer is armed")
        at, nodeid = due
        self.now = max(self.now, at)
        self.run_timers(self.nodes[nodeid])

    def _next_timer(self) -> tuple[float, int] | None:
        deadlines = [
            (deadline, node.nodeid)
            for node in self.nodes.values()
            if node.running and (deadline := node.totem.next_timer()) is not None
        ]
        return min(deadlines, default=None)

    def run_timers(self, node: Node) -> None:
        """Whatever is due at a node now."""
        due = [
            timer
            for timer, deadline in sorted(node.core.timers.armed.items(), key=lambda item: item[1])
            if deadline <= self.now and timer is not Timer.PAUSE
        ]
        for timer in due:
            self.say(f"{node.nodeid} timer: {timer.value} at {self.now * 1000:.0f} ms", Detail.frames)
        node.totem.handle_timer(self.now)
        node.flush()
