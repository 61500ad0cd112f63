"""The command `aisexec-bench`: how fast is the executive of this machine, and where does its time go."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .build import client_command
from .executives import Executive, choose, running
from .figures import BenchError, Result
from .member import Member
from .profiling import Profile
from .wire import HEAD, SIZE_MAX, Mode, Senders

SIZES = (64, 320, 1600, 8000, 40_000, 200_000, 1_000_000)
LATENCY_SIZE = 64
GROUP = "aisexec-bench"

DESCRIPTION = """\
Measures the executive that runs on this machine, aisexec or corosync, through CPG: throughput by size of
message, then the latency of single messages. Every byte, every number and the order are checked. Start
`aisexec-bench cpg --listen` on other nodes first to have them take part and check that all of them
delivered the same in the same order."""

EPILOG = """\
Exit status: 0; 1 when a message was lost, doubled, changed or out of order, or it could not be measured;
2 wrong command line."""


def size(text: str) -> int:
    """Bytes of a message."""
    number = int(text)
    if not HEAD.size <= number <= SIZE_MAX:
        raise argparse.ArgumentTypeError(f"{number} is not between {HEAD.size} and {SIZE_MAX} bytes")
    return number


def process(text: str) -> str:
    """A process id, or auto."""
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a process id nor auto")
    return text


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser("aisexec-bench", description=DESCRIPTION, epilog=EPILOG)
    add = parser.add_argument
    add("service", nargs="?", choices=["cpg"], help="what to measure; without it only --profile")
    add("--size", type=size, nargs="+", default=SIZES, metavar="BYTES", help="of messages, %(default)s")
    add("--seconds", type=float, default=2.0, help="of each run, %(default)g")
    add("--warmup", type=float, default=0.5, help="seconds before each run not measured, %(default)g")
    add("--all", action="store_true", help="all members send, not only this one")
    add("--rate", type=float, help="also latency at this many messages a second")
    add("--members", type=int, default=1, help="wait until so many are in the group, this one included")
    add("--listen", action="store_true", help="only take part in what others measure, until interrupted")
    add("--group", default=GROUP, help="name of the group, %(default)s")
    add("--client", choices=["auto", "c", "python"], default="auto", help="%(default)s: C where possible")
    add("--json", action="store_true", help="print a JSON object a line instead of tables")
    add(
        "--profile",
        type=process,
        nargs="?",
        const="auto",
        metavar="PID",
        help="show where the executive's time goes meanwhile, or for --seconds; PID where several run",
    )
    add("--folded", type=Path, metavar="FILE", help="with --profile: write stacks for flame graph tools")
    return parser


class Screen:
    """Tables for people, or JSON lines for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._columns: tuple[str, ...] = ()

    def say(self, text: str) -> None:
        """For people only."""
        if not self._json:
            print(text, flush=True)

    def row(self, columns: tuple[str, ...], cells: Sequence[str]) -> None:
        """A line of a table; its head first when it is another table."""
        if columns != self._columns:
            self._columns = columns
            self.say("\n" + " ".join(f"{column:>12}" for column in columns))
        self.say(" ".join(f"{cell:>12}" for cell in cells))

    def record(self, **figures: object) -> None:
        """For programs only."""
        if self._json:
            print(json.dumps(figures), flush=True)


