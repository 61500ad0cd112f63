"""libais.quorum and .votequorum, our corosync-quorumtool and aisexec-top, on stock and on aisexec nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NewCluster, need
from tests.harness.node import PATIENCE, ROOT, Node
from tests.harness.pair import Pair, two_rings
from tests.harness.wait import wait_until

TOOL = "corosync-quorumtool"
PYTHON = [sys.executable, "-m"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    need("sa")
    with two_rings(tmp_path_factory.mktemp("quorum")) as rings:
        yield rings


def run(node: Node, ours: bool, commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Our corosync-quorumtool or stock's, one after another; "=" in front waits for a line of -s."""
    steps = []
    for arguments in commands:
        step = {"program": TOOL, "arguments": arguments, "ours": ours, "stdin": ""}
        if arguments[:1] == ["="]:
            wait = f"until {TOOL} -s | grep -q '{arguments[1]}'; do sleep 0.02; done"
            step |= {"program": "timeout", "arguments": ["5", "sh", "-c", wait], "ours": False}
        steps.append(step)
    runner = node.popen([*PYTHON, "tests.harness.command_runner"], stdin=subprocess.PIPE)
    output, _ = runner.communicate(json.dumps(steps), timeout=60)
    assert runner.returncode == 0
    results: list[dict[str, Any]] = json.loads(output)
    for result in results:
        result["out"] = re.sub(r"^(Date: +).*", r"\1*", result["out"], flags=re.M)
    return results


def document(node: Node, *arguments: str) -> tuple[int, Any]:
    """Exit status and JSON of our tool."""
    result = run(node, True, [[*arguments, "--json"]])[0]
    return result["status"], json.loads(result["out"])


COMMANDS: list[list[str]] = [
    *([option] for option in ("-s", "-l", "-sp", "-lp", "-sH", "-lHi", "-sa", "-lai", "-oa", "-on", "-oi")),
    [],
    ["-l", "-o", "n", "operand"],
    ["-f"],
    ["-v", "2"],
    ["=", "Total votes:      3"],
    ["-s"],
    ["-e", "1"],
    ["-e", "99"],
    ["-e", "5"],
    ["=", "Expected votes:   5"],
    ["-s"],
    ["-e", "3"],
    ["=", "Expected votes:   3"],
    ["-v", "1", "-n", "1"],
    ["=", "Total votes:      2"],
    ["-e", "2"],
    ["=", "Expected votes:   2"],
    ["-v", "1", "-n", "99"],
    *(["-n", wrong] for wrong in ("0", "x", "1x", "", "4294967296", "99999999999999999999")),
    *(["-e", wrong] for wrong in ("0", "-1", "x", "2147483648", " ", "1 ")),
    *(["-v", wrong] for wrong in ("-1", "x", "2147483648")),
    ["-o", "x"],
    ["-o", ""],
    ["-Hn", "3", "-l"],
    ["--", "-V"],
]


def test_our_quorumtool_says_what_stocks_does(pair: Pair) -> None:
    for cluster in pair:
        node = cluster[1]
        results = [run(node, side, COMMANDS) for side in (False, True)]
        for command, expected, result in zip(COMMANDS, *results, strict=True):
            assert (command, result) == (command, expected)


def test_wrong_options_are_refused_as_by_stock(pair: Pair) -> None:
    wrong = [["-x"], ["-e"], ["-lz"], ["-n", "5", "-q"]]
    stock, ours = (run(pair.stock[1], side, [*wrong, ["-h"]]) for side in (False, True))
    assert [(result["status"], result["err"]) for result in ours] == [
        (result["status"], result["err"]) for result in stock
    ]
    assert set(re.findall(r"^ +-(\w)", ours[-1]["out"], re.M)) == set(
        re.findall(r"^ +-(\w)", stock[-1]["out"], re.M)
    )


