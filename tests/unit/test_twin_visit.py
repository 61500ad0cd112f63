"""The compiled visit of the token against the procedures of token_visit.py: two rings live the same life."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from aisexec.totem import ring, wire
from aisexec.totem._state import CoreState
from aisexec.totem._visit import ordinary_visit
from aisexec.totem.core import Core
from aisexec.totem.settings import Settings
from aisexec.totem.stack import Totem
from aisexec.totem.types import Broadcast, Broadcasts, Configuration, Unicast

NODES = (1, 2, 3)
GROUP = b"g"

COMPARED_OTHERWISE = {"timers", "stats", "effects", "flow"}
NOT_COMPARED = {*COMPARED_OTHERWISE, "settings", "user", "anomalies", "connectivity", "staging", "story"}


class Upper:
    """Keeps what is delivered; now and then answers at once."""

    def __init__(self) -> None:
        self.totem: Totem
        self.delivered: list[bytes] = []

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        self.delivered.append(message)
        if message.startswith(b"answer") and len(self.delivered) % 3 == 0:
            self.totem.submit(GROUP, [b"said " + message[:20]])

    def configuration(self, change: Configuration) -> None:
        if not change.transitional:
            self.totem.synchronised()

    def token_passed(self) -> None:
        self.delivered.append(b"token passed")


def state(totem: Totem) -> dict[str, Any]:
    core: Core = totem.core
    names = {*vars(core), *(name for name in vars(CoreState) if not name.startswith("__"))}
    found = {name: getattr(core, name) for name in names - NOT_COMPARED}
    found["regular_q"], found["recovery_q"] = core.regular_q.frames, core.recovery_q.frames
    found["misses"] = core.regular_q.miss_count
    found["retransmits"] = vars(core.retransmits)
    found["interrupted"] = core.interrupted.packets
    found["interrupted_trans"] = core.interrupted_trans.packets
    return found | {
        "timers": core.timers.armed,
        "stats": repr(core.stats),
        "flow": (core.flow.sent_last_visit, core.flow.queued_last_visit),
        "consensus": sorted(core.consensus),
    }


def life(seed: int) -> list[object]:
    """All that three nodes do and are, event by event."""
    draw = random.Random(seed)
    settings = Settings(
        token=1.0,
        token_retransmit=0.238,
        hold=0.18,
        consensus=1.2,
        seqno_unchanged_const=draw.choice((3, 30)),
        window_size=draw.choice((50, 5)),
        max_messages=draw.choice((17, 3)),
        miss_count_const=draw.choice((5, 2)),
        fail_recv_const=draw.choice((2500, 30)),
        token_warning=draw.choice((75, 0)),
        heartbeat_failures_allowed=draw.choice((0, 2)),
        cancel_token_hold_on_retransmit=draw.random() < 0.5,
        accelerated_window=draw.choice((0, 0, 2, 60)),
    )
    loss = draw.choice((0.0, 0.01, 0.1))
    uppers = {nodeid: Upper() for nodeid in NODES}
    nodes = {nodeid: Totem(settings, nodeid, 0, uppers[nodeid]) for nodeid in NODES}
    for nodeid, upper in uppers.items():
        upper.totem = nodes[nodeid]
    flights: list[tuple[int, bytes]] = []
    story: list[object] = []
    now = 0.0

    def happened(nodeid: int) -> None:
        effects = nodes[nodeid].take_effects()
        story.append((nodeid, effects, state(nodes[nodeid]), len(uppers[nodeid].delivered)))
        for effect in effects:
            if isinstance(effect, Unicast):
                flights.append((effect.nodeid, effect.frame))
            frames = [effect.frame] if isinstance(effect, Broadcast) else []
            frames = effect.frames if isinstance(effect, Broadcasts) else frames
            flights.extend((other, frame) for frame in frames for other in NODES if other != nodeid)

    for nodeid in NODES:
        nodes[nodeid].start(now)
        happened(nodeid)
    for _ in range(1200):
        what, nodeid = draw.random(), draw.choice(NODES)
        if what < 0.03:
            head = draw.choice((b"answer ", b"quiet "))
            nodes[nodeid].submit(GROUP, [head, bytes(draw.choice((5, 400, 5000)))], safe=draw.random() < 0.2)
            happened(nodeid)
        elif what < 0.04:
            nodes[nodeid].call_when_token_passed()
            happened(nodeid)
        elif flights and what < 0.97:
            late = draw.random() < 0.05
            target, frame = flights.pop(draw.randrange(len(flights)) if late else 0)
            if draw.random() >= loss:
                nodes[target].receive([(frame, "sender")], now)
                happened(target)
                if draw.random() < 0.01:
                    flights.append((target, frame))
        elif flights:
            now += draw.choice((0.0001, 0.001))
        else:
            now = max(now, min(node.next_timer() or now for node in nodes.values()))
        for nodeid in NODES:
            if (nodes[nodeid].next_timer() or now + 1) <= now:
                nodes[nodeid].handle_timer(now)
                happened(nodeid)
    story.append([upper.delivered for upper in uppers.values()])
    return story


@pytest.mark.parametrize("seed", range(40))
def test_same_life(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    visits = [0, 0]

    def counted(core: Core, frame: bytes, restart_heartbeat: Callable[[Core, bool], object]) -> bool:
        ordinary = ordinary_visit(core, frame, restart_heartbeat)
        visits[ordinary] += 1
        return ordinary

    monkeypatch.setattr(ring, "ordinary_visit", counted)
    ours = life(seed)
    monkeypatch.setattr(ring, "ordinary_visit", lambda core, frame, restart_heartbeat: False)
    theirs = life(seed)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        assert mine == other, f"event {number}"
    assert len(ours) == len(theirs)
    assert visits[1] > 100


@pytest.mark.parametrize("size", [0, 3, 56, 58, 73])
def test_a_frame_of_another_size_is_not_ordinary(size: int) -> None:
    upper = Upper()
    core = Totem(Settings(), 1, 0, upper).core
    token = wire.OrfToken(
        wire.header(wire.FrameType.ORF_TOKEN, 2), 0, 1, 0, 0, core.ring_id, 0, 0, 0, ()
    ).pack()
    assert not ordinary_visit(core, token.ljust(size, b"\0")[:size], lambda core, holding: None)