class Session:
    """A client of ours and the runs it leads."""

    def __init__(self, member: Member, screen: Screen, seconds: float, warmup: float) -> None:
        self._member = member
        self._screen = screen
        self._seconds = seconds
        self._warmup = warmup
        here = running()
        # With several, as in network namespaces, nobody can say which one serves us.
        self._executive: Executive | None = here[0] if len(here) == 1 else None
        self.sound = True
        """No promise was broken so far."""

    def throughput(self, size: int, senders: Senders) -> None:
        """One line of the table."""
        before = self._cpu()
        result = self._run(Mode.FLOOD, size, 0.0, senders)
        cpu = self._cpu() - before
        per_message = cpu * 1e6 / result.messages if self._executive and result.messages else None
        self._screen.row(
            ("bytes", "messages/s", "MB/s", "CPU us/msg"),
            (
                f"{size}",
                f"{result.rate:.0f}",
                f"{result.megabytes:.2f}",
                "-" if per_message is None else f"{per_message:.1f}",
            ),
        )
        self._record(result, executive_cpu=cpu if self._executive else None)

    def latency(self, mode: Mode, size: int, interval: float) -> None:
        """A line for each member whose clock is ours."""
        result = self._run(mode, size, interval, Senders.ONE)
        own = self._member.node
        if result.behind:
            self._screen.say(f"{result.behind} messages could not be sent in time")
        rate = "one by one" if mode == Mode.PING else f"{1 / interval:.0f}/s"
        for node in (own, *result.same_clock(own)):
            latency = result.latency(node)
            self._screen.row(
                ("bytes", "sent", "at node", "p50 us", "p99 us", "p99.9 us", "longest us"),
                (
                    f"{size}",
                    rate,
                    f"{node}",
                    *(f"{latency[name]:.0f}" for name in ("p50", "p99", "p999", "longest")),
                ),
            )
        self._record(result, interval=interval)

    def _cpu(self) -> float:
        return sum(self._executive.cpu()) if self._executive else 0.0

    def _run(self, mode: Mode, size: int, interval: float, senders: Senders) -> Result:
        result = self._member.run(
            mode, size, self._seconds, warmup=self._warmup, interval=interval, senders=senders
        )
        for problem in result.problems():
            self.sound = False
            print(f"PROBLEM: {size} bytes, {mode.name.lower()}: {problem}", file=sys.stderr)
        return result

    def _record(self, result: Result, **more: Any) -> None:
        self._screen.record(
            mode=result.mode.name.lower(),
            senders=result.senders.name.lower(),
            size=result.size,
            rate=result.rate,
            problems=result.problems(),
            members=[
                {"node": member.node, "pid": member.pid, "rate": member.rate, **member.seen._asdict()}
                for member in result.members
            ],
            **more,
        )


@contextlib.contextmanager
def joined(group: str, client: str) -> Iterator[Member]:
    """A client of this machine in the group."""
    process = subprocess.Popen(
        client_command(client, group), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    member = Member(process)
    try:
        member.wait_ready()
        yield member
    finally:
        member.quit()


def listen(member: Member, screen: Screen) -> None:
    """Until the executive ends."""
    screen.say(f"node {member.node} takes part; interrupt to leave")
    member.process.wait()
    raise BenchError("the executive has ended")


def measure(arguments: argparse.Namespace, screen: Screen) -> bool:
    """All runs; were all promises kept?"""
    with joined(arguments.group, arguments.client) as member:
        if arguments.listen:
            listen(member, screen)
        if len(member.members()) < arguments.members:
            member.wait_members(arguments.members)
        nodes = ", ".join(str(node) for node, _ in member.members())
        screen.say(f"this is node {member.node}; members of the group are on nodes {nodes}")
        session = Session(member, screen, arguments.seconds, arguments.warmup)
        for size in arguments.size:
            session.throughput(size, Senders.ALL if arguments.all else Senders.ONE)
        smallest = min((LATENCY_SIZE, *arguments.size))
        session.latency(Mode.PING, smallest, 0.0)
        if arguments.rate:
            session.latency(Mode.RATE, smallest, 1 / arguments.rate)
        return session.sound


def run(arguments: argparse.Namespace) -> int:
    """The exit status; BenchError."""
    screen = Screen(as_json=arguments.json)
    if not arguments.profile:
        return 0 if measure(arguments, screen) else 1
    profile = Profile(choose(arguments.profile))
    profile.start()
    try:
        sound = not arguments.service or measure(arguments, screen)
        if not arguments.service:
            time.sleep(arguments.seconds)
        text = profile.finish()
    finally:
        profile.abandon()
    screen.say(f"\n{text}")
    screen.record(profile=text.splitlines())
    if arguments.folded:
        profile.save(arguments.folded)
    return 0 if sound else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.service and not arguments.profile:
        parser.error("say what to do: cpg, --profile, or both")
    try:
        return run(arguments)
    except BenchError as error:
        print(f"aisexec-bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
