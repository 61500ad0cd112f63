"""The benchmark against real rings: both clients, the command, the profiler, and what it finds wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report, ring
from tests.bench.plan import OURS, QUICK, STOCK, Effort, Part
from tests.bench.ring import CLIENTS
from tests.bench.rounds import Bench
from tests.conftest import need
from tests.harness.node import Node
from tests.harness.rings import Rings
from tools.bench.build import client_command
from tools.bench.figures import BenchError
from tools.bench.member import Member
from tools.bench.wire import Mode, Senders

SECONDS = 0.3


def member(node: Node, kind: str, group: str) -> Member:
    started = Member(node.popen(client_command(kind, group, CLIENTS), stdin=subprocess.PIPE))
    started.wait_ready()
    return started


@pytest.mark.parametrize("mode", list(Mode))
def test_c_and_python_agree(mode: Mode, rings: Rings) -> None:
    """Either leads, both send, and what they report of the same run is the same."""
    need("aaa")
    cluster = rings.get("aaa", "udpu")
    members = [member(cluster[nodeid], kind, "agree") for nodeid, kind in ((1, "c"), (2, "python"), (3, "c"))]
    for each in members:
        each.wait_members(3)
    for leader in members[:2]:
        result = leader.run(mode, 700, SECONDS, interval=0.002, senders=Senders.ALL)
        assert result.problems() == []
        assert {each.node for each in result.members} == {1, 2, 3}
        assert result.messages > 3
        if mode != Mode.FLOOD:
            assert result.same_clock(leader.node)
            assert all(0 < each.seen.p50 <= each.seen.longest for each in result.members)
    for each in members:
        each.quit()


def test_a_member_that_leaves_ends_the_run(rings: Rings) -> None:
    need("aaa")
    cluster = rings.get("aaa", "udpu")
    leader, other = member(cluster[1], "c", "leaves"), member(cluster[2], "python", "leaves")
    leader.wait_members(2)
    since = leader.mark()
    leader.command("run flood 64 30 0 0 one")
    leader.wait(lambda event: event["event"] == "started", "start", 10, since)
    other.process.kill()
    with pytest.raises(BenchError, match="a member left during the run"):
        leader.wait(lambda event: event["event"] == "result", "result", 20, since)


def test_the_command(rings: Rings, tmp_path: Path) -> None:
    need("aaa")
    node = rings.get("aaa", "udpu")[2]
    folded = tmp_path / "folded"
    output = node.run(
        [
            *(sys.executable, "-m", "tools.bench", "cpg", "--json", "--size", "320"),
            *("--seconds", str(SECONDS), "--warmup", "0", "--rate", "100"),
            *("--profile", str(node.pid), "--folded", folded),
        ]
    )
    flood, ping, rate, profile = map(json.loads, output.splitlines())
    assert [run["mode"] for run in (flood, ping, rate)] == ["flood", "ping", "rate"]
    assert flood["rate"] > 0
    assert any("aisexec.totem" in line for line in profile["profile"])
    assert "gevent.hub:Hub.run;" in folded.read_text()


def test_a_round_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One point of `make bench`, with its tables."""
    need("sa")
    # Half of the time until the loss of a node is noticed.
    monkeypatch.setattr(ring, "TOKEN", 500)
    effort = Effort(SECONDS, 0.0, rounds=1, parts=frozenset({Part.ALL, Part.FAILOVER}))
    measured = Bench(effort).run()
    assert measured.problems == []
    assert [(r.ring, r.part) for r in measured.records if r.part == Part.FAILOVER] == [
        (STOCK, Part.FAILOVER),
        (OURS, Part.FAILOVER),
    ]
    assert all(r.figures["rate"] > 0 and r.figures["cpu"] > 0 for r in measured.records if r.part == Part.ALL)
    report.write(tmp_path, measured, QUICK, report.machine())
