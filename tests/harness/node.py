"""A node of a test cluster: one executive in its host's namespace, stock corosync's or ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ipc.blackbox import ring_path
from tests.harness import process
from tests.harness.config_file import Settings, corosync_conf
from tests.harness.log_file import LogFile, Membership
from tests.harness.wait import wait_until
from tools.lab import Host

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds for a process to start or to end."""


class Node(ABC):
    """Everything that can be done with a node; `log` keeps what several runs of it logged."""

    kind: str

    def __init__(
        self, nodeid: int, host: Host, directory: Path, settings: Settings, nodes: Mapping[int, str]
    ) -> None:
        self.nodeid = nodeid
        self.host = host
        self.directory = directory
        self.state_dir = directory / "state"
        self.state_dir.mkdir(parents=True)
        self.log = LogFile(directory / "log")
        self.configuration = directory / "corosync.conf"
        self.configuration.write_text(corosync_conf(settings, nodes, self.log.path, self.state_dir))
        self.started_at = 0
        """Position in the log where the present run begins."""
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: list[int] = []
        self._programs: list[subprocess.Popen[str]] = []

    @abstractmethod
    def command(self) -> list[str]:
        """The executive's command line, in the foreground."""

    def __repr__(self) -> str:
        return f"<{self.kind} node {self.nodeid}>"

    # The executive.

    @property
    def pid(self) -> int:
        """Process id of the running executive."""
        assert self._process is not None, f"{self} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Is the executive alive (stopped by SIGSTOP counts)?"""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the executive; returns when it logs, long before it has found the others."""
        assert not self.running, f"{self} runs already"
        self.started_at = self.log.mark()
        self._process = subprocess.Popen(
            self.host.enter(self.command(), private_run=True),
            cwd=ROOT,
            env={**os.environ, "COROSYNC_MAIN_CONFIG_FILE": str(self.configuration)},
            stdin=subprocess.DEVNULL,
            stdout=(self.directory / "output").open("ab"),
            stderr=subprocess.STDOUT,
        )
        self._pids.append(self._process.pid)
        wait_until(
            lambda: self.log.mark() > self.started_at or not self.running,
            PATIENCE,
            lambda: f"{self} logs\n{self.output()}",
        )
        assert self.running, f"{self} ended with status {self._process.returncode}\n{self.output()}"

    def signal(self, number: int) -> None:
        """Send the executive a signal."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Ask it to leave the ring and end (SIGTERM); returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL: the node is gone without a word."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status, negative after a signal."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} does not end\n{self.output()}") from None

    def pause(self) -> None:
        """SIGSTOP; returns when it has stopped."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: process.state(self.pid) == "T", PATIENCE, f"{self} stopped")

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def membership(self) -> Membership | None:
        """The ring it is in, by its log."""
        return self.log.present_membership(self.started_at)

    def output(self) -> str:
        """The end of what it wrote to standard output and error, for a failure's text."""
        path = self.directory / "output"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    # Programs beside it.

    def popen(
        self,
        arguments: Sequence[str | Path],
        *,
        stdin: int | IO[str] = subprocess.DEVNULL,
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int | IO[str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program on this host; it is killed at the end of the test at the latest."""
        program = subprocess.Popen(
            self.host.enter([str(argument) for argument in arguments]),
            cwd=ROOT,
            text=True,
            bufsize=1,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self._programs.append(program)
        return program

    def run(self, arguments: Sequence[str | Path], timeout: float = PATIENCE) -> str:
        """Run a program to its end and return its output; AssertionError when it fails."""
        program = self.popen(arguments, stderr=subprocess.STDOUT)
        try:
            output, _ = program.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            output, _ = program.communicate()
            raise AssertionError(f"{arguments[0]} does not end on {self}\n{output}") from None
        assert program.returncode == 0, f"{arguments[0]} on {self}: {program.returncode}\n{output}"
        return output

    def end_programs(self) -> None:
        """Kill what `popen` started and still runs."""
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.wait(PATIENCE)
            for stream in (program.stdin, program.stdout):
                if stream is not None:
                    stream.close()
        self._programs.clear()

    def close(self) -> None:
        """End everything on this host."""
        self.end_programs()
        if self.running:
            self.kill()
        for pid in self._pids:
            process.remove_shared_memory_of(pid)
        Path(ring_path(str(self.state_dir))).unlink(missing_ok=True)


class StockNode(Node):
    """Debian's corosync."""

    kind = "stock"

    def command(self) -> list[str]:
        return ["corosync", "-f", "-c", str(self.configuration)]


class AisexecNode(Node):
    """Ours."""

    kind = "aisexec"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "aisexec.main", "-f", "-c", str(self.configuration)]


KINDS: Mapping[str, type[Node]] = {"s": StockNode, "a": AisexecNode}
"""One letter for each kind, as in the mix `ssa`."""
