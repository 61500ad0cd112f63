"""Three executives on this machine, three programs that keep a table alike, and what can go wrong.

    make demo        or: aisexec-demo

Each node is a network namespace with its own address on a common switch.  All is done inside private
namespaces with their own /run and /dev/shm, as root or in a user namespace, so nothing is left behind
whatever happens.  The exit status is 0 only if every proof at the end held.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from .demo_history import check_histories
from .demo_node import ROOT, DemoNode
from .lab import Network, command

NODES = (1, 2, 3)
PATIENCE = 20.0
"""Seconds for one step; more means that it does not hold."""
WATCH = 1.5
"""Seconds during which the programs are left to write after each step."""
RATE = 40
"""Updates a second that each program writes."""
POLL = 0.02
"""Seconds between two looks at the nodes."""
INSIDE = "AISEXEC_DEMO_INSIDE"
"""Set in the environment of the copy that runs inside the private namespaces."""
WORK = Path("/run/demo")
"""Files of the nodes, in memory: gone with the namespace."""


class DemoError(Exception):
    """A step did not do what it should."""


class Screen:
    """Lines with the seconds since the start; colours only on a terminal."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def step(self, text: str) -> None:
        """A headline."""
        print(f"\n{self._paint('1', f'{self.elapsed():6.2f}  {text}')}", flush=True)

    def say(self, text: str, colour: str = "") -> None:
        """A line below it."""
        print(f"{self.elapsed():6.2f}    {self._paint(colour, text) if colour else text}", flush=True)

    def verdict(self, name: str, problem: str) -> None:
        """The outcome of a proof; an empty problem means that it held."""
        if problem:
            self.say(f"{self._paint('31', 'FAILED')}  {name}: {problem}")
        else:
            self.say(f"{self._paint('32', 'holds ')}  {name}")

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text


class Demo:
    """The play, step by step."""

    def __init__(self, network: Network, screen: Screen) -> None:
        self.network = network
        self.screen = screen
        self.nodes: dict[int, DemoNode] = {}
        addresses = {number: network.add_host(number).address for number in NODES}
        for number in NODES:
            self.nodes[number] = DemoNode(number, network.hosts[number], addresses, WORK / f"node{number}")

    def run(self) -> bool:
        """All of it; True when every proof held.  Raises DemoError when a step does not come to its end."""
        self.form()
        self.replicate()
        self.kill(2)
        self.come_back(2)
        self.divide({1, 2}, {3})
        self.merge({1, 2}, {3})
        return self.prove()

    def form(self) -> None:
        """Three executives find each other."""
        self.screen.step("Three nodes start an executive each")
        for node in self.nodes.values():
            node.start()
        self._until(lambda: all(node.ring_members == set(NODES) for node in self.nodes.values()), "one ring")

    def replicate(self) -> None:
        """Three programs join a group and write."""
        self.screen.step(f"On each node a program joins a group and writes {RATE} updates a second")
        for node in self.nodes.values():
            node.start_program(RATE)
        self._until(lambda: self._agreed(set(NODES)), "one group")
        self._watch()

    def kill(self, number: int) -> None:
        """A node is gone without a word; the others go on."""
        rest = set(NODES) - {number}
        self.screen.step(f"SIGKILL for the executive of node {number}")
        begin = time.monotonic()
        self.nodes[number].kill()
        self._until(lambda: self._agreed(rest), f"the others go on without node {number}")
        self.screen.say(f"{nodes(rest)} went on after {time.monotonic() - begin:.2f} s", "36")
        self._watch()

    def come_back(self, number: int) -> None:
        """It starts again, empty, and gets the table."""
        node = self.nodes[number]
        self.screen.step(f"Node {number} starts again, its program with an empty table")
        node.start()
        self._until(lambda: all(node.ring_members == set(NODES) for node in self.nodes.values()), "one ring")
        node.start_program(RATE)
        self._until(lambda: self._agreed(set(NODES)), f"node {number} has the table")
        self.screen.say(f"node {number} got a table of {node.updates} updates from node {node.source}", "36")
        if not node.updates:
            raise DemoError(f"node {number} did not get the table")
        self._watch()

    def divide(self, *sides: set[int]) -> None:
        """The switch loses a cable; both sides go on, each for itself."""
        cut = sides[-1]
        self.screen.step(f"The cable of {nodes(cut)} is pulled out")
        begin = time.monotonic()
        for number in cut:
            self.network.unplug(number)
        self._until(lambda: all(self._agreed(side) for side in sides), "a group on each side")
        self.screen.say(f"two rings after {time.monotonic() - begin:.2f} s", "36")
        for side in sides:
            value = f"as-{words(side, '-')}-wrote-it"
            self.nodes[min(side)].tell(f"set contested {value}")
            self._until(partial(self._all_have, side, value), f"{nodes(side)} can write")
            self.screen.say(f"{nodes(side)}: contested = {value}")
        self._watch()

    def merge(self, *sides: set[int]) -> None:
        """The cable is back: one ring, and the smaller side takes over the table of the larger."""
        self.screen.step("The cable is plugged in again")
        begin = time.monotonic()
        for number in sides[-1]:
            self.network.plug_in(number)
        self._until(lambda: self._agreed(set(NODES)), "one group again")
        self.screen.say(f"one ring after {time.monotonic() - begin:.2f} s", "36")
        expected = self._value(min(sides[0]))
        self._until(partial(self._all_have, set(NODES), expected), "one value")
        self.screen.say(f"everywhere: contested = {expected}, the table of {nodes(sides[0])} goes on")
        self._watch()

    def prove(self) -> bool:
        """Stop writing, compare the tables and all histories."""
        self.screen.step("The programs stop writing; do their histories agree?")
        for node in self.nodes.values():
            node.tell("rate 0")
        self._until(self._quiet, "all updates are delivered everywhere")
        for node in self.nodes.values():
            node.histories[-1].closed = True
        for node in self.nodes.values():
            node.end_program()
        for node in self.nodes.values():
            end = node.end
            if end is None:
                raise DemoError(f"the program of node {node.number} did not end as told\n{node.errors()}")
            proof = f"history {end['history']}, table {end['content']}"
            self.screen.say(f"node {node.number}: {end['updates']} updates, {proof}")
        proofs = check_histories([record for node in self.nodes.values() for record in node.histories])
        ends = [node.end for node in self.nodes.values()]
        proofs["tables and the sequences of updates behind them are equal"] = (
            "" if all(end == ends[0] for end in ends) else "they differ"
        )
        statuses = {node.number: node.stop() for node in self.nodes.values()}
        self._show_logs()
        proofs["the executives left the ring and ended with status 0"] = (
            "" if not any(statuses.values()) else f"statuses by node {statuses}"
        )
        for name, problem in proofs.items():
            self.screen.verdict(name, problem)
        return not any(proofs.values())

    def _agreed(self, members: set[int]) -> bool:
        return all(self.nodes[number].group == members and self.nodes[number].agreed for number in members)

    def _all_have(self, numbers: set[int], value: object) -> bool:
        return all(self._value(number) == value for number in numbers)

    def _value(self, number: int) -> object:
        self.nodes[number].tell("get contested")
        return self.nodes[number].contested

    def _quiet(self) -> bool:
        for node in self.nodes.values():
            node.tell("dump")
        states = [node.state for node in self.nodes.values()]
        return None not in states and all(
            state == states[0] and state["under_way"] == 0 for state in states if state is not None
        )

    def _watch(self) -> None:
        begin = {number: node.delivered for number, node in self.nodes.items() if node.alive}
        end = time.monotonic() + WATCH
        self._until(lambda: time.monotonic() >= end, "")
        counts = {number: self.nodes[number].delivered - count for number, count in begin.items()}
        text = ", ".join(f"node {number}: {count}" for number, count in counts.items())
        self.screen.say(f"messages delivered in {WATCH} s: {text}", "36")
        if not all(counts.values()):
            raise DemoError("a program gets nothing")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"not within {PATIENCE:.0f} s: {what}")
            time.sleep(POLL)
            self._show_logs()
        self._show_logs()

    def _show_logs(self) -> None:
        for node in self.nodes.values():
            for line in node.news():
                self.screen.say(line)
            if node.trouble():
                raise DemoError(node.trouble())

    def close(self) -> None:
        """End every process."""
        for node in self.nodes.values():
            node.close()


