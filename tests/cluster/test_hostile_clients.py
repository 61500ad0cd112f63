"""A client that breaks every rule is closed, alone: its neighbours and the executive do not notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.harness import process
from tests.harness.hostile_client import ACTS, GROUP, never_reads
from tests.harness.node import Node
from tests.harness.programs import HistoryProgram
from tests.harness.rings import Rings
from tests.harness.wait import wait_until

MIX = "a"
TIMEOUT = 60.0
SENT_BEFORE = 5
FLOOD = 200
FLOOD_SIZE = 1_000_000
"""Bytes; together more than is kept for a client that does not read."""
GROWTH_MAX = 48 * 1024 * 1024
"""Bytes of memory that may still be held after the flood; the queue of one client alone was 64 MB."""

QUIET = sorted(set(ACTS) - {never_reads.__name__})


def talk(program: HistoryProgram, count: int, size: int) -> None:
    """The bystander sends to itself and gets it all."""
    program.send(count, size, size, 1)
    program.wait_sends_done(TIMEOUT)
    last = program.sent() - 1
    wait_until(
        lambda: program.has_delivered(program.member, last), TIMEOUT, f"message {last} in {program.path}"
    )


def start_act(node: Node, name: str, argument: str = "") -> subprocess.Popen[str]:
    return node.popen(
        [sys.executable, "-m", "tests.harness.hostile_client", name, argument], stderr=subprocess.STDOUT
    )


@pytest.mark.parametrize("name", QUIET)
def test_only_the_offender_is_closed(name: str, rings: Rings, tmp_path: Path) -> None:
    need(MIX)
    node = rings.get(MIX, "udpu")[1]
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(10_000))
    bystander = HistoryProgram(node, GROUP.decode(), tmp_path)
    bystander.wait_ready()
    talk(bystander, SENT_BEFORE, 100)
    descriptors, shared = process.descriptors(node.pid), process.shared_memory_of(node.pid)
    mark = node.log.mark()
    act = start_act(node, name, str(victim))
    output, _ = act.communicate(timeout=TIMEOUT)
    assert output in ("closed\n", "done\n"), output
    talk(bystander, SENT_BEFORE, 100)
    wait_until(
        lambda: (process.descriptors(node.pid), process.shared_memory_of(node.pid)) == (descriptors, shared),
        TIMEOUT,
        lambda: f"{descriptors} descriptors, is {process.descriptors(node.pid)}; {node.log.text(mark)}",
    )
    assert victim.stat().st_size == 10_000
    assert "Traceback" not in node.output()
    assert len(node.log.text(mark).splitlines()) < 20
    assert not bystander.history().errors
    bystander.quit()


def test_client_that_never_reads(rings: Rings, tmp_path: Path) -> None:
    """It is closed when its queue is too long; the others go on, and the memory comes back."""
    need(MIX)
    node = rings.get(MIX, "udpu")[1]
    bystander = HistoryProgram(node, GROUP.decode(), tmp_path)
    bystander.wait_ready()
    talk(bystander, 3, FLOOD_SIZE)
    resident = process.resident_bytes(node.pid)
    mark = node.log.mark()
    act = start_act(node, never_reads.__name__)
    assert act.stdout is not None
    assert act.stdout.readline() == "joined\n"
    talk(bystander, FLOOD, FLOOD_SIZE)
    assert act.wait(TIMEOUT) == 0
    assert act.stdout.read() == "closed\n"
    talk(bystander, SENT_BEFORE, 100)
    lines = [line for line in node.log.text(mark).splitlines() if str(act.pid) in line]
    assert lines, f"a line that names the client {act.pid}: {node.log.text(mark)}"
    assert process.resident_bytes(node.pid) - resident < GROWTH_MAX
    assert not bystander.history().errors
    bystander.quit()
