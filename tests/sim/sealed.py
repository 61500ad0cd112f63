"""Bare protocol stacks whose frames travel sealed, and an attacker who has recorded all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aisexec.net.crypto import Sealer, Verdict
from aisexec.net.limits import LATENESS_MAX
from aisexec.totem.stack import Totem
from aisexec.totem.types import Broadcast, Broadcasts, Effect, Unicast
from tests.sim.network import FAST, Machine, Node, VirtualNetwork
from tests.unit.crypto_support import keys

ATTACKER = "attacker"


class Captured(NamedTuple):
    """A datagram on the wire; `held` when its receiver did not get it."""

    at: float
    source: int
    target: int
    datagram: bytes
    held: bool


class SealedMachine:
    """A stack behind a `Sealer`."""

    def __init__(self, node: SealedNode, totem: Totem) -> None:
        self._node = node
        self._totem = totem

    def start(self, now: float) -> None:
        self._totem.start(now)

    def handle_timer(self, now: float) -> None:
        self._totem.handle_timer(now)

    def next_timer(self) -> float | None:
        return self._totem.next_timer()

    def receive(self, frames: Sequence[tuple[bytes, str]], now: float) -> None:
        node = self._node
        opened: list[tuple[bytes, str]] = []
        for datagram, sender in frames:
            if sender == f"node{node.nodeid}":
                opened.append((datagram, sender))
                continue
            frame = node.sealer.open(datagram, now)
            if isinstance(frame, bytes):
                opened.append((frame, sender))
                if sender == ATTACKER:
                    node.net.took(node.nodeid, datagram)
            else:
                node.refused[frame] += 1
            node.send_replies()
        node.sealer.ask_silent(now)
        node.send_replies()
        self._totem.receive(opened, now)


class SealedNode(Node):
    net: SealedNetwork  # type: ignore[assignment]  # the same interface

    def __init__(self, net: SealedNetwork, nodeid: int) -> None:
        self.refused: Counter[Verdict] = Counter()
        super().__init__(net, nodeid)  # type: ignore[arg-type]

    def _boot(self) -> Totem:
        net = self.net
        self.sealer = Sealer(
            keys(net.secrets.get(self.nodeid, b"k" * 128)), self.nodeid, net.nodeids, net.random.randbytes
        )
        return super()._boot()

    @property
    def machine(self) -> Machine:
        return SealedMachine(self, self.totem)

    def send_replies(self) -> None:
        replies, self.sealer.replies = self.sealer.replies, []
        for target, datagram in replies:
            self.net.transmit(self.nodeid, target, datagram)

    def _effect(self, effect: Effect) -> None:
        match effect:
            case Unicast(nodeid, frame) if nodeid != self.nodeid:
                self.net.transmit(self.nodeid, nodeid, self.sealer.seal(frame, self.net.now, nodeid))
            case Broadcast(frame):
                datagram = self.sealer.seal(frame, self.net.now)
                for other in self.net.nodeids:
                    if other != self.nodeid:
                        self.net.transmit(self.nodeid, other, datagram)
            case Broadcasts(frames):
                for frame in frames:
                    self._effect(Broadcast(frame))
            case _:
                super()._effect(effect)


class SealedNetwork(VirtualNetwork[SealedNode]):
    """secrets: key file of nodes that differ from the others."""

    def __init__(
        self, nodeids: Sequence[int], seed: int = 0, secrets: dict[int, bytes] | None = None
    ) -> None:
        self.nodeids = tuple(nodeids)
        self.secrets = secrets or {}
        self.captured: list[Captured] = []
        self._sealed_at: dict[bytes, float] = {}
        self.smuggled: list[tuple[int, float]] = []
        """Nodes that took a frame from the attacker, and its age.  Younger frames do not count: the
        attacker then was a slow network to somebody who had dropped or missed them."""
        super().__init__(nodeids, seed, FAST)

    def make(self, nodeid: int) -> SealedNode:
        return SealedNode(self, nodeid)

    def transmit(self, source: int, target: int, frame: bytes) -> None:
        if source != target:
            held = not self.nodes[target].alive or self.drop(source, target, frame)
            self.captured.append(Captured(self.now, source, target, frame, held))
            self._sealed_at.setdefault(frame, self.now)
        super().transmit(source, target, frame)

    def took(self, nodeid: int, datagram: bytes) -> None:
        """A node took a frame from the attacker."""
        age = self.now - self._sealed_at[datagram]
        if age > 2 * LATENESS_MAX:
            self.smuggled.append((nodeid, age))

    def inject(self, target: int, datagram: bytes) -> None:
        """The attacker sends; the network looks the same to him as to the nodes."""
        node = self.nodes[target]
        if node.alive:
            node.machine.receive([(datagram, ATTACKER)], self.now)
            node.carry_out()

    def replay(
        self,
        which: Callable[[Captured], bool] = lambda captured: True,
        *,
        to: Iterable[int] | None = None,
        pause: float = 0.0005,
        limit: int = 3000,
    ) -> int:
        """Everything recorded of that kind, to every node, while the cluster goes on."""
        chosen = [captured for captured in self.captured if which(captured)][-limit:]
        for captured in chosen:
            for target in self.nodeids if to is None else to:
                self.inject(target, captured.datagram)
            self.run(pause)
        return len(chosen)