def test_without_an_executive(pair: Pair) -> None:
    switch = pair.stock.network.switch
    for module in ("tools.quorumtool", "tools.top"):
        arguments = ["--once"] if module == "tools.top" else []
        done = subprocess.run(
            switch.enter([*PYTHON, module, *arguments]), cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "Cannot initialize CMAP service\n" in done.stderr or "no executive offers" in done.stderr


def test_json_and_what_if(pair: Pair) -> None:
    for cluster in pair:
        status, told = document(cluster[1], "-s")
        assert status == 0
        assert (told["provider"], told["quorate"], told["local_nodeid"]) == ("corosync_votequorum", True, 1)
        assert [(node["nodeid"], node["name"], node["local"]) for node in told["nodes"]] == [
            (1, "node1", True),
            (2, "node2", False),
        ]
        assert told["votequorum"]["flags"] == ["quorate"]
        status, told = document(cluster[1], "--what-if", "node2")
        assert (status, told["remaining"]["quorate"], told["cut_off"]["quorate"]) == (2, False, False)
        status, told = document(cluster[1], "--what-if", "node2,nobody")
        assert status == 1
        assert "known are: node1 (1), node2 (2)" in told["error"]["text"]
        status, told = document(cluster[1], "-e", "99")
        assert (status, told["error"]["name"]) == (1, "CS_ERR_INVALID_PARAM")


def test_every_call_of_the_libraries(pair: Pair) -> None:
    """The last one on these rings, because it leaves other votes behind."""
    programs = [cluster[1].popen([*PYTHON, "tests.harness.quorum_transcript"]) for cluster in pair]
    stock, ours = (program.communicate(timeout=60)[0].splitlines() for program in programs)
    assert [program.returncode for program in programs] == [0, 0]
    assert ours == stock
    assert len(stock) > 110


class Top:
    """aisexec-top --json, and its latest line."""

    def __init__(self, node: Node, path: Path) -> None:
        self.path = path
        with path.open("w") as output:
            self.process = node.popen([*PYTHON, "tools.top", "--json", "-i", "0.2"], stdout=output)

    def latest(self) -> dict[str, Any]:
        lines = self.path.read_text().splitlines()
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {"events": []}
        return found

    def wait(self, text: str) -> dict[str, Any]:
        def told() -> bool:
            return any(text in event["text"] for event in self.latest()["events"])

        wait_until(told, PATIENCE, lambda: f"{text!r} in {self.latest()}")
        return self.latest()


def displays(path: Path, number: int) -> bool:
    """Has the monitor shown the status that often?"""
    return path.read_text().count("(local)") == number


def test_top_and_monitor_follow_a_ring(new_cluster: NewCluster, tmp_path: Path) -> None:
    """A node dies, comes back, leaves in order; then the executive that is watched ends."""
    need("sa")
    for mix in ("sa", "as"):
        cluster = new_cluster(mix)
        cluster.start()
        top = Top(cluster[1], tmp_path / f"top-{mix}")
        top.wait("in the ring: node1, node2")
        monitors = []
        for name, command in (("stock", ["stdbuf", "-oL", TOOL]), ("ours", [*PYTHON, "tools.quorumtool"])):
            with (tmp_path / f"{name}-{mix}").open("w") as output:
                monitors.append(cluster[1].popen([*command, "-m"], stdout=output, stderr=subprocess.STDOUT))
        texts = [tmp_path / f"{name}-{mix}" for name in ("stock", "ours")]
        cluster[2].kill()
        lost = top.wait("quorum LOST")
        assert "did not answer" in lost["nodes"][1]["left"]["why"]
        assert (lost["nodes"][1]["status"], lost["quorate"]) == ("left", False)
        cluster[2].start()
        cluster.wait_formed()
        back = top.wait("node2 joined")
        assert back["nodes"][1]["joins"] == 2
        cluster[2].stop()
        cluster.wait_formed([1])
        top.wait("node2 left: in order")
        for path in texts:
            wait_until(partial(displays, path, 4), PATIENCE, path.read_text)
        cluster[1].stop()
        top.wait("the executive is gone")
        assert [monitor.wait(PATIENCE) for monitor in monitors] == [1, 1]
        shown = [re.sub(r"^(Date: +).*", r"\1*", path.read_text(), flags=re.M) for path in texts]
        assert shown[1] == shown[0]
        cluster.close()
