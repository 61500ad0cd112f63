"""How long large rings take to form, to lose a node and to merge, in virtual seconds.

`python -m aisexec.sim.large [NODES ...]` prints a table beside what the timeouts allow: a loss is
noticed after `token`, agreed on after `consensus`; halves find each other within `merge` (corosync.conf(5)).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

from aisexec.sim.plan import NetworkProfile, Plan, Step
from aisexec.sim.run import Simulation

EVENTS_MAX = 50_000_000
"""Frames and timers of one measurement."""

TOKEN, COEFFICIENT = 3.0, 0.125
"""Seconds: corosync's token timeout, and what large clusters add for each node beyond two."""


class Measured(NamedTuple):
    """Virtual seconds; what they are compared with is in allowed()."""

    nodes: int
    form: float
    """From the start of all nodes to one ring with synchronised services."""
    lose: float
    """From the death of a node to the ring of the others."""
    merge: float
    """From the end of a partition to one ring again."""
    frames: int
    """That were carried in all."""


class Allowed(NamedTuple):
    """Upper bounds that follow from the timeouts, one formation of a ring for each change."""

    form: float
    lose: float
    merge: float


def plan(nodes: int) -> Plan:
    """Timeouts as corosync derives them; JOINs spread over 80 ms as corosync.conf(5) advises."""
    token = TOKEN + COEFFICIENT * (nodes - 2)
    retransmit = token / 4.2
    return Plan(
        seed=nodes,
        nodes=tuple(range(1, nodes + 1)),
        network=NetworkProfile(latency=0.0001, spread=0.0002),
        timeouts={
            "token": token,
            "token_retransmit": retransmit,
            "hold": retransmit * 0.8 - 0.01,
            "consensus": 1.2 * token,
            "send_join": 0.08,
        },
        heal=1e9,
        steps=tuple(Step(0.01 * n / nodes, "start", (str(n),)) for n in range(1, nodes + 1)),
    )


def allowed(nodes: int) -> Allowed:
    """A loss costs token and consensus timeout. Forming and merging need agreement alone; a JOIN that
    comes too late costs one consensus timeout more."""
    timeouts = plan(nodes).timeouts
    token, consensus = timeouts["token"], timeouts["consensus"]
    return Allowed(form=consensus + 2.0, lose=token + consensus + 2.0, merge=consensus + 2.0)


def measure(nodes: int) -> Measured:
    """Form, lose one, get it back, split in halves, merge. Raises RuntimeError if one never ends."""
    simulation = Simulation(plan(nodes), trace=False, events_max=EVENTS_MAX)
    network = simulation.network
    network.run(0.02, EVENTS_MAX)
    patience = 20 * (simulation.settings.token + simulation.settings.consensus)

    def until(condition: Callable[[], bool], what: str) -> float:
        begin = network.now
        while not condition():
            if network.now > begin + patience:
                raise RuntimeError(f"{nodes} nodes: {what}: not within {patience:.0f} s")
            network.run(network.now + 0.05, EVENTS_MAX)
        return network.now - begin

    form = until(simulation.settled, "forming")
    lost = nodes // 2
    network.nodes[lost].end("crash")
    lose = until(simulation.settled, "losing one")
    network.nodes[lost].start()
    until(simulation.settled, "coming back")
    half = tuple(range(1, nodes // 2 + 1)), tuple(range(nodes // 2 + 1, nodes + 1))
    partition = Step(network.now, "partition", ("/".join(",".join(map(str, side)) for side in half), "1e6"))
    simulation.conductor.do(partition)

    def apart() -> bool:
        return all(network.nodes[n].in_step(side) for side in half for n in side)

    until(apart, "splitting")
    simulation.conductor.heal()
    merge = until(simulation.settled, "merging")
    return Measured(nodes, form, lose, merge, network.carried["sent"])


def main() -> None:
    """Print the table."""
    sizes = [int(word) for word in sys.argv[1:]] or [32, 64]
    print("nodes   form (allowed)    lose one (allowed)   merge halves (allowed)   frames")
    for nodes in sizes:
        m, a = measure(nodes), allowed(nodes)
        print(
            f"{nodes:5} {m.form:6.2f} ({a.form:5.1f} s) {m.lose:11.2f} ({a.lose:5.1f} s)"
            f" {m.merge:11.2f} ({a.merge:5.1f} s) {m.frames:14}",
            flush=True,
        )


if __name__ == "__main__":
    main()
