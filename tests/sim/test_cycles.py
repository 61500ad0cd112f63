"""The same troubles again and again leave nothing behind: no growth from cycle to cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from aisexec.sim.node import Node
from aisexec.sim.plan import NetworkProfile, Plan, Step
from aisexec.sim.run import Simulation

CYCLES = 9
NODES = (1, 2, 3, 4, 5)
EVENTS_MAX = 3_000_000


def parts(thing: Any) -> Iterator[Any]:
    """What hangs on an object of ours or a container."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from thing
    elif type(thing).__module__.startswith(("aisexec.", "ipc.")):
        yield from getattr(thing, "__dict__", {}).values()
        for base in type(thing).__mro__:
            slots = base.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            yield from (getattr(thing, name) for name in names if hasattr(thing, name))


def weight(node: Node) -> int:
    """Objects that an executive keeps alive, the simulator's own left out."""
    seen = {id(node), id(node.world), id(node.settings), id(node.options)}
    todo = [node.executive]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | int | float | str):
            continue
        seen.add(id(thing))
        todo.extend(parts(thing))
    return len(seen)


def test_nothing_grows() -> None:
    steps = tuple(Step(0.01 * n, "start", (str(n),)) for n in NODES)
    plan = Plan(1, NODES, NetworkProfile(spread=0.001), {"seqno_unchanged_const": 3.0}, 1e9, steps)
    simulation = Simulation(plan, trace=False, events_max=EVENTS_MAX)
    network, conductor = simulation.network, simulation.conductor
    network.run(1.0, EVENTS_MAX)

    def settle() -> None:
        deadline = network.now + 120.0
        while not simulation.settled():
            assert network.now < deadline
            network.run(network.now + 0.25, EVENTS_MAX)
        network.run(network.now + 1.0, EVENTS_MAX)

    def do(verb: str, *arguments: str) -> None:
        conductor.do(Step(network.now, verb, arguments))

    weights: list[list[int]] = []
    for cycle in range(CYCLES):
        settle()
        for n in NODES:
            pid = str(1000 * cycle + n)
            do("connect", str(n), pid)
            do("join", str(n), pid, "group")
            do("send", str(n), pid, "30", "1000")
            do("raw", str(n), "10", "3000", "safe")
        network.run(network.now + 0.01, EVENTS_MAX)
        do("partition", "1,2/3,4,5", "6.0")
        network.run(network.now + 8.0, EVENTS_MAX)
        do("loss", "0.2", "3.0")
        do("pause", "3", "2.0")
        network.run(network.now + 5.0, EVENTS_MAX)
        do("crash", "5")
        network.run(network.now + 4.0, EVENTS_MAX)
        do("start", "5")
        for n in NODES:
            do("exit", str(n), str(1000 * cycle + n))
        settle()
        weights.append([weight(network.nodes[n]) for n in NODES])
    # Node 5 is new in each cycle. The first cycles fill what is bounded: counters by kind, rate limits.
    for place, n in enumerate(NODES):
        of_node = [weights_of_cycle[place] for weights_of_cycle in weights]
        assert max(of_node[-3:]) <= max(of_node[:-3]) + 40, f"node {n}: {of_node}"
