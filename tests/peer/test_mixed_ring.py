"""aisexec and Debian's corosync 3.1.7 in one ring, through everything that can happen to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import need
from tests.harness import scenarios
from tests.harness.rings import Rings
from tests.harness.scenarios import SCENARIOS, Scenario

MIXES = os.environ.get("AISEXEC_TEST_MIXES", "ssa aas").split()
"""Kinds of nodes 1, 2, 3 (s stock, a aisexec); the first is the ring's representative."""

UDP_MIXES = os.environ.get("AISEXEC_TEST_UDP_MIXES", MIXES[-1]).split()
"""On udp, where only the way of the frames differs: one of them, for the sake of the time."""

RINGS = [(mix, "udpu") for mix in MIXES] + [(mix, "udp") for mix in UDP_MIXES]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize(("mix", "transport"), RINGS)
def test_ring_stands(mix: str, transport: str, scenario: Scenario, rings: Rings, tmp_path: Path) -> None:
    need(mix)
    scenarios.check(scenario, rings.get(mix, transport), tmp_path)