def words(numbers: set[int], between: str = ", ") -> str:
    """1, 2."""
    return between.join(map(str, sorted(numbers)))


def nodes(numbers: set[int]) -> str:
    """Node 3, or nodes 1, 2."""
    return f"node{'s' if len(numbers) > 1 else ''} {words(numbers)}"


def inside_namespaces() -> int:
    """Run again in namespaces of its own; returns that run's exit status."""
    unshare = ["unshare", "--mount", "--net"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        print(f"aisexec-demo: cannot make namespaces: {probe.stderr.strip()}", file=sys.stderr)
        print("Run it as root, or allow user namespaces (kernel.unprivileged_userns_clone,", file=sys.stderr)
        print("user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns).", file=sys.stderr)
        return 1
    # The parent may be killed: then this one tidies up and ends as well.
    arguments = [
        *unshare,
        "setpriv",
        "--pdeathsig",
        "TERM",
        sys.executable,
        "-m",
        __spec__.name,
        *sys.argv[1:],
    ]
    # Ctrl-C reaches both; only the inner one has something to tidy up.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, INSIDE: "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, previous),
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


@contextmanager
def private_directories() -> Iterator[None]:
    """Empty /run and /dev/shm, ours alone."""
    for directory in ("/run", "/dev/shm"):
        command("mount", "-t", "tmpfs", "-o", "mode=0755", "demo", directory)
    WORK.mkdir()
    yield


def interrupted(number: int, _: FrameType | None) -> None:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def play() -> int:
    """The demo, inside; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    screen = Screen()
    demo: Demo | None = None
    try:
        with ExitStack() as stack:
            stack.enter_context(private_directories())
            demo = Demo(stack.enter_context(Network(f"axd{os.getpid() % 10_000}")), screen)
            stack.callback(demo.close)
            held = demo.run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (DemoError, RuntimeError) as error:
        screen.say(f"FAILED  {error}", "31")
        if demo is not None:
            keep_logs(demo, screen)
        return 1
    if not held:
        keep_logs(demo, screen)
    screen.step("Everything held." if held else "It did not hold.")
    return 0 if held else 1


def keep_logs(demo: Demo, screen: Screen) -> None:
    """What the nodes wrote goes where it outlives the namespace."""
    place = Path("/tmp") / f"aisexec-demo-{os.getpid()}"
    shutil.copytree(WORK, place)
    screen.say(f"logs, configuration and output of {nodes(set(demo.nodes))} are in {place}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `aisexec-demo`."""
    argparse.ArgumentParser("aisexec-demo", description=__doc__.split("\n", 1)[0]).parse_args(arguments)
    return play() if INSIDE in os.environ else inside_namespaces()


if __name__ == "__main__":
    sys.exit(main())
