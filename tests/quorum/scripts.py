"""Random clusters and what happens to them, in corosync-vqsim's words; a seed gives them back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

LAST_MAN_WINDOW = 60
"""Milliseconds."""
DEVICE_TIMEOUT = 300
DEVICE_SYNC_TIMEOUT = 400
"""Longer than the time between two polls: the first one on a new ring always comes within it."""
NODES_MAX = 8


@dataclass(frozen=True)
class Script:
    """One cluster: what it is configured like, and the commands after all nodes have started."""

    seed: int
    feature: str
    nodes: tuple[int, ...]
    """Of the nodelist; all are up in partition 0 at first."""
    votes: Mapping[int, int]
    """Those that differ from 1."""
    quorum: Mapping[str, object]
    device: Mapping[str, object] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    @property
    def settle_time(self) -> float:
        """Seconds after a command until nothing can change any more."""
        if self.device:
            return (2 * DEVICE_TIMEOUT + DEVICE_SYNC_TIMEOUT) / 1000
        if "last_man_standing" in self.quorum:
            return 3 * LAST_MAN_WINDOW / 1000
        return 0.03


def make_script(seed: int) -> Script:
    """The script of a seed."""
    chance = random.Random(seed)
    feature = chance.choice(list(FEATURES))
    return FEATURES[feature](chance, seed, feature)


def _nodes(chance: random.Random, least: int = 2, most: int = NODES_MAX) -> tuple[int, ...]:
    count = chance.randint(least, most)
    if chance.random() < 0.7:
        return tuple(range(1, count + 1))
    return tuple(sorted(chance.sample(range(1, 4 * NODES_MAX), count)))


def _plain(chance: random.Random, seed: int, feature: str) -> Script:
    nodes = _nodes(chance)
    votes = {n: chance.choice([0, 2, 3, 5]) for n in nodes if chance.random() < 0.3}
    quorum: dict[str, object] = {}
    if chance.random() < 0.3:
        quorum["expected_votes"] = chance.randint(1, 2 * len(nodes))
    return _finished(chance, Script(seed, feature, nodes, votes, quorum))


def _wait_for_all(chance: random.Random, seed: int, feature: str) -> Script:
    nodes = _nodes(chance)
    votes = {n: 2 for n in nodes if chance.random() < 0.2}
    return _finished(chance, Script(seed, feature, nodes, votes, {"wait_for_all": 1}))


def _two_node(chance: random.Random, seed: int, feature: str) -> Script:
    quorum: dict[str, object] = {"two_node": 1}
    if chance.random() < 0.4:
        quorum["wait_for_all"] = chance.randint(0, 1)
    return _finished(chance, Script(seed, feature, _nodes(chance, 2, 3), {}, quorum))


def _tie_breaker(chance: random.Random, seed: int, feature: str) -> Script:
    nodes = _nodes(chance)
    quorum: dict[str, object] = {"auto_tie_breaker": 1}
    choice = chance.choice([None, "lowest", "highest", "list", "list"])
    if choice == "list":
        choice = " ".join(map(str, chance.sample(nodes, chance.randint(1, min(3, len(nodes))))))
    if choice is not None:
        quorum["auto_tie_breaker_node"] = choice
    if chance.random() < 0.6:
        quorum["wait_for_all"] = 1
    votes = {n: 2 for n in nodes if chance.random() < 0.1}
    return _finished(chance, Script(seed, feature, nodes, votes, quorum))


def _last_man(chance: random.Random, seed: int, feature: str) -> Script:
    nodes = _nodes(chance, 3)
    quorum: dict[str, object] = {"last_man_standing": 1, "last_man_standing_window": LAST_MAN_WINDOW}
    if chance.random() < 0.6:
        quorum["wait_for_all"] = 1
    if chance.random() < 0.4 and ("wait_for_all" in quorum or len(nodes) % 2 == 0):
        quorum["auto_tie_breaker"] = 1
    votes = {nodes[0]: 2} if chance.random() < 0.1 and "auto_tie_breaker" not in quorum else {}
    return _finished(chance, Script(seed, feature, nodes, votes, quorum))


def _downscale(chance: random.Random, seed: int, feature: str) -> Script:
    quorum: dict[str, object] = {chance.choice(["allow_downscale", "expected_votes_tracking"]): 1}
    nodes = _nodes(chance)
    if chance.random() < 0.3:
        quorum["expected_votes"] = chance.randint(1, 2 * len(nodes))
    return _finished(chance, Script(seed, feature, nodes, {}, quorum))


def _device(chance: random.Random, seed: int, feature: str) -> Script:
    nodes = _nodes(chance, 2, 5)
    device: dict[str, object] = {
        "model": "net",
        "timeout": DEVICE_TIMEOUT,
        "sync_timeout": DEVICE_SYNC_TIMEOUT,
    }
    if chance.random() < 0.6:
        device["votes"] = chance.randint(1, len(nodes))
    quorum: dict[str, object] = {"wait_for_all": 1} if chance.random() < 0.3 else {}
    return _finished(chance, Script(seed, feature, nodes, {}, quorum, device))


FEATURES = {
    "plain": _plain,
    "wait_for_all": _wait_for_all,
    "two_node": _two_node,
    "auto_tie_breaker": _tie_breaker,
    "last_man_standing": _last_man,
    "downscale": _downscale,
    "device": _device,
}


class _Story:
    """Where the nodes are while a script is being made up."""

    def __init__(self, chance: random.Random, script: Script) -> None:
        self._chance = chance
        self._where = dict.fromkeys(script.nodes, 0)
        self._gone: list[int] = []
        self._script = script
        self._has_stranger = bool(script.device)

    def command(self) -> str:
        kinds = ["down", "down", "split", "split", "join", "join", "up", "up"]
        if self._script.device:
            kinds += ["qdevice"] * 6
        for kind in self._chance.sample(kinds, len(kinds)):
            command: str | None = getattr(self, f"_{kind}")()
            if command is not None:
                return command
        raise AssertionError("something is always possible")

    def _down(self) -> str | None:
        if len(self._where) < 2:
            return None
        nodeid = self._chance.choice(list(self._where))
        del self._where[nodeid]
        self._gone.append(nodeid)
        return f"down {nodeid}"

    def _up(self) -> str | None:
        if not self._has_stranger and self._chance.random() < 0.1:
            self._has_stranger = True
            self._gone.append(99)  # not in the nodelist: there may be more nodes than expected
        if not self._gone:
            return None
        some = self._chance.sample(self._gone, self._chance.randint(1, len(self._gone)))
        place = self._chance.randint(0, 2)
        for nodeid in some:
            self._gone.remove(nodeid)
            self._where[nodeid] = place
        return f"up {place}:{','.join(map(str, some))}"

    def _split(self) -> str | None:
        if len(self._where) < 2:
            return None
        some = self._chance.sample(list(self._where), self._chance.randint(1, len(self._where) - 1))
        place = self._chance.randint(0, 2)
        self._where |= dict.fromkeys(some, place)
        return f"split {place}:{','.join(map(str, some))}"

    def _join(self) -> str | None:
        places = sorted(set(self._where.values()))
        if len(places) < 2:
            return None
        first, *rest = self._chance.sample(places, self._chance.randint(2, len(places)))
        self._where = {n: first if place in rest else place for n, place in self._where.items()}
        return f"join {first} {' '.join(map(str, rest))}"

    def _qdevice(self) -> str | None:
        some = self._chance.sample(list(self._where), self._chance.randint(1, len(self._where)))
        return f"qdevice {self._chance.choice(['on', 'on', 'off'])} 0:{','.join(map(str, some))}"


def _finished(chance: random.Random, script: Script) -> Script:
    story = _Story(chance, script)
    commands = tuple(story.command() for _ in range(chance.randint(4, 10)))
    return replace(script, commands=commands)
