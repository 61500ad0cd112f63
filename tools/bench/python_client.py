"""The client in Python, for machines without compiler or libcpg: same commands, same output, same group.

    python -m tools.bench.python_client GROUP

See client/main.c for what it does; here a message costs tens of microseconds, so that it measures
itself rather than a fast executive.
"""

from __future__ import annotations

import json
import os
import select
import struct
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

from libais import cpg
from libais.errors import CsException, TryAgainError

from .figures import percentile
from .wire import (
    HEAD,
    MEMBERS_MAX,
    PLAN,
    REPORT,
    SIZE_MAX,
    Head,
    Kind,
    Mode,
    Plan,
    Report,
    Senders,
    boot_number,
    content,
    next_digest,
    pack_head,
    pack_plan,
    pattern,
    unpack_head,
    unpack_plan,
)

BURST = 16
"""Messages between two looks at what has arrived."""
AHEAD_BYTES = 8 * 1024 * 1024
AHEAD_MESSAGES = 20_000
"""Sent and not yet delivered."""
RETRY_PAUSE = 0.001
CONNECT_PATIENCE = 20.0
LINE_MAX = 256
SAMPLES_MAX = 4_000_000
EXIT_LOST = 3

Address = tuple[int, int]
"""node, process"""


def tell(event: str, **more: object) -> None:
    """A line of output."""
    print(json.dumps({"event": event, **more}), flush=True)


class Tally:
    """What has arrived in a run."""

    def __init__(self, plan: Plan, members: list[Address], leader: Address, now: int) -> None:
        self.members = members
        self._expected = dict.fromkeys(members, 0)
        self._open = set(members) if plan.senders == Senders.ALL else {leader}
        self._window_from = now + plan.warmup
        self._timed = plan.mode != Mode.FLOOD
        self._first = self._last = 0
        self._samples = array("Q")
        self._counts = dict.fromkeys(("messages", "window_messages", "lost", "duplicated", "corrupt"), 0)
        self._digest = 0

    def data(self, sender: Address, head: Head, message: bytes, now: int) -> None:
        """A DATA of this run."""
        counts = self._counts
        if message[HEAD.size :] != content(sender[0], head.number, head.size - HEAD.size):
            counts["corrupt"] += 1
        expected = self._expected[sender]
        if head.number < expected:
            counts["duplicated"] += 1
        else:
            counts["lost"] += head.number - expected
            self._expected[sender] = head.number + 1
        self._digest = next_digest(self._digest, sender[0], head.number)
        counts["messages"] += 1
        if now >= self._window_from:
            if self._first:
                counts["window_messages"] += 1
            self._first = self._first or now
            self._last = now
            if self._timed and len(self._samples) < SAMPLES_MAX:
                self._samples.append(max(0, now - head.time))

    def harmed(self) -> None:
        """A message that is not one of ours."""
        self._counts["corrupt"] += 1

    def end(self, sender: Address, sent: int) -> bool:
        """A sender is done; was it the last one?"""
        self._counts["lost"] += max(0, sent - self._expected[sender])
        self._open.discard(sender)
        return not self._open

    def report(self, **more: int) -> Report:
        """All of it."""
        shares = {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "longest": 1000}
        return Report(
            **self._counts,
            **more,
            **{name: percentile(self._samples, share) for name, share in shares.items()},
            samples=len(self._samples),
            window_time=self._last - self._first,
            digest=self._digest,
        )


