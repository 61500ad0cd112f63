"""Machines with an executive each, stock corosync's or ours, one ring between them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.drop_in.machine import Machine
from tests.harness.cluster import FORMATION_TIMEOUT, prefix
from tests.harness.config_file import Settings, corosync_conf
from tests.harness.faults import Faults
from tests.harness.wait import wait_until
from tools.lab import Network

LOG = Path("/var/log/corosync/corosync.log")
STATE = Path("/var/lib/corosync")
EXECUTIVES: Mapping[str, list[str]] = {
    "s": ["corosync", "-f"],
    "a": [sys.executable, "-m", "aisexec.main", "-f"],
}
"""One letter for each kind of node, as `tests.harness.node.KINDS` has it."""

T = TypeVar("T")


class ClusterNode:
    """A machine that runs an executive; its tools are stock's on both kinds."""

    def __init__(self, nodeid: int, kind: str, machine: Machine) -> None:
        self.nodeid = nodeid
        self.kind = kind
        self.machine = machine
        self._executive: subprocess.Popen[str] | None = None

    def __repr__(self) -> str:
        return f"<node {self.nodeid} ({self.kind})>"

    @property
    def name(self) -> str:
        """As in the nodelist, and its host name."""
        return self.machine.name

    def start(self) -> None:
        """Switch the machine on, if it is not, and start the executive."""
        if not self.machine.up:
            self.machine.boot()
        self._executive = self.machine.daemon(EXECUTIVES[self.kind], "executive")

    def stop(self) -> int:
        """Let the executive leave the ring; its exit status."""
        assert self._executive is not None
        return self.machine.end(self._executive, signal.SIGTERM)

    def kill(self) -> None:
        """The executive is gone, the machine is not."""
        assert self._executive is not None
        self.machine.end(self._executive, signal.SIGKILL)

    def wait_ended(self) -> int:
        """Wait for the executive's end; its exit status."""
        assert self._executive is not None
        return self.machine.wait_end(self._executive)

    def quorum(self) -> dict[str, str]:
        """The `Name: value` lines of corosync-quorumtool; empty while nobody answers."""
        if not self.machine.up:
            return {}
        status, output = self.machine.call(["corosync-quorumtool", "-s"])
        # 0 is quorate, 2 is not.
        if status not in (0, 2):
            return {}
        pairs = (line.split(":", 1) for line in output.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, value in pairs}

    def complaints(self) -> list[str]:
        """What an executive of ours logged that should not happen: errors, worse, and traces of Python."""
        if self.kind == "s":
            return []
        text = self.machine.path("var/log/corosync/executive").read_text(errors="replace")
        return re.findall(r"^.* (?:error|crit|alert|emerg) +\[.*|^Traceback.*", text, re.M)

    def log_end(self) -> str:
        """For a failure's text."""
        parts = []
        for path in ("var/log/corosync/executive", "var/log/pacemaker/pacemaker.log"):
            file = self.machine.path(path)
            if file.exists():
                parts.append(f"--- {self.name} {path}\n{file.read_text(errors='replace')[-3000:]}")
        return "\n".join(parts)


class DropInCluster:
    """Nodes 1 to n of the kinds that the letters of `mix` say; a context manager that starts nothing."""

    def __init__(self, mix: str, directory: Path, settings: Settings | None = None) -> None:
        self.mix = mix
        self.network = Network(prefix())
        self.nodes: dict[int, ClusterNode] = {}
        self._machines: list[Machine] = []
        self.settings = settings or Settings()
        try:
            hosts = {nodeid: self.network.add_host(nodeid) for nodeid in range(1, len(mix) + 1)}
            self._addresses = {nodeid: host.address for nodeid, host in hosts.items()}
            self._faults = {nodeid: Faults(host, self._addresses) for nodeid, host in hosts.items()}
            for nodeid, kind in enumerate(mix, start=1):
                machine = Machine(f"node{nodeid}", hosts[nodeid], directory / f"node{nodeid}")
                self._machines.append(machine)
                self.nodes[nodeid] = ClusterNode(nodeid, kind, machine)
            self.configure(self.nodes)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DropInCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switch all machines off, remove the network."""
        for machine in self._machines:
            machine.close()
        self.network.close()

    def __getitem__(self, nodeid: int) -> ClusterNode:
        return self.nodes[nodeid]

    def add_machine(self, number: int, name: str, directory: Path) -> Machine:
        """One more machine at the same switch, without an executive."""
        machine = Machine(name, self.network.add_host(number), directory / name)
        self._machines.append(machine)
        return machine

    def configure(self, nodeids: Iterable[int]) -> None:
        """Write the configuration of a cluster of these nodes to all machines."""
        listed = {nodeid: self._addresses[nodeid] for nodeid in nodeids}
        text = corosync_conf(self.settings, listed, LOG, STATE)
        for node in self.nodes.values():
            node.machine.path("etc/corosync/corosync.conf").write_text(text)

    def start(self, nodeids: Iterable[int] | None = None) -> None:
        """Start these nodes (all); returns when they are together."""
        wanted = sorted(self.nodes if nodeids is None else nodeids)
        for nodeid in wanted:
            self[nodeid].start()
        self.wait_together(wanted)

    def partition(self, *sides: Collection[int]) -> None:
        """From now on nodes hear only those of their own side."""
        for side in sides:
            for nodeid in side:
                self._faults[nodeid].deaf_to = set(self.nodes) - set(side)
                self._faults[nodeid].apply()

    def heal(self) -> None:
        """The network is without fault again."""
        for faults in self._faults.values():
            faults.clear()

    def wait_together(self, nodeids: Iterable[int]) -> None:
        """Until quorum tools on these nodes count just these nodes."""
        expected = sorted(nodeids)
        self.wait_for(
            lambda: all(self[nodeid].quorum().get("Nodes") == str(len(expected)) for nodeid in expected),
            FORMATION_TIMEOUT,
            f"nodes {expected} together",
        )

    def wait_for(self, condition: Callable[[], T], timeout: float, what: str) -> T:
        """As `wait_until`, with the ends of all logs in a failure's text."""

        def explain() -> str:
            return "\n".join([what, *(node.log_end() for node in self.nodes.values())])

        return wait_until(condition, timeout, explain, poll=0.2)
