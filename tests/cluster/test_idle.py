"""An executive that has nothing to do costs next to nothing."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conftest import NewCluster
from tests.harness import process
from tests.harness.config_file import Settings
from tests.harness.programs import HistoryProgram
from tests.harness.wait import wait_until

WINDOW = 20.0
"""Seconds of idleness: a hundredth of it is twenty ticks of the kernel's accounting."""
CPU_MAX = 0.01
RESIDENT_MAX = 60 * 1024 * 1024


def test_idle_ring(new_cluster: NewCluster, tmp_path: Path) -> None:
    """Three nodes with default timeouts, a member of a group on each, nobody says anything."""
    cluster = new_cluster("aaa", Settings(totem={}))
    cluster.start()
    programs = [HistoryProgram(node, "idle", tmp_path) for node in cluster.nodes.values()]
    for program in programs:
        program.wait_ready()
    pids = [node.pid for node in cluster.nodes.values()]
    started = time.monotonic()
    before = [process.cpu_seconds(pid) for pid in pids]
    wait_until(lambda: time.monotonic() >= started + WINDOW, WINDOW + 10, "the window's end", poll=0.5)
    elapsed = time.monotonic() - started
    used = [process.cpu_seconds(pid) - first for pid, first in zip(pids, before, strict=True)]
    resident = [process.resident_bytes(pid) for pid in pids]
    shares = ", ".join(f"{100 * cpu / elapsed:.2f} %" for cpu in used)
    print(f"\nidle: CPU {shares}; resident {', '.join(f'{size / 1e6:.1f} MB' for size in resident)}")
    assert max(used) / elapsed < CPU_MAX
    assert max(resident) < RESIDENT_MAX
