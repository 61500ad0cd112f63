"""A whole cluster in network namespaces: nodes of chosen kinds, faults, and what their logs agree on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType

from tests.harness.config_file import Settings
from tests.harness.faults import Faults
from tests.harness.log_file import Membership
from tests.harness.node import KINDS, Node
from tests.harness.wait import wait_until
from tools.lab import Network

_serial = itertools.count()

FORMATION_TIMEOUT = 40.0
"""Seconds for a membership to form; a machine under load takes its time."""


def prefix() -> str:
    """Differs for every cluster of every run that may be there at the same time."""
    return f"ax{os.getpid() % 10000}x{next(_serial)}"


class Cluster:
    """Nodes 1 to n, of the kinds that the letters of `mix` say; a context manager that starts nothing.

    mix: `s` stock corosync, `a` aisexec, so `ssa` has node 3 as aisexec.
    directory: where logs, configurations and state of the nodes go.
    network: to take instead of a new one; closed with the cluster.
    """

    def __init__(
        self, mix: str, directory: Path, settings: Settings | None = None, network: Network | None = None
    ) -> None:
        self.mix = mix
        self.settings = settings or Settings()
        self.network = network or Network(prefix())
        self.nodes: dict[int, Node] = {}
        self.faults: dict[int, Faults] = {}
        try:
            hosts = {nodeid: self.network.add_host(nodeid) for nodeid in range(1, len(mix) + 1)}
            addresses = {nodeid: host.address for nodeid, host in hosts.items()}
            for nodeid, letter in enumerate(mix, start=1):
                self.nodes[nodeid] = KINDS[letter](
                    nodeid, hosts[nodeid], directory / f"node{nodeid}", self.settings, addresses
                )
                self.faults[nodeid] = Faults(hosts[nodeid], addresses)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, remove all namespaces."""
        for node in self.nodes.values():
            node.close()
        self.network.close()

    def __getitem__(self, nodeid: int) -> Node:
        return self.nodes[nodeid]

    def of_kind(self, kind: str) -> list[Node]:
        """All nodes of a kind, `stock` or `aisexec`."""
        return [node for node in self.nodes.values() if node.kind == kind]

    def start(self) -> Membership:
        """Start all nodes that do not run, and wait until they are one ring."""
        for node in self.nodes.values():
            if not node.running:
                node.start()
        return self.wait_formed()

    def wait_formed(
        self, members: Iterable[int] | None = None, timeout: float = FORMATION_TIMEOUT
    ) -> Membership:
        """Wait until the logs of `members` (all) say that just these are in one and the same ring."""
        expected = tuple(sorted(self.nodes if members is None else members))

        def agreed() -> Membership | None:
            views = {self.nodes[nodeid].membership() for nodeid in expected}
            view = views.pop()
            return view if not views and view is not None and view.members == expected else None

        def explain() -> str:
            views = "\n".join(f"{node}: {node.membership()}" for node in self.nodes.values())
            ends = "\n".join(
                f"--- {node}\n{node.log.text(node.started_at)[-2500:]}" for node in self.nodes.values()
            )
            return f"nodes {expected} in one ring\n{views}\n{ends}"

        membership = wait_until(agreed, timeout, explain)
        assert membership is not None
        return membership

    def partition(self, *sides: Collection[int]) -> None:
        """From now on nodes hear only those of their own side."""
        for side in sides:
            for nodeid in side:
                self.faults[nodeid].deaf_to = set(self.nodes) - set(side)
                self.faults[nodeid].apply()

    def heal(self) -> None:
        """The network is without fault again."""
        for faults in self.faults.values():
            faults.clear()
