"""The compiled way of multicast requests into packets beside the plain one."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from aisexec.messages import CPG_MCAST, CpgMcast, ExecHeader, GroupName, Source, exec_id
from aisexec.services._intake import Intake
from aisexec.services.cpg_joinlist import MCAST, SERVICE
from aisexec.totem._packing import Packer
from aisexec.totem._state import CoreState
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX, GROUP_ROOM
from ipc.cpg_layouts import DELIVER_MAX, MCAST_REQUEST, CpgRequest, Guarantee, McastRequest
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.twins import packing as twin

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0

REQUEST, TAKE, TOKEN = range(3)
"""Step.what.  Requests wait until they are taken, from Step.where on."""

GROUP: Final = b"a"
PREFIX: Final = b"\x01\0\x01\0"
NET_MTU: Final = 300
WAITING_MAX: Final = 12
SLOTS: Final = 16
OVERHEAD: Final = 256
HEAD: Final = CpgMcast(ExecHeader(exec_id(SERVICE, MCAST), 0), GroupName(3, b"abc"), 0, 77, Source(1, 5))

Packets = list[tuple[bytes, int]]


class Core(CoreState):
    """A token that is held, and what waits for it."""

    queue_slots = SLOTS + 2  # of which two are never used

    def __init__(self) -> None:
        self.q_new = deque()
        self.token_held = True


class Totem:
    """What the intake sees of the protocol."""

    frame_room = NET_MTU - 24

    def __init__(self) -> None:
        self.core = Core()
        self.packer = Packer(
            NET_MTU, lambda packet, guarantee: self.core.q_new.append((packet, guarantee))
        )
        self.woken = 0

    @property
    def packets(self) -> Packets:
        return list(self.core.q_new)

    def wake(self) -> None:
        self.woken += 1


class Plain:
    """The same, message by message."""

    def __init__(self) -> None:
        self.packets: Packets = []
        self.packer = twin.Packer(NET_MTU, lambda packet, guarantee: self.packets.append((packet, guarantee)))
        self.woken = 0

    def take(self, messages: list[bytes], first: int) -> int:
        taken = 0
        for message in messages[first:]:
            request = ordinary(message)
            room = (len(message) + OVERHEAD + GROUP_ROOM) // Totem.frame_room + 1
            if request is None or len(self.packets) >= WAITING_MAX or SLOTS - len(self.packets) <= room:
                break
            self.woken += taken == 0
            header = HEAD.header._replace(size=CPG_MCAST.size + request.msglen)
            head = CPG_MCAST.pack(HEAD._replace(header=header, msglen=request.msglen))
            body = message[MCAST_REQUEST.size :][: request.msglen]
            self.packer.add([PREFIX, GROUP, head, body], int(request.guarantee == Guarantee.SAFE))
            taken += 1
        return taken


def ordinary(message: bytes) -> McastRequest | None:
    """To which nothing can be said."""
    if not MCAST_REQUEST.size <= len(message) < EXECUTIVE_MESSAGE_MAX:
        return None
    request = MCAST_REQUEST.unpack(message)
    if request.id != CpgRequest.MCAST or request.size != len(message):
        return None
    fits = request.msglen <= min(DELIVER_MAX, len(message) - MCAST_REQUEST.size)
    return request if fits else None


def fuzz(data: bytes) -> None:
    """Both take as many and make the same packets of them."""
    totem, plain = Totem(), Plain()
    intake = Intake(GROUP, WAITING_MAX, OVERHEAD)
    head = CPG_MCAST.pack(HEAD)
    waiting: list[bytes] = []
    for step in steps(data):
        match step.what % 3:
            case 0:
                waiting += [step.data] * (1 + step.where % 3)
            case 1:
                first = min(step.where, len(waiting))
                # The intake asks for nothing else of it.
                taken = intake.take(cast(Any, totem), head, waiting, first)
                assert taken == plain.take(waiting, first)
                del waiting[: first + taken]
            case _:
                totem.packer.flush()
                plain.packer.flush()
                assert totem.packets == plain.packets
                totem.core.q_new.clear()
                plain.packets.clear()
        assert totem.packets == plain.packets
        assert totem.packer.staged == plain.packer.staged
        assert totem.woken == plain.woken


def request(body: bytes, guarantee: int = Guarantee.AGREED, **fields: int) -> bytes:
    """A good one but for `fields`."""
    right = McastRequest(CpgRequest.MCAST, MCAST_REQUEST.size + len(body), 0, guarantee, len(body))
    return MCAST_REQUEST.pack(right._replace(**fields)) + body


def _fields(step: Step) -> Sequence[Leaf]:
    return tuple(leaves(MCAST_REQUEST))


@cache
def seeds() -> Sequence[bytes]:
    """Short and long ones, by each guarantee, and such as are not ordinary, in the midst of others."""
    sizes = (0, 1, 40, 260, 290, 900, 3000)
    good = [Step(REQUEST, 2, request(b"x" * size)) for size in sizes]
    safe = [Step(REQUEST, 1, request(b"y" * size, Guarantee.SAFE)) for size in sizes]
    odd = [
        Step(REQUEST, 0, request(b"z" * 9, msglen=10)),
        Step(REQUEST, 0, request(b"z" * 9, msglen=0xFFFFFFFF)),
        Step(REQUEST, 0, request(b"z" * 9, size=16)),
        Step(REQUEST, 0, request(b"z" * 9, id=3)),
        Step(REQUEST, 0, request(b"")[:-1]),
    ]
    take, token = Step(TAKE, 0, b""), Step(TOKEN, 0, b"")
    found = [join([step, take, token]) for step in (*good, *safe, *odd)]
    found += [join([*good, take, token, take, *safe, take, token])]
    behind = [*safe[:3], take, token, Step(TAKE, 1, b""), token]
    return found + [join([*good[:3], step, *behind]) for step in odd]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field of a request, or their order."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Requests from their layout, and good ones of any length."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, mixed, step, step_lists, structure

    body = st.binary(max_size=60) | st.integers(0, 2000).map(bytes)
    good = st.builds(request, body, st.integers(0, 4))
    some = step(st.just(REQUEST), good | good | cut(followed(structure(MCAST_REQUEST), body)))
    other = step(st.integers(1, 2), st.just(b""), st.integers(0, 3))
    return mixed(step_lists(some | other, 16), damaged(seeds(), mutate))
