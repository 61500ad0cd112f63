"""A real executive and its watchdog device, which is a FIFO here: what is written to it at the end."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import NewCluster
from tests.harness.config_file import Settings


def written(reader: int) -> bytes:
    try:
        return os.read(reader, 100)
    except BlockingIOError:
        return b""


def test_only_an_end_in_good_order_stops_the_watchdog(new_cluster: NewCluster, tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    cluster = new_cluster("a", Settings(extra=f"resources {{\n    watchdog_device: {device}\n}}\n"))
    node = cluster[1]
    cluster.start()
    node.log.wait_for(rf"Watchdog {device} is now being tickled by aisexec\.", 20)
    assert node.stop() == 0
    assert written(reader) == b"V"
    cluster.start()
    node.kill()
    assert written(reader) == b""

    # A configuration that is wrong never gets as far.
    good = node.configuration.read_text()
    node.configuration.write_text(good.replace("transport: udpu", "transport: pigeons"))
    mark = node.log.mark()
    failed = node.popen([*node.command()])
    assert failed.wait(20) != 0
    assert "tickled" not in node.log.text(mark)
    assert written(reader) == b""
    os.close(reader)
