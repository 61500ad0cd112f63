"""A ring in namespaces with a client on every node, and what can be measured on it."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.plan import KNET, LINK_BITS, OURS, STOCK, Point
from tests.harness import process
from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.node import ROOT
from tools.bench.build import client_command
from tools.bench.figures import BenchError, Result
from tools.bench.member import Member
from tools.bench.wire import Mode
from tools.lab import Network, command

Figures = dict[str, float]

LETTERS = {STOCK: "s", OURS: "a", KNET: "s"}
GROUP = "bench"
CLIENTS = ROOT / "build" / "bench"
SUBNET = "10.79.0"
SENDER = 2
"""Not node 1, which as the ring's representative is a little nearer to the token."""
VICTIM = 3
TOKEN = 1000
TOKEN_OF_MANY = 3000
"""Milliseconds: where many nodes share few cores, a token is not lost for being late."""
FAILOVER_TIMEOUT = 30.0
CLIENT_NICE = -20
"""What else runs on the machine shall not starve the clients; the executives run with real-time priority."""
TICKS = os.sysconf("SC_CLK_TCK")

_serial = itertools.count()


class Ring:
    """`nodes` executives of a kind (`plan.RINGS`), formed, with a client each; a context manager.

    transport: instead of udpu; limited: every link carries plan.LINK_BITS.
    """

    def __init__(
        self, kind: str, nodes: int, directory: Path, *, transport: str = "udpu", limited: bool = False
    ) -> None:
        self.kind = kind
        self.nodes = nodes
        token = TOKEN if nodes <= 3 else TOKEN_OF_MANY
        settings = Settings(
            transport="knet" if kind == KNET else transport, totem={"token": token, "token_coefficient": 0}
        )
        network = Network(f"axb{os.getpid() % 10000}x{next(_serial)}", SUBNET)
        self._cluster = Cluster(LETTERS[kind] * nodes, directory, settings, network)
        self._members: dict[int, Member] = {}
        try:
            if limited:
                for host in network.hosts.values():
                    limit(host.name)
            self._cluster.start()
            self._join()
        except BaseException:
            self.close()
            raise

    def _join(self) -> None:
        # One binary for all rings.
        program = ["setsid", "nice", "-n", str(CLIENT_NICE), *client_command("c", GROUP, CLIENTS)]
        for nodeid, node in self._cluster.nodes.items():
            self._members[nodeid] = Member(node.popen(program, stdin=subprocess.PIPE))
        for member in self._members.values():
            member.wait_ready()
            prefer(member.pid)
        for member in self._members.values():
            member.wait_members(self.nodes)

    def __enter__(self) -> Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self._cluster.close()

    def pids(self) -> list[int]:
        """Of the executives."""
        return [node.pid for node in self._cluster.nodes.values()]

    def measure(
        self, point: Point, seconds: float, warmup: float, interval: float
    ) -> tuple[Figures, list[str]]:
        """One run: its figures, and which promises were not kept; BenchError."""
        pids = self.pids()
        began = time.monotonic()
        executives, machine = cpu_of(pids), busy_seconds()
        result = self._members[SENDER].run(
            point.mode, point.size, seconds, warmup=warmup, interval=interval, senders=point.senders
        )
        executives, machine = cpu_of(pids) - executives, busy_seconds() - machine
        elapsed = time.monotonic() - began
        figures = figures_of(result)
        millions = result.messages / 1e6
        if millions:
            figures["cpu"] = executives / millions
        cores = len(os.sched_getaffinity(0))
        figures["executives_share"] = executives / elapsed / cores
        figures["clients_share"] = result.client_cpu / elapsed / cores
        figures["machine_share"] = machine / elapsed / cores
        return figures, result.problems()

    def resident(self) -> float:
        """Megabytes of the largest executive, without the shared memory of clients."""
        return max(process.resident_bytes(pid) for pid in self.pids()) / 1e6

    def failover(self) -> float:
        """Seconds from SIGKILL of an executive to the last survivor's new configuration; ends the node."""
        survivors = {nodeid: member for nodeid, member in self._members.items() if nodeid != VICTIM}
        marks = {nodeid: member.mark() for nodeid, member in survivors.items()}
        killed = time.monotonic()
        self._cluster[VICTIM].kill()

        def without_victim(event: Mapping[str, Any]) -> bool:
            return event.get("event") == "members" and len(event["members"]) == len(survivors)

        times = [
            member.wait(without_victim, "configuration without the victim", FAILOVER_TIMEOUT, marks[nodeid])
            for nodeid, member in survivors.items()
        ]
        return max(float(event["time"]) / 1e9 for event in times) - killed


def figures_of(result: Result) -> Figures:
    """Of a run: rates of a flood, else latencies at the sender and the mean of the others'."""
    if result.mode == Mode.FLOOD:
        return {"rate": result.rate, "megabytes": result.megabytes}
    figures: Figures = {"offered_rate": result.rate, "behind": result.behind}
    others = [result.latency(node) for node in result.same_clock(SENDER)]
    if not others:
        raise BenchError("no other member to measure latency at")
    for name, own in result.latency(SENDER).items():
        figures[f"self_{name}"] = own
        figures[f"remote_{name}"] = sum(other[name] for other in others) / len(others)
    return figures


def prefer(pid: int) -> None:
    """Where the kernel groups processes by session (sched(7), autogroup), the nice value counts there."""
    path = Path(f"/proc/{pid}/autogroup")
    if path.exists():
        path.write_text(str(CLIENT_NICE))


def limit(host: str) -> None:
    """What the host sends waits for a link of plan.LINK_BITS."""
    shape = ["rate", str(LINK_BITS), "burst", "32kb", "latency", "50ms"]
    command("ip", "netns", "exec", host, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *shape)


def cpu_of(pids: list[int]) -> float:
    """User and system seconds so far."""
    return sum(process.cpu_seconds(pid) for pid in pids)


def busy_seconds() -> float:
    """Of all cores of the machine so far: user, nice, system, irq, softirq (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / TICKS
