"""An unmodified program over Debian's libcfg cannot tell our executive from corosync."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewCluster, need
from tests.harness.conformance import PROGRAM_TIMEOUT, calls_left_out
from tests.harness.programs import compiled

PROGRAM = "cfg_conformance"


def test_every_call_is_made() -> None:
    """The program covers the whole header."""
    need("a")
    assert calls_left_out(PROGRAM, "cfg.h", "corosync_cfg_", 15) == set()


@pytest.mark.parametrize("what", ["queries", "votes"])
def test_that_leave_the_node_as_it_is(what: str, new_cluster: NewCluster) -> None:
    transcripts = []
    for mix in ("ss", "aa", "as"):
        cluster = new_cluster(mix)
        cluster.start()
        transcripts.append(cluster[1].run([compiled(PROGRAM), what], PROGRAM_TIMEOUT).splitlines())
    stock, ours, beside_stock = transcripts
    assert stock[-1] == "== end"
    assert ours == stock
    assert beside_stock == stock


@pytest.mark.parametrize("how", ["plain", "agreed", "regardless", "immediate"])
def test_that_end_the_node(how: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    transcripts, statuses = [], []
    for mix in "sa":
        cluster = new_cluster(mix)
        cluster.start()
        transcripts.append(cluster[1].run([compiled(PROGRAM), how], PROGRAM_TIMEOUT).splitlines())
        statuses.append(cluster[1].wait())
        assert "[CFG   ] Node 1 was shut down by sysadmin" in cluster[1].log.text(0)
    stock, ours = transcripts
    assert stock[-1] == "== end"
    assert ours == stock
    assert statuses == [0, 0]


def test_killing_another_node(new_cluster: NewCluster) -> None:
    for mix in ("ss", "sa", "as"):
        cluster = new_cluster(mix)
        cluster.start()
        output = cluster[1].run([compiled(PROGRAM), "kill"], PROGRAM_TIMEOUT)
        assert output.splitlines() == ["kill_node 2: OK", "finalize: OK", "== end"]
        assert cluster[2].wait() == 255
        assert "Killed by node 1 : it is in the way" in cluster[2].log.text(0)
        cluster.wait_formed([1])
