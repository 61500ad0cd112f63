"""The language: one handler for each verb.  What each does is in README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any

from aisexec.totem import wire
from aisexec.totem.core import State
from aisexec.totem.sequence import MASK, following
from aisexec.totem.settings import Settings
from aisexec.totem.sort_queue import SortQueue
from aisexec.totem.timers import Timer
from tests.golden import frames
from tests.golden.environment import Detail, Flight, Node, ScriptError, Selection, World

Handler = Callable[[World, list[str]], None]

FORMING = 2.0
"""Seconds in which the verb `ring` expects the ring; nodes that start alone meet by MERGE DETECT."""

VERBS: dict[str, Handler] = {}


def verb(handler: Handler) -> Handler:
    """Makes a function a verb of its name, hyphens for underscores."""
    VERBS[handler.__name__.strip("_").replace("_", "-")] = handler
    return handler


def nodeids(text: str) -> list[int]:
    """`1,2,3`"""
    return [int(part) for part in text.split(",")]


def options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Plain words, and those of the form key=value."""
    plain = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    return plain, given


def selection(words: Sequence[str]) -> Selection:
    """`[n->m] [kind] [seq=k] [count | all]`"""
    chosen = Selection()
    for word in words:
        if link := frames.LINK.match(word):
            source, target = (None if side in (None, "*") else int(side) for side in link.groups())
            chosen.source, chosen.target = source, target
        elif word in frames.KINDS:
            chosen.kind = word
        elif word.startswith("seq="):
            chosen.seq = frames.parse_number(word[4:])
        elif word == "all":
            chosen.count = None
        elif word.isdigit():
            chosen.count = int(word)
        else:
            raise ScriptError(f"{word!r} selects no frames")
    return chosen


def chosen(world: World, words: list[str]) -> list[Flight]:
    """Frames in flight; one, if the words do not say how many."""
    return world.matching(selection(words), None if "all" in words else 1)


# Nodes.


@verb
def nodes(world: World, words: list[str]) -> None:
    plain, given = options(words)
    world.manual_sync = given.pop("sync", "") == "manual"
    world.settings = changed(world.settings, given)
    for nodeid in map(int, plain):
        world.coverage.begin(nodeid)
        world.nodes[nodeid] = Node(world, nodeid)


