"""The plan of a run: everything that happens to the cluster from outside, as data.

A plan is made from a seed (`aisexec.sim.faults`), read from a file, or cut down by the shrinker; the
same plan and version of aisexec give the same run to the last byte.  It is written one step a line, times
in virtual seconds, so that people can read, edit and share it:

    seed 17
    nodes 1 2 3
    network latency=0.0005 loss=0.01
    heal 9.5
    0.512 crash 2
    1.004 partition 1,2/3
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

PLAN_STEPS_MAX = 100_000
"""Steps of one plan."""

NODES_MAX = 128
"""Simulated nodes."""


class PlanError(ValueError):
    """A plan's text cannot be used; says in which line and why."""


class Step(NamedTuple):
    """Something that is done to the cluster. `arguments` depend on the verb, see VERBS."""

    at: float
    verb: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((f"{self.at:.6f}", self.verb, *self.arguments))


VERBS: dict[str, tuple[int, str]] = {
    # faults
    "crash": (1, "NODE: it is gone at once; its disk stays"),
    "lose": (1, "NODE: it is gone at once, and its state directory with it"),
    "start": (1, "NODE: a node that was gone comes back"),
    "leave": (1, "NODE: an orderly end"),
    "pause": (2, "NODE SECONDS: it stops and goes on later, with old timers and what its sockets kept"),
    "slow": (3, "NODE DELAY SECONDS: for so long everything it receives is late by DELAY"),
    "busy": (3, "NODE TURN SECONDS: for so long it looks at its sockets and timers every TURN seconds only"),
    "cut": (3, "FROM TO SECONDS: nothing gets through in this direction"),
    "partition": (2, "1,2/3,4 SECONDS: nothing between the sides"),
    "loss": (2, "PROBABILITY SECONDS: frames are lost everywhere"),
    "lossy": (4, "FROM TO PROBABILITY SECONDS: frames are lost in this direction"),
    "duplicate": (2, "PROBABILITY SECONDS"),
    "corrupt": (2, "PROBABILITY SECONDS: a bit of the frame is changed or its end cut off"),
    "jitter": (2, "DELAY SECONDS: a random delay up to DELAY, so that frames overtake each other"),
    "replay": (2, "COUNT NODE: old frames, picked at random, arrive once more at the node"),
    # configuration
    "configure": (2, "NODE FACTOR: its file gets FACTOR (to 1) times the plan's timeouts; 0 breaks the file"),
    "reload": (1, "NODE: it is told to reload the configuration of all nodes"),
    # work
    "connect": (2, "NODE PID: a program connects to cpg"),
    "join": (3, "NODE PID GROUP"),
    "quit": (2, "NODE PID: cpg_leave"),
    "exit": (2, "NODE PID: the program dies"),
    "send": (4, "NODE PID COUNT SIZE: multicasts of SIZE bytes to its group"),
    "pieces": (4, "NODE PID COUNT SIZE: one multicast of COUNT fragments of SIZE bytes"),
    "raw": (4, "NODE COUNT SIZE agreed|safe: messages handed to Totem itself, without cpg"),
}


def parameters(verb: str) -> tuple[str, ...]:
    """What the arguments of a step are, in the words of VERBS: ("NODE", "SECONDS")."""
    return tuple(VERBS[verb][1].partition(":")[0].split())


@dataclass(frozen=True)
class NetworkProfile:
    """What the network is like all the time. Seconds and probabilities."""

    latency: float = 0.0002
    """The least a frame takes."""
    spread: float = 0.0002
    """A random addition up to this."""
    tail: float = 0.0
    """Probability of a frame that takes up to 50 times `spread` longer."""
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    checksum: float = 1.0
    """1: changed frames are found out and dropped, as by UDP's checksum or by authentication;
    0: they arrive."""
    drift: float = 0.0
    """Clocks run faster or slower by up to this fraction."""


@dataclass(frozen=True)
class Plan:
    """See the module's description."""

    seed: int
    nodes: tuple[int, ...]
    network: NetworkProfile = NetworkProfile()
    timeouts: dict[str, float] = field(default_factory=dict)
    """Members of aisexec.totem.settings.Settings that differ from the simulator's defaults."""
    heal: float = 10.0
    """When all faults are taken back, seconds."""
    steps: tuple[Step, ...] = ()
    """In order of time."""

    def with_steps(self, steps: Iterable[Step]) -> Plan:
        """The same run with other steps."""
        return replace(self, steps=tuple(steps))

    def text(self) -> str:
        """As a file that parse() reads back."""
        lines = [f"seed {self.seed}", "nodes " + " ".join(map(str, self.nodes))]
        default = NetworkProfile()
        values = {f.name: getattr(self.network, f.name) for f in fields(NetworkProfile)}
        changed = [f"{k}={v!r}" for k, v in values.items() if v != getattr(default, k)]
        if changed:
            lines.append("network " + " ".join(changed))
        if self.timeouts:
            lines.append("timeouts " + " ".join(f"{k}={v!r}" for k, v in self.timeouts.items()))
        lines.append(f"heal {self.heal!r}")
        lines.extend(map(str, self.steps))
        return "\n".join(lines) + "\n"


def parse(text: str) -> Plan:
    """Read what Plan.text() writes; empty lines and those that begin with # are skipped.

    Raises PlanError.
    """
    head: dict[str, list[str]] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] in ("seed", "nodes", "network", "timeouts", "heal"):
                head[words[0]] = words[1:]
            else:
                steps.append(_step(words))
        except ValueError as error:
            raise PlanError(f"line {number}: {error}") from None
        if len(steps) > PLAN_STEPS_MAX:
            raise PlanError(f"line {number}: more than {PLAN_STEPS_MAX} steps")
    try:
        return _from_head(head, steps)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise PlanError(f"the plan's head cannot be used: {error}") from None


def _from_head(head: dict[str, list[str]], steps: list[Step]) -> Plan:
    nodes = tuple(int(word) for word in head["nodes"])
    if not 1 <= len(set(nodes)) == len(nodes) <= NODES_MAX or min(nodes) < 1:
        raise ValueError(f"nodes: 1 to {NODES_MAX} different numbers above 0")
    known = {f.name for f in fields(NetworkProfile)}
    network = _pairs(head.get("network", []))
    if set(network) - known:
        raise ValueError(f"network knows {', '.join(sorted(known))}")
    return Plan(
        seed=int(head["seed"][0]),
        nodes=nodes,
        network=NetworkProfile(**network),
        timeouts=_pairs(head.get("timeouts", [])),
        heal=float(head["heal"][0]),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
    )


def _pairs(words: list[str]) -> dict[str, float]:
    return {key: float(value) for key, _, value in (word.partition("=") for word in words)}


def _step(words: list[str]) -> Step:
    at = float(words[0])
    if len(words) < 2 or words[1] not in VERBS:
        raise ValueError(f"no such step; there are {', '.join(VERBS)}")
    count, usage = VERBS[words[1]]
    if len(words) - 2 != count:
        raise ValueError(f"{words[1]} takes {usage}")
    return Step(at, words[1], tuple(words[2:]))
