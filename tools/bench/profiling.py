"""Where an executive's time goes: its own sampling profiler (aisexec.sampling), and perf(1) where it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .executives import Executive
from .figures import BenchError

FILE_NAME = "profile.folded"
"""What the executive writes, in its state directory."""
ROOM_PARTS = 2
"""Parts of a module's name that make a room: aisexec.totem, ipc.server."""
SHOWN = 25
PATIENCE = 10.0
POLL = 0.05
PERF_FREQUENCY = 499
OURS = ("aisexec.", "ipc.", "libais.")

Stack = tuple[str, ...]
"""Frames `module:function`, outermost first."""


def parse_folded(text: str) -> Counter[Stack]:
    """The lines `outer;inner COUNT`; BenchError with the line that is not one."""
    stacks: Counter[Stack] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal():
            raise BenchError(f"{FILE_NAME}:{number} is not a stack and a count: {line[:80]!r}")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def room(frame: str) -> str:
    """`aisexec.totem` of `aisexec.totem.ring:Ring.receive`."""
    return ".".join(frame.partition(":")[0].split(".")[:ROOM_PARTS])


def by_room(stacks: Counter[Stack]) -> Counter[str]:
    """Samples of the innermost room of ours: what it calls elsewhere is its cost."""
    rooms: Counter[str] = Counter()
    for stack, count in stacks.items():
        inner = next((frame for frame in reversed(stack) if frame.startswith(OURS)), stack[-1])
        rooms[room(inner)] += count
    return rooms


def by_function(stacks: Counter[Stack]) -> tuple[Counter[str], Counter[str]]:
    """Samples in each function itself, and in it or below it."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for frame in set(stack):
            total[frame] += count
    return own, total


def summary(stacks: Counter[Stack]) -> list[str]:
    """Tables to print."""
    samples = sum(stacks.values())
    if not samples:
        return ["No samples: the executive used no CPU time."]
    lines = [f"{samples} samples", "", "by room"]
    lines += [f"{count / samples:7.1%}  {name}" for name, count in by_room(stacks).most_common()]
    own, total = by_function(stacks)
    lines += ["", "  in it  with what it calls"]
    for name, count in own.most_common(SHOWN):
        lines.append(f"{count / samples:7.1%} {total[name] / samples:7.1%}  {name}")
    return lines


class Profile:
    """Watches one executive from `start` to `finish`."""

    def __init__(self, executive: Executive) -> None:
        self._executive = executive
        self._folded = executive.directory / FILE_NAME
        self._samples = False
        self._perf: subprocess.Popen[bytes] | None = None
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._began = 0.0
        self._cpu = (0.0, 0.0)
        self.folded = ""
        """Stacks for flame graph tools, after `finish`."""

    def start(self) -> None:
        """Begin; BenchError when the executive cannot be watched."""
        executive = self._executive
        self._samples = executive.kind == "aisexec" and executive.catches(signal.SIGUSR1)
        if shutil.which("perf"):
            self._start_perf()
        elif not self._samples:
            raise BenchError("only aisexec profiles itself; for corosync install perf (linux-perf)")
        try:
            if self._samples:
                self._folded.unlink(missing_ok=True)
                os.kill(executive.pid, signal.SIGUSR1)
        except OSError as error:
            raise BenchError(f"executive {executive.pid} cannot be profiled: {error.strerror}") from None
        self._began = time.monotonic()
        self._cpu = executive.cpu()

    def _start_perf(self) -> None:
        self._work = tempfile.TemporaryDirectory(prefix="aisexec-bench-")
        command = ["perf", "record", "-q", "-F", str(PERF_FREQUENCY), "-p", str(self._executive.pid)]
        self._perf = subprocess.Popen(
            [*command, "-o", f"{self._work.name}/data"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def abandon(self) -> None:
        """End without a text, if it has not ended."""
        with contextlib.suppress(OSError):
            if self._samples:
                os.kill(self._executive.pid, signal.SIGUSR1)
        self._samples = False
        self._end_perf()

    def finish(self) -> str:
        """End; the text to print."""
        elapsed = time.monotonic() - self._began
        user, system = (
            after - before for after, before in zip(self._executive.cpu(), self._cpu, strict=True)
        )
        pid, kind = self._executive
        lines = [
            f"{kind}, process {pid}: {user + system:.2f} s of CPU in {elapsed:.2f} s",
            f"user {user:.2f} s, system {system:.2f} s",
        ]
        if self._samples:
            self.folded = self._take_folded()
            lines += ["", "Python; what is called in C and in the kernel counts for the caller"]
            lines += summary(parse_folded(self.folded))
        lines += self._perf_report()
        return "\n".join(lines)

    def _take_folded(self) -> str:
        if self._folded.exists():
            raise BenchError("somebody else was profiling this executive; try again")
        os.kill(self._executive.pid, signal.SIGUSR1)
        self._samples = False
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                return self._folded.read_text()
            time.sleep(POLL)
        raise BenchError(f"the executive wrote no {FILE_NAME} into its state directory: see its log")

    def _end_perf(self) -> None:
        if self._perf is None or self._perf.returncode is not None:
            return
        self._perf.send_signal(signal.SIGINT)
        try:
            self._perf.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._perf.kill()
            self._perf.wait()

    def _perf_report(self) -> Iterable[str]:
        if self._work is None:
            return
        self._end_perf()
        for title, keys, count in (("by object", "dso", 8), ("by symbol", "dso,symbol", SHOWN)):
            yield from ("", f"perf, {title}")
            yield from self._perf_lines(keys, count)
        self._work.cleanup()

    def _perf_lines(self, keys: str, count: int) -> Iterator[str]:
        assert self._work is not None
        command = ["perf", "report", "-i", f"{self._work.name}/data", "--stdio", "--sort", keys]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # Empty columns are shown as dashes.
        lines = [line.rstrip(" -") for line in done.stdout.splitlines() if line[:1] != "#"]
        shown = [line for line in lines if line][:count]
        yield from shown or ["    no samples: no CPU time was used, or kernel.perf_event_paranoid forbids it"]

    def save(self, path: Path) -> None:
        """The stacks, for flame graph tools."""
        path.write_text(self.folded)
