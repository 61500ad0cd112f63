"""Frames thrown at three nodes of a virtual network in a given state of the protocol; then peace.

What must hold: nothing is raised, nothing grows beyond its limit, and when the forging has ended the
three form their ring and deliver.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntFlag
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.totem import wire
from aisexec.totem.core import Core, State
from aisexec.totem.limits import (
    ANOMALY_SENDERS_MAX,
    ASSEMBLY_SIZE_MAX,
    OWN_FRAMES_MAX,
    PROCESSOR_COUNT_MAX,
    RECOVERY_QUEUE_SIZE,
    RING_SEQ_STEP,
    SORT_QUEUE_SIZE,
)
from aisexec.totem.types import RingId
from aisexec.totem.wire import FrameType
from tests.fuzz.captured import frames
from tests.fuzz.frames import FIXED, any_frame, fields, frame_type
from tests.fuzz.records import Mutation, Step, join, mutation_of, steps
from tests.sim.network import FAST, N, Network, VirtualNetwork

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MEMBERS: Final = (1, 2, 3)
FORGER: Final = "10.0.0.66"
PEACE: Final = 60.0
"""Virtual seconds in which the ring must be whole again: dozens of its timeouts."""
PATIENCE: Final = 3.0
"""Virtual seconds in which a message must be at all members."""
SETTINGS: Final = replace(FAST, fail_recv_const=30)
"""A forged token can speak of messages that nobody has.  What ends the vain asking for them is
fail_recv_const, of which 2500 visits, the default, take minutes on an idle ring."""


class How(IntFlag):
    """What a step does with its frame; bits of Step.what.  The two lowest are the hearer, 0 all."""

    RING = 4
    """It is of the hearer's ring."""
    NUMBERS = 8
    """Its sequence numbers are near the hearer's: the frame's own are taken as small differences."""
    MEMBER = 16
    """It comes from a member, Step.where says which."""
    SUBMIT = 32
    """No frame: the hearer has something to say."""
    PASS_TIME = 64
    """No frame: time goes by, Step.where hundredths of a second."""


def _small(value: int) -> int:
    return ((value + 128) & 0xFF) - 128


def adapt(frame: bytes, step: Step, core: Core) -> bytes:
    kind = frame_type(frame)
    layout = FIXED.get(kind)
    if layout is None or len(frame) < layout.size:
        return frame
    how = How(step.what & 0x7C)
    data = bytearray(frame)
    if How.MEMBER in how:
        _from_member(data, kind, MEMBERS[step.where % len(MEMBERS)])
    if How.RING in how:
        _of_ring(data, kind, core)
    if How.NUMBERS in how:
        _near(data, kind, core)
    return bytes(data)


def _from_member(data: bytearray, kind: int, member: int) -> None:
    layout = FIXED[kind]
    struct.pack_into("<I", data, wire.NODEID_OFFSET, member)
    for name in ("system_from", "node_id"):
        if any(field.name == name for field in layout.fields):
            struct.pack_into("<I", data, layout.offset_of(name), member)


def _of_ring(data: bytearray, kind: int, core: Core) -> None:
    layout = FIXED[kind]
    ring = core.ring_id
    if kind == FrameType.JOIN:
        struct.pack_into("<Q", data, layout.offset_of("ring_seq"), ring.seq)
        return
    if kind == FrameType.COMMIT_TOKEN and core.state in (State.OPERATIONAL, State.GATHER):
        ring = RingId(min(core.believed_alive(), default=core.me), core.token_ring_seq + RING_SEQ_STEP)
    struct.pack_into("<IQ", data, layout.offset_of("ring_id"), *ring)
    if kind == FrameType.ORF_TOKEN:
        for at in range(layout.size, len(data) - wire.RTR_ITEM.size + 1, wire.RTR_ITEM.size):
            struct.pack_into("<IQ", data, at, *ring)


