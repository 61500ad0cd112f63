"""A client process that is a member of the benchmark's group, C or Python: commands in, JSON lines out."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from .figures import BenchError, Result, parse_result
from .wire import Mode, Senders

SLACK = 60.0
"""Seconds beyond the time of sending: for what is still under way, and the reports."""
END_TIMEOUT = 10.0


class Member:
    """Owns the process, which was started with pipes and text mode."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self.node = 0
        """Known after `wait_ready`."""
        self.pid = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        # The pipe is closed under us when the process is done away with.
        with contextlib.suppress(ValueError, OSError):
            for line in self.process.stdout:
                with self._changed:
                    with contextlib.suppress(json.JSONDecodeError):
                        self._events.append(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def mark(self) -> int:
        """Where the next event will be."""
        with self._changed:
            return len(self._events)

    def wait(
        self, wanted: Callable[[dict[str, Any]], bool], what: str, timeout: float, since: int = 0
    ) -> dict[str, Any]:
        """The first event from `since` on; BenchError when the client says `error`, ends, or is too slow."""
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for event in self._events[position:]:
                    if wanted(event):
                        return event
                    if event.get("event") == "error":
                        raise BenchError(f"client on node {self.node or '?'}: {event.get('text')}")
                position = len(self._events)
                if self._ended:
                    raise BenchError(f"the client on node {self.node or '?'} has ended; waited for {what}")
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise BenchError(f"the client on node {self.node or '?'}: no {what} in {timeout:g} s")

    def wait_ready(self, timeout: float = SLACK) -> None:
        """Until it has joined."""
        event = self.wait(lambda event: event.get("event") == "ready", "join", timeout)
        self.node, self.pid = event["node"], event["pid"]

    def wait_members(self, count: int, timeout: float = SLACK) -> list[tuple[int, int]]:
        """Until that many are in the group; node and process id of each."""
        event = self.wait(
            lambda event: event.get("event") == "members" and len(event["members"]) == count,
            f"group of {count} members",
            timeout,
        )
        return [(node, pid) for node, pid in event["members"]]

    def members(self) -> list[tuple[int, int]]:
        """The group as it was told last."""
        with self._changed:
            changes = [event for event in self._events if event.get("event") == "members"]
        return [(node, pid) for node, pid in changes[-1]["members"]] if changes else []

    def command(self, line: str) -> None:
        """One line of input."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except OSError:
            raise BenchError(f"the client on node {self.node or '?'} has ended") from None

    def run(
        self,
        mode: Mode,
        size: int,
        seconds: float,
        *,
        warmup: float = 0.0,
        interval: float = 0.0,
        senders: Senders = Senders.ONE,
    ) -> Result:
        """Measure: all members take part. Times in seconds; BenchError."""
        since = self.mark()
        self.command(
            f"run {mode.name.lower()} {size} {seconds:.6f} {warmup:.6f} {interval * 1e6:.6f} "
            f"{senders.name.lower()}"
        )
        event = self.wait(
            lambda event: event.get("event") == "result", "result", warmup + seconds + SLACK, since
        )
        return parse_result(event)

    def quit(self) -> None:
        """Let it leave; kill it when it does not."""
        with contextlib.suppress(BenchError):
            self.command("quit")
        try:
            self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
