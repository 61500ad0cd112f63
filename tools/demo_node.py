"""A node of the demo: its executive, its program, and what both have said so far."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .demo_history import History, Message
from .lab import Host

ROOT = Path(__file__).resolve().parent.parent
"""Where the packages are: the checkout, or site-packages."""
TOOLS = __package__
"""Name of this package: `tools` in a checkout, `aisexec_tools` when installed."""

END_TIMEOUT = 10.0
"""Seconds for a process to end when asked."""

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: demo
    transport: udpu
    token: 1000
    token_coefficient: 0
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
}}
system {{
    state_dir: {directory}/state
}}
logging {{
    to_stderr: no
    to_syslog: no
    to_logfile: yes
    logfile: {directory}/log
    timestamp: hires
}}
"""

NEW_RING = re.compile(r"\[TOTEM *\] (A new membership .*)")
MEMBERS = re.compile(r"\[QUORUM\] Members\[\d+\]:((?: \d+)*)")


class DemoNode:
    """Node `number` on `host`; its files are in `directory`."""

    def __init__(self, number: int, host: Host, addresses: Mapping[int, str], directory: Path) -> None:
        self.number = number
        self.host = host
        self.directory = directory
        (directory / "state").mkdir(parents=True)
        nodes = "".join(
            f"    node {{\n        nodeid: {nodeid}\n        ring0_addr: {address}\n    }}\n"
            for nodeid, address in addresses.items()
        )
        self.configuration = directory / "corosync.conf"
        self.configuration.write_text(CONFIGURATION.format(nodes=nodes, directory=directory))
        self.histories: list[History] = []
        self.ring_members: set[int] = set()
        self.group: set[int] = set()
        self.agreed = False
        self.updates = 0
        self.source: int | None = None
        self.delivered = 0
        self.contested: object = None
        self.state: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self._executive: subprocess.Popen[bytes] | None = None
        self._program: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._news: deque[str] = deque()
        self._read = 0
        self._rest = ""

    # The executive.

    def start(self) -> None:
        """Start the executive, in the foreground of its namespace."""
        self.ring_members = set()
        with (self.directory / "output").open("ab") as output:
            self._executive = subprocess.Popen(
                self.host.enter(
                    [sys.executable, "-m", "aisexec.main", "-f", "-p", "-c", str(self.configuration)]
                ),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL for the executive; its program ends by itself, as it has lost the connection."""
        assert self._executive is not None
        self._executive.kill()
        self._executive.wait()
        self._executive = None
        if self._program is not None:
            self._finish(self._program)

    def stop(self) -> int:
        """Ask the executive to leave the ring; its exit status."""
        assert self._executive is not None
        process, self._executive = self._executive, None
        process.terminate()
        try:
            return process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    @property
    def alive(self) -> bool:
        """Does the program run?"""
        return self._program is not None

    def news(self) -> list[str]:
        """What the executive logged of its membership, and the program of its, since the last call."""
        log = self.directory / "log"
        if log.exists():
            with log.open(errors="replace") as file:
                file.seek(self._read)
                *lines, self._rest = (self._rest + file.read()).split("\n")
                self._read = file.tell()
            for line in lines:
                self._logged(line)
        lines = []
        while self._news:
            lines.append(f"node {self.number}  {self._news.popleft()}")
        return lines

    def _logged(self, line: str) -> None:
        if ring := NEW_RING.search(line):
            self._news.append(f"executive  {ring[1]}")
        elif members := MEMBERS.search(line):
            self.ring_members = {int(member) for member in members[1].split()}

    def trouble(self) -> str:
        """Why the play cannot go on; empty when nothing is wrong."""
        if self._executive is not None and self._executive.poll() is not None:
            return (
                f"the executive of node {self.number} ended with status {self._executive.returncode}\n"
                + self.errors()
            )
        if self._program is not None and self._program.poll() is not None:
            return (
                f"the program of node {self.number} ended with status {self._program.returncode}\n"
                + self.errors()
            )
        return ""

    def errors(self) -> str:
        """What both wrote to standard error."""
        return (self.directory / "output").read_text(errors="replace")[-2000:]

    # The program.

    def start_program(self, rate: int) -> None:
        """Start the program, which writes `rate` updates a second."""
        self.agreed = False
        self.group = set()
        with (self.directory / "output").open("ab") as output:
            self._program = subprocess.Popen(
                self.host.enter([sys.executable, "-m", f"{TOOLS}.kv", "--rate", str(rate)]),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        history = History(self.number)
        self.histories.append(history)
        self._reader = threading.Thread(target=self._listen, args=(self._program, history), daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """Give the program a command."""
        assert self._program is not None
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()

    def end_program(self) -> None:
        """Tell the program to end, and wait for it."""
        if self._program is not None:
            self.tell("quit")
            self._finish(self._program)

    def _finish(self, program: subprocess.Popen[str]) -> None:
        try:
            program.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        self._program = None
        if self._reader is not None:
            self._reader.join(END_TIMEOUT)
        if program.stdin is not None:
            program.stdin.close()

    def _listen(self, program: subprocess.Popen[str], history: History) -> None:
        assert program.stdout is not None
        with program.stdout:
            for line in program.stdout:
                self._heard(json.loads(line), history)

    def _heard(self, event: dict[str, Any], history: History) -> None:
        match event:
            case {"event": "deliver", "from": sender, "hash": text}:
                node, pid = sender
                history.delivered(Message(node, pid, text))
                self.delivered += 1
            case {"event": "view", "ring": ring, "members": members}:
                self.agreed = False
                self.group = {node for node, _ in members}
                history.changed(ring, members)
            case {"event": "agreed", "from": source, "updates": updates}:
                self.source, self.updates = source, updates
                self.agreed = True
                nodes = ", ".join(map(str, sorted(self.group)))
                self._news.append(f"program    group is now {nodes}; agreed on a table of {updates} updates")
            case {"event": "value", "value": value}:
                self.contested = value
            case {"event": "table"}:
                self.state = event
            case {"event": "end"}:
                self.end = event

    def close(self) -> None:
        """End both, without asking."""
        for process in (self._program, self._executive):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
