"""The same story in a ring of stock nodes and in a mixed one: what each node knows after each step."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from ipc.votequorum_layouts import InfoFlag
from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.programs import compiled
from tests.harness.wait import wait_until

PROGRAM = "votequorum_conformance"
SETTLE_TIMEOUT = 20.0
"""Seconds until all nodes of a side know the same."""
TOKEN = {"token": 500}
LAST_MAN_WINDOW = 1000
"""Milliseconds."""

View = tuple[str, ...]
"""What libvotequorum says of nodes 1 to n."""
Views = dict[int, View]
"""By the node that says so."""
Telling = list[tuple[str, Views]]
"""Step by step."""
OPINION = re.compile(r" (?:highest|total|quorum)=\d+")


class Stage:
    """A cluster and what is done to it."""

    def __init__(self, cluster: Cluster, calm: float, script: Telling | None) -> None:
        """calm: seconds without change that make a state final; script: what is to come, if it is known."""
        self.cluster = cluster
        self.nodes = sorted(cluster.nodes)
        self.telling: Telling = []
        self._calm = calm
        self._script = script
        self._devices: dict[int, subprocess.Popen[str]] = {}

    # Looking.

    def view(self, nodeid: int) -> View:
        """What a node knows.

        How many votes it thinks that another one expects depends on the order in which they met, and
        means nothing beyond the highest.
        """
        text = self.cluster[nodeid].run([compiled(PROGRAM), "state", str(self.nodes[-1])], SETTLE_TIMEOUT)
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line.startswith("info of ") and " of 0:" not in line]
        own = f" node={nodeid} "
        return tuple(line if own in line else re.sub(r" expected=\d+", "", line) for line in lines)

    def look(self, what: str, *sides: Collection[int], of_one_opinion: bool = True) -> None:
        """Wait until no node knows anything new and sides are of one opinion; keep what each knows."""
        nodes = [nodeid for side in sides for nodeid in side]
        last: Views = {}
        since = time.monotonic()

        def calm() -> bool:
            nonlocal last, since
            views = {nodeid: self.view(nodeid) for nodeid in nodes}
            if views != last:
                last, since = views, time.monotonic()
            agreed = all(len({_opinion(views[nodeid]) for nodeid in side}) == 1 for side in sides)
            return (agreed or not of_one_opinion) and time.monotonic() - since > self._calm

        def as_told() -> bool:
            nonlocal last
            last = {nodeid: self.view(nodeid) for nodeid in nodes}
            return last == told

        if self._script is None:
            wait_until(calm, SETTLE_TIMEOUT, lambda: f"{what}: the same on all nodes: {_lines(last)}")
        else:
            step, told = self._script[len(self.telling)]
            assert step == what
            wait_until(
                as_told,
                SETTLE_TIMEOUT,
                lambda: f"{what}: as among stock nodes: {_lines(told)}\nbut it is {_lines(last)}",
            )
        self.telling.append((what, last))

    # Doing.

    def start(self) -> None:
        """All nodes."""
        self.cluster.start()
        self.look("start", self.nodes)

    def without(self, what: str, nodeid: int) -> None:
        """The others after a node has gone."""
        rest = [n for n in self.nodes if n != nodeid]
        self.cluster.wait_formed(rest)
        self.look(f"{what} {nodeid}", rest)

    def kill(self, nodeid: int) -> None:
        """SIGKILL."""
        self.cluster[nodeid].kill()
        self.without("kill", nodeid)

    def leave(self, nodeid: int) -> None:
        """SIGTERM."""
        self.cluster[nodeid].stop()
        self.without("leave", nodeid)

    def rejoin(self, nodeid: int, *, of_one_opinion: bool = True) -> None:
        """Start it again."""
        self.cluster[nodeid].start()
        self.cluster.wait_formed()
        self.look(f"rejoin {nodeid}", self.nodes, of_one_opinion=of_one_opinion)

    def partition(self, *sides: Collection[int]) -> None:
        """Sides that do not hear each other."""
        self.cluster.partition(*sides)
        for side in sides:
            self.cluster.wait_formed(side)
        self.look(f"partition {sides}", *sides)

    def merge(self) -> None:
        """All hear all again."""
        self.cluster.heal()
        self.cluster.wait_formed()
        self.look("merge", self.nodes)

    def tool(self, nodeid: int, *command: str) -> None:
        """A stock tool on a node."""
        self.cluster[nodeid].run(command)
        self.look(f"{nodeid}: {' '.join(command)}", self.nodes)

    def reload(self, nodeid: int, old: str, new: str) -> None:
        """Another configuration on all nodes, and the order to read it."""
        for node in self.cluster.nodes.values():
            node.configuration.write_text(node.configuration.read_text().replace(old, new))
        self.tool(nodeid, "corosync-cfgtool", "-R")

    def device(self, nodeid: int) -> None:
        """A quorum device that votes on a node."""
        self._devices[nodeid] = self.cluster[nodeid].popen([compiled(PROGRAM), "poll", "judge"])
        self.look(f"device of {nodeid}", self.nodes)

    def no_device(self, nodeid: int) -> None:
        """It unregisters."""
        device = self._devices.pop(nodeid)
        device.send_signal(signal.SIGTERM)
        device.wait(SETTLE_TIMEOUT)
        self.look(f"no device of {nodeid}", self.nodes)


def _opinion(view: View) -> str:
    """What nodes in one ring have in common."""
    quorate = {bool(int(flags) & InfoFlag.QUORATE) for flags in re.findall(r" flags=(\d+)", "".join(view))}
    return f"{OPINION.findall(view[0])} {quorate}"


def _lines(views: Views) -> str:
    return "".join(f"\n node {nodeid}:\n  " + "\n  ".join(view) for nodeid, view in views.items())


def everything(stage: Stage) -> None:
    """Kill, rejoin, leave, rejoin, partition, merge."""
    last, half = stage.nodes[-1], len(stage.nodes) // 2
    stage.start()
    stage.kill(last)
    stage.rejoin(last)
    stage.leave(stage.nodes[0])
    stage.rejoin(stage.nodes[0])
    stage.partition(stage.nodes[:half], stage.nodes[half:])
    stage.merge()


def halves(stage: Stage) -> None:
    """Partitions of all sorts."""
    first, *middle, last = stage.nodes
    stage.start()
    stage.partition([first], [*middle, last])
    stage.merge()
    stage.partition([first, *middle], [last])
    stage.merge()
    everything(stage)


def orders(stage: Stage) -> None:
    """An operator changes votes."""
    stage.start()
    stage.tool(1, "corosync-quorumtool", "-e", str(2 * len(stage.nodes) - 1))
    stage.tool(2, "corosync-quorumtool", "-e", str(len(stage.nodes)))
    stage.tool(1, "corosync-quorumtool", "-n", "2", "-v", "3")
    stage.tool(2, "corosync-quorumtool", "-n", "1", "-v", "2")
    stage.kill(2)
    # It has forgotten the orders, and without quorum there is nobody whom it would believe.
    stage.rejoin(2, of_one_opinion=False)


def reloads(stage: Stage) -> None:
    """The configuration changes while all run."""
    provider = "provider: corosync_votequorum\n"
    stage.start()
    stage.reload(1, provider, provider + "expected_votes: 5\n")
    stage.reload(2, "expected_votes: 5\n", "")
    stage.reload(1, "nodeid: 1\n", "nodeid: 1\nquorum_votes: 3\n")
    stage.reload(2, provider, provider + "two_node: 1\n")
    stage.reload(1, "two_node: 1\n", "")
    stage.kill(2)


def late(stage: Stage) -> None:
    """Waiting for all, and not waiting any longer."""
    first, *others = stage.nodes
    for nodeid in others:
        stage.cluster[nodeid].start()
    stage.cluster.wait_formed(others)
    stage.look("without the first", others)
    stage.cluster[others[0]].run(["corosync-cmapctl", "-s", "quorum.cancel_wait_for_all", "u8", "1"])
    stage.look("not waiting", others)
    stage.rejoin(first)
    stage.kill(others[-1])
    stage.rejoin(others[-1])


def one_after_another(stage: Stage) -> None:
    """Each goes when the votes have been counted anew without the one before, and all come back."""
    stage.start()
    present = list(stage.nodes)
    while len(present) > 2:
        stage.cluster[present.pop()].kill()
        stage.cluster.wait_formed(present)
        stage.look(f"down to {len(present)}", present)
    for nodeid in stage.nodes[2:]:
        present.append(nodeid)
        stage.cluster[nodeid].start()
        stage.cluster.wait_formed(present)
        stage.look(f"up to {len(present)}", present)


def leaving(stage: Stage) -> None:
    """Clean leaves one after another."""
    stage.start()
    present = list(stage.nodes)
    while len(present) > 1:
        stage.cluster[present.pop()].stop()
        stage.cluster.wait_formed(present)
        stage.look(f"down to {len(present)}", present)


def devices(stage: Stage) -> None:
    """Quorum devices on all nodes, while nodes go and come and the ring parts."""
    last, half = stage.nodes[-1], len(stage.nodes) // 2
    stage.start()
    for nodeid in stage.nodes:
        stage.device(nodeid)
    stage.partition(stage.nodes[:half], stage.nodes[half:])
    stage.merge()
    stage.no_device(1)
    stage.kill(last)


@dataclass(frozen=True)
class Feature:
    """A configuration and its story."""

    story: Callable[[Stage], None]
    sizes: tuple[int, ...]
    quorum: dict[str, Any] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    votes: dict[int, int] = field(default_factory=dict)
    calm: float = 0.5

    def settings(self) -> Settings:
        """For the cluster."""
        return Settings(totem=dict(TOKEN), quorum=self.quorum, device=self.device, votes=self.votes)


LMS = {"last_man_standing": 1, "last_man_standing_window": LAST_MAN_WINDOW}
DEVICE = {"model": "net", "votes": 1, "timeout": 2000, "sync_timeout": 3000}

FEATURES = {
    "plain": Feature(everything, (2, 3, 4)),
    "votes": Feature(everything, (3, 4), votes={1: 3, 2: 2}),
    "expected_votes": Feature(everything, (3,), {"expected_votes": 5}),
    "orders": Feature(orders, (2, 3)),
    "reload": Feature(reloads, (2, 3)),
    "two_node": Feature(everything, (2,), {"two_node": 1}),
    "two_node, not waiting": Feature(everything, (2,), {"two_node": 1, "wait_for_all": 0}),
    "wait_for_all": Feature(everything, (2, 3, 4), {"wait_for_all": 1}),
    "wait_for_all, cancelled": Feature(late, (3, 4), {"wait_for_all": 1}),
    "tie breaker lowest": Feature(halves, (2, 4), {"auto_tie_breaker": 1}),
    "tie breaker highest": Feature(
        halves, (4,), {"auto_tie_breaker": 1, "auto_tie_breaker_node": "highest"}
    ),
    "tie breaker list": Feature(halves, (4,), {"auto_tie_breaker": 1, "auto_tie_breaker_node": "3 1"}),
    "tie breaker, odd": Feature(halves, (3,), {"auto_tie_breaker": 1, "wait_for_all": 1}),
    "last man standing": Feature(one_after_another, (3, 4), {**LMS, "wait_for_all": 1}, calm=2.0),
    "last man, tie breaker": Feature(one_after_another, (4,), {**LMS, "auto_tie_breaker": 1}, calm=2.0),
    "downscale": Feature(leaving, (3, 4), {"allow_downscale": 1}),
    "tracking": Feature(everything, (3,), {"expected_votes_tracking": 1}),
    "device": Feature(devices, (2, 4), device=DEVICE),
}


def mixes(size: int) -> list[str]:
    """All that have both kinds, and ours alone."""
    kinds = [format(number, f"0{size}b").replace("0", "s").replace("1", "a") for number in range(1, 2**size)]
    return sorted(kinds)


def tell(feature: Feature, cluster: Cluster, script: Telling | None = None) -> Telling:
    """The story on a cluster; with the telling of stock nodes it has to come out the same."""
    stage = Stage(cluster, feature.calm, script)
    feature.story(stage)
    return stage.telling
