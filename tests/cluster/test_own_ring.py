"""Three nodes of aisexec, through everything that can happen to a ring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import need
from tests.harness import scenarios
from tests.harness.rings import Rings
from tests.harness.scenarios import SCENARIOS, Scenario

MIX = "aaa"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_ring_stands(transport: str, scenario: Scenario, rings: Rings, tmp_path: Path) -> None:
    need(MIX)
    scenarios.check(scenario, rings.get(MIX, transport), tmp_path)
