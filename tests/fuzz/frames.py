"""Totem frames for fuzzing: which layouts lie where in a frame, and frames made of the layouts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aisexec.totem import wire
from aisexec.totem.limits import PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX
from aisexec.totem.packing import PACKET_HEAD
from aisexec.totem.wire import FrameType
from ipc.layout import Layout
from tests.fuzz.hostile import Leaf, leaves

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

FIXED: Final[dict[int, Layout[Any]]] = {
    FrameType.ORF_TOKEN: wire.ORF_TOKEN,
    FrameType.MCAST: wire.MCAST,
    FrameType.MERGE_DETECT: wire.MERGE_DETECT,
    FrameType.JOIN: wire.JOIN,
    FrameType.COMMIT_TOKEN: wire.COMMIT_TOKEN,
    FrameType.HOLD_CANCEL: wire.HOLD_CANCEL,
}
"""What every frame of a type begins with."""

_ENTRIES: Final[dict[int, Layout[Any]]] = {
    FrameType.ORF_TOKEN: wire.RTR_ITEM,
    FrameType.COMMIT_TOKEN: wire.COMMIT_ENTRY,
}
_TYPE_OFFSET: Final = wire.HEADER.offset_of("type")
_FIELDS: Final = {kind: tuple(leaves(layout)) for kind, layout in FIXED.items()}
_HEADER_FIELDS: Final = tuple(leaves(wire.HEADER))
_PACKET_FIELDS: Final = tuple(leaves(PACKET_HEAD, wire.MCAST_SIZE))
_INNER_FIELDS: Final = tuple(leaves(wire.MCAST, wire.MCAST_SIZE))


def frame_type(frame: bytes) -> int:
    """Byte 3, or -1."""
    return frame[_TYPE_OFFSET] if len(frame) > _TYPE_OFFSET else -1


def fields(frame: bytes) -> Sequence[Leaf]:
    """The leaves of a frame, the first entries of its lists included."""
    kind = frame_type(frame)
    found = list(_FIELDS.get(kind, _HEADER_FIELDS))
    if kind == FrameType.MCAST:
        recovery = frame[4:5] == bytes([wire.Encapsulated.RECOVERY])
        return [*found, *(_INNER_FIELDS if recovery else _PACKET_FIELDS)]
    if kind in FIXED:
        end = FIXED[kind].size
        found += (Leaf(at, "I", 4) for at in range(end, min(len(frame) - 3, end + 32), 4))
    if kind in _ENTRIES:
        entry = _ENTRIES[kind]
        for number in range(min(3, len(frame) // entry.size)):
            found += leaves(entry, max(FIXED[kind].size, len(frame) - (number + 1) * entry.size))
    return found


def any_frame() -> SearchStrategy[bytes]:
    """Frames of every type with hostile fields, lists long enough or not."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import cut, followed, integer, structure

    good_head = st.builds(
        lambda kind, encapsulated, nodeid: wire.HEADER.pack(
            wire.header(kind, nodeid, encapsulated)
        ),
        st.sampled_from(FrameType),
        st.sampled_from((0, 1, 2)),
        st.integers(0, 4) | integer("I"),
    )
    ids = st.lists(integer("I"), max_size=6).map(lambda values: struct.pack(f"<{len(values)}I", *values))
    long_ids = st.integers(0, PROCESSOR_COUNT_MAX + 1).map(
        lambda count: struct.pack(f"<{count}I", *range(1, count + 1))
    )
    rtr = st.lists(structure(wire.RTR_ITEM), max_size=RETRANSMIT_ENTRIES_MAX + 1).map(b"".join)
    commit = st.tuples(ids, st.lists(structure(wire.COMMIT_ENTRY), max_size=4).map(b"".join)).map(b"".join)
    payload = followed(structure(PACKET_HEAD), st.binary(max_size=60))
    tails: dict[int, SearchStrategy[bytes]] = {
        FrameType.ORF_TOKEN: rtr,
        FrameType.MCAST: payload | followed(structure(wire.MCAST), payload),
        FrameType.JOIN: ids | long_ids,
        FrameType.COMMIT_TOKEN: commit,
    }

    def of(kind: FrameType) -> SearchStrategy[bytes]:
        def headed(head: bytes, body: bytes) -> bytes:
            proper = head[:_TYPE_OFFSET] + bytes([kind]) + head[_TYPE_OFFSET + 1 :]
            return proper + body[len(head) :]

        whole = followed(structure(FIXED[kind]), tails.get(kind, st.binary(max_size=8)))
        return st.builds(headed, good_head, whole)

    return cut(st.one_of(*(of(kind) for kind in FrameType)))
