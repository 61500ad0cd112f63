"""Our votequorum in the circumstances that corosync-vqsim makes: no Totem, and a virtual clock.

vqsim is a process that forks one process a node.  It tells the nodes of a partition of their members,
and passes each message of a node on to all nodes of its partition.  A node sends its votes 10 ms later
and counts at once, without waiting for the others' (which then come in as changes).  Which of two
nodes is first is chance there, and comes from a seed here.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from aisexec.services.base import Client
from aisexec.services.quorum import Quorum
from aisexec.services.votequorum import VoteQuorum
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem.types import RingId
from ipc import votequorum_layouts as layouts
from ipc.errors import CsError
from ipc.layout import Layout
from ipc.layouts import RESPONSE_HEADER
from tests.quorum.scripts import DEVICE_TIMEOUT
from tests.unit.service_support import StageContext

PARTITIONS = 16
SYNC_DELAY = 0.010
HOP = 0.0002
"""Seconds that a message takes between two processes at most."""
DEVICE_NAME = b"VQsim_qdevice"
DEVICE_CLIENT = Client(1, 1, 0, 0)



class Context(StageContext):
    """What a service may do: its messages go to the parent."""

    def __init__(self, world: World, nodeid: int) -> None:
        super().__init__(nodeid)
        self._world = world
        self.node: Node | None = None

    def multicast(self, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        assert self.node is not None
        self._world.from_node(self.node, b"".join(parts))
        return True

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.now = self._world.now
        alarm = self.alarms.start(self.now + delay, callback)

        def ring() -> None:
            if self.node is not None and self.node.running:
                alarm.ring()

        self._world.at(alarm.due, ring)
        return alarm


class Node:
    """A process of vqsim."""

    def __init__(self, world: World, nodeid: int, place: int, options: QuorumOptions) -> None:
        self.world = world
        self.nodeid = nodeid
        self.place = place
        self.running = True
        self.channel = {"to": 0.0, "from": 0.0}
        """When the last message arrived, by direction: none overtakes another."""
        self.context = context = Context(world, nodeid)
        context.node = self
        self._quorum = Recorder(context, self)
        self._service = VoteQuorum(context, self._quorum, options)
        self._messages = self._service.messages()
        self._requests = self._service.requests()
        self.shown: tuple[bool, RingId, tuple[int, ...]] | None = None
        self._registered = False
        self._polling: object | None = None

    def begin(self) -> None:
        """The process starts."""
        self._service.start()
        self._sync((self.nodeid,), RingId(self.nodeid, 1))

    def sync(self, members: tuple[int, ...], ring_id: RingId) -> None:
        """The parent says who is in the partition."""
        if self.running:
            self._sync(members, ring_id)

    def _sync(self, members: tuple[int, ...], ring_id: RingId) -> None:
        self._service.sync_init((), members, ring_id)
        self._later(SYNC_DELAY, self._step)

    def _step(self) -> None:
        if self._service.sync_process():
            self._service.sync_activate()
        else:
            self._later(SYNC_DELAY, self._step)

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        def due() -> None:
            if self.running:
                action()

        self.world.at(self.world.now + delay + self.world.hop(), due)

    def deliver(self, sender: int, message: bytes) -> None:
        """A message of the partition."""
        if self.running:
            self._messages[int.from_bytes(message[:2], "little")].handler(sender, message)

    # The quorum device that vqsim imitates.

    def device(self, on: bool) -> None:
        """Command qdevice."""
        if not on:
            self._poll(0)
            self._polling = None
        elif not self._registered:
            name = layouts.QdeviceNameRequest(0, 0, DEVICE_NAME)
            request = layouts.VotequorumRequest.QDEVICE_REGISTER
            if self._ask(request, layouts.QDEVICE_NAME_REQUEST, name) == CsError.OK:
                self._registered = True
                self._poll_in(DEVICE_TIMEOUT / 1000)
        elif self._polling is None:
            self._poll_in(DEVICE_TIMEOUT / 2000)

    def _poll_in(self, delay: float) -> None:
        self._polling = turn = object()

        def due() -> None:
            if self._polling is turn and self._poll(1) == CsError.OK:
                self._poll_in(DEVICE_TIMEOUT / 2000)

        self._later(delay, due)

    def _poll(self, vote: int) -> int:
        ring_id = self.shown[1] if self.shown is not None else RingId(0, 0)
        poll = layouts.QdevicePollRequest(0, 0, DEVICE_NAME, vote, ring_id.rep, ring_id.seq)
        return self._ask(layouts.VotequorumRequest.QDEVICE_POLL, layouts.QDEVICE_POLL_REQUEST, poll)

    def _ask(self, number: int, layout: Layout[Any], request: tuple[object, ...]) -> int:
        self.context.answers.clear()
        self._requests[number].handler(DEVICE_CLIENT, layout.pack(request))
        answers = self.context.answers
        return RESPONSE_HEADER.unpack(answers[-1][1]).error if answers else CsError.OK


class Recorder(Quorum):
    """Keeps what vqsim shows."""

    def __init__(self, context: Context, node: Node) -> None:
        super().__init__(context, provider=True)
        self._node = node

    def set_quorum(self, members: Sequence[int], quorate: bool, ring_id: RingId) -> None:
        self._node.shown = (quorate, ring_id, tuple(members))


class World:
    """The parent process, and time."""

    def __init__(self, options: Callable[[int], QuorumOptions], seed: int) -> None:
        self._options = options
        self._chance = random.Random(seed)
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = itertools.count()
        self.now = 0.0
        self._partitions: list[list[Node]] = [[] for _ in range(PARTITIONS)]
        self._seqs = [0] * PARTITIONS

    # Time.

    def at(self, due: float, action: Callable[[], object]) -> None:
        """Do something later."""
        heapq.heappush(self._heap, (due, next(self._serial), action))

    def hop(self) -> float:
        """How long something takes that should take no time."""
        return self._chance.uniform(0, HOP)

    def settle(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    # Messages.

    def _pass(self, node: Node, direction: str, action: Callable[[], None]) -> None:
        arrival = max(self.now + self.hop(), node.channel[direction])
        node.channel[direction] = arrival
        self.at(arrival, action)

    def from_node(self, node: Node, message: bytes) -> None:
        """To everybody in the partition that the node is in when the parent reads it."""

        def read() -> None:
            for other in self._partitions[node.place]:
                self._pass(other, "to", lambda other=other: other.deliver(node.nodeid, message))  # type: ignore[misc]

        self._pass(node, "from", read)

    def _update(self, place: int, *, new_ring: bool) -> None:
        self._seqs[place] += 4 * new_ring
        nodes = self._partitions[place]
        members = tuple(node.nodeid for node in nodes)
        for node in nodes:
            ring_id = RingId(members[0], self._seqs[place])
            self._pass(node, "to", lambda node=node, r=ring_id: node.sync(members, r))  # type: ignore[misc]

    def _update_all(self, *, new_ring: bool) -> None:
        for place in range(PARTITIONS):
            self._update(place, new_ring=new_ring)

    # Commands.

    def run(self, command: str) -> None:
        """One command of a script."""
        name, *words = command.split()
        getattr(self, f"_{name}")(words)

    def up(self, place: int, nodeids: Sequence[int]) -> None:
        """Start nodes."""
        for nodeid in nodeids:
            node = Node(self, nodeid, place, self._options(nodeid))
            self._partitions[place].append(node)
            self.at(self.now, node.begin)
            self._update(place, new_ring=True)

    def _up(self, words: list[str]) -> None:
        self.up(*_nodes(words[0]))

    def _down(self, words: list[str]) -> None:
        node = self._node(int(words[0]))
        node.running = False
        self._partitions[node.place].remove(node)
        self._update(node.place, new_ring=True)

    def _split(self, words: list[str]) -> None:
        place, nodeids = _nodes(words[0])
        for nodeid in nodeids:
            node = self._node(nodeid)
            self._partitions[node.place].remove(node)
            self._partitions[place].append(node)
            node.place = place
        self._update_all(new_ring=True)

    def _join(self, words: list[str]) -> None:
        first, *rest = map(int, words)
        for place in rest:
            for node in self._partitions[place]:
                node.place = first
            self._partitions[first] += self._partitions[place]
            self._partitions[place] = []
        self._update_all(new_ring=True)

    def _qdevice(self, words: list[str]) -> None:
        for nodeid in _nodes(words[1])[1]:
            node = self._node(nodeid)
            self._pass(node, "to", lambda node=node: node.device(words[0] == "on"))  # type: ignore[misc]
        self._update_all(new_ring=False)

    def _node(self, nodeid: int) -> Node:
        return next(node for nodes in self._partitions for node in nodes if node.nodeid == nodeid)

    def show(self) -> list[str]:
        """As the program prints it."""
        lines = []
        for place, nodes in enumerate(self._partitions):
            for node in nodes:
                if node.shown is None:
                    lines.append(f"{place}:{node.nodeid}: q=UNINITIALIZED")
                    continue
                quorate, ring_id, members = node.shown
                view = " ".join(map(str, members))
                lines.append(f"{place}:{node.nodeid}: q={quorate:d} ring=[{ring_id}] nodes=[{view}]")
        return lines


def _nodes(word: str) -> tuple[int, list[int]]:
    place, nodeids = word.split(":")
    return int(place), [int(nodeid) for nodeid in nodeids.split(",")]