def changed(settings: Settings, given: Mapping[str, str]) -> Settings:
    """Settings with others in their place, as words."""
    kinds = {each.name: type(getattr(settings, each.name)) for each in dataclass_fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in kinds:
            raise ScriptError(f"there is no setting {name}")
        # corosync.conf has times in milliseconds.
        values[name] = int(text) / 1000 if kinds[name] is float else kinds[name](int(text))
    return replace(settings, **values)


@verb
def reconfigure(world: World, words: list[str]) -> None:
    plain, given = options(words)
    for node in [world.node(int(word)) for word in plain] or list(world.nodes.values()):
        node.totem.reconfigure(changed(node.core.settings, given), world.now)
        node.flush()


@verb
def start(world: World, words: list[str]) -> None:
    for node in [world.node(int(word)) for word in words] or list(world.nodes.values()):
        node.totem.start(world.now)
        node.flush()


@verb
def ring(world: World, words: list[str]) -> None:
    before, world.detail = world.detail, Detail.nothing
    nodes(world, words)
    start(world, [])
    world.stabilize()
    while not _one_ring(world):
        if world.now > FORMING:
            raise ScriptError("the nodes formed no ring")
        world.step()
        world.stabilize()
    world.detail = before
    node = next(iter(world.nodes.values()))
    members = frames.ids(node.totem.members)
    world.answer(f"ring {node.totem.ring_id} of {members} after {world.now * 1000:.0f} ms")


def _one_ring(world: World) -> bool:
    all_nodes = world.nodes.values()
    operational = all(node.core.state is State.OPERATIONAL for node in all_nodes)
    return operational and len({node.totem.ring_id for node in all_nodes}) == 1


@verb
def crash(world: World, words: list[str]) -> None:
    for word in words:
        world.node(int(word)).alive = False


@verb
def restart(world: World, words: list[str]) -> None:
    node = world.node(int(words[0]))
    if words[1:] == ["lost-state"]:
        world.disk.pop(node.nodeid, None)
    elif words[1:]:
        raise ScriptError(f"restart does not know {words[1]!r}")
    world.coverage.begin(node.nodeid)
    node.alive, node.paused = True, False
    node.boot()
    node.totem.start(world.now)
    node.flush()


@verb
def leave(world: World, words: list[str]) -> None:
    node = world.node(int(words[0]))
    node.totem.leave(world.now)
    node.flush()
    node.alive = False


@verb
def pause(world: World, words: list[str]) -> None:
    world.node(int(words[0])).paused = True


@verb
def resume(world: World, words: list[str]) -> None:
    """Frames before timers, as the driver does it."""
    node = world.node(int(words[0]))
    node.paused = False
    waiting, node.inbox = node.inbox, []
    world.say(f"{node.nodeid} goes on with {len(waiting)} frames", Detail.frames)
    node.totem.receive(waiting, world.now)
    node.flush()
    world.run_timers(node)


@verb
def interface_down(world: World, words: list[str]) -> None:
    world.node(int(words[0])).interface_up = False


@verb
def interface_up(world: World, words: list[str]) -> None:
    node = world.node(int(words[0]))
    node.interface_up = True
    node.totem.interface_up(world.now)
    node.flush()


@verb
def submit(world: World, words: list[str]) -> None:
    plain, given = options(words)
    node = world.node(int(plain[0]))
    text = plain[1]
    safe = plain[2:] == ["safe"]
    body = text.encode().ljust(int(given.get("size", "0")), frames.PAD)
    if not node.totem.submit(b"a", [body], safe=safe):
        world.answer(f"{node.nodeid} has no room")
    node.flush()


@verb
def synchronised(world: World, words: list[str]) -> None:
    for node in [world.node(int(word)) for word in words]:
        node.totem.synchronised()
        node.flush()


@verb
def wind(world: World, words: list[str]) -> None:
    """As if an idle ring had come so far: every counter of messages and of tokens moves on."""
    _, given = options(words)
    to, token_to = frames.parse_number(given["seq"]), frames.parse_number(given["token_seq"])
    for node in world.nodes.values():
        core = node.core
        if core.my_aru != core.my_high_seq or world.flights:
            raise ScriptError("only an idle ring can be wound on")
        core.my_aru = core.my_high_seq = core.my_high_delivered = core.last_released = to
        core.safe_aru = core.my_last_aru = core.my_last_seq = to
        core.regular_q = SortQueue()
        core.regular_q.head = following(to)
        core.my_token_seq = (token_to - 1) & MASK
        if core.i_am_rep:
            token = wire.read_orf_token(core.last_token_frame)
            core.last_token_frame = token._replace(seq=to, aru=to, token_seq=token_to).pack()


# Frames.


@verb
def deliver(world: World, words: list[str]) -> None:
    meant = selection(words)
    if "all" in words:
        for flight in world.matching(meant, None):
            world.arrive(flight)
        return
    # One after the other: what the first brings about may be the second.
    count, meant.count = meant.count or 1, None
    for _ in range(count):
        world.arrive(world.matching(meant, 1)[0])


@verb
def drop(world: World, words: list[str]) -> None:
    for flight in chosen(world, words):
        world.flights.remove(flight)
        world.say(f"lost: {flight.short}", Detail.frames)


@verb
def duplicate(world: World, words: list[str]) -> None:
    for flight in chosen(world, words):
        world.flights.append(replace(flight))
        world.say(f"twice: {flight.short}", Detail.frames)


@verb
def hold(world: World, words: list[str]) -> None:
    for flight in chosen(world, words):
        flight.held = True
        world.say(f"held: {flight.short}", Detail.frames)


@verb
def release(world: World, words: list[str]) -> None:
    for flight in world.matching(selection(words), None if "all" in words else 1, held=True):
        flight.held = False


@verb
def stabilize(world: World, words: list[str]) -> None:
    world.stabilize()


@verb
def inject(world: World, words: list[str]) -> None:
    plain, given = options(words)
    link = frames.LINK.match(plain[0])
    if link is None or None in link.groups() or "*" in link.groups():
        raise ScriptError("inject wants to know from whom to whom: 1->2")
    source, target = map(int, link.groups())
    node = world.node(target)
    frame = frames.build(plain[1], source, node.totem.ring_id, given)
    world.say(f"{source}->{target} {plain[1]} (injected)", Detail.frames)
    world.hand_in(node, source, frame)


# The network.


@verb
def partition(world: World, words: list[str]) -> None:
    sides = [nodeids(word) for word in words]
    side = {nodeid: index for index, members in enumerate(sides) for nodeid in members}
    world.cuts.append(lambda source, target, frame: side.get(source) != side.get(target))


@verb
def cut(world: World, words: list[str]) -> None:
    world.cuts.append(selection(words).fits)


@verb
def heal(world: World, words: list[str]) -> None:
    world.cuts.clear()


# Time.


@verb
def tick(world: World, words: list[str]) -> None:
    world.advance(int(words[0]) / 1000, lambda: None)


@verb
def run(world: World, words: list[str]) -> None:
    world.stabilize()
    world.advance(int(words[0]) / 1000, world.stabilize)


@verb
def timeout(world: World, words: list[str]) -> None:
    timer, node = Timer(" ".join(words[:-1])), world.node(int(words[-1]))
    if not node.core.timers.running(timer):
        raise ScriptError(f"the {timer.value} timer of {node.nodeid} is not armed")
    node.core.timers.start(timer, world.now)
    world.run_timers(node)


# Looking.


@verb
def detail(world: World, words: list[str]) -> None:
    world.detail = Detail[words[0]]


@verb
def show(world: World, words: list[str]) -> None:
    what = words[0]
    if what not in _SHOW:
        raise ScriptError(f"show knows {', '.join(_SHOW)}")
    _SHOW[what](world, words[1:])


def _picked(world: World, words: list[str]) -> list[Node]:
    return [world.node(n) for n in nodeids(words[0])] if words else list(world.nodes.values())


def _show_node(world: World, words: list[str]) -> None:
    for node in _picked(world, words):
        core = node.core
        world.answer(
            f"{node.nodeid} {core.state.name} ring={core.ring_id} members={frames.ids(core.memb)}"
            f" proc={frames.ids(core.proc)} failed={frames.ids(core.failed)}"
        )


def _show_queues(world: World, words: list[str]) -> None:
    for node in _picked(world, words):
        core = node.core
        text = (
            f"{node.nodeid} aru={frames.number(core.my_aru)} high={frames.number(core.my_high_seq)}"
            f" delivered={frames.number(core.my_high_delivered)} safe={frames.number(core.safe_aru)}"
            f" kept={frames.ids(sorted(core.regular_q.frames))}"
        )
        waiting = {
            "new": core.q_new,
            "during sync": core.q_trans,
            "to recover": core.q_retrans,
            "recovered": core.recovery_q.frames,
        }
        world.answer(text + "".join(f" {name}={len(queue)}" for name, queue in waiting.items() if queue))


def _show_inflight(world: World, words: list[str]) -> None:
    for flight in world.flights:
        world.answer(("held: " if flight.held else "") + flight.label)
    if not world.flights:
        world.answer("nothing in flight")


def _show_timers(world: World, words: list[str]) -> None:
    for node in _picked(world, words):
        armed = {t: at for t, at in node.core.timers.armed.items() if t is not Timer.PAUSE}
        texts = [f"{t.value} in {(at - world.now) * 1000:.0f}" for t, at in sorted(armed.items(), key=str)]
        world.answer(f"{node.nodeid} {', '.join(texts) or 'none'}")


def _show_dropped(world: World, words: list[str]) -> None:
    for node in _picked(world, words):
        counts = sorted(node.totem.stats.dropped.items())
        world.answer(f"{node.nodeid} {', '.join(f'{name}: {n}' for name, n in counts) or 'nothing'}")


def _show_stats(world: World, words: list[str]) -> None:
    for node in _picked(world, words):
        values = [f"{name}={getattr(node.totem.stats, name)}" for name in words[1:]]
        world.answer(f"{node.nodeid} {' '.join(values)}")


def _show_time(world: World, words: list[str]) -> None:
    world.answer(f"{world.now * 1000:.0f} ms")


_SHOW: dict[str, Callable[[World, list[str]], None]] = {
    "node": _show_node,
    "queues": _show_queues,
    "inflight": _show_inflight,
    "timers": _show_timers,
    "dropped": _show_dropped,
    "stats": _show_stats,
    "time": _show_time,
}


@verb
def expect(world: World, words: list[str]) -> None:
    """What must hold however the output is rewritten."""
    picked = [world.node(n) for n in nodeids(words[0])]
    what, rest = words[1], words[2:]
    for node in picked:
        seen = _seen(node, what)
        wanted = " ".join(rest)
        if seen != wanted:
            raise ScriptError(f"node {node.nodeid}: expected {what} {wanted!r}, it is {seen!r}")


def _seen(node: Node, what: str) -> str:
    match what:
        case "state":
            return node.core.state.name
        case "ring":
            return str(node.totem.ring_id)
        case "members":
            return frames.ids(node.totem.members)
        case "delivered":
            return " ".join(body.rstrip(frames.PAD).decode() for _, body in node.delivered)
        case "dropped":
            return " ".join(f"{name}:{n}" for name, n in sorted(node.totem.stats.dropped.items()))
    raise ScriptError(f"expect does not know {what!r}")
