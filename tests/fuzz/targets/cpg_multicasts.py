"""The compiled way of multicasts from frames to events beside what the layouts say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.messages import CPG_MCAST, GROUP_SERVICES, CpgMcast, ExecHeader, GroupName, Source, exec_id
from aisexec.services._multicasts import Multicasts
from aisexec.services.base import AnomalyError
from aisexec.services.cpg_joinlist import MCAST, SERVICE, exec_name
from aisexec.totem.assembly import Assembly
from aisexec.totem.packing import PACKET_HEAD
from ipc._event_batch import EventBatch
from ipc.cpg_layouts import DELIVER_MAX, pack_deliver
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.targets.totem_packets import SENDERS, frame_head

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0

MESSAGE, FORGET, SAID = range(3)
"""Step.what; Step.where is the sender.  SAID: something else is said to a client, so events go out first."""

PREFIX: Final = b"\x01\0\x01\0" + GROUP_SERVICES
RECEIVERS: Final[tuple[tuple[int, ...], ...]] = ((1,), (1, 2, 3), (), (2,))

Delivery = tuple[tuple[int, ...], bytes]


def receivers_of(nodeid: int, group: bytes) -> tuple[int, ...]:
    """Any rule will do; the group "?" is an anomaly."""
    if group == b"?":
        raise AnomalyError("no such node")
    return RECEIVERS[(nodeid + sum(group[:4])) % len(RECEIVERS)]


def expected(nodeid: int, message: bytes) -> Delivery | None:
    """The event and who gets it; None when the message is left to the engine."""
    if not message.startswith(PREFIX) or len(message) < len(PREFIX) + CPG_MCAST.size:
        return None
    mcast = CPG_MCAST.unpack(message, len(PREFIX))
    body = message[len(PREFIX) + CPG_MCAST.size :]
    if mcast.header.id != exec_id(SERVICE, MCAST) or mcast.msglen > min(DELIVER_MAX, len(body)):
        return None
    try:
        name = exec_name(mcast.group)
        receivers = receivers_of(nodeid, name)
    except AnomalyError:
        return None
    return receivers, pack_deliver(name, nodeid, mcast.pid, mcast.msglen) + body[: mcast.msglen]


def fuzz(data: bytes) -> None:
    """What the layouts say is what comes out, in order."""
    batches: list[EventBatch] = []
    left: list[tuple[int, bytes]] = []

    def open_batch() -> EventBatch:
        batches.append(EventBatch())
        return batches[-1]

    sink = Multicasts(open_batch, receivers_of)
    assembly = Assembly(lambda nodeid, message: left.append((nodeid, message)), None, sink)
    due: list[Delivery] = []
    left_due: list[tuple[int, bytes]] = []
    for step in steps(data):
        match step.what % 3:
            case 0:
                nodeid = step.where % SENDERS + 1
                assembly.frames([frame_head(nodeid) + packet(step.data)])
                delivery = expected(nodeid, step.data)
                if delivery is None:
                    left_due.append((nodeid, step.data))
                elif delivery[0]:
                    due.append(delivery)
            case 1:
                sink.forget()
            case _:
                sink.batch = None
    assert left == left_due
    assert [event for batch in batches for event in events(batch)] == due


def packet(message: bytes) -> bytes:
    """With one whole message."""
    return PACKET_HEAD.struct.pack(0, 0, 0, 0, 1) + len(message).to_bytes(2, "little") + message


def events(batch: EventBatch) -> list[Delivery]:
    """One by one."""
    found = [
        (receivers, batch.event(index))
        for receivers, first, last in batch.runs()
        for index in range(first, last)
    ]
    assert len(found) == len(batch)
    assert sum(len(event) for _, event in found) == batch.size
    return found


def _fields(step: Step) -> Sequence[Leaf]:
    return (Leaf(0, "H", 2), Leaf(2, "H", 2), Leaf(4, "B", 1), *leaves(CPG_MCAST, len(PREFIX)))


def message(group: bytes, body: bytes, msglen: int | None = None) -> bytes:
    """A good one, unless msglen lies."""
    head = ExecHeader(exec_id(SERVICE, MCAST), CPG_MCAST.size + len(body))
    said = len(body) if msglen is None else msglen
    return (
        PREFIX + CPG_MCAST.pack(CpgMcast(head, GroupName(len(group), group), said, 42, Source(1, 9))) + body
    )


@cache
def seeds() -> Sequence[bytes]:
    """Good ones to several groups, and odd ones in their midst."""
    good = [
        Step(MESSAGE, n, message(group, b"body" * n))
        for n in range(5)
        for group in (b"a", b"b", b"g" * 128, b"")
    ]
    odd = [
        Step(MESSAGE, 1, message(b"?", b"x")),
        Step(MESSAGE, 1, message(b"a", b"x", msglen=2)),
        Step(MESSAGE, 1, message(b"a", b"x", msglen=0xFFFFFFFF)),
        Step(MESSAGE, 1, message(b"a", b"xyz", msglen=1)),
        Step(MESSAGE, 1, message(b"a", b"")[:-1]),
        Step(MESSAGE, 1, b"\x02\0\x01\0a" + message(b"a", b"x")[5:]),
        Step(FORGET, 0, b""),
        Step(SAID, 0, b""),
    ]
    found = [join(good), join([*good[:6], *odd, *good[6:12]])]
    return found + [join([step]) for step in (*good[::5], *odd)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of a message, or their order."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Messages from their layout, and good ones to any group."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, mixed, step, step_lists, structure

    body = st.binary(max_size=60)
    good = st.builds(message, st.binary(max_size=128), body)
    spoilt = cut(followed(st.just(PREFIX), followed(structure(CPG_MCAST), body)))
    one = step(st.just(MESSAGE), good | spoilt) | step(st.integers(1, 2), st.just(b""))
    return mixed(step_lists(one, 12), damaged(seeds(), mutate))