class Outbox:
    """What is to be sent, and when it may."""

    def __init__(self, handle: cpg.Handle, nodeid: int) -> None:
        self._handle = handle
        self._nodeid = nodeid
        self._controls: deque[bytes] = deque()
        self._plan: Plan | None = None
        self._run = 0
        self._sent = self._delivered = self._due = self._stop_at = 0
        self.try_again = 0
        self.behind = 0

    def begin(self, run: int, plan: Plan, now: int, *, sends: bool) -> None:
        """A run; without `sends` the others send."""
        self._plan = plan if sends else None
        self._run = run
        self._sent = self._delivered = self.try_again = self.behind = 0
        self._due = now
        self._stop_at = now + plan.warmup + plan.duration

    def stop(self) -> None:
        """No further DATA, and no END."""
        self._plan = None

    def delivered(self, now: int) -> None:
        """A DATA of ours has come back."""
        self._delivered += 1
        if self._plan is not None and self._plan.mode == Mode.PING:
            self._due = now + self._plan.interval

    def control(self, kind: Kind, run: int, number: int = 0, body: bytes = b"") -> None:
        """Sent as soon as possible."""
        head = Head(kind, run, HEAD.size + len(body), number, time.monotonic_ns())
        self._controls.append(pack_head(head) + body)

    def pump(self) -> float | None:
        """Send what may be sent, a burst at most; seconds without anything to do, None: for ever."""
        try:
            while self._controls:
                self._handle.mcast_joined(self._controls[0])
                self._controls.popleft()
            for _ in range(BURST):
                if self._plan is None:
                    return None
                pause = self._next(self._plan)
                if pause is not None:
                    return pause / 1e9
        except TryAgainError:
            self.try_again += 1
            return RETRY_PAUSE
        return 0.0

    def _next(self, plan: Plan) -> int | None:
        """Send one; or nanoseconds until there is one to send."""
        now = time.monotonic_ns()
        if now >= self._stop_at:
            if plan.mode == Mode.RATE and plan.interval and self._due < self._stop_at:
                self.behind = (self._stop_at - self._due) // plan.interval
            self._plan = None
            self.control(Kind.END, self._run, self._sent)
            return 0
        if plan.mode != Mode.FLOOD and now < self._due:
            return min(self._due, self._stop_at) - now
        ahead = self._sent - self._delivered
        if ahead >= (1 if plan.mode == Mode.PING else AHEAD_MESSAGES) or ahead * plan.size >= AHEAD_BYTES:
            return self._stop_at - now
        head = Head(
            Kind.DATA, self._run, plan.size, self._sent, self._due if plan.mode == Mode.RATE else now
        )
        body = content(self._nodeid, self._sent, plan.size - HEAD.size)
        self._handle.mcast_joined((pack_head(head), body))
        self._sent += 1
        if plan.mode == Mode.RATE:
            self._due += plan.interval
        return None


