"""A few Totem nodes on a virtual clock and a virtual network, from a seed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from aisexec.totem.settings import Settings
from aisexec.totem.stack import Totem
from aisexec.totem.types import Broadcast, Broadcasts, Configuration, Effect, Log, StoreRingId, Unicast

FAST = Settings(
    token=1.0,
    token_retransmit=0.238,
    hold=0.18,
    join=0.05,
    consensus=1.2,
    merge=0.2,
)


@dataclass
class Application:
    """What a node's upper layer saw; synchronises at once unless told otherwise."""

    nodeid: int
    history: list[tuple[object, ...]] = field(default_factory=list)
    on_regular: Callable[[], None] = lambda: None

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        self.history.append(("D", nodeid, message))

    def configuration(self, change: Configuration) -> None:
        kind = "T" if change.transitional else "R"
        self.history.append((kind, change.ring_id, change.members, change.left, change.joined))
        if not change.transitional:
            self.on_regular()

    def token_passed(self) -> None:
        self.history.append(("P",))


class Machine(Protocol):
    """What is fed with frames and time: a protocol stack, or an executive with one inside."""

    def start(self, now: float) -> None: ...
    def receive(self, frames: Sequence[tuple[bytes, str]], now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_timer(self) -> float | None: ...


class Member(Protocol):
    """A machine on the network: it carries out the machine's effects."""

    nodeid: int
    alive: bool
    frozen: bool
    inbox: list[tuple[bytes, str]]
    log: list[str]

    @property
    def machine(self) -> Machine: ...
    @property
    def stack(self) -> Totem: ...
    def start(self) -> None: ...
    def carry_out(self) -> None: ...
    def ready(self) -> bool: ...


class Node:
    def __init__(self, net: Network, nodeid: int) -> None:
        self.net = net
        self.nodeid = nodeid
        self.alive = True
        self.frozen = False
        self.inbox: list[tuple[bytes, str]] = []
        self.log: list[str] = []
        self.past: list[Application] = []
        self.app = Application(nodeid)
        self.totem = self._boot()

    @property
    def machine(self) -> Machine:
        return self.totem

    @property
    def stack(self) -> Totem:
        return self.totem

    def ready(self) -> bool:
        return bool(self.app.history)

    def _boot(self) -> Totem:
        app = self.app
        totem = Totem(self.net.settings, self.nodeid, self.net.disk.get(self.nodeid, 0), app)
        app.on_regular = totem.synchronised
        return totem

    def start(self) -> None:
        self.totem.start(self.net.now)
        self.carry_out()

    def restart(self) -> None:
        self.past.append(self.app)
        self.app = Application(self.nodeid)
        self.alive = True
        self.totem = self._boot()
        self.start()

    def carry_out(self) -> None:
        for effect in self.totem.take_effects():
            self._effect(effect)
        self.net.wake(self)

    def _effect(self, effect: Effect) -> None:
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
            case Log(_, priority, text):
                if priority <= 7:
                    self.log.append(f"{self.net.now:.3f} {text}")

    def submit(self, message: bytes, *, safe: bool = False, parts: Sequence[bytes] | None = None) -> bool:
        taken = self.totem.submit(b"a", parts or [message], safe=safe)
        self.carry_out()
        return taken


N = TypeVar("N", bound=Member)


class VirtualNetwork(Generic[N]):
    """Nodes, the frames between them, and the clock."""

    def __init__(self, nodeids: Sequence[int], seed: int = 0, settings: Settings = FAST) -> None:
        self.settings = settings
        self.random = random.Random(seed)
        self.now = 0.0
        self.loss = 0.0
        self.disk: dict[int, int] = {}
        self.drop: Callable[[int, int, bytes], bool] = lambda source, target, frame: False
        self._queue: list[tuple[float, int, int, bytes, str]] = []
        self._tie = itertools.count()
        self._wakes: dict[int, float] = {}
        self.nodes = {n: self.make(n) for n in nodeids}

    def make(self, nodeid: int) -> N:
        raise NotImplementedError

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()

    def transmit(self, source: int, target: int, frame: bytes) -> None:
        if target not in self.nodes:
            return
        if source != target and (self.random.random() < self.loss or self.drop(source, target, frame)):
            return
        delay = self.random.uniform(0.00005, 0.0004)
        heapq.heappush(self._queue, (self.now + delay, next(self._tie), target, frame, f"node{source}"))

    def wake(self, node: Member) -> None:
        deadline = node.machine.next_timer()
        if deadline is not None:
            self._wakes[node.nodeid] = deadline

    def partition(self, *sides: Sequence[int]) -> None:
        side = {n: i for i, nodes in enumerate(sides) for n in nodes}
        self.drop = lambda source, target, frame: side.get(source) != side.get(target)

    def heal(self) -> None:
        self.drop = lambda source, target, frame: False

    def kill(self, nodeid: int) -> None:
        self.nodes[nodeid].alive = False
        self._wakes.pop(nodeid, None)

    def freeze(self, nodeid: int) -> None:
        self.nodes[nodeid].frozen = True

    def thaw(self, nodeid: int) -> None:
        node = self.nodes[nodeid]
        node.frozen = False
        frames, node.inbox = node.inbox, []
        node.machine.receive(frames, self.now)
        node.machine.handle_timer(self.now)
        node.carry_out()

    def run(self, seconds: float) -> None:
        """Let virtual time go on."""
        self.run_until(lambda: False, self.now + seconds)

    def run_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Until the condition holds; False when `deadline` (virtual time) comes first."""
        while not condition():
            frame_at = self._queue[0][0] if self._queue else float("inf")
            alive = {
                n: at for n, at in self._wakes.items() if self.nodes[n].alive and not self.nodes[n].frozen
            }
            timer_node = min(alive, key=lambda n: (alive[n], n), default=None)
            timer_at = alive[timer_node] if timer_node is not None else float("inf")
            at = min(frame_at, timer_at)
            if at > deadline:
                self.now = deadline
                return False
            self.now = max(self.now, at)
            if frame_at <= timer_at:
                _, _, target, frame, sender = heapq.heappop(self._queue)
                self._arrive(self.nodes[target], frame, sender)
            else:
                assert timer_node is not None
                node = self.nodes[timer_node]
                node.machine.handle_timer(self.now)
                node.carry_out()
        return True

    def _arrive(self, node: N, frame: bytes, sender: str) -> None:
        if not node.alive:
            return
        if node.frozen:
            if len(node.inbox) < 2000:
                node.inbox.append((frame, sender))
            return
        node.machine.receive([(frame, sender)], self.now)
        node.carry_out()

    def settled(self, members: Sequence[int]) -> bool:
        """These nodes are operational in one ring of exactly themselves."""
        want = tuple(sorted(members))
        rings = {self.nodes[n].stack.ring_id for n in want}
        return len(rings) == 1 and all(
            self.nodes[n].ready()
            and self.nodes[n].stack.members == want
            and self.nodes[n].stack._core.state.value == "OPERATIONAL"
            for n in want
        )

    def settle(self, members: Sequence[int], within: float = 30.0) -> None:
        if not self.run_until(lambda: self.settled(members), self.now + within):
            states = {
                n: (node.stack._core.state.value, node.stack.ring_id, node.stack.members, node.log[-6:])
                for n, node in self.nodes.items()
            }
            raise AssertionError(f"no ring of {members} after {within} s: {states}")


class Network(VirtualNetwork[Node]):
    """Of bare protocol stacks."""

    def make(self, nodeid: int) -> Node:
        return Node(self, nodeid)
