"""Frames heard by whole executives with programs: what is forged goes up through all layers at once."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.executive import ExecutiveOptions
from aisexec.messages import GROUP_SERVICES, GROUP_SYNC
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem import wire
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.types import RingId
from tests.fuzz import captured
from tests.fuzz.frames import fields
from tests.fuzz.hostile import Leaf
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.fuzz.ring import MEMBERS, PEACE, SETTINGS, How, check_bounds, disturb, hearers
from tests.fuzz.targets import executive_messages
from tests.sim.executives import Cluster, Program, started

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 20.0

GROUP: Final = b"fuzzed"
_OPTIONS: Final = ExecutiveOptions(votequorum=True, quorum=QuorumOptions(expected_votes=3))
_ADAPTED: Final = How.RING | How.NUMBERS | How.MEMBER


def fuzz(data: bytes) -> None:
    """After the next change of the membership all are in step again, and new programs hear each other.

    Those that were there before may have lost a message of theirs to a forged one of the same number.
    """
    net = started(MEMBERS, settings=SETTINGS, options=_OPTIONS)
    programs = [net.nodes[n].connect(1000 + n) for n in MEMBERS]
    for program in programs:
        program.join(GROUP)
    net.run(0.2)
    for step in steps(data):
        if step.what & How.SUBMIT and not step.what & How.PASS_TIME:
            for nodeid in hearers(step):
                programs[nodeid - 1].mcast(bytes(step.where * 20))
        else:
            disturb(net, step)
    check_bounds(net)
    if any(node.shutdown for node in net.nodes.values()):
        return  # an order to end that came by the rules
    net.partition([1], [2, 3])
    net.run(3.0)
    net.heal()
    _check_service(net)
    check_bounds(net)


def _check_service(net: Cluster) -> None:
    net.settle(MEMBERS, within=PEACE)
    programs = [net.nodes[n].connect(2000 + n) for n in MEMBERS]
    for program in programs:
        program.join(b"witnesses")
    deadline = net.now + PEACE
    attempt = 0
    while net.now < deadline:
        attempt += 1
        net.settle(MEMBERS, within=PEACE)
        for program in programs:
            assert not program.closed, program.closed
            program.mcast(b"attempt %d of %d" % (attempt, program.pid))
        want = {b"attempt %d of %d" % (attempt, program.pid) for program in programs}
        if net.run_until(lambda want=want: _heard(programs, want), net.now + 3.0):  # type: ignore[misc]
            return
    raise AssertionError("the programs do not hear each other")


def _heard(programs: Sequence[Program], want: set[bytes]) -> bool:
    return all(want <= set(program.messages[-30:]) for program in programs)


def carrying(group: bytes, message: bytes) -> bytes:
    """A frame of the ring with one message; its numbers are small differences, see How.NUMBERS."""
    body = struct.pack("<HH", 1, len(group)) + group + message
    packet = PACKET_HEAD.struct.pack(0, 0, 0, 0, 1) + struct.pack("<H", len(body)) + body
    return wire.pack_mcast_header(wire.Encapsulated.PLAIN, 1, 1, 0, RingId(1, 1), 0) + packet


@cache
def seeds() -> Sequence[bytes]:
    """Messages of a real ring's services in frames of this one."""
    found = []
    for number, (group, message) in enumerate(captured.messages()):
        frame = carrying(group, message[:1200])
        found.append(join([Step(_ADAPTED, number, frame)]))
        found.append(join([Step(_ADAPTED | 1, number, frame), Step(How.SUBMIT, 3, b"")]))
    of_services = executive_messages.seeds()[-6:]
    for seed in of_services:
        frames = [carrying(GROUP_SERVICES, step.data) for step in steps(seed)]
        found.append(join(Step(_ADAPTED, 1, frame) for frame in frames))
    sync = [body for group, body in captured.messages() if group == GROUP_SYNC][:3]
    found.append(join(Step(_ADAPTED | n % 4, n, carrying(GROUP_SYNC, body)) for n, body in enumerate(sync)))
    return found


def _fields(step: Step) -> Sequence[Leaf]:
    """Of the frame and, behind it, of the message."""
    base = len(carrying(GROUP_SERVICES, b""))
    inner = executive_messages._fields(Step(executive_messages.MESSAGE, 0, step.data[base:]))
    return [*fields(step.data), *(leaf._replace(offset=leaf.offset + base) for leaf in inner)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of frame or message, or the order of things."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Frames from the layouts; messages of services in proper frames."""
    from hypothesis import strategies as st

    from tests.fuzz.frames import any_frame
    from tests.fuzz.strategies import damaged, mixed, step, step_lists

    adapted = st.sampled_from([int(_ADAPTED) | n for n in range(4)])
    any_step = step(st.integers(0, 127), any_frame()) | step(adapted, any_frame())
    return mixed(step_lists(any_step), damaged(seeds(), mutate))
