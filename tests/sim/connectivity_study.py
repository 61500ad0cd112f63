"""Random broken networks: does every node's ring settle, how large is the largest, does all come together?

`python -m tests.sim.connectivity_study [graphs] [first seed]` prints the distributions.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from time import monotonic

from aisexec.totem.settings import Settings
from tests.sim.network import FAST, Network

Edge = tuple[int, int]
"""A direction that does not work: who speaks, who does not hear."""

KINDS = (
    "one-way cuts",
    "cuts",
    "mixed cuts",
    "chain",
    "star",
    "bridge",
    "mute node",
    "deaf node",
    "two sick nodes",
    "one pair",
    "one way of one pair",
)


def random_cut(rng: random.Random, nodes: int, kind: str) -> set[Edge]:
    """The directions that do not work."""
    everybody = list(range(1, nodes + 1))
    rng.shuffle(everybody)
    ways = list(permutations(everybody, 2))
    pairs = list(combinations(everybody, 2))
    share = rng.choice([0.05, 0.15, 0.3, 0.6])
    one_way = {way for way in ways if rng.random() < share}
    both_ways = {pair for pair in pairs if rng.random() < share}
    first, second = everybody[0], everybody[1]
    middle = rng.randrange(1, nodes)
    match kind:
        case "one-way cuts":
            return one_way
        case "cuts":
            return both(both_ways)
        case "mixed cuts":
            return both(pair for pair in both_ways if rng.random() < 0.5) | one_way
        case "chain":
            return both((a, b) for a, b in pairs if abs(everybody.index(a) - everybody.index(b)) > 1)
        case "star":
            return both(pair for pair in pairs if first not in pair)
        case "bridge":  # two cliques that share one node
            left, right = everybody[:middle], everybody[middle + 1 :]
            return both((a, b) for a in left for b in right)
        case "mute node":
            return {(first, n) for n in everybody if n != first}
        case "deaf node":
            return {(n, first) for n in everybody if n != first}
        case "two sick nodes":
            return {(first, n) for n in everybody if n != first} | {
                (n, second) for n in everybody if n != second
            }
        case "one pair":
            return {(first, second), (second, first)}
        case _:
            return {(first, second)}


def both(pairs: Iterable[Edge]) -> set[Edge]:
    return {way for a, b in pairs for way in ((a, b), (b, a))}


def largest_clique(nodes: int, cut: set[Edge]) -> int:
    """Brute force: the largest set of nodes that all hear each other."""
    conflicts = [0] * nodes
    for a, b in cut:
        conflicts[a - 1] |= 1 << (b - 1)
        conflicts[b - 1] |= 1 << (a - 1)
    best = 0
    for members in range(1 << nodes):
        if members.bit_count() > best and not any(
            members >> i & 1 and members & conflicts[i] for i in range(nodes)
        ):
            best = members.bit_count()
    return best


@dataclass
class Outcome:
    """One graph."""

    seed: int
    kind: str
    nodes: int
    cut: set[Edge]
    best: int
    largest: int = 0
    """Members of the largest ring at the end of the broken time."""
    clique: bool = True
    """All rings at the end were of nodes that all hear each other."""
    changes: list[int] = field(default_factory=list)
    """Configuration changes of the node that had most, by slice of time."""
    healed_after: float = float("inf")
    """Seconds from healing until all were in one ring."""
    rings: list[tuple[int, ...]] = field(default_factory=list)
    triggered: bool = False


SETTINGS = replace(FAST, seqno_unchanged_const=4, hold=0.6, token_retransmit=0.7)
"""An idle ring that costs little to simulate: what is looked at here is membership."""

SLICES = (15.0, 30.0, 60.0)
"""Seconds, one after the other."""


def regulars(net: Network) -> dict[int, int]:
    return {n: sum(e[0] == "R" for e in node.app.history) for n, node in net.nodes.items()}


def study(
    seed: int,
    slices: Iterable[float] = SLICES,
    nodes_max: int = 10,
    as_stock: float = 0.0,
    settings: Settings = SETTINGS,
    heal_within: float = 400.0,
    loss: float = 0.0,
) -> Outcome:
    """Cut a network as the seed says, watch, heal it, watch.

    `as_stock` is the share of nodes that never suspect links, and so behave as corosync does.
    """
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    nodes = rng.randint(3 if kind in ("chain", "star", "bridge", "two sick nodes") else 2, nodes_max)
    cut = random_cut(rng, nodes, kind)
    outcome = Outcome(seed, kind, nodes, cut, largest_clique(nodes, cut))
    net = Network(range(1, nodes + 1), seed=seed, settings=settings)
    net.loss = loss
    stock = random.Random(-seed)
    for node in net.nodes.values():
        if stock.random() < as_stock:
            node.totem._core.connectivity._weigh = lambda *_: None  # type: ignore[method-assign]
    if rng.random() < 0.5:  # else they have never seen each other
        net.start()
        net.settle(range(1, nodes + 1), within=60)
        net.run(rng.uniform(0, 3))
    else:
        net.start()
    net.drop = lambda source, target, frame: (source, target) in cut
    busy = rng.random() < 0.3
    for seconds in slices:
        before = regulars(net)
        run_with_traffic(net, seconds, busy)
        after = regulars(net)
        outcome.changes.append(max(after[n] - before[n] for n in after))
    outcome.rings = sorted(
        {node.totem.members for node in net.nodes.values()}, key=lambda ring: (-len(ring), ring)
    )
    operational = [
        ring
        for ring in outcome.rings
        if len({net.nodes[n].totem.ring_id for n in ring}) == 1
        and all(net.nodes[n].totem.members == ring for n in ring)
    ]
    outcome.largest = max(map(len, operational), default=0)
    outcome.clique = not any(way in cut for ring in operational for way in permutations(ring, 2))
    outcome.triggered = any(node.totem.stats.surveys for node in net.nodes.values())
    net.heal()
    at = net.now
    everybody = range(1, nodes + 1)
    while net.now < at + heal_within and not net.settled(everybody):
        run_with_traffic(net, 0.5, busy)
    if net.settled(everybody):
        outcome.healed_after = net.now - at
    return outcome


def run_with_traffic(net: Network, seconds: float, busy: bool) -> None:
    if not busy:
        net.run(seconds)
        return
    until = net.now + seconds
    while net.now < until:
        net.run(min(0.25, until - net.now))
        for node in net.nodes.values():
            node.submit(b"x")


def quantiles(values: list[float]) -> str:
    values = sorted(values)
    if not values:
        return "none"
    at = [values[min(len(values) - 1, int(q * len(values)))] for q in (0.5, 0.9, 0.99)]
    return f"median {at[0]:.4g}, 90% {at[1]:.4g}, 99% {at[2]:.4g}, max {values[-1]:.4g}"


def main() -> None:
    graphs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began = monotonic()
    outcomes = [study(seed) for seed in range(first, first + graphs)]
    print(f"{graphs} graphs from seed {first}, {monotonic() - began:.0f} s")
    for kind in (*KINDS, "all"):
        chosen = [o for o in outcomes if kind in (o.kind, "all")]
        if not chosen:
            continue
        print(f"{kind}: {len(chosen)}")
        for i, seconds in enumerate(SLICES):
            print(f"  changes in {seconds:.0f} s: {quantiles([o.changes[i] for o in chosen])}")
        missing = Counter(o.best - o.largest for o in chosen)
        print(f"  members short of the best possible: {dict(sorted(missing.items()))}")
        print(f"  rings that are no clique: {sum(not o.clique for o in chosen)}")
        print(f"  surveys in: {sum(o.triggered for o in chosen)}")
        print(f"  one ring after healing: {quantiles([o.healed_after for o in chosen])}")
    for o in outcomes:
        if o.largest < o.best or o.changes[-1] > 6 or o.healed_after > 30:
            print(o.seed, o.kind, o.nodes, o.best, o.rings, o.changes, f"{o.healed_after:.1f}")


if __name__ == "__main__":
    main()
