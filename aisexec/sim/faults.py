"""Plans from seeds: which faults and which work, when (the generator, in Jepsen's words)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from aisexec.sim.plan import NetworkProfile, Plan, Step

PROFILES = {
    "mixed": "all faults and all work; most networks are good between the faults",
    "calm": "no faults but joins and orderly leaves; full load",
    "partitions": "the network splits and heals",
    "crashes": "nodes die and come back, some without their state directory",
    "lossy": "loss, duplicates, reordering; one-way links",
    "pauses": "nodes stop and go on; slow nodes; drifting clocks",
    "hostile": "changed and replayed frames",
    "storm": "one fault after the other, for long",
    "safe": "many safe messages while the network splits, loses and nodes die",
    "load": "the network splits and nodes die just while all are sending",
    "reload": "timeouts change at run time while nodes die, stop and come back",
}

FAULT_KINDS: dict[str, dict[str, int]] = {
    "mixed": {
        "crash": 4, "lose": 1, "leave": 2, "pause": 3, "slow": 2, "busy": 2, "cut": 2, "partition": 4,
        "loss": 3, "lossy": 2, "duplicate": 1, "jitter": 2, "corrupt": 1, "replay": 1,
        "aftershock": 2,
    },
    "calm": {"leave": 1},
    "storm": {
        "crash": 4, "lose": 1, "leave": 2, "pause": 3, "slow": 2, "busy": 2, "cut": 2, "partition": 4,
        "loss": 3, "lossy": 2, "duplicate": 1, "jitter": 2, "replay": 2,
        "aftershock": 2,
    },
    "partitions": {"partition": 5, "cut": 1, "lossy": 1},
    "crashes": {"crash": 5, "lose": 2, "leave": 2, "loss": 1, "aftershock": 5},
    "lossy": {"loss": 4, "lossy": 3, "duplicate": 2, "jitter": 3, "cut": 2},
    "pauses": {"pause": 5, "slow": 3, "busy": 3, "loss": 1},
    "safe": {"partition": 4, "crash": 3, "lossy": 3, "loss": 3, "cut": 2, "pause": 1},
    "load": {"rift": 8, "aftershock": 2, "crash": 1, "pause": 1},
    "hostile": {"corrupt": 4, "replay": 4, "crash": 1, "loss": 1, "partition": 1},
    "reload": {"reload": 8, "crash": 2, "leave": 1, "pause": 2, "partition": 2, "lossy": 1, "aftershock": 1},
}  # fmt: skip
"""Weights."""

LARGE = 16
"""Nodes above which a ring's JOINs are spread."""

GROUPS = ("g", "h", "a-longer-name")


@dataclass
class Ground:
    """What a generator needs."""

    random: random.Random
    nodes: tuple[int, ...]
    heal: float
    timeout: float
    """Token timeout, seconds: the scale of everything."""
    consensus: float
    """Consensus timeout, seconds."""

    def node(self) -> str:
        return str(self.random.choice(self.nodes))

    def time(self) -> float:
        return round(self.random.uniform(0.0, self.heal * 0.9), 4)

    def span(self) -> str:
        """From a fraction of the token timeout to several."""
        return f"{self.timeout * self.random.choice((0.2, 0.5, 0.9, 1.1, 1.5, 2.5, 5.0)):.4f}"

    def chance(self, *choices: float) -> str:
        return str(self.random.choice(choices))


def make_plan(seed: int, *, nodes: int | None = None, profile: str = "mixed") -> Plan:
    """The plan of a seed. nodes: how many, by default 2 to 8 as the seed wants."""
    draw = random.Random(seed * 2 + 1)
    count = nodes or draw.choice((2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8))
    ids = tuple(sorted(draw.sample(range(1, max(2 * count, 10)), count)))
    timeouts = _timeouts(draw, count, seed)
    storm = profile == "storm"
    heal = round(draw.uniform(2.0, 8.0) * timeouts["token"] * (3 if storm else 1), 4)
    ground = Ground(draw, ids, heal, timeouts["token"], timeouts["consensus"])
    kinds = FAULT_KINDS[profile]
    steps = _births(ground)
    for _ in range(draw.randrange(1, 8) + (20 if storm else 0)):
        kind = draw.choices(tuple(kinds), tuple(kinds.values()))[0]
        steps.extend(_FAULTS[kind](ground))
    steps.extend(_work(ground, safe=profile == "safe"))
    steps.extend(Step(heal, "start", (str(n),)) for n in ids if draw.random() < 0.9)
    return Plan(
        seed=seed,
        nodes=ids,
        network=_network(draw, profile),
        timeouts=timeouts,
        heal=heal,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
    )


