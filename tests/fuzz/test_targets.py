"""Every target under hypothesis: a small, fixed sample of what `make fuzz` does for longer."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.target import load, names, regressions

EXAMPLES = {
    "config_files": 25,
    "executive_ring": 20,
    "totem_commit": 60,
    "totem_gather": 60,
    "totem_operational": 60,
    "totem_recovery": 60,
}
"""Of those that take long; the others have MANY."""
MANY = 120
SEEDS = 12
MUTATIONS = 40
SLOW = ("config_files", "executive_ring")
"""They get a third of the seeds and mutations."""


@pytest.mark.parametrize("name", names())
def test_good_inputs_and_their_like_do_no_harm(name: str) -> None:
    """Seeds as they are, and after the mutations that know the layouts."""
    target = load(name)
    rng = random.Random(name)
    seeds = list(target.seeds())
    assert seeds
    share = 3 if name in SLOW else 1
    for seed in rng.sample(seeds, min(SEEDS // share, len(seeds))):
        target.fuzz(seed)
    for _ in range(MUTATIONS // share):
        data = rng.choice(seeds)
        for _ in range(rng.randint(1, 5)):
            data = target.mutate(data, rng)
        target.fuzz(data)


@pytest.mark.parametrize("name", names())
def test_no_bytes_do_harm(name: str) -> None:
    target = load(name)

    @settings(
        max_examples=EXAMPLES.get(name, MANY),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs())
    def fuzz(data: bytes) -> None:
        target.fuzz(data)

    fuzz()


@pytest.mark.parametrize(
    ("name", "file"), [(name, path.name) for name in names() for path in regressions(name)]
)
def test_what_once_did_harm_does_none(name: str, file: str) -> None:
    path = next(path for path in regressions(name) if path.name == file)
    load(name).fuzz(path.read_bytes())
