"""What tests share; the marks of those that need more than Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.needs import missing
from tests.harness.rings import Rings


def need(mix: str) -> None:
    """Skip the test where a cluster of such nodes cannot be made."""
    lacking = missing(mix)
    if lacking:
        pytest.skip(lacking)


@pytest.fixture(scope="module")
def _rings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rings]:
    rings = Rings(tmp_path_factory.mktemp("ring"))
    yield rings
    rings.close()


@pytest.fixture
def rings(_rings: Rings) -> Iterator[Rings]:
    """Running clusters, kept from test to test as long as they are whole; programs end with the test."""
    yield _rings
    _rings.end_programs()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[NewCluster]:
    """Makes clusters of one's own for a test, not started."""
    maker = NewCluster(tmp_path)
    yield maker
    maker.close()


class NewCluster:
    """See the fixture."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._serial = itertools.count(1)
        self._clusters: list[Cluster] = []

    def __call__(self, mix: str, settings: Settings | None = None) -> Cluster:
        need(mix)
        cluster = Cluster(mix, self._directory / f"cluster{next(self._serial)}", settings)
        self._clusters.append(cluster)
        return cluster

    def close(self) -> None:
        for cluster in self._clusters:
            cluster.close()
