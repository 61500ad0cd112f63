"""libais.sam with the executive: keys of a supervised process, and quorum, on stock's node and on ours."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from libais import cmap
from tests.conftest import NewCluster, need
from tests.harness.inside import inside
from tests.harness.node import PATIENCE, Node
from tests.harness.rings import Rings
from tests.harness.wait import wait_until

HEAD = """\
import os, signal, sys, time
from libais import errors, sam
from libais.sam import RecoveryPolicy

def say(*words):
    print(*words, flush=True)

"""


@pytest.fixture(scope="module", params=["s", "a"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of all nodes."""
    return str(request.param)


@pytest.fixture
def node(kind: str, rings: Rings) -> Node:
    """The only one of its ring."""
    need(kind)
    return rings.get(kind, "udpu")[1]


class Program:
    """Runs under supervision on a node; `keys` are those of its supervisor."""

    def __init__(self, node: Node, path: Path, program: str) -> None:
        self.path = path
        with path.open("w") as output:
            self.process = node.popen(
                [sys.executable, "-c", HEAD + textwrap.dedent(program)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.connect(node)

    def connect(self, node: Node) -> None:
        """To the executive, for the keys."""
        with inside(node):
            self._keys = cmap.Handle(retry_for=PATIENCE)

    def wait_said(self, line: str) -> None:
        """Until it has said so."""
        wait_until(lambda: line in self.lines(), PATIENCE, lambda: f"{line}: {self.lines()} {self.keys()}")

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def keys(self) -> Mapping[str, cmap.Plain]:
        return dict(self._keys.mapping(f"resources.process.{self.process.pid}."))

    def wait_state(self, state: str) -> None:
        """Until the key says so."""
        wait_until(lambda: self.keys().get("state") == state, PATIENCE, lambda: f"{state}: {self.keys()}")

    def go_on(self) -> None:
        """It waits for a line of input now and then."""
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self._keys.close()


def test_keys_follow_the_process(node: Node, tmp_path: Path) -> None:
    program = Program(
        node,
        tmp_path / "out",
        """
        handle = sam.Handle(30, RecoveryPolicy.RESTART | RecoveryPolicy.CMAP)
        instance = handle.register()
        say("registered", instance)
        os.read(0, 100)
        handle.start()
        handle.hc_send()
        os.read(0, 100)
        if instance == 1:
            os._exit(1)
        handle.stop()
        os.read(0, 100)
        handle.finalize()
        """,
    )
    program.wait_said("registered 1")
    assert dict(program.keys(), last_updated=0) == {
        "last_updated": 0,
        "poll_period": 30_000,
        "recovery": "restart",
        "state": "stopped",
    }
    program.go_on()
    program.wait_state("running")
    first = wait_until(lambda: program.keys()["last_updated"], PATIENCE, "last_updated is set")
    program.go_on()
    program.wait_said("registered 2")
    program.wait_state("stopped")
    program.go_on()
    program.wait_state("running")
    assert isinstance(first, int)
    last = program.keys()["last_updated"]
    assert isinstance(last, int)
    assert last > first
    program.go_on()
    program.wait_state("stopped")
    program.go_on()
    assert program.wait() == 0
    assert program.keys() == {}
    program.close()


@pytest.mark.parametrize("end", ["os._exit(3)", "handle.mark_failed(); time.sleep(60)"])
def test_a_failure_that_is_final_stays_visible(node: Node, tmp_path: Path, end: str) -> None:
    policy = "RESTART" if "mark" in end else "QUIT"
    program = Program(
        node,
        tmp_path / "out",
        f"""
        handle = sam.Handle(30, RecoveryPolicy.{policy} | RecoveryPolicy.CMAP)
        say("registered", handle.register())
        handle.start()
        {end}
        """,
    )
    assert program.wait() == (0 if "mark" in end else 3)
    assert program.lines() == ["registered 1"]
    assert program.keys()["state"] == "failed"
    program.close()


def test_quorum_and_a_new_executive(kind: str, new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster(kind * 2)
    cluster[1].start()
    cluster.wait_formed([1])
    program = Program(
        cluster[1],
        tmp_path / "out",
        """
        def warned(*_):
            say("warned", instance)
            os._exit(1)

        handle = sam.Handle(20, RecoveryPolicy.QUORUM_RESTART | RecoveryPolicy.CMAP)
        instance = handle.register()
        signal.signal(signal.SIGTERM, warned)
        while True:
            try:
                handle.start()
                break
            except errors.LibraryError:  # no executive
                time.sleep(0.1)
        say("started", instance)
        while True:
            time.sleep(0.05)
            handle.hc_send()
        """,
    )
    program.wait_state("waiting for quorum")
    cluster[2].start()
    program.wait_said("started 1")
    assert program.keys()["state"] == "running"
    cluster[2].kill()
    program.wait_said("warned 1")
    program.wait_state("waiting for quorum")
    program.close()
    cluster[1].kill()
    cluster.start()
    program.wait_said("started 2")
    program.connect(cluster[1])
    program.wait_state("running")
    assert program.keys()["poll_period"] == 20_000
    program.process.kill()
    program.close()
