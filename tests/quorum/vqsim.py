"""corosync-vqsim: corosync's own votequorum, one process a node, without a network."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.quorum.scripts import Script

PROGRAM = "corosync-vqsim"
END_OF_SHOW = "#autofence"
PATIENCE = 20.0
"""Seconds for an answer of the program."""
CONFIGURATION = "c.conf"
"""A longer path than seven characters is refused by the program (sizeof of a sizeof)."""


def address(place: int) -> str:
    """Of a node in the nodelist."""
    return f"192.0.2.{place + 1}"


def configuration(script: Script, state_dir: Path) -> str:
    """corosync.conf of a script's cluster."""
    nodes = "".join(
        f"    node {{\n        nodeid: {nodeid}\n        ring0_addr: {address(place)}\n"
        f"        quorum_votes: {script.votes.get(nodeid, 1)}\n    }}\n"
        for place, nodeid in enumerate(script.nodes)
    )
    quorum = "".join(f"    {key}: {value}\n" for key, value in script.quorum.items())
    keys = "".join(f"        {key}: {value}\n" for key, value in script.device.items())
    device = f"    device {{\n{keys}    }}\n" if script.device else ""
    return (
        "totem {\n    version: 2\n    cluster_name: judge\n    transport: udpu\n}\n"
        f"nodelist {{\n{nodes}}}\n"
        f"quorum {{\n    provider: corosync_votequorum\n{quorum}{device}}}\n"
        f"system {{\n    state_dir: {state_dir}\n}}\n"
        "logging {\n    to_stderr: no\n    to_syslog: no\n}\n"
    )


class Vqsim:
    """The program on a script's cluster; a context manager."""

    def __init__(self, script: Script, directory: Path) -> None:
        state = directory / "state"
        state.mkdir(parents=True, exist_ok=True)
        (directory / CONFIGURATION).write_text(configuration(script, state))
        self._process = subprocess.Popen(
            [PROGRAM, "-n", "-c", CONFIGURATION],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TERM": "dumb"},
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._text = ""

    def __enter__(self) -> Vqsim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._say("exit")
            self._process.wait(PATIENCE)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._selector.close()

    def settle(self, seconds: float) -> None:
        """Until nothing has been printed for so long."""
        last = time.monotonic()
        while (rest := last + seconds - time.monotonic()) > 0:
            if self._read(rest):
                last = time.monotonic()

    def run(self, command: str) -> None:
        """One command."""
        self._say(command)

    def show(self) -> list[str]:
        """The state of all nodes, one a line."""
        self._text = ""
        self._say("show")
        deadline = time.monotonic() + PATIENCE
        while END_OF_SHOW not in self._text:
            assert time.monotonic() < deadline, f"no answer: {self._text}"
            self._read(0.1)
        lines = self._text.split(END_OF_SHOW)[0].splitlines()
        first = next((i for i, line in enumerate(lines) if line.endswith("show")), -1)
        return [line for line in lines[first + 1 :] if line and not line.startswith("#")]

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read(self, timeout: float) -> bool:
        if not self._selector.select(timeout):
            return False
        assert self._process.stdout is not None
        data = self._process.stdout.read()
        if not data:
            assert self._process.poll() is None, f"{PROGRAM} has ended: {self._text}"
            return False
        self._text += data.decode()
        return True
