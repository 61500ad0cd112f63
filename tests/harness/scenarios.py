"""What a ring has to stand, whatever kinds of nodes it is made of.

Each scenario gets a cluster whose nodes are one ring, and leaves it so.  Programs on all nodes send
while it happens; in the end their histories have to agree (`tests.harness.history`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.harness.cluster import FORMATION_TIMEOUT, Cluster
from tests.harness.history import History, disagreements
from tests.harness.log_file import Membership
from tests.harness.node import Node
from tests.harness.programs import HistoryProgram
from tests.harness.wait import wait_until

TRAFFIC_TIMEOUT = 60.0
"""Seconds for everything sent in a scenario to arrive everywhere."""

FENCE_SIZE = 24
LOSS_PERCENT = 5
NODE_DOWN = 3
"""Reason of cpg_address: the node is gone."""

_groups = itertools.count(1)


class Group:
    """One program on each of some nodes (all), in one group; a node that came back gets a new one."""

    def __init__(self, cluster: Cluster, directory: Path, nodeids: Iterable[int] | None = None) -> None:
        self.name = f"group{next(_groups)}"
        self.directory = directory / self.name
        self.cluster = cluster
        chosen = cluster.nodes if nodeids is None else nodeids
        self.programs = {nodeid: self._start(cluster[nodeid]) for nodeid in chosen}
        self.ended: list[HistoryProgram] = []
        """Those whose node was killed under them."""
        self.wait_members()

    def _start(self, node: Node) -> HistoryProgram:
        return HistoryProgram(node, self.name, self.directory)

    def __getitem__(self, nodeid: int) -> HistoryProgram:
        return self.programs[nodeid]

    def node_killed(self, nodeid: int) -> HistoryProgram:
        """The program there notices and ends."""
        program = self.programs.pop(nodeid)
        program.wait_output("lost")
        self.ended.append(program)
        return program

    def node_back(self, nodeid: int) -> None:
        """A new program on a node that was started again."""
        self.programs[nodeid] = self._start(self.cluster[nodeid])
        self.wait_members()

    def wait_members(self) -> None:
        """Until each has just these as members of its group."""
        for program in self.programs.values():
            program.wait_ready()
        members = frozenset(program.member for program in self.programs.values())

        def agreed(program: HistoryProgram) -> bool:
            return program.members() == members

        def explain(program: HistoryProgram) -> str:
            return f"{program.path} has {sorted(program.members())}, not {sorted(members)}"

        for program in self.programs.values():
            wait_until(partial(agreed, program), FORMATION_TIMEOUT, partial(explain, program))

    def send_all(self, count: int, smallest: int, largest: int, pause_us: int = 0) -> None:
        """All start to send at once."""
        for nodeid, program in self.programs.items():
            program.send(count, smallest, largest, nodeid, pause_us)

    def wait_sent(self) -> None:
        """Until all that have a count to send have sent it."""
        for program in self.programs.values():
            program.wait_sends_done(TRAFFIC_TIMEOUT)

    def stop_sending(self) -> None:
        """For those that send without end."""
        for program in self.programs.values():
            program.stop_sending()
        self.wait_sent()

    def histories(self) -> list[History]:
        """Of all programs there were, when everything sent has arrived at those that live."""
        programs = list(self.programs.values())
        for program in programs:
            program.send(1, FENCE_SIZE, FENCE_SIZE, 0)
        self.wait_sent()
        for receiver, sender in itertools.product(programs, programs):
            wait_until(
                partial(receiver.has_delivered, sender.member, sender.sent() - 1),
                TRAFFIC_TIMEOUT,
                f"message {sender.sent() - 1} of {sender.member} in {receiver.path}",
                poll=0.1,
            )
        return [program.history(complete=True) for program in programs] + [
            program.history() for program in self.ended
        ]

    def finish(self) -> list[History]:
        """Compare all histories, let the programs leave; the histories, live ones first."""
        histories = self.histories()
        problems = disagreements(histories)
        assert not problems, "\n".join(problems[:20])
        for program in self.programs.values():
            program.quit()
        return histories


def assert_same_sequence(histories: Sequence[History], count: int) -> None:
    """All delivered the same `count` messages in the same order."""
    first, *others = (history.sequence() for history in histories)
    assert len(first) == count
    for other in others:
        assert other == first


def total_order(cluster: Cluster, directory: Path) -> None:
    """1 byte to 1 MB from all nodes at once: the same messages in the same order everywhere."""
    group = Group(cluster, directory)
    group.send_all(300, 1, 300)
    group.wait_sent()
    group.send_all(60, 1, 1_000_000)
    group.wait_sent()
    group.send_all(1, 1_000_000, 1_000_000)
    group.wait_sent()
    histories = group.finish()
    assert_same_sequence(histories, len(cluster.nodes) * (300 + 60 + 1 + 1))


def kill_and_restart(cluster: Cluster, directory: Path, nodeid: int) -> None:
    """A node dies without a word and comes back."""
    group = Group(cluster, directory)
    group.send_all(0, 1, 20_000, pause_us=2000)
    wait_traffic(group.programs.values())
    cluster[nodeid].kill()
    dead = group.node_killed(nodeid)
    survivors = set(cluster.nodes) - {nodeid}
    cluster.wait_formed(survivors)
    for program in group.programs.values():
        wait_until(
            partial(left_with_reason, program, dead.member, NODE_DOWN),
            FORMATION_TIMEOUT,
            f"{dead.member} left, reason {NODE_DOWN}, in {program.path}",
        )
    wait_traffic(group.programs.values())
    cluster[nodeid].start()
    cluster.wait_formed()
    group.node_back(nodeid)
    group[nodeid].send(0, 1, 20_000, nodeid, 2000)
    wait_traffic(group.programs.values())
    group.stop_sending()
    group.finish()


def pause_and_resume(cluster: Cluster, directory: Path, nodeid: int) -> None:
    """A node stands still for longer than the token timeout, and goes on where it was."""
    group = Group(cluster, directory)
    group.send_all(0, 1, 20_000, pause_us=2000)
    wait_traffic(group.programs.values())
    survivors = set(cluster.nodes) - {nodeid}
    cluster[nodeid].pause()
    try:
        cluster.wait_formed(survivors)
        wait_traffic(group[survivor] for survivor in survivors)
    finally:
        cluster[nodeid].resume()
    end_merged(cluster, group)


def cut_and_heal(cluster: Cluster, directory: Path, nodeid: int) -> None:
    """Two sides go on each for itself and become one again."""
    group = Group(cluster, directory)
    group.send_all(0, 1, 20_000, pause_us=2000)
    wait_traffic(group.programs.values())
    rest = set(cluster.nodes) - {nodeid}
    cluster.partition({nodeid}, rest)
    try:
        cluster.wait_formed(rest)
        cluster.wait_formed({nodeid})
        wait_traffic(group[survivor] for survivor in rest)
        wait_traffic([group[nodeid]])
    finally:
        cluster.heal()
    end_merged(cluster, group)


def one_way_cut(cluster: Cluster, directory: Path, nodeid: int) -> None:
    """A node hears nobody while all hear it; when it hears again, all is well again."""
    group = Group(cluster, directory)
    group.send_all(0, 1, 20_000, pause_us=2000)
    wait_traffic(group.programs.values())
    before = cluster[nodeid].log.mark()
    cluster.faults[nodeid].deaf_to = set(cluster.nodes) - {nodeid}
    cluster.faults[nodeid].apply()
    try:
        cluster[nodeid].log.wait_for("A new membership", FORMATION_TIMEOUT, before)
    finally:
        cluster.heal()
    end_merged(cluster, group)


def lossy_node(cluster: Cluster, directory: Path, nodeid: int) -> None:
    """One frame in twenty never arrives at a node; nobody misses a message."""
    group = Group(cluster, directory)
    cluster.faults[nodeid].drop_percent = LOSS_PERCENT
    cluster.faults[nodeid].apply()
    try:
        group.send_all(400, 1, 20_000)
        group.wait_sent()
        histories = group.histories()
        assert cluster.faults[nodeid].dropped() > 0
    finally:
        cluster.heal()
    problems = disagreements(histories)
    assert not problems, "\n".join(problems[:20])
    cluster.wait_formed()
    group.finish()


def orderly_leave(cluster: Cluster, directory: Path, nodeid: int) -> Membership:
    """SIGTERM: the others go on without a token timeout; the ring they form then."""
    rest = set(cluster.nodes) - {nodeid}
    marks = {other: cluster[other].log.mark() for other in rest}
    assert cluster[nodeid].stop() == 0
    membership = cluster.wait_formed(rest)
    for other, mark in marks.items():
        assert "failed to receive the leave message" not in cluster[other].log.text(mark)
        assert "A processor failed" not in cluster[other].log.text(mark)
    cluster[nodeid].start()
    cluster.wait_formed()
    return membership


def end_merged(cluster: Cluster, group: Group) -> None:
    """One ring and one group again: some more traffic, then the comparison."""
    cluster.wait_formed()
    group.wait_members()
    wait_traffic(group.programs.values())
    group.stop_sending()
    group.finish()


def wait_traffic(programs: Iterable[HistoryProgram], messages: int = 30) -> None:
    """Until each program got some more messages."""
    watched = [(program, program.delivered()) for program in programs]

    def more(program: HistoryProgram, before: int) -> bool:
        return program.delivered() >= before + messages

    for program, before in watched:
        what = f"{messages} messages more in {program.path}"
        wait_until(partial(more, program, before), TRAFFIC_TIMEOUT, what, 0.1)


def left_with_reason(program: HistoryProgram, member: str, reason: int) -> bool:
    """Was the program told that `member` left, and why?"""
    changes = (event.text.split(" ") for event in program.history().events if event.kind == "C")
    return any(f"{member}:{reason}" in left.split(",") for _, _, left, _ in changes)


class Scenario(NamedTuple):
    """A scenario with its victim: the first node, which is the ring's representative, or the last one."""

    name: str
    run: Callable[[Cluster, Path, int], object]
    last: bool


def _without_victim(cluster: Cluster, directory: Path, _: int) -> None:
    total_order(cluster, directory)


SCENARIOS = [
    Scenario("total_order", _without_victim, False),
    *(
        Scenario(f"{run.__name__}-{'last' if last else 'first'}", run, last)
        for run in (kill_and_restart, pause_and_resume, cut_and_heal, one_way_cut, lossy_node, orderly_leave)
        for last in (False, True)
    ),
]


def check(scenario: Scenario, cluster: Cluster, directory: Path) -> None:
    """Run it; AssertionError when the ring did not stand it."""
    scenario.run(cluster, directory, max(cluster.nodes) if scenario.last else min(cluster.nodes))
