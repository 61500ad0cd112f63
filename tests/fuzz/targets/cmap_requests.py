"""Requests of programs to cmap, both maps, in any order; they name keys of the executive's own, too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from aisexec.limits import CMAP_ITERATIONS_PER_CLIENT_MAX, CMAP_TRACKS_PER_CLIENT_MAX
from aisexec.services.cmap import Cmap
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX
from ipc import cmap_layouts as cmap
from ipc.cmap_layouts import CmapRequest, TrackEvent, ValueType
from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, RequestHeader
from ipc.limits import MESSAGE_SIZE
from tests.fuzz.executive import MEMBERS, LibraryModel, Stage
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

REQUEST, PROPER, RING, TIME, HANG_UP = range(5)
"""Step.what; Step.where is the client, or the ring's members.  A proper one's header says its size."""

CLIENTS: Final = 3
KEYS: Final = (
    b"test.a",
    b"test.",
    b"totem.config_version",
    b"totem.token",
    b"runtime.members.1.join_count",
    b"runtime.members.2.ip",
    b"runtime.force_gather",
    b"runtime.services.cpg.3.tx",
    b"uidgid.uid.5",
    b"stats.clear.all",
    b"stats.srp.mcast_tx",
)


class MapLibrary(LibraryModel):
    """What libcmap does with an event: the lengths inside are believed, both values copied out."""

    def event(self, message: bytes) -> None:
        head = RESPONSE_HEADER.unpack(message)
        assert head.size == len(message) <= MESSAGE_SIZE
        change = cmap.unpack_notification(message)
        assert change.event in (TrackEvent.ADD, TrackEvent.MODIFY, TrackEvent.DELETE)
        assert len(message) == cmap.NOTIFY_EVENT.size + len(change.new.data) + len(change.old.data)


def fuzz(data: bytes) -> None:
    """What Stage promises; and whoever waits for an answer gets it, or is cut off."""
    stage = Stage()
    stage.settle()
    clients = [_connect(stage) for _ in range(CLIENTS)]
    for step in steps(data):
        _take(stage, clients, step)
    service = stage.executive.services[Cmap.id]
    assert isinstance(service, Cmap)
    programs = service._programs._clients
    assert set(programs) == set(stage.libraries)
    for program in programs.values():
        assert len(program.iterations) <= CMAP_ITERATIONS_PER_CLIENT_MAX
        assert len(program.tracks) <= CMAP_TRACKS_PER_CLIENT_MAX
    assert service._programs._tracks == sum(len(program.tracks) for program in programs.values())
    keys = stage.executive.map.keys()
    assert keys == sorted(keys)
    assert all(stage.executive.map.get(key) is not None for key in keys)
    for number in clients:
        stage.disconnect(number)
    stage.check()


def _connect(stage: Stage) -> int:
    number = stage.connect("cmap")
    stage.libraries[number] = MapLibrary()
    return number


def _take(stage: Stage, clients: list[int], step: Step) -> None:
    index = step.where % CLIENTS
    match step.what % 5:
        case 0 | 1 as what:
            message = step.data
            if what == PROPER and len(message) >= REQUEST_HEADER.size:
                number = REQUEST_HEADER.unpack(message).id
                head = REQUEST_HEADER.pack(RequestHeader(number, len(message)))
                message = head + message[REQUEST_HEADER.size :]
            _request(stage, clients[index], message[:EXECUTIVE_MESSAGE_MAX])
        case 2:
            stage.ring([n for n in MEMBERS if n == 1 or step.where >> n & 1])
        case 3:
            stage.now += 2.0
            stage.executive._alarms.run(stage.now)
            stage.settle()
        case _:
            stage.disconnect(clients[index])
            clients[index] = _connect(stage)
    for number, client in enumerate(clients):
        if client not in stage.libraries:
            clients[number] = _connect(stage)


def _request(stage: Stage, client: int, message: bytes) -> None:
    before = stage.answers[client]
    assert stage.request(client, message), "no call of cmap has to wait"
    assert client in stage.closed or stage.answers[client] == before + 1


def _fields(step: Step) -> Sequence[Leaf]:
    number = REQUEST_HEADER.unpack(step.data).id if len(step.data) >= REQUEST_HEADER.size else -1
    call = cmap.CALLS.get(number)  # type: ignore[call-overload]
    return tuple(leaves(call.request if call else REQUEST_HEADER))


def _set(key: bytes, kind: ValueType, value: bytes) -> bytes:
    size = cmap.SET_REQUEST.size + len(value)
    head = cmap.SetRequest(CmapRequest.SET, size, len(key), key, len(value), kind)
    return cmap.SET_REQUEST.pack(head) + value


def _of_key(key: bytes) -> list[bytes]:
    """Everything that can be done with it."""
    both = cmap.KEY_REQUEST.size
    all_bits = TrackEvent.ADD | TrackEvent.DELETE | TrackEvent.MODIFY | TrackEvent.PREFIX
    track = cmap.TrackAddRequest(
        CmapRequest.TRACK_ADD, cmap.TRACK_ADD_REQUEST.size, len(key), key, all_bits, 99
    )
    get = cmap.GetRequest(CmapRequest.GET, cmap.GET_REQUEST.size, len(key), key, 20)
    adjust = cmap.AdjustIntRequest(CmapRequest.ADJUST_INT, cmap.ADJUST_INT_REQUEST.size, len(key), key, -3)
    return [
        cmap.TRACK_ADD_REQUEST.pack(track),
        _set(key, ValueType.STRING, b"text"),
        _set(key, ValueType.U64, bytes(8)),
        _set(key, ValueType.U8, b"\1"),
        cmap.GET_REQUEST.pack(get),
        cmap.ADJUST_INT_REQUEST.pack(adjust),
        cmap.KEY_REQUEST.pack(cmap.KeyRequest(CmapRequest.ITER_INIT, both, len(key), key)),
        cmap.KEY_REQUEST.pack(cmap.KeyRequest(CmapRequest.DELETE, both, len(key), key)),
    ]


def _handled(number: CmapRequest, handle: int) -> bytes:
    return cmap.HANDLE_REQUEST.pack(cmap.HandleRequest(number, cmap.HANDLE_REQUEST.size, handle))


@cache
def seeds() -> Sequence[bytes]:
    """What libcmap sends, on keys that somebody looks at."""
    size = cmap.SET_CURRENT_MAP_REQUEST.size
    stats = cmap.SET_CURRENT_MAP_REQUEST.pack(
        cmap.SetCurrentMapRequest(CmapRequest.SET_CURRENT_MAP, size, cmap.Map.STATS)
    )
    walk = [_handled(CmapRequest.ITER_NEXT, 1), _handled(CmapRequest.ITER_FINALIZE, 1)]
    ends = [_handled(CmapRequest.TRACK_DELETE, handle) for handle in (1, 2)]
    sessions = []
    for key in KEYS:
        calls = [*_of_key(key), *walk, *ends]
        around = [Step(RING, 2, b""), Step(TIME, 0, b""), Step(RING, 14, b""), Step(TIME, 0, b"")]
        plain = [Step(PROPER, 0, call) for call in calls]
        sessions.append([*plain, *around, Step(HANG_UP, 0, b"")])
        sessions.append([plain[0], *plain[2:6], *around, *plain[1:]])
        sessions.append([Step(PROPER, 1, stats), *(Step(PROPER, 1, call) for call in calls), *around])
    return [join(session) for session in sessions]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Fields of a request, or the order of calls."""
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
            for number, call in cmap.CALLS.items()
        )
    )
    unknown = st.builds(proper, integer("i"), st.binary(min_size=16, max_size=60))
    one = step(st.integers(0, 1), cut(known | unknown)) | step(st.integers(2, 4), st.just(b""))
    return mixed(step_lists(one), damaged(seeds(), mutate))
