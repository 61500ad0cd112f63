"""Requests of local programs, in any order and state: joined or not, queue full, membership changing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.limits import ITERATIONS_PER_CLIENT_MAX
from aisexec.services.cpg import Cpg
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX
from ipc import cpg_layouts as cpg
from ipc.layouts import REQUEST_HEADER, RequestHeader
from tests.fuzz.executive import GROUP, MEMBERS, Stage
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps
from tests.sim.executives import fragment_request, join_request, mcast_request

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

REQUEST, PROPER, HUGE, TOKEN, RING, FULL, HANG_UP, SETTLE = range(8)
"""Step.what; Step.where is the client and how often it asks, or the ring's members.

A proper one's header says its size.
"""

CLIENTS: Final = 3
BUFFER: Final = "/dev/shm/corosync_zerocopy-fuzz"
_PATH: Final = BUFFER.encode()
_PADDED: Final = cpg.ZC_MCAST_OFFSET + cpg.MCAST_REQUEST.size + 64


def fuzz(data: bytes) -> None:
    """What Stage promises; and whoever waits for an answer gets it, or is cut off."""
    stage = Stage()
    stage.settle()
    clients = [stage.connect() for _ in range(CLIENTS)]
    stage.memory.files[BUFFER] = bytearray(_PADDED)
    for step in steps(data):
        _take(stage, clients, step)
    service = stage.executive.services[Cpg.id]
    assert isinstance(service, Cpg)
    assert set(service._clients) == set(stage.libraries)
    for client in service._clients.values():
        assert len(client.iterations) <= ITERATIONS_PER_CLIENT_MAX
    stage.check()


def _take(stage: Stage, clients: list[int], step: Step) -> None:
    index = step.where % CLIENTS
    match step.what % 8:
        case 0 | 1 | 2 as what:
            message = step.data
            if what != REQUEST and len(message) >= REQUEST_HEADER.size:
                message += bytes(EXECUTIVE_MESSAGE_MAX) if what == HUGE and step.where > 250 else b""
                number = REQUEST_HEADER.unpack(message).id
                head = REQUEST_HEADER.pack(RequestHeader(number, len(message)))
                message = head + message[REQUEST_HEADER.size :]
            _request(stage, clients[index], [message] * (1 + step.where // CLIENTS % 3))
        case 3:
            stage.token()
        case 4:
            stage.ring([n for n in MEMBERS if n == 1 or step.where >> n & 1])
        case 5:
            stage.totem.room = not stage.totem.room
        case 6:
            stage.disconnect(clients[index])
            clients[index] = stage.connect()
        case _:
            stage.totem.room = True
            stage.settle()
    for number, client in enumerate(clients):
        if client not in stage.libraries:
            clients[number] = stage.connect()


def _request(stage: Stage, client: int, messages: list[bytes]) -> None:
    """The same a few times; what finds no room is forgotten."""
    before = stage.answers[client]
    taken = stage.requests(client, messages)
    message = messages[0]
    number = REQUEST_HEADER.unpack(message).id if len(message) >= REQUEST_HEADER.size else -1
    known = cpg.CALLS.get(number)  # type: ignore[call-overload]
    waits = known is None or known.response_id is not None
    cut_off = client in stage.closed
    assert cut_off or stage.answers[client] == before + taken * waits, f"request {number} not answered"


def _fields(step: Step) -> Sequence[Leaf]:
    number = REQUEST_HEADER.unpack(step.data).id if len(step.data) >= REQUEST_HEADER.size else -1
    call = cpg.CALLS.get(number)  # type: ignore[call-overload]
    return tuple(leaves(call.request if call else REQUEST_HEADER))


@cache
def seeds() -> Sequence[bytes]:
    """What libcpg sends."""
    def zero(number: int) -> bytes:
        layout = cpg.CALLS[cpg.CpgRequest(number)].request
        return REQUEST_HEADER.pack(RequestHeader(number, layout.size)) + bytes(layout.size - 16)

    size = cpg.ZC_ALLOC_REQUEST.size
    alloc = cpg.ZC_ALLOC_REQUEST.pack(cpg.ZcAllocRequest(cpg.CpgRequest.ZC_ALLOC, size, _PADDED, _PATH))
    size = cpg.ZC_EXECUTE_REQUEST.size
    execute = cpg.ZC_EXECUTE_REQUEST.pack(cpg.ZcExecuteRequest(cpg.CpgRequest.ZC_EXECUTE, size, 1))
    size = cpg.ZC_FREE_REQUEST.size
    free = cpg.ZC_FREE_REQUEST.pack(cpg.ZcFreeRequest(cpg.CpgRequest.ZC_FREE, size, _PADDED, 1))
    size = cpg.ITERATION_INITIALIZE_REQUEST.size
    iterations = [
        cpg.ITERATION_INITIALIZE_REQUEST.pack(
            cpg.IterationInitializeRequest(cpg.CpgRequest.ITERATION_INITIALIZE, size, len(GROUP), GROUP, kind)
        )
        for kind in cpg.IterationType
    ]
    size = cpg.ITERATION_REQUEST.size
    walk = [
        cpg.ITERATION_REQUEST.pack(cpg.IterationRequest(number, size, 1))
        for number in (cpg.CpgRequest.ITERATION_NEXT, cpg.CpgRequest.ITERATION_FINALIZE)
    ]
    entered = [Step(PROPER, 0, join_request(GROUP, 7, 1)), Step(SETTLE, 0, b"")]
    size = cpg.LEAVE_REQUEST.size
    leave = cpg.LEAVE_REQUEST.pack(cpg.LeaveRequest(cpg.CpgRequest.LEAVE, size, len(GROUP), GROUP, 7))
    size = cpg.MEMBERSHIP_GET_REQUEST.size
    members = cpg.MEMBERSHIP_GET_REQUEST.pack(
        cpg.MembershipGetRequest(cpg.CpgRequest.MEMBERSHIP_GET, size, len(GROUP), GROUP)
    )
    singles = [[Step(PROPER, 0, zero(number))] for number in cpg.CpgRequest]
    sessions = [
        [*entered, Step(PROPER, 0, mcast_request(b"hello", guarantee=3)), Step(TOKEN, 0, b"")],
        [*entered, *(Step(PROPER, 0, fragment_request(n, bytes(20), 60)) for n in (1, 2, 3))],
        [*entered, Step(PROPER, 0, leave), Step(TOKEN, 0, b""), Step(PROPER, 0, members)],
        [*entered, Step(PROPER, 0, alloc), Step(PROPER, 0, execute), Step(PROPER, 0, free)],
        [*entered, *(Step(PROPER, 0, one) for one in (*iterations, *walk))],
        [*entered, Step(RING, 2, b""), Step(PROPER, 0, mcast_request(b"x")), Step(HANG_UP, 0, b"")],
        [*entered, Step(FULL, 0, b""), Step(PROPER, 0, mcast_request(b"x")), Step(HUGE, 255, zero(4))],
        [*entered, Step(PROPER, 1, join_request(GROUP, 7)), Step(PROPER, 0, zero(8)), Step(HANG_UP, 0, b"")],
    ]
    return [join(parts) for parts in (*singles, *sessions)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Fields of a request, or the order of events."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Requests from the layouts, and spoilt sessions."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, integer, mixed, step, step_lists, structure

    def proper(number: int, body: bytes) -> bytes:
        return REQUEST_HEADER.pack(RequestHeader(number, len(body))) + body[REQUEST_HEADER.size :]

    known = st.one_of(
        *(
            st.builds(proper, st.just(number), followed(structure(call.request), st.binary(max_size=40)))
            for number, call in cpg.CALLS.items()
        )
    )
    unknown = st.builds(proper, integer("i"), st.binary(min_size=16, max_size=60))
    one = step(st.integers(0, 2), cut(known | unknown)) | step(st.integers(3, 7), st.just(b""))
    return mixed(step_lists(one), damaged(seeds(), mutate))
