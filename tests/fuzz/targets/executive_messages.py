"""Messages of other nodes' services: cpg, cmap, cfg, votequorum, in and out of synchronisation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from aisexec import messages
from aisexec.messages import EXEC_HEADER, GROUP_SERVICES, GROUP_SYNC, exec_id
from aisexec.services.cpg_joinlist import PROCLEAVE
from aisexec.totem.wire import RING_ID
from ipc.layout import Layout
from tests.fuzz import captured
from tests.fuzz.executive import (
    GROUP,
    MEMBERS,
    Stage,
    fragment_message,
    header_of,
    member_of_group,
    process_message,
    remote_pid,
)
from tests.fuzz.hostile import Leaf, leaves
from tests.fuzz.records import Step, join, mutation_of, steps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 5.0

MESSAGE, MESSAGE_TO_OUR_GROUP, SYNC, SYNC_OF_OUR_RING, TOKEN, RING, FULL, SETTLE = range(8)
"""Step.what; Step.where is the sender or the ring's members."""

LAYOUTS: Final[dict[int, tuple[Layout[Any], ...]]] = {
    exec_id(0, 0): (messages.CMAP_MCAST, messages.CMAP_ITEM, messages.CMAP_ITEM),
    exec_id(1, 0): (messages.EXEC_HEADER,),
    exec_id(1, 1): (messages.CFG_KILL_NODE,),
    exec_id(1, 2): (messages.EXEC_HEADER,),
    exec_id(1, 3): (messages.CFG_RELOAD_CONFIG,),
    exec_id(1, 4): (messages.EXEC_HEADER,),
    exec_id(2, 0): (messages.CPG_PROC,),
    exec_id(2, 1): (messages.CPG_PROC,),
    exec_id(2, 2): (messages.CPG_JOINLIST_HEAD, messages.CPG_JOINLIST_ENTRY, messages.CPG_JOINLIST_ENTRY),
    exec_id(2, 3): (messages.CPG_MCAST,),
    exec_id(2, 4): (messages.EXEC_HEADER,),
    exec_id(2, 5): (messages.CPG_DOWNLIST,),
    exec_id(2, 6): (messages.CPG_PARTIAL_MCAST,),
    exec_id(5, 0): (messages.VOTE_NODE_INFO,),
    exec_id(5, 1): (messages.VOTE_RECONFIGURE,),
    exec_id(5, 2): (messages.EXEC_HEADER,),
    exec_id(5, 3): (messages.EXEC_HEADER,),
    exec_id(16, 0): (messages.RELOAD_CHECK,),
    exec_id(16, 1): (messages.RELOAD_VERDICT,),
}
"""By id in the header: what follows what."""

SYNC_LAYOUTS: Final[dict[int, tuple[Layout[Any], ...]]] = {
    messages.SyncMessage.BARRIER: (messages.BARRIER,),
    messages.SyncMessage.SERVICE_BUILD: (messages.SERVICE_BUILD,),
}
_RING_ID_OFFSET: Final = messages.BARRIER.offset_of("ring_id")
_GROUP_OFFSETS: Final = {
    exec_id(2, 0): messages.CPG_PROC.offset_of("group"),
    exec_id(2, 1): messages.CPG_PROC.offset_of("group"),
    exec_id(2, 2): messages.CPG_JOINLIST_HEAD.size + messages.CPG_JOINLIST_ENTRY.offset_of("group"),
    exec_id(2, 3): messages.CPG_MCAST.offset_of("group"),
    exec_id(2, 6): messages.CPG_PARTIAL_MCAST.offset_of("group"),
}
_OUR_GROUP: Final = messages.GROUP_NAME.pack(messages.GroupName(len(GROUP), GROUP))
_SENDERS: Final = (2, 3, 1, 77)


def fuzz(data: bytes) -> None:
    """What Stage promises."""
    stage = Stage()
    stage.settle()
    member_of_group(stage)
    for step in steps(data):
        _take(stage, step)
        if stage.shut_down:
            break
    stage.check()


