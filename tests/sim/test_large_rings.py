"""Rings as large as corosync's manuals speak of; `python -m aisexec.sim.large 32 64` has the bigger ones."""

from __future__ import annotations

import pytest

from aisexec.sim.large import allowed, measure


@pytest.mark.parametrize("nodes", [12, 32])
def test_large_rings_change_as_fast_as_their_timeouts_allow(nodes: int) -> None:
    measured, most = measure(nodes), allowed(nodes)
    assert 0 < measured.form <= most.form
    assert 0 < measured.merge <= most.merge
    # Nobody may be given up earlier than the token and consensus timeouts say.
    least = most.lose - 2.0
    assert 0.9 * least <= measured.lose <= most.lose
