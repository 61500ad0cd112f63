"""A long message of ours that a joining node cuts in two arrives whole and once at stock nodes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings

COUNT = 150
SIZE = 900_000

SENDER = """
import sys, zlib
from libais import cpg
count, size = map(int, sys.argv[1:3])
with cpg.Handle(retry_for=60) as handle:
    handle.join("long")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        body = number.to_bytes(4, "little") * (size // 4)
        handle.mcast_joined(zlib.crc32(body).to_bytes(4, "little") + body)
        handle.dispatch(cpg.Dispatch.ALL)
        if number == count // 5:
            print("on the way", flush=True)
    sys.stdin.readline()
"""

RECEIVER = """
import sys, zlib
from libais import cpg
count = int(sys.argv[1])
with cpg.Handle() as handle:
    handle.join("long")
    print("ready", flush=True)
    numbers = []
    for event in handle.events(timeout=60):
        if isinstance(event, cpg.Deliver):
            message = bytes(event.message)
            assert zlib.crc32(message[4:]) == int.from_bytes(message[:4], "little")
            numbers.append(int.from_bytes(message[4:8], "little"))
            if len(numbers) == count:
                break
    assert numbers == list(range(count)), numbers
    print("all there", flush=True)
"""


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_joining_node_cuts_a_message(tmp_path: Path, transport: str) -> None:
    with Cluster("ass", tmp_path, Settings(transport=transport)) as cluster:
        cluster[1].start()
        cluster[2].start()
        cluster.wait_formed([1, 2])
        receivers = [cluster[n].popen([sys.executable, "-c", RECEIVER, str(COUNT)]) for n in (1, 2)]
        sender = cluster[1].popen([sys.executable, "-c", SENDER, str(COUNT), str(SIZE)], stdin=-1)
        for program in (*receivers, sender):
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
        assert sender.stdin is not None
        sender.stdin.write("go\n")
        sender.stdin.flush()
        assert sender.stdout is not None
        assert sender.stdout.readline() == "on the way\n"
        cluster[3].start()
        cluster.wait_formed()
        for program in receivers:
            assert program.stdout is not None
            assert program.stdout.readline() == "all there\n"
        sender.stdin.write("end\n")
        sender.stdin.flush()
        assert sender.wait(20) == 0
