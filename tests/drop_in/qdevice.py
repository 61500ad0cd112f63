"""The quorum device of the net model: qnetd on a machine of its own, qdevice on each node."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.drop_in.cluster import DropInCluster

NUMBER = 9
"""Of qnetd's host; nodes of these clusters have smaller ones."""

ADDRESS = f"10.77.0.{NUMBER}"



def configuration(algorithm: str = "ffsplit", votes: int = 1) -> str:
    """Further lines of corosync.conf.

    algorithm: with ffsplit at most one of two equal halves gets the vote; with lms the last node that is
    left gets the votes, as many as there are other nodes.
    """
    return f"""\
quorum {{
    device {{
        model: net
        votes: {votes}
        timeout: 3000
        sync_timeout: 6000
        net {{
            host: {ADDRESS}
            algorithm: {algorithm}
            tls: off
            connect_timeout: 2000
        }}
    }}
}}
"""


class QuorumDevice:
    """qnetd and the qdevice daemons of a cluster that has `configuration`."""

    def __init__(self, cluster: DropInCluster, directory: Path) -> None:
        self.cluster = cluster
        self.machine = cluster.add_machine(NUMBER, "arbiter", directory)
        assert self.machine.host.address == ADDRESS
        self._daemons: dict[int, subprocess.Popen[str]] = {}

    def start_server(self) -> None:
        """Start qnetd, without TLS, and wait until it answers."""
        self.machine.boot()
        self.machine.path("run/corosync-qnetd").mkdir(exist_ok=True)
        # It reads its settings from a directory that the others of this machine do not need.
        self.machine.daemon(["corosync-qnetd", "-f", "-s", "off"], "qnetd")
        self.cluster.wait_for(
            lambda: self.machine.call(["corosync-qnetd-tool", "-s"])[0] == 0, 20, "qnetd answers"
        )

    def start(self, nodeid: int) -> None:
        """Start qdevice on a node whose executive runs."""
        machine = self.cluster[nodeid].machine
        machine.path("run/corosync-qdevice").mkdir(exist_ok=True)
        self._daemons[nodeid] = machine.daemon(["corosync-qdevice", "-f", "-d"], "qdevice")

    def stop(self, nodeid: int) -> int:
        """Let it unregister and end."""
        return self.cluster[nodeid].machine.end(self._daemons.pop(nodeid))

    def wait_votes(self, expected: Mapping[int, tuple[int, bool, str]], timeout: float = 40.0) -> None:
        """Until quorum tools say this on each node: total votes, quorate, the device's state.

        The state is that of the node's own entry in the list of members: A or NA for alive or not,
        V or NV for votes or not, MW or NMW for master wins or not, NR for no device.
        """
        seen: dict[int, tuple[int, bool, str]] = {}

        def right() -> bool:
            seen.update({nodeid: self._votes(nodeid) for nodeid in expected})
            return seen == dict(expected)

        try:
            self.cluster.wait_for(right, timeout, f"votes {dict(expected)}")
        except AssertionError as error:
            raise AssertionError(f"{error}\nseen: {seen}\n{self._logs()}") from None

    def _votes(self, nodeid: int) -> tuple[int, bool, str]:
        status, text = self.cluster[nodeid].machine.call(["corosync-quorumtool"])
        total = re.search(r"^Total votes: *(\d+)", text, re.M)
        device = re.search(r"^ *\d+ +\d+ +([A-Z,]+) .*\(local\)", text, re.M)
        # The exit status is 2 on a node that is not quorate.
        return (int(total[1]) if total else 0, status == 0, device[1] if device else "")

    def _logs(self) -> str:
        parts = []
        for machine, log in [
            *((node.machine, "qdevice") for node in self.cluster.nodes.values()),
            (self.machine, "qnetd"),
        ]:
            file = machine.path("var/log/corosync") / log
            if file.exists():
                parts.append(f"--- {machine.name} {log}\n{file.read_text(errors='replace')[-3000:]}")
        return "\n".join(parts)
