"""Two rings that differ in nothing but the kinds of their nodes: what they do can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings


class Pair(NamedTuple):
    """Rings of two nodes; `stock` has stock corosync as node 1 and aisexec as node 2, `ours` the reverse."""

    stock: Cluster
    ours: Cluster


@contextmanager
def two_rings(directory: Path, settings: Settings | None = None) -> Iterator[Pair]:
    """Both, formed."""
    with (
        Cluster("sa", directory / "cluster1", settings) as stock,
        Cluster("as", directory / "cluster2", settings) as ours,
    ):
        for cluster in (stock, ours):
            for node in cluster.nodes.values():
                node.start()
        for cluster in (stock, ours):
            cluster.wait_formed()
        yield Pair(stock, ours)