def _timeouts(draw: random.Random, nodes: int, seed: int) -> dict[str, float]:
    """In the proportions corosync.conf(5) derives from the token timeout."""
    token = draw.choice((0.5, 1.0, 3.0)) + 0.05 * max(0, nodes - 2)
    retransmit = token / 4.2
    return {
        "token": round(token, 4),
        "token_retransmit": round(retransmit, 4),
        "hold": round(retransmit * 0.8 - 0.01, 4),
        "consensus": round(1.2 * token, 4),
        "seqno_unchanged_const": float(draw.choice((3, 3, 5, 10, 30))),
        "window_size": float(draw.choice((50, 50, 20, 300))),
        "max_messages": float(draw.choice((17, 17, 5, 60))),
        # From a source of its own, so that all else in a plan is as it was before there was this setting.
        "accelerated_window": float(random.Random(f"accelerated {seed}").choice((0, 0, 3, 60))),
        "net_mtu": float(draw.choice((1410, 1410, 500, 8910))),
        "fail_recv_const": float(draw.choice((2500, 2500, 2500, 50))),
        # As corosync.conf(5) advises for large rings, so that JOINs do not come in bursts.
        "send_join": 0.08 if nodes > LARGE else 0.0,
    }


def _network(draw: random.Random, profile: str) -> NetworkProfile:
    return NetworkProfile(
        latency=draw.choice((0.0005, 0.001, 0.002)),
        spread=draw.choice((0.0, 0.0005, 0.002)),
        tail=draw.choice((0.0, 0.0, 0.01)),
        loss=draw.choice((0.0, 0.0, 0.0, 0.01)) if profile != "calm" else 0.0,
        checksum=draw.choice((0.0, 1.0)) if profile == "hostile" else 1.0,
        drift=draw.choice((0.0, 0.001, 0.05)),
    )


def _births(ground: Ground) -> list[Step]:
    """Most nodes are started together, some when the ring is up."""
    draw = ground.random
    return [
        Step(round(draw.uniform(0, 0.1) if draw.random() < 0.8 else ground.time(), 4), "start", (str(n),))
        for n in ground.nodes
    ]


# Faults.


def _death(verb: str) -> Callable[[Ground], list[Step]]:
    def steps(ground: Ground) -> list[Step]:
        draw, node, at = ground.random, ground.node(), ground.time()
        result = [Step(at, verb, (node,))]
        if draw.random() < 0.8:
            result.append(Step(round(at + float(ground.span()), 4), "start", (node,)))
        return result

    return steps


def _pause(ground: Ground) -> list[Step]:
    return [Step(ground.time(), "pause", (ground.node(), ground.span()))]


def _slow(ground: Ground) -> list[Step]:
    delay = f"{ground.timeout * ground.random.choice((0.02, 0.1, 0.3)):.4f}"
    return [Step(ground.time(), "slow", (ground.node(), delay, ground.span()))]


def _busy(ground: Ground) -> list[Step]:
    turn = f"{ground.timeout * ground.random.choice((0.002, 0.02, 0.2)):.4f}"
    return [Step(ground.time(), "busy", (ground.node(), turn, ground.span()))]


def _aftershock(ground: Ground) -> list[Step]:
    """A node dies under load and loss, and another fails while the survivors recover."""
    draw = ground.random
    at = round(ground.time() + 0.1, 4)
    recovery = at + ground.timeout + ground.consensus
    second = draw.choice(("pause", "crash", "loss"))
    last = {
        "pause": (ground.node(), f"{2 * ground.timeout:.4f}"),
        "crash": (ground.node(),),
        "loss": ("1.0", f"{1.5 * ground.timeout:.4f}"),
    }[second]
    return [
        Step(round(at - 0.06, 4), "loss", ("0.3", "0.07")),
        *(
            Step(round(at - 0.05, 4), "raw", (str(n), "20", "300", draw.choice(("agreed", "safe"))))
            for n in ground.nodes
        ),
        Step(at, "crash", (ground.node(),)),
        Step(round(recovery + draw.uniform(0.0, 0.08), 4), second, last),
    ]


def _rift(ground: Ground) -> list[Step]:
    """All send at once, and in the midst of it the network splits, or a node dies or goes deaf."""
    draw = ground.random
    at = round(ground.time() + 0.1, 4)
    load = [
        Step(
            round(at - draw.uniform(0.0, 0.03), 4),
            "raw",
            (str(n), str(draw.choice((5, 20, 40))), str(draw.choice((60, 300, 1300, 5000))), guarantee),
        )
        for n in ground.nodes
        for guarantee in ("agreed", "safe")
    ]
    kind = draw.choice(("partition", "partition", "crash", "cut"))
    if kind == "partition":
        return [*load, *_partition_at(ground, at)]
    last = (ground.node(),) if kind == "crash" else (*_link(ground), ground.span())
    return [*load, Step(at, kind, last)]


def _link(ground: Ground) -> tuple[str, str]:
    a, b = ground.random.sample(ground.nodes, 2) if len(ground.nodes) > 1 else ground.nodes * 2
    return str(a), str(b)


