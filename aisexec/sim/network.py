"""The virtual network, its faults, and the clock of a run.

One heap holds all that is going to happen: frames on their way, timers of nodes, steps of the plan.
Ties are broken by the order in which things were put in, so a run depends on the seed alone.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aisexec.executive import ExecutiveOptions
from aisexec.sim.history import History, Life, Mark, Sizes
from aisexec.sim.node import Node
from aisexec.sim.plan import NetworkProfile
from aisexec.totem.settings import Settings

FLIGHT_MAX = 200_000
"""Frames on their way; what is sent beyond it is lost, as in a switch without buffers left."""

RECORDING_MAX = 256
"""Old frames kept for the fault `replay`."""

Event = tuple[float, int, Callable[..., None], tuple[object, ...]]


@dataclass(eq=False)
class Fault:
    """Something wrong with the network for a while; each judges a frame on its way."""

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    jitter: float = 0.0
    delay: float = 0.0
    source: int = 0
    """0: from anybody"""
    target: int = 0
    """0: to anybody"""
    sides: dict[int, int] | None = None
    """A partition: nodes of different sides do not hear each other."""

    def concerns(self, source: int, target: int) -> bool:
        """Is the link meant?"""
        if self.sides is not None:
            return self.sides.get(source, 0) != self.sides.get(target, 0)
        return self.source in (0, source) and self.target in (0, target)


class Network:
    """Nodes, the frames between them, and the clock."""

    def __init__(
        self,
        nodeids: Sequence[int],
        seed: int,
        settings: Settings,
        profile: NetworkProfile,
        options: ExecutiveOptions,
        *,
        traced: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.profile = profile
        self.traced = traced
        self.now = 0.0
        self.events = 0
        """Frames, timers and steps handled."""
        self.history = History()
        self.faults: list[Fault] = []
        self.record = self.history.records.append
        self.carried: Counter[str] = Counter()
        """What became of frames: sent, lost, cut, duplicated, corrupted, delayed."""
        self._numbers: dict[bytes, int] = {}
        self._heap: list[Event] = []
        self._tie = 0
        self._arrived: dict[tuple[int, int], float] = {}
        self._recorded: list[tuple[int, bytes]] = []
        self.recording = False
        """Keep some frames for later replay."""
        self.nodes = {n: Node(self, n, settings, options, self._clock()) for n in nodeids}
        self._names = {n: f"node{n}" for n in nodeids}

    def _clock(self) -> tuple[float, float]:
        drift = self.profile.drift
        return self.random.uniform(0, 1_000_000), 1 + self.random.uniform(-drift, drift)

    # What nodes ask of the world.

    def mark(self, life: Life | None, kind: str, text: str) -> None:
        """For readers of the trace."""
        if self.traced:
            self.history.marks.append((len(self.history.records), Mark(self.now, life, kind, text)))

    def intern(self, message: bytes) -> int:
        """The number of a message."""
        number = self._numbers.get(message)
        if number is None:
            number = self._numbers[message] = len(self._numbers)
            self.history.messages.append(message)
        return number

    def unicast(self, source: int, target: int, frame: bytes) -> None:
        """Put a frame on its way; one to the node itself does not see the network."""
        if target == source:
            self._push(self.now + self.profile.latency, self._deliver, (target, frame, self._names[source]))
        elif target in self.nodes:
            self._transmit(source, target, frame)

    def broadcast(self, source: int, frame: bytes) -> None:
        """To all others."""
        if self.recording and self.random.random() < 0.05:
            self._remember(source, frame)
        for target in self.nodes:
            if target != source:
                self._transmit(source, target, frame)

    def wake_at(self, node: Node, when: float) -> None:
        """Look at a node's timers then."""
        self._push(when, self._timer, (node, when))

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Do something on behalf of a node."""
        self._push(self.now + delay, action, ())

    def at(self, when: float, action: Callable[..., None], *arguments: object) -> None:
        """Do something at a time."""
        self._push(when, action, arguments)

    # Frames.

    def _push(self, at: float, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self._tie += 1
        heapq.heappush(self._heap, (at, self._tie, action, arguments))

    def _transmit(self, source: int, target: int, frame: bytes) -> None:
        profile, draw = self.profile, self.random.random
        self.carried["sent"] += 1
        delay = profile.latency + profile.spread * draw()
        if profile.tail and draw() < profile.tail:
            delay += 50 * profile.spread * draw()
        overtaking = False
        if profile.loss and draw() < profile.loss:
            self.carried["lost"] += 1
            return
        if profile.duplicate and draw() < profile.duplicate:
            self._push(self.now + delay, self._deliver, (target, frame, self._names[source]))
        if profile.corrupt and draw() < profile.corrupt:
            frame = self._corrupted(frame)
            if not frame:
                return
        for fault in self.faults:
            if not fault.concerns(source, target):
                continue
            if fault.loss and (fault.loss >= 1 or draw() < fault.loss):
                self.carried["lost"] += 1
                return
            if fault.duplicate and draw() < fault.duplicate:
                self.carried["duplicated"] += 1
                self._push(self.now + 2 * delay, self._deliver, (target, frame, self._names[source]))
            if fault.corrupt and draw() < fault.corrupt:
                frame = self._corrupted(frame)
                if not frame:
                    return
            if fault.jitter:
                delay += fault.jitter * draw()
                overtaking = True
            delay += fault.delay
        if len(self._heap) > FLIGHT_MAX:
            self.carried["overflow"] += 1
            return
        arrival = self.now + delay
        if not overtaking:
            link = (source, target)
            arrival = max(arrival, self._arrived.get(link, 0.0))
            self._arrived[link] = arrival
        self._push(arrival, self._deliver, (target, frame, self._names[source]))

    def _corrupted(self, frame: bytes) -> bytes:
        """One bit changed, or the end cut off; empty when the receiver's checksum finds it out."""
        self.carried["corrupted"] += 1
        if self.profile.checksum:
            return b""
        self.history.corrupted = True
        draw = self.random
        if draw.random() < 0.2:
            return frame[: draw.randrange(len(frame))]
        at = draw.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ (1 << draw.randrange(8))]) + frame[at + 1 :]

    def _deliver(self, target: int, frame: bytes, sender: str) -> None:
        self.nodes[target].arrive(frame, sender)

    def _timer(self, node: Node, when: float) -> None:
        if node.scheduled == when:
            node.timers()

    def _remember(self, source: int, frame: bytes) -> None:
        if len(self._recorded) < RECORDING_MAX:
            self._recorded.append((source, frame))
        else:
            self._recorded[self.random.randrange(RECORDING_MAX)] = (source, frame)

    def replay(self, count: int, target: int) -> None:
        """Old frames arrive once more."""
        for _ in range(min(count, len(self._recorded))):
            source, frame = self.random.choice(self._recorded)
            if source != target:
                self._push(self.now + 0.001, self._deliver, (target, frame, self._names[source]))

    # Time.

    def run(self, until: float, events_max: int, condition: Callable[[], bool] | None = None) -> bool:
        """Let time go on; True when the condition (looked at after each event) came to hold.

        Raises TooManyEventsError.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, action, arguments = heapq.heappop(heap)
            if at > self.now:
                self.now = at
            self.events += 1
            if self.events > events_max:
                raise TooManyEventsError(f"more than {events_max} events until {self.now:.3f} s")
            action(*arguments)
            if condition is not None and condition():
                return True
        self.now = max(self.now, until)
        return False

    def sample(self) -> None:
        """Record how full all nodes are."""
        for node in self.nodes.values():
            if node.up:
                sizes: Sizes = node.sizes()
                self.record(sizes)


class TooManyEventsError(RuntimeError):
    """The cluster does not come to rest."""
