"""Where the executive's CPU time goes: a sampling profiler that a signal turns on and off.

SIGUSR1 starts it, the next one ends it and writes FILE_NAME into the working directory, which is the
state directory.  Turned off it costs nothing.  The format is that of flame graph tools: a line for each
stack, `outer;inner;innermost COUNT`, frames named `module:function`.

A sample is taken each time that the process has used another INTERVAL of CPU time, in Python code or in
what it called.  The interpreter looks at signals between its own instructions only, so time spent in C
or in the kernel counts for the Python function that called it, or, in the event loop, for the callback
that came next.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

FILE_NAME = "profile.folded"
INTERVAL = 0.001
"""Seconds of CPU time; the kernel rounds it up to its own ticks."""
TIME_MAX = 300.0
"""Seconds after which it ends by itself."""
DEPTH_MAX = 64
"""Innermost frames of a stack that are kept."""
STACKS_MAX = 10_000
"""Different stacks; what comes later counts as `other`."""

Frame = tuple[str, CodeType]
Stack = tuple[Frame, ...]

OTHER: Stack = ()


class Sampler:
    """One for the process: it owns SIGPROF and its timer while it runs.

    log: gets a line when it starts and ends.
    """

    def __init__(self, log: Callable[[str], object], directory: Path | None = None) -> None:
        self._log = log
        self._path = (directory or Path()) / FILE_NAME
        self._stacks: Counter[Stack] = Counter()
        self._ends_at = 0.0
        self.running = False

    def toggle(self) -> None:
        """Start, or end and write."""
        if self.running:
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Begin to sample."""
        self.running = True
        self._stacks.clear()
        self._ends_at = time.monotonic() + TIME_MAX
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        self._log("Profiling, until the next SIGUSR1.")

    def stop(self) -> None:
        """End, and write what was sampled."""
        self.running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        # A signal may be on its way; the default would end the process.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        samples = sum(self._stacks.values())
        try:
            self._write()
        except OSError as error:
            self._log(f"Profile could not be written to {self._path}: {error.strerror}.")
        else:
            self._log(f"Profile of {samples} samples is in {self._path.absolute()}.")
        self._stacks.clear()

    def _sample(self, number: int, frame: FrameType | None) -> None:
        stack: list[Frame] = []
        while frame is not None and len(stack) < DEPTH_MAX:
            stack.append((frame.f_globals.get("__name__", "?"), frame.f_code))
            frame = frame.f_back
        key = tuple(stack)
        self._stacks[key if key in self._stacks or len(self._stacks) < STACKS_MAX else OTHER] += 1
        if time.monotonic() >= self._ends_at:
            self.stop()

    def _write(self) -> None:
        lines = [f"{folded(stack)} {count}\n" for stack, count in self._stacks.most_common()]
        partial = self._path.with_suffix(".new")
        # Whoever waits for the file finds all of it or nothing.
        partial.write_text("".join(lines))
        os.replace(partial, self._path)


def folded(stack: Stack) -> str:
    """Outermost first, as flame graph tools read it."""
    return ";".join(f"{module}:{code.co_qualname}" for module, code in reversed(stack)) or "other"
