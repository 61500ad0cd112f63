"""Carrying out the steps of a plan on a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aisexec.sim.network import Fault, Network
from aisexec.sim.plan import Plan, PlanError, Step

MESSAGE_MAX = 1_000_000
"""Bytes of a message of the workload."""


FACTOR_MIN = 0.2
"""Of the plan's timeouts: shorter ones than so could not be kept in the plan's network."""


class Conductor:
    """Does to a network what a plan says."""

    def __init__(self, network: Network, plan: Plan) -> None:
        self.network = network
        self.plan = plan
        self._serial = 0
        self._pauses: dict[int, int] = {}

    def schedule(self) -> None:
        """Put all steps on the network's clock. Raises PlanError when one cannot be meant."""
        network = self.network
        network.recording = any(step.verb == "replay" for step in self.plan.steps)
        for step in self.plan.steps:
            try:
                action = _ACTIONS[step.verb](self, step)
            except (ValueError, KeyError) as error:
                raise PlanError(f"step '{step}': {error}") from None
            network.at(step.at, self._do, step, action)

    def _do(self, step: Step, action: Callable[[], None]) -> None:
        self.network.mark(None, "work" if step.verb in _WORK else "fault", str(step).split(" ", 1)[1])
        action()

    def do(self, step: Step) -> None:
        """Carry out a step now, plan or no plan."""
        self._do(step, _ACTIONS[step.verb](self, step))

    def heal(self) -> None:
        """Take all faults back."""
        self.network.faults.clear()
        for node in self.network.nodes.values():
            node.turn = 0.0
            node.resume()
        self.network.mark(None, "fault", "all healed")

    # Faults.

    def _for_a_while(self, fault: Fault, seconds: str) -> Callable[[], None]:
        network = self.network
        span = float(seconds)

        def end() -> None:
            if fault in network.faults:
                network.faults.remove(fault)

        def begin() -> None:
            if network.now < self.plan.heal:
                network.faults.append(fault)
                network.later(span, end)

        return begin

    def _node(self, word: str) -> int:
        if int(word) not in self.network.nodes:
            raise ValueError(f"there is no node {word}")
        return int(word)

    def _end(self, step: Step) -> Callable[[], None]:
        node = self.network.nodes[self._node(step.arguments[0])]
        how = {"crash": "crash", "lose": "lost", "leave": "leave"}[step.verb]
        return lambda: node.end(how)

    def _start(self, step: Step) -> Callable[[], None]:
        return self.network.nodes[self._node(step.arguments[0])].start

    def _pause(self, step: Step) -> Callable[[], None]:
        nodeid = self._node(step.arguments[0])
        node, span = self.network.nodes[nodeid], float(step.arguments[1])

        def resume() -> None:
            self._pauses[nodeid] -= 1
            if not self._pauses[nodeid]:
                node.resume()

        def pause() -> None:
            if node.up and self.network.now < self.plan.heal:
                node.pause()
                self._pauses[nodeid] = self._pauses.get(nodeid, 0) + 1
                self.network.later(span, resume)

        return pause

    def _slow(self, step: Step) -> Callable[[], None]:
        node, delay, span = step.arguments
        return self._for_a_while(Fault(delay=float(delay), target=self._node(node)), span)

    def _busy(self, step: Step) -> Callable[[], None]:
        node, turn, span = self.network.nodes[self._node(step.arguments[0])], *map(float, step.arguments[1:])

        def end() -> None:
            node.turn = 0.0

        def begin() -> None:
            if self.network.now < self.plan.heal:
                node.turn = turn
                self.network.later(span, end)

        return begin

    def _cut(self, step: Step) -> Callable[[], None]:
        source, target, span = step.arguments
        return self._for_a_while(
            Fault(loss=1.0, source=self._node(source), target=self._node(target)), span
        )

    def _lossy(self, step: Step) -> Callable[[], None]:
        source, target, loss, span = step.arguments
        fault = Fault(loss=float(loss), source=self._node(source), target=self._node(target))
        return self._for_a_while(fault, span)

    def _partition(self, step: Step) -> Callable[[], None]:
        sides, span = step.arguments
        side = {self._node(n): i for i, part in enumerate(sides.split("/")) for n in part.split(",")}
        return self._for_a_while(Fault(loss=1.0, sides=side), span)

    def _everywhere(self, step: Step) -> Callable[[], None]:
        amount, span = step.arguments
        change: dict[str, Any] = {step.verb: float(amount)}
        return self._for_a_while(replace(Fault(), **change), span)

    def _configure(self, step: Step) -> Callable[[], None]:
        node, factor = self.network.nodes[self._node(step.arguments[0])], float(step.arguments[1])
        if factor and not FACTOR_MIN <= factor <= 1.0:
            raise ValueError(f"a factor is 0 or {FACTOR_MIN} to 1: no longer than planned")
        return lambda: node.configure(factor)

    def _reload(self, step: Step) -> Callable[[], None]:
        return self.network.nodes[self._node(step.arguments[0])].reload

    def _replay(self, step: Step) -> Callable[[], None]:
        count, node = int(step.arguments[0]), self._node(step.arguments[1])
        return lambda: self.network.replay(count, node)

    # Work.

    def _message(self, size: int) -> bytes:
        """Unlike any other of the run, of at least `size` bytes."""
        self._serial += 1
        text = b"message %d " % self._serial
        return text + b"." * (min(size, MESSAGE_MAX) - len(text))

    def _connect(self, step: Step) -> Callable[[], None]:
        node, pid = self.network.nodes[self._node(step.arguments[0])], int(step.arguments[1])
        return lambda: node.connect(pid) if node.program(pid) is None else None

    def _program(self, step: Step) -> Callable[[], None]:
        node, pid = self.network.nodes[self._node(step.arguments[0])], int(step.arguments[1])
        more = step.arguments[2:]
        numbers = [] if step.verb == "join" else [int(word) for word in more]

        def act() -> None:
            program = node.program(pid)
            if program is None:
                return
            if step.verb == "join":
                program.want_join(more[0].encode())
            elif step.verb == "quit":
                program.want_quit()
            elif step.verb == "pieces":
                count, size = numbers
                program.want_pieces(self._message(count * size), size)
            else:
                for _ in range(numbers[0]):
                    program.want_send(self._message(numbers[1]))
            node.carry_out()

        return act

    def _exit(self, step: Step) -> Callable[[], None]:
        node, pid = self.network.nodes[self._node(step.arguments[0])], int(step.arguments[1])
        return lambda: node.exit(pid)

    def _raw(self, step: Step) -> Callable[[], None]:
        node = self.network.nodes[self._node(step.arguments[0])]
        count, size, guarantee = int(step.arguments[1]), int(step.arguments[2]), step.arguments[3]
        if guarantee not in ("agreed", "safe"):
            raise ValueError("a guarantee is agreed or safe")

        def act() -> None:
            for _ in range(count):
                node.submit(self._message(size), safe=guarantee == "safe")

        return act


_WORK = {"connect", "join", "quit", "exit", "send", "pieces", "raw"}

_ACTIONS: dict[str, Callable[[Conductor, Step], Callable[[], None]]] = {
    "crash": Conductor._end,
    "lose": Conductor._end,
    "leave": Conductor._end,
    "start": Conductor._start,
    "pause": Conductor._pause,
    "slow": Conductor._slow,
    "busy": Conductor._busy,
    "cut": Conductor._cut,
    "lossy": Conductor._lossy,
    "partition": Conductor._partition,
    "loss": Conductor._everywhere,
    "duplicate": Conductor._everywhere,
    "corrupt": Conductor._everywhere,
    "jitter": Conductor._everywhere,
    "configure": Conductor._configure,
    "reload": Conductor._reload,
    "replay": Conductor._replay,
    "connect": Conductor._connect,
    "join": Conductor._program,
    "quit": Conductor._program,
    "exit": Conductor._exit,
    "send": Conductor._program,
    "pieces": Conductor._program,
    "raw": Conductor._raw,
}