def _take(stage: Stage, step: Step) -> None:
    sender = _SENDERS[step.where % len(_SENDERS)]
    message = step.data
    match step.what % 8:
        case 0 | 1 as what:
            if what == MESSAGE_TO_OUR_GROUP:
                message = _to_our_group(message)
            stage.deliver(GROUP_SERVICES, sender, message)
        case 2 | 3 as what:
            if what == SYNC_OF_OUR_RING:
                ring_id = stage.totem.ring_id
                own = RING_ID.pack(ring_id)
                message = message[:_RING_ID_OFFSET] + own + message[_RING_ID_OFFSET + len(own) :]
            stage.deliver(GROUP_SYNC, sender, message)
        case 4:
            stage.token()
        case 5:
            stage.ring([n for n in MEMBERS if n == 1 or step.where >> n & 1])
        case 6:
            stage.totem.room = not stage.totem.room
        case _:
            stage.totem.room = True
            stage.settle()


def _to_our_group(message: bytes) -> bytes:
    at = _GROUP_OFFSETS.get(header_of(message).id)
    if at is None:
        return message
    return message[:at] + _OUR_GROUP + message[at + len(_OUR_GROUP) :]


def _fields(step: Step) -> Sequence[Leaf]:
    table = LAYOUTS if step.what % 8 < 2 else SYNC_LAYOUTS
    found: list[Leaf] = []
    at = 0
    for layout in table.get(header_of(step.data).id, (EXEC_HEADER,)):
        found += leaves(layout, at)
        at += layout.size
    return found


@cache
def seeds() -> Sequence[bytes]:
    """Messages of a real ring, before and after synchronisation."""
    found = []
    of_services = [body for group, body in captured.messages() if group == GROUP_SERVICES]
    of_sync = [body for group, body in captured.messages() if group == GROUP_SYNC]
    for number, body in enumerate(of_services):
        what = number % 2
        found.append(join([Step(MESSAGE_TO_OUR_GROUP, number, body), Step(what, number, body)]))
    found.append(join(Step(MESSAGE_TO_OUR_GROUP, 0, body) for body in of_services[:20]))
    for body in of_sync:
        found.append(join([Step(RING, 6, b""), *(Step(SYNC_OF_OUR_RING, n, body) for n in range(3))]))
    mixed = [Step(SYNC_OF_OUR_RING, n % 3, body) for n, body in enumerate(of_sync[:6])]
    first = (exec_id(2, 2), exec_id(2, 5), exec_id(0, 0))
    lists = [body for body in of_services if header_of(body).id in first]
    found.append(
        join([Step(RING, 2, b""), Step(TOKEN, 0, b""), *mixed, *(Step(1, 0, body) for body in lists[:8])])
    )
    places = (1, 2, 2, 3)
    for nodeid in (2, 3):
        parts = [fragment_message(nodeid, 40, bytes(10), place) for place in places]
        found.append(join(Step(MESSAGE, nodeid - 2, part) for part in parts))
        left = process_message(PROCLEAVE, remote_pid(nodeid))
        found.append(join(Step(MESSAGE, nodeid - 2, part) for part in (*parts[:2], left, *parts[2:])))
    found.append(join([Step(FULL, 0, b""), Step(RING, 2, b""), Step(TOKEN, 0, b""), Step(SETTLE, 0, b"")]))
    return found


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Fields of a message, or the order of events."""
    return mutation_of(_fields, seeds())(data, rng)


def inputs() -> SearchStrategy[bytes]:
    """Messages from the layouts under their proper ids; spoilt ones of a real ring."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, damaged, followed, mixed, step, step_lists, structure

    def proper(number: int, body: bytes) -> bytes:
        return messages.EXEC_HEADER.pack(messages.ExecHeader(number, len(body))) + body[EXEC_HEADER.size :]

    def of(number: int, parts: Sequence[Layout[Any]]) -> SearchStrategy[bytes]:
        whole = st.tuples(*(structure(part) for part in parts)).map(b"".join)
        return st.builds(proper, st.just(number), followed(whole, st.binary(max_size=32)))

    service_message = st.one_of(*(of(number, parts) for number, parts in LAYOUTS.items()))
    sync_message = st.one_of(*(of(number, parts) for number, parts in SYNC_LAYOUTS.items()))
    one = (
        step(st.integers(0, 1), cut(service_message))
        | step(st.integers(2, 3), cut(sync_message))
        | step(st.integers(4, 7), st.just(b""))
    )
    return mixed(step_lists(one), damaged(seeds(), mutate))