def _near(data: bytearray, kind: int, core: Core) -> None:
    layout = FIXED[kind]
    bases: dict[str, int] = {}
    if kind == FrameType.ORF_TOKEN:
        bases = {"seq": core.my_high_seq, "token_seq": core.my_token_seq, "aru": core.my_aru}
    elif kind == FrameType.MCAST:
        bases = {"seq": core.my_high_seq}
    elif kind == FrameType.JOIN:
        said = wire.JOIN.unpack(data)
        proc, failed = tuple(core.proc), tuple(core.failed)
        data[:] = wire.Join(said.header.nodeid, said.system_from, proc, failed, said.ring_seq).pack()
    elif kind == FrameType.COMMIT_TOKEN:
        _near_commit(data, core)
    for name, base in bases.items():
        at = layout.offset_of(name)
        (value,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, (base + _small(value)) & 0xFFFFFFFF)


def _near_commit(data: bytearray, core: Core) -> None:
    """A route through those whom the hearer expects; the members' entries stay as they are."""
    alive = tuple(sorted(core.new_memb if core.state is not State.GATHER else core.believed_alive()))
    entries = data[wire.COMMIT_TOKEN.size + 4 * len(alive) :]
    need = wire.COMMIT_ENTRY.size * len(alive)
    fixed = wire.COMMIT_TOKEN.unpack(bytes(data))
    index = len(alive)
    if core.state is State.GATHER and core.me in alive:
        index = alive.index(core.me)
    fixed = fixed._replace(addr_entries=len(alive), memb_index=index)
    body = bytes(entries[:need]).ljust(need, b"\0")
    data[:] = wire.COMMIT_TOKEN.pack(fixed) + struct.pack(f"<{len(alive)}I", *alive) + body


# The states.


def started() -> Network:
    net = Network(MEMBERS, seed=1, settings=SETTINGS)
    net.start()
    return net


def first_in(net: Network, state: State) -> Network:
    """Until some node is in it."""

    def reached() -> bool:
        return any(node.totem._core.state is state for node in net.nodes.values())

    assert net.run_until(reached, net.now + PEACE), f"no node came to {state}"
    return net


def operational() -> Network:
    """A ring that has delivered and is idle."""
    net = started()
    net.settle(MEMBERS)
    for node in net.nodes.values():
        node.submit(bytes(3000))
    net.run(0.5)
    return net


def gather() -> Network:
    """The token was lost: its ring's messages are not all everywhere, and all look for each other."""
    net = operational()
    _scatter(net)
    net.drop = lambda source, target, frame: frame[3] == FrameType.ORF_TOKEN
    first_in(net, State.GATHER)
    net.heal()
    return net


def commit() -> Network:
    """The commit token is on its first round."""
    return first_in(gather(), State.COMMIT)


def recovery() -> Network:
    """Messages of the old ring are being evened out."""
    return first_in(commit(), State.RECOVERY)


def _scatter(net: Network) -> None:
    net.drop = lambda source, target, frame: frame[3] == FrameType.MCAST and target != source % 3 + 1
    for node in net.nodes.values():
        for number in range(6):
            node.submit(bytes([number]) * 700)
    net.run(0.05)


@cache
def prepared(make: Callable[[], Network]) -> Network:
    """The network in that state; to be copied, not to be used."""
    return make()


def attack(make: Callable[[], Network], data: bytes) -> None:
    """All steps, then the promises."""
    net = copy.deepcopy(prepared(make))
    for step in steps(data):
        _take(net, step)
    check_bounds(net)
    net.heal()
    _check_delivery(net)
    check_bounds(net)


def _take(net: Network, step: Step) -> None:
    if step.what & How.SUBMIT and not step.what & How.PASS_TIME:
        for nodeid in hearers(step):
            net.nodes[nodeid].submit(bytes(step.where * 20))
    else:
        disturb(net, step)


def hearers(step: Step) -> Sequence[int]:
    """Nodes that a step concerns."""
    return [step.what & 3] if step.what & 3 else MEMBERS


