"""The largest set of nodes that all hear each other: a maximum clique, by its complement's edges.

Broken links are few where nodes are many, so the search works on conflicts: pairs that cannot be in
one ring. Every node that searches the same graph finds the same set, and so do nodes that know only
their own neighbourhood, as far as the set lies within it: candidates are ordered by size, then by
the lowest nodeid in which they differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aisexec.totem.limits import CLIQUE_SEARCH_STEPS

Conflicts = Mapping[int, Collection[int]]
"""For each node those it cannot share a ring with; symmetric."""


def largest_clique(nodes: Collection[int], conflicts: Conflicts) -> frozenset[int]:
    """The best set of `nodes` without a conflict; beyond CLIQUE_SEARCH_STEPS a good one."""
    graph = {n: {m for m in conflicts.get(n, ()) if m in nodes and m != n} for n in nodes}
    chosen = {n for n, hostile in graph.items() if not hostile}
    for component in _components({n: hostile for n, hostile in graph.items() if hostile}):
        chosen |= _Search(component).best
    return frozenset(chosen)


def better(a: frozenset[int], b: frozenset[int]) -> bool:
    """Does `a` come before `b`?  A total order, so that all prefer the same."""
    if len(a) != len(b):
        return len(a) > len(b)
    return a != b and min(a ^ b) in a


def _components(graph: dict[int, set[int]]) -> list[dict[int, set[int]]]:
    """What is decided in one part does not matter in another, and the order of sets respects it."""
    left = set(graph)
    found = []
    while left:
        part: set[int] = set()
        border = {min(left)}
        while border:
            part |= border
            border = {m for n in border for m in graph[n]} - part
        left -= part
        found.append({n: graph[n] for n in part})
    return found


class _Search:
    """Branch and bound: the node with most conflicts is either left out, or all it conflicts with are."""

    def __init__(self, graph: dict[int, set[int]]) -> None:
        self.best = self._greedy(graph)
        self._steps = CLIQUE_SEARCH_STEPS
        self._branch(graph)

    @staticmethod
    def _greedy(graph: dict[int, set[int]]) -> frozenset[int]:
        left = {n: set(hostile) for n, hostile in graph.items()}
        while worst := max(((len(h), n) for n, h in left.items() if h), default=None):
            for hostile in left.values():
                hostile.discard(worst[1])
            del left[worst[1]]
        return frozenset(left)

    def _branch(self, graph: dict[int, set[int]]) -> None:
        self._steps -= 1
        if self._steps < 0:
            return
        worst = max(((len(h), n) for n, h in graph.items() if h), default=None)
        if worst is None:
            found = frozenset(graph)
            if better(found, self.best):
                self.best = found
            return
        degree, node = worst
        edges = sum(map(len, graph.values())) // 2
        # Leaving out one node removes at most `degree` conflicts.
        if len(graph) - -(-edges // degree) < len(self.best):
            return
        for gone in (graph[node], {node}):
            self._branch({n: h - gone for n, h in graph.items() if n not in gone})
