"""corosync-blackbox on stock corosync and on aisexec, alive, dead, and what its successor makes of that."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from ipc.blackbox import read_recording, ring_path
from tests.conftest import NewCluster
from tests.harness.node import Node

KEY = "runtime.blackbox.dump_flight_data"
OURS = (sys.executable, "-m", "tools.blackbox")


def texts(node: Node, *options: str) -> list[str]:
    """The records that our command prints as JSON, by a program that knows the node's configuration."""
    command = ["env", f"COROSYNC_MAIN_CONFIG_FILE={node.configuration}", *OURS, "--json", *options]
    output = node.run(command)
    return [record["text"] for record in json.loads(output[output.index("{") :])["records"]]


@pytest.mark.parametrize("mix", ["s", "a"])
def test_the_recording_of_a_running_executive(mix: str, new_cluster: NewCluster) -> None:
    cluster = new_cluster(mix)
    cluster.start()
    node = cluster[1]
    text = node.run(OURS)
    assert "notice  [TOTEM ] " in text
    assert "A new membership (1.5) was formed. Members joined: 1" in text
    # The log file takes nothing below info.
    assert "debug   [TOTEM ] " in text
    assert "entering OPERATIONAL state." in text
    assert "entering OPERATIONAL state." not in node.log.text()
    # What happens later is in the next recording, however soon it is asked for.
    again = texts(node)
    assert len(again) > len(text.splitlines()) - 3
    assert any(line.startswith("entering OPERATIONAL") for line in again)
    # The key does what it does without our command, and keeps its value.
    before = (node.state_dir / "fdata").resolve().stat().st_mtime_ns
    node.run(["corosync-cmapctl", "-s", KEY, "str", "please"])
    assert (node.state_dir / "fdata").resolve().stat().st_mtime_ns > before
    assert f"{KEY} (str) = please" in node.run(["corosync-cmapctl", "-g", KEY])


def test_what_a_dead_executive_leaves_behind(new_cluster: NewCluster) -> None:
    cluster = new_cluster("a")
    cluster.start()
    node = cluster[1]
    node.signal(signal.SIGUSR2)
    node.log.wait_for(r"Flight data is in \S+/fdata-", 20)
    dumps = len(list(node.state_dir.glob("fdata-*")))

    node.kill()
    assert any("A new membership" in text for text in texts(node))
    killed = node.pid
    node.start()
    node.log.wait_for(rf"The executive before this one \(process {killed}\) ended without leaving\.", 20)
    cluster.wait_formed()
    assert len(list(node.state_dir.glob(f"fdata-*-{killed}"))) >= 1
    assert len(list(node.state_dir.glob("fdata-*"))) in (dumps, dumps + 1)  # named to the second

    node.signal(signal.SIGSEGV)
    node.wait()
    recording = read_recording(Path(ring_path(str(node.state_dir))).read_bytes())
    assert recording.crash.startswith("Fatal Python error: Segmentation fault")
    node.start()
    node.log.wait_for("It crashed: Fatal Python error: Segmentation fault", 20)
    cluster.wait_formed()

    mark = node.log.mark()
    node.stop()
    node.start()
    cluster.wait_formed()
    assert "ended without leaving" not in node.log.text(mark)
