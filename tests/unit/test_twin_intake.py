"""Requests taken together do what they would do one by one: the same packets, effects and count."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aisexec.effects import ExecutiveEffect
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.messages import CPG_MCAST
from aisexec.services._intake import Intake, layouts
from aisexec.services.cpg import Cpg
from aisexec.totem.settings import Settings
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX
from aisexec.totem.types import Configuration, RingId, Unicast
from ipc import cpg_layouts as cpg
from ipc._event_batch import EventBatch
from ipc.cpg_layouts import MCAST_REQUEST, CpgRequest, Guarantee
from ipc.layout import Layout, Nested
from ipc.layouts import REQUEST_HEADER, RequestHeader
from tests.sim.executives import (
    Memory,
    fragment_request,
    join_request,
    mcast_request,
)
from tests.sim.network import FAST

CLIENT = 7
OTHER = 8


class OneByOne(Executive):
    """Nothing is taken together."""

    def take_multicasts(self, head: bytes, messages: list[bytes], first: int) -> int:
        return 0


class Alone:
    """An executive in a ring of its own, whose token comes when it is told to."""

    def __init__(self, make: type[Executive], settings: Settings) -> None:
        self.executive = make(settings, 1, 0, ExecutiveOptions(), Memory())
        self.effects: list[ExecutiveEffect] = []
        self.now = 0.0
        self.executive.start(self.now)
        self.turns(until=lambda: self.executive.ready)
        for client in (CLIENT, OTHER):
            self.executive.client_opened(client, "cpg", 100 + client, 0, 0)
            self.requests(client, [join_request(b"a group", 100 + client)])
        self.turns(until=lambda: len(self.cpg.processes) == 2)
        self.effects.clear()

    @property
    def cpg(self) -> Cpg:
        service = self.executive.services[Cpg.id]
        assert isinstance(service, Cpg)
        return service

    def turns(self, until: Callable[[], object]) -> None:
        for _ in range(200):
            self.token()
            if until():
                return
        raise AssertionError("never came")

    def token(self) -> None:
        """What we sent to ourselves, or the next timer."""
        effects = self.executive.take_effects()
        self.effects += effects
        frames = [effect.frame for effect in effects if isinstance(effect, Unicast)]
        if frames:
            self.executive.receive([(frame, "self") for frame in frames], self.now)
            return
        due = self.executive.next_timer()
        assert due is not None
        self.now = max(self.now, due)
        self.executive.handle_timer(self.now)

    def requests(self, client: int, messages: list[bytes]) -> int:
        taken = 0
        while taken < len(messages):
            some = self.executive.client_requests(client, messages, taken, self.now)
            if not some:
                break
            taken += some
        return taken

    def waiting(self) -> list[tuple[bytes, int]]:
        """Packets to be sent; what is staged is among them."""
        totem = self.executive.totem
        totem.packer.flush()
        return [*totem._core.q_new, *totem._core.q_trans]


class Pair:
    """The same requests to both."""

    def __init__(self, settings: Settings = FAST) -> None:
        self.together = Alone(Executive, settings)
        self.apart = Alone(OneByOne, settings)

    def both(self, act: Callable[[Alone], object]) -> Any:
        """The result that both have."""
        results = [act(side) for side in (self.together, self.apart)]
        assert results[0] == results[1]
        return results[0]

    def requests(self, messages: Sequence[bytes], client: int = CLIENT) -> int:
        taken: int = self.both(lambda side: side.requests(client, list(messages)))
        return taken

    def compare(self) -> list[tuple[bytes, int]]:
        """Both have sent, answered and queued the same."""
        packets: list[tuple[bytes, int]] = self.both(Alone.waiting)
        self.both(lambda side: plain(side.executive.take_effects()))
        self.both(lambda side: plain(side.effects))
        self.both(lambda side: side.executive.totem.stats)
        self.both(lambda side: side.executive.flow_level())
        return packets


def plain(effects: Sequence[ExecutiveEffect]) -> list[object]:
    """Effects that can be compared."""
    return [_events(effect) if isinstance(effect, EventBatch) else effect for effect in effects]


def _events(batch: EventBatch) -> list[tuple[tuple[int, ...], bytes]]:
    return [
        (clients, bytes(batch.event(index)))
        for clients, first, last in batch.runs()
        for index in range(first, last)
    ]


def raw(number: int, size: int, guarantee: int, msglen: int, body: bytes) -> bytes:
    """A multicast whose fields say what they like."""
    fields = cpg.McastRequest(number, size, 0, guarantee, msglen)
    return MCAST_REQUEST.pack(fields) + body


def ordinary(draw: random.Random) -> bytes:
    size = draw.choice((0, 1, draw.randrange(200), draw.randrange(200), 1000, draw.randrange(9000)))
    return mcast_request(draw.randbytes(size), draw.choice((2, 2, 2, 2, 2, 2, 0, 1, 3, 9)))


def strange(draw: random.Random) -> bytes:
    """Whatever else may be in a request ring."""
    body = draw.randbytes(draw.randrange(300))
    right = MCAST_REQUEST.size + len(body)
    number = int(CpgRequest.MCAST)
    return draw.choice((
        raw(number, right + draw.choice((-1, 1, 1 << 20)), 2, len(body), body),
        raw(number, right, 2, len(body) + draw.choice((1, 1 << 31)), body),
        raw(number, right, 2, max(0, len(body) - 5), body),  # more behind it than it says
        raw(number, right, 2, 0xFFFFFFFF, body),
        raw(draw.choice((-1, 3, 12, 99, 1 << 30)), right, 2, len(body), body),
        raw(number, right, 2, len(body), body)[: draw.randrange(16, MCAST_REQUEST.size)],
        REQUEST_HEADER.pack(RequestHeader(CpgRequest.MCAST, 16)),
        REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, 16)),
        fragment_request(1, body, 10_000),
        join_request(b"another", 5),
        draw.randbytes(draw.randrange(60)),
        b"",
    ))  # fmt: skip


def batch(draw: random.Random, odd: float) -> list[bytes]:
    return [strange(draw) if draw.random() < odd else ordinary(draw) for _ in range(draw.randint(1, 60))]


@pytest.mark.parametrize("seed", range(30))
def test_any_requests(seed: int) -> None:
    draw = random.Random(seed)
    settings = replace(FAST, net_mtu=draw.choice((500, 1410, 8910)), max_messages=draw.choice((1, 5, 17)))
    pair = Pair(settings)
    odd = draw.choice((0.0, 0.02, 0.2))
    packets = 0
    for _ in range(30):
        messages = batch(draw, odd)
        pair.requests(messages, draw.choice((CLIENT, CLIENT, OTHER)))
        if draw.random() < 0.5:
            packets += len(pair.compare())
        for _ in range(draw.randrange(4)):
            pair.both(Alone.token)
    assert packets


def test_room_ends_at_the_same_message() -> None:
    """For all sizes, by both rules: frames that wait, and room in the queue."""
    for admission in (68, 1 << 20):
        for size in (0, 100, 1399, 5000, 200_000):
            pair = Pair()
            for side in (pair.together, pair.apart):
                side.executive._admission = admission
                side.executive._intake = Intake(b"a", admission, 256)
            taken = 0
            while some := pair.requests([mcast_request(bytes(size))] * 50):
                taken += some
            assert taken
            assert pair.compare()


def test_the_longest_that_receivers_take() -> None:
    for size in (cpg.DELIVER_MAX - 1, cpg.DELIVER_MAX, cpg.DELIVER_MAX + 1, EXECUTIVE_MESSAGE_MAX):
        pair = Pair()
        assert pair.requests([mcast_request(b"before"), mcast_request(bytes(size)), mcast_request(b"behind")])
        assert (len(pair.compare()) > 700) == (size <= cpg.DELIVER_MAX)


def test_a_long_request_with_a_short_message() -> None:
    for size in (EXECUTIVE_MESSAGE_MAX - 1, EXECUTIVE_MESSAGE_MAX):
        pair = Pair()
        assert pair.requests([raw(CpgRequest.MCAST, size, 2, 5, bytes(size - MCAST_REQUEST.size))]) == 1
        assert len(pair.compare()) == (size < EXECUTIVE_MESSAGE_MAX)


def test_who_is_in_no_group_sends_nothing() -> None:
    pair = Pair()
    pair.both(lambda side: side.executive.client_opened(9, "cpg", 109, 0, 0))
    assert pair.requests([mcast_request(b"x")] * 10, 9) == 10
    assert pair.compare() == []


def test_messages_come_from_the_group_that_the_client_is_in_now() -> None:
    pair = Pair()
    assert pair.requests([mcast_request(b"first")])
    leave = cpg.LEAVE_REQUEST.pack(
        cpg.LeaveRequest(CpgRequest.LEAVE, cpg.LEAVE_REQUEST.size, 7, b"a group", 107)
    )
    assert pair.requests([leave])
    pair.both(lambda side: side.turns(until=lambda: len(side.cpg.processes) == 1))
    assert pair.requests([mcast_request(b"dropped")])
    assert pair.compare() == []
    assert pair.requests([join_request(b"second group", 4711), mcast_request(b"second")]) == 2
    ((packet, _),) = pair.compare()
    at = packet.index(b"second group", packet.index(b"second group") + 1)
    mcast = CPG_MCAST.unpack(packet, at - CPG_MCAST.offset_of("group") - 8)
    assert (mcast.group.value.rstrip(b"\0"), mcast.pid, mcast.source.conn) == (b"second group", 4711, CLIENT)


def test_nothing_is_taken_while_services_are_brought_into_step() -> None:
    pair = Pair()
    pair.both(
        lambda side: side.executive.configuration(Configuration(True, (1,), (), (), RingId(1, 1 << 20)))
    )
    local_get = REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, 16))
    assert pair.requests([local_get, mcast_request(b"x"), local_get]) == 1


def test_a_held_token_is_asked_for_once() -> None:
    pair = Pair()
    pair.both(lambda side: side.turns(until=lambda: side.executive.totem._core.token_held))
    pair.both(lambda side: plain(side.executive.take_effects()))
    pair.requests([mcast_request(b"x")] * 20)
    effects = pair.both(lambda side: plain(side.executive.take_effects()))
    assert effects
    assert pair.both(lambda side: side.executive.totem.stats.token_hold_cancel_tx) == 1
    pair.compare()


def test_guarantees_of_the_request() -> None:
    pair = Pair()
    kinds = [Guarantee.AGREED, Guarantee.SAFE, Guarantee.SAFE, Guarantee.FIFO, Guarantee.UNORDERED, 99]
    pair.requests([mcast_request(b"x", kind) for kind in kinds])
    assert [guarantee for _, guarantee in pair.compare()] == [0, 1, 0]


def test_layouts_are_those_that_are_declared() -> None:
    compiled = layouts()
    assert compiled == {"McastRequest": places(MCAST_REQUEST), "CpgMcast": places(CPG_MCAST)}


def places(layout: Layout[Any], base: int = 0, prefix: str = "") -> dict[str, tuple[int, int]]:
    """Offset and size of every leaf; that of the whole under an empty name."""
    found = {} if prefix else {"": (0, layout.size)}
    for field in layout.fields:
        if isinstance(field.kind, Nested):
            found.update(places(field.kind.layout, base + field.offset, f"{prefix}{field.name}."))
        else:
            found[prefix + field.name] = (base + field.offset, field.size)
    return found


def test_a_head_of_another_size_is_a_mistake() -> None:
    executive = Alone(Executive, FAST).executive
    with pytest.raises(ValueError, match="head of 3 bytes"):
        executive.take_multicasts(b"abc", [mcast_request(b"x")], 0)
