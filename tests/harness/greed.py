"""Somebody who wants more than his share, and somebody else who tells what it is like meanwhile."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from tests.harness.node import Node
from tests.harness.programs import compiled

PORT = 5405
FLOOD_PORT = 6000
TIMEOUT = 60.0


class Times(NamedTuple):
    """Seconds."""

    median: float
    p99: float
    worst: float


class Latency(NamedTuple):
    """Of a multicast until its own delivery, of a question until its answer."""

    mcast: Times
    query: Times

    def __str__(self) -> str:
        return ", ".join(
            f"{name} median {1000 * t.median:.1f} p99 {1000 * t.p99:.1f} worst {1000 * t.worst:.1f} ms"
            for name, t in (("mcast", self.mcast), ("query", self.query))
        )


def _line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


class Probe:
    """A well-behaved member of a group of its own; see latency_probe."""

    def __init__(self, node: Node, group: str) -> None:
        command = [sys.executable, "-m", "tests.harness.latency_probe", group]
        self.process = node.popen(command, stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
        line = _line(self.process)
        assert line == "ready", line

    def measure(self, count: int = 100, pause_ms: float = 1) -> Latency:
        """Make so many round trips."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count} {pause_ms}\n")
        self.process.stdin.flush()
        words = _line(self.process).split()
        assert words[:1] == ["MCAST"], words
        times = [float(word) / 1e6 for word in (*words[1:4], *words[5:8])]
        return Latency(Times(*times[:3]), Times(*times[3:]))


class Greedy:
    """See greedy_client; at work when this returns."""

    def __init__(self, node: Node, *arguments: object, wait: bool = True) -> None:
        command = [sys.executable, "-m", "tests.harness.greedy_client", *map(str, arguments)]
        self.process = node.popen(command, stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output: list[str] = []
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until it is at work."""
        self.output.append(_line(self.process))
        assert self.output[-1] == "ready", self.output

    def wait_closed(self) -> None:
        """Until the executive has cut it off."""
        self.output.append(_line(self.process))
        assert self.output[-1] == "closed", self.output

    def end(self) -> dict[str, int]:
        """Let it stop; what it counted."""
        output, _ = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0, output
        words = output.split()
        assert words[:1] != ["closed"], "the executive has cut it off"
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))


class Flood:
    """Datagrams from one node to another, at a rate a second; sending when this returns."""

    def __init__(self, source: Node, target: Node, frames: Iterable[bytes], rate: int) -> None:
        program = str(compiled("udp_flood"))
        ends = [source.host.address, str(FLOOD_PORT), target.host.address, str(PORT)]
        with tempfile.TemporaryFile() as file:
            file.writelines(struct.pack("=I", len(frame)) + frame for frame in frames)
            file.seek(0)
            self.process = source.popen(
                [program, *ends, str(rate)], stdin=file.fileno(), stderr=subprocess.STDOUT
            )
        line = _line(self.process)
        assert line == "ready", line

    def end(self) -> int:
        """Stop; how many were sent."""
        self.process.send_signal(signal.SIGTERM)
        line = _line(self.process)
        self.process.wait(TIMEOUT)
        match = re.fullmatch(r"sent (\d+) [\d.]+", line)
        assert match, line
        return int(match[1])


def counters(node: Node) -> dict[str, int]:
    """What the executive logs at SIGUSR2."""
    mark = node.log.mark()
    node.signal(signal.SIGUSR2)
    node.log.wait_for("all counters that are not 0", TIMEOUT, mark)
    return {key: int(number) for key, number in re.findall(r"\] (\S+) = (\d+)$", node.log.text(mark), re.M)}
