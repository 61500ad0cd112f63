"""Clusters that are one ring, lent from test to test: forming one for each would take most of the time."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings

WHOLE_TIMEOUT = 10.0
"""Seconds for a cluster to be one ring after the test before; else a new one is made."""


class Rings:
    """Keeps the cluster that was asked for last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._serial = 0
        self._key: tuple[str, str] | None = None
        self._cluster: Cluster | None = None

    def get(self, mix: str, transport: str) -> Cluster:
        """A cluster of these nodes, running, whole and without faults."""
        if self._key != (mix, transport) or not self._whole():
            self.close()
            self._serial += 1
            directory = self._directory / f"{self._serial}-{mix}-{transport}"
            self._cluster = Cluster(mix, directory, Settings(transport=transport))
            self._cluster.start()
            self._key = (mix, transport)
        assert self._cluster is not None
        return self._cluster

    def _whole(self) -> bool:
        if self._cluster is None:
            return False
        with contextlib.suppress(AssertionError, RuntimeError):
            self._cluster.heal()
            if all(node.running for node in self._cluster.nodes.values()):
                self._cluster.wait_formed(timeout=WHOLE_TIMEOUT)
                return True
        return False

    def end_programs(self) -> None:
        """No program outlives its test."""
        if self._cluster is not None:
            for node in self._cluster.nodes.values():
                node.end_programs()

    def close(self) -> None:
        """Take the cluster down."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
            self._key = None
