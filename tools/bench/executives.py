"""The executives that run on this machine, aisexec or corosync, as /proc shows them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

from .figures import BenchError

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


class Executive(NamedTuple):
    """A running process; kind: aisexec or corosync."""

    pid: int
    kind: str

    def cpu(self) -> tuple[float, float]:
        """User and system seconds so far; BenchError when it is gone."""
        try:
            fields = (PROC / str(self.pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            raise BenchError(f"the executive with process id {self.pid} has ended") from None
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    @property
    def directory(self) -> Path:
        """Its working directory, which is its state directory; valid from any mount namespace."""
        return PROC / str(self.pid) / "cwd"

    def catches(self, number: signal.Signals) -> bool:
        """Has it a handler for this signal?"""
        with contextlib.suppress(OSError):
            for line in (PROC / str(self.pid) / "status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
        return False


def kind_of(arguments: list[str]) -> str:
    """By the command line; empty when it is no executive."""
    words = [Path(argument).name for argument in arguments[:4]]
    if words[:1] == ["corosync"]:
        return "corosync"
    python = bool(words) and words[0].startswith("python")
    module = "-m" in words and "aisexec.main" in words
    return "aisexec" if module or words[:1] == ["aisexec"] or (python and "aisexec" in words[1:2]) else ""


def look_at(pid: int) -> Executive | None:
    """The executive with this process id."""
    with contextlib.suppress(OSError):
        arguments = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if kind := kind_of(arguments):
            return Executive(pid, kind)
    return None


def running() -> list[Executive]:
    """All of this machine that /proc shows us."""
    found = (look_at(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return [executive for executive in found if executive is not None]


def choose(wanted: str) -> Executive:
    """By process id, or `auto`: the only one there is; BenchError."""
    if wanted != "auto":
        executive = look_at(int(wanted))
        if executive is None:
            raise BenchError(f"process {wanted} is neither aisexec nor corosync")
        return executive
    there = running()
    if len(there) == 1:
        return there[0]
    if not there:
        raise BenchError("no executive runs on this machine: start aisexec or corosync first")
    shown = ", ".join(f"{executive.pid} ({executive.kind})" for executive in there)
    raise BenchError(f"several executives run here, say which one: --profile PID, one of {shown}")