def disturb(net: VirtualNetwork[N], step: Step) -> None:
    """A frame is heard, or time goes by."""
    if step.what & How.PASS_TIME:
        net.run(step.where / 100)
        return
    for nodeid in hearers(step):
        node = net.nodes[nodeid]
        frame = adapt(step.data, step, node.stack._core)
        node.machine.receive([(frame, FORGER)], net.now)
        node.carry_out()


def check_bounds(net: VirtualNetwork[N]) -> None:
    """No list, queue or buffer of a ring is longer than its named limit."""
    for node in net.nodes.values():
        core = node.stack._core
        for ids in (core.proc, core.failed, core.memb, core.new_memb, core.leavers, core.consensus):
            assert len(ids) <= PROCESSOR_COUNT_MAX
        for queue in (core.regular_q, core.recovery_q):
            assert len(queue) <= SORT_QUEUE_SIZE
            assert queue.miss_count <= SORT_QUEUE_SIZE
        assert len(core.q_retrans) <= RECOVERY_QUEUE_SIZE
        assert len(core.q_new) + len(core.q_trans) <= 2 * core.queue_slots
        assert len(core.own_frames) <= OWN_FRAMES_MAX
        assert len(core.anomalies._logged) <= ANOMALY_SENDERS_MAX
        for assembly in (node.stack._regular, node.stack._transitional):
            assert len(assembly.open_sizes) <= PROCESSOR_COUNT_MAX
            assert all(size <= ASSEMBLY_SIZE_MAX for size in assembly.open_sizes.values())
        assert len(core.effects) == 0


def _check_delivery(net: Network) -> None:
    """New messages reach everybody, if not at once: what was forged may still split the ring once more."""
    deadline = net.now + PEACE
    attempt = 0
    while net.now < deadline:
        attempt += 1
        net.settle(MEMBERS, within=PEACE)
        want = set()
        for n, node in net.nodes.items():
            text = f"attempt {attempt} of node {n} to be heard".encode()
            assert node.submit(text), f"node {n} has no room to send"
            want.add(("D", n, text))
        if net.run_until(lambda want=want: _delivered(net, want), net.now + PATIENCE):  # type: ignore[misc]
            return
    raise AssertionError("the ring does not deliver")


def _delivered(net: Network, want: set[tuple[object, ...]]) -> bool:
    return all(
        want <= {event for event in node.app.history[-200:] if event[0] == "D"}
        for node in net.nodes.values()
    )


# Inputs.


def seeds() -> list[bytes]:
    """Frames of a real ring, heard as they are and as if they belonged here."""
    found = []
    adapted = How.RING | How.NUMBERS | How.MEMBER
    by_type: dict[tuple[int, int], list[bytes]] = {}
    for frame in frames():
        by_type.setdefault((frame[3], frame[4]), []).append(frame)
    for sort in by_type.values():
        for frame in sort[:: max(1, len(sort) // 3)][:4]:
            found.append(join([Step(1, 0, frame)]))
            later = Step(How.PASS_TIME, 5, b"")
            found.append(join([Step(1 | adapted, 1, frame), later, Step(adapted, 2, frame)]))
    variety = [frames_[0] for frames_ in by_type.values()]
    found.append(join(Step(n % 4 | adapted, n, frame) for n, frame in enumerate(variety)))
    found.append(join([Step(How.SUBMIT, 200, b""), *(Step(adapted, n, f) for n, f in enumerate(variety))]))
    return found


_SEEDS = seeds()
mutate: Mutation = mutation_of(lambda step: fields(step.data), _SEEDS)


def inputs() -> SearchStrategy[bytes]:
    """Frames from the layouts, adapted to the hearer or not; and spoilt ones of a real ring."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, mixed, step, step_lists

    return mixed(step_lists(step(st.integers(0, 127), any_frame())), damaged(_SEEDS, mutate))
