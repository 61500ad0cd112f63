"""Votes, quorum, flags and expected votes are the same on stock and our nodes of a ring, whatever happens.

The same story is told on a ring of stock nodes first.  A few stories run always; AISEXEC_QUORUM_MATRIX=1
runs every feature on every mix of 2 to 4 nodes (an hour or two), AISEXEC_QUORUM_MATRIX=WORD the features
with that word in their name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import NewCluster, need
from tests.quorum.mixed import FEATURES, Telling, mixes, tell

MATRIX = os.environ.get("AISEXEC_QUORUM_MATRIX", "")
ALWAYS = [("wait_for_all", "sa")]


def stories() -> Iterator[tuple[str, str]]:
    """Features and mixes to run."""
    if not MATRIX:
        yield from ALWAYS
        return
    for name, feature in FEATURES.items():
        if MATRIX == "1" or MATRIX in name:
            for size in feature.sizes:
                yield from ((name, mix) for mix in mixes(size))


@pytest.fixture(scope="module")
def tellings() -> dict[tuple[str, int], Telling]:
    """What stock nodes make of a story, by feature and number of nodes."""
    return {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "mix"), list(stories()))
def test_as_among_stock_nodes(
    name: str, mix: str, new_cluster: NewCluster, tellings: dict[tuple[str, int], Telling]
) -> None:
    need("s")
    feature, size = FEATURES[name], len(mix)
    if (name, size) not in tellings:
        cluster = new_cluster("s" * size, feature.settings())
        tellings[name, size] = tell(feature, cluster)
        cluster.close()
    tell(feature, new_cluster(mix, feature.settings()), tellings[name, size])