class Client:
    """A member: runs begin and end with messages that all deliver in the same order."""

    def __init__(self, handle: cpg.Handle) -> None:
        self._handle = handle
        self._me: Address = (handle.local_get(), os.getpid())
        self._outbox = Outbox(handle, self._me[0])
        self._members: list[Address] | None = None
        self._tally: Tally | None = None
        self._reports: dict[Address, Report] | None = None
        self._run = 0
        self._plan: Plan | None = None
        self._mine = self._asked = False
        self._began = 0
        self._cpu_before = 0
        self._input = b""
        boot_id = Path("/proc/sys/kernel/random/boot_id")
        self._boot = boot_number(boot_id.read_text()) if boot_id.exists() else 0

    def serve(self, group: str) -> None:
        """Until `quit` or the end of standard input."""
        pattern()
        self._handle.join(group)
        poll = select.poll()
        poll.register(self._handle.fileno(), select.POLLIN)
        poll.register(0, select.POLLIN)
        going = True
        while going:
            pause = self._outbox.pump()
            ready = poll.poll(None if pause is None else pause * 1000)
            for descriptor, _ in ready:
                if descriptor == 0:
                    going = self._read_commands()
            for handled, event in enumerate(self._handle.events(timeout=0), start=1):
                self._handle_event(event)
                if handled % BURST == 0:
                    self._outbox.pump()

    def _handle_event(self, event: cpg.Event) -> None:
        if isinstance(event, cpg.Deliver):
            self._deliver((event.nodeid, event.pid), event.message)
        elif isinstance(event, cpg.ConfigChange):
            self._change([(member.nodeid, member.pid) for member in event.members][:MEMBERS_MAX])

    def _change(self, members: list[Address]) -> None:
        if self._members is None:
            tell("ready", node=self._me[0], pid=self._me[1])
        self._members = members
        tell("members", time=time.monotonic_ns(), members=members)
        if self._tally is not None and not set(self._tally.members) <= set(members):
            if self._mine:
                tell("error", text="a member left during the run")
            self._outbox.stop()
            self._tally = None
            self._mine = False

    def _deliver(self, sender: Address, message: bytes) -> None:
        now = time.monotonic_ns()
        head = unpack_head(message)
        if head is None:
            if self._tally is not None:
                self._tally.harmed()
            return
        if head.kind == Kind.RUN and len(message) == HEAD.size + PLAN.size:
            self._begin(sender, head, unpack_plan(message[HEAD.size :]), now)
        elif self._tally is not None and head.run == self._run and sender in self._tally.members:
            self._deliver_of_run(sender, head, message, now)

    def _begin(self, sender: Address, head: Head, plan: Plan, now: int) -> None:
        ours = sender == self._me
        self._asked = self._asked and not ours
        if self._tally is not None:
            if ours:
                tell("error", text="another run is under way in this group")
            return
        if plan.mode not in list(Mode) or plan.senders not in list(Senders):
            return
        if not HEAD.size <= plan.size <= SIZE_MAX:
            return
        self._run, self._plan, self._mine = head.run, plan, ours
        self._tally = Tally(plan, list(self._members or ()), sender, now)
        self._reports = None
        self._began = now
        self._cpu_before = time.process_time_ns()
        if ours:
            tell("started")
        self._outbox.begin(head.run, plan, now, sends=ours or plan.senders == Senders.ALL)

    def _deliver_of_run(self, sender: Address, head: Head, message: bytes, now: int) -> None:
        assert self._tally is not None
        assert self._plan is not None
        running = self._reports is None
        if head.kind == Kind.DATA and running and head.size == self._plan.size:
            self._tally.data(sender, head, message, now)
            if sender == self._me:
                self._outbox.delivered(now)
        elif head.kind == Kind.END and running:
            if self._tally.end(sender, head.number):
                self._report(self._tally, now)
        elif head.kind == Kind.REPORT and self._reports is not None:
            try:
                self._reports[sender] = Report(*REPORT.unpack(message[HEAD.size :]))
            except struct.error:
                return
            if len(self._reports) == len(self._tally.members):
                self._finish(self._tally, self._plan, self._reports)

    def _report(self, tally: Tally, now: int) -> None:
        self._reports = {}
        report = tally.report(
            elapsed=now - self._began,
            cpu=time.process_time_ns() - self._cpu_before,
            try_again=self._outbox.try_again,
            behind=self._outbox.behind,
            boot=self._boot,
        )
        self._outbox.control(Kind.REPORT, self._run, body=REPORT.pack(*report))

    def _finish(self, tally: Tally, plan: Plan, reports: dict[Address, Report]) -> None:
        self._tally = None
        if not self._mine:
            return
        self._mine = False
        tell(
            "result",
            mode=Mode(plan.mode).name.lower(),
            senders=Senders(plan.senders).name.lower(),
            size=plan.size,
            members=[{"node": m[0], "pid": m[1], **reports[m]._asdict()} for m in tally.members],
        )

    def _read_commands(self) -> bool:
        """False at the end."""
        data = os.read(0, LINE_MAX)
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            words = line.decode(errors="replace").split()
            if words == ["quit"]:
                return False
            self._ask(words)
        return bool(data) and len(self._input) < LINE_MAX

    def _ask(self, words: list[str]) -> None:
        plan = parse_run(words)
        if plan is None:
            tell("error", text="command not understood")
        elif self._asked or self._mine:
            tell("error", text="the run before has not ended")
        else:
            self._asked = True
            run = (time.monotonic_ns() ^ os.getpid() << 16) & 0xFFFFFFFF
            self._outbox.control(Kind.RUN, run, body=pack_plan(plan))


def parse_run(words: list[str]) -> Plan | None:
    """Of `run MODE SIZE SECONDS WARMUP INTERVAL_US one|all`; None when it is not that."""
    try:
        command, mode, size, seconds, warmup, interval, senders = words
        times: list[Any] = [float(seconds), float(warmup), float(interval) / 1e6]
        plan = Plan(
            Mode[mode.upper()],
            Senders[senders.upper()],
            int(size),
            warmup=int(times[1] * 1e9),
            duration=int(times[0] * 1e9),
            interval=int(times[2] * 1e9),
        )
    except (KeyError, ValueError, OverflowError):
        return None
    sane = command == "run" and HEAD.size <= plan.size <= SIZE_MAX
    return plan if sane and plan.duration > 0 and plan.warmup >= 0 and plan.interval >= 0 else None


def main() -> int:
    """One member."""
    if len(sys.argv) != 2:
        print(f"usage: python -m {__spec__.name if __spec__ else 'python_client'} GROUP", file=sys.stderr)
        return 2
    try:
        with cpg.Handle(retry_for=CONNECT_PATIENCE) as handle:
            # From here on a refusal is dealt with by the outbox.
            handle.retry_for = 0.0
            Client(handle).serve(sys.argv[1])
    except CsException as error:
        tell("error", text=str(error))
        return EXIT_LOST
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