def _cut(ground: Ground) -> list[Step]:
    return [Step(ground.time(), "cut", (*_link(ground), ground.span()))]


def _lossy(ground: Ground) -> list[Step]:
    return [Step(ground.time(), "lossy", (*_link(ground), ground.chance(0.1, 0.5, 0.9), ground.span()))]


def _partition(ground: Ground) -> list[Step]:
    return _partition_at(ground, None)


def _partition_at(ground: Ground, at: float | None) -> list[Step]:
    draw = ground.random
    side = {n: draw.randrange(3 if draw.random() < 0.2 else 2) for n in ground.nodes}
    sides = "/".join(
        ",".join(str(n) for n in ground.nodes if side[n] == s) for s in sorted(set(side.values()))
    )
    if at is None:
        at = ground.time()
    steps = [Step(at, "partition", (sides, ground.span()))]
    if draw.random() < 0.3:  # comes and goes
        steps.append(Step(round(at + 1.5 * ground.timeout, 4), "partition", (sides, ground.span())))
    return steps


def _everywhere(verb: str, *choices: float) -> Callable[[Ground], list[Step]]:
    def steps(ground: Ground) -> list[Step]:
        return [Step(ground.time(), verb, (ground.chance(*choices), ground.span()))]

    return steps


def _replay(ground: Ground) -> list[Step]:
    count = ground.random.choice((1, 5, 50))
    return [Step(ground.time(), "replay", (str(count), ground.node()))]


def _reload(ground: Ground) -> list[Step]:
    """New files on all nodes, now and then a broken one, and an order or two to reload them."""
    draw, at = ground.random, ground.time()
    factor = ground.chance(1.0, 0.8, 0.5)
    steps = [Step(at, "configure", (str(node), factor)) for node in ground.nodes]
    if draw.random() < 0.2:
        steps.append(Step(at, "configure", (ground.node(), "0")))
    for _ in range(draw.choice((1, 1, 2))):
        steps.append(Step(round(at + draw.uniform(0.001, 0.05), 4), "reload", (ground.node(),)))
    return steps


_FAULTS: dict[str, Callable[[Ground], list[Step]]] = {
    "crash": _death("crash"),
    "lose": _death("lose"),
    "leave": _death("leave"),
    "pause": _pause,
    "slow": _slow,
    "busy": _busy,
    "cut": _cut,
    "lossy": _lossy,
    "partition": _partition,
    "aftershock": _aftershock,
    "rift": _rift,
    "loss": _everywhere("loss", 0.01, 0.05, 0.3),
    "duplicate": _everywhere("duplicate", 0.05, 0.5),
    "corrupt": _everywhere("corrupt", 0.01, 0.1),
    "jitter": _everywhere("jitter", 0.002, 0.02, 0.2),
    "replay": _replay,
    "reload": _reload,
}


# Work.


def _work(ground: Ground, *, safe: bool = False) -> list[Step]:
    """Programs that connect, join, send and go; and messages for Totem itself."""
    draw = ground.random
    steps: list[Step] = []
    end = ground.heal * 1.02
    pid = 1000
    for node in ground.nodes:
        for _ in range(draw.choice((0, 1, 1, 2))):
            pid += 1
            steps.extend(_program(ground, str(node), str(pid), end))
    for _ in range(draw.randrange(4) + (25 if safe else 0)):
        size, count = _amount(draw)
        guarantee = "safe" if safe else draw.choice(("agreed", "safe"))
        arguments = (ground.node(), str(count), str(size), guarantee)
        steps.append(Step(round(draw.uniform(0, end), 4), "raw", arguments))
    return steps


def _program(ground: Ground, node: str, pid: str, end: float) -> list[Step]:
    draw = ground.random
    begin = round(draw.uniform(0, end) * draw.random(), 4)
    steps = [
        Step(begin, "connect", (node, pid)),
        Step(begin, "join", (node, pid, draw.choice(GROUPS[: draw.choice((1, 1, 3))]))),
    ]
    for _ in range(draw.randrange(1, 6)):
        size, count = _amount(draw)
        verb = "pieces" if draw.random() < 0.15 else "send"
        if verb == "pieces":
            count, size = draw.randrange(2, 6), draw.choice((100, 3000))
        steps.append(Step(round(draw.uniform(begin, end), 4), verb, (node, pid, str(count), str(size))))
    if draw.random() < 0.3:
        verb = draw.choice(("quit", "exit"))
        steps.append(Step(round(draw.uniform(begin, end), 4), verb, (node, pid)))
    return steps


def _amount(draw: random.Random) -> tuple[int, int]:
    """(size, count): small ones by the dozen, long ones one by one."""
    size = draw.choice((10, 10, 60, 300, 1300, 1500, 5000, 40000))
    most = max(1, 30000 // (size + 300))
    return size, draw.randrange(1, min(most, 40) + 1)
