"""Events of quorum and votequorum: their bytes, and what is made of broken ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc import quorum_layouts as quorum
from ipc import votequorum_layouts as votequorum
from ipc.layout import ShortBufferError

NODES = st.lists(st.integers(0, 2**32 - 1), max_size=20)
NUMBER = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**64 - 1)


@given(st.booleans(), NUMBER, LONG, NODES, NODES, NODES)
def test_what_is_packed_is_unpacked(
    quorate: bool, node: int, seq: int, members: list[int], joined: list[int], left: list[int]
) -> None:
    plain, nodes = quorum.unpack_notification(quorum.pack_notification(quorate, seq, members))
    assert (plain.quorate, plain.ring_seq, list(nodes)) == (quorate, seq, members)
    one, nodes = quorum.unpack_v1_quorum(quorum.pack_v1_quorum(quorate, node, seq, members))
    assert (one.quorate, one.ring_nodeid, one.ring_seq, list(nodes)) == (quorate, node, seq, members)
    head, *lists = quorum.unpack_v1_nodelist(quorum.pack_v1_nodelist(node, seq, members, joined, left))
    assert (head.ring_nodeid, head.ring_seq, *map(list, lists)) == (node, seq, members, joined, left)
    listed, nodes = votequorum.unpack_nodelist(votequorum.pack_nodelist(seq, node, seq, members))
    assert (listed.context, listed.ring_nodeid, listed.ring_seq, list(nodes)) == (seq, node, seq, members)
    entries = [votequorum.NodeEntry(nodeid, 1 + nodeid % 3) for nodeid in members]
    event, found = votequorum.unpack_quorum(votequorum.pack_quorum(quorate, seq, entries))
    assert (event.quorate, event.context, list(found)) == (quorate, seq, entries)


def test_lists_begin_inside_the_structure_and_sizes_count_all_of_it() -> None:
    """As the C libraries read them, measured on corosync 3.1.7."""
    message = quorum.pack_notification(True, 5, [7])
    assert (len(message), message[44:48], message[48:]) == (52, b"\7\0\0\0", bytes(4))
    message = quorum.pack_v1_quorum(True, 1, 5, [7])
    assert (len(message), message[52:56]) == (60, b"\7\0\0\0")
    message = quorum.pack_v1_nodelist(1, 5, [7], [8], [9])
    assert (len(message), message[60:72]) == (76, b"\7\0\0\0\x08\0\0\0\x09\0\0\0")
    assert len(votequorum.pack_nodelist(0, 1, 5, [7])) == 60
    assert len(votequorum.pack_quorum(True, 0, [votequorum.NodeEntry(1, 1)])) == 56
    assert len(votequorum.pack_expectedvotes(0, 3)) == 40


MESSAGES = [
    (quorum.unpack_notification, quorum.pack_notification(True, 5, [1, 2]), 40),
    (quorum.unpack_v1_quorum, quorum.pack_v1_quorum(True, 1, 5, [1, 2]), 48),
    (quorum.unpack_v1_nodelist, quorum.pack_v1_nodelist(1, 5, [1], [2], [3]), 56),
    (votequorum.unpack_nodelist, votequorum.pack_nodelist(0, 1, 5, [1, 2]), 48),
    (votequorum.unpack_quorum, votequorum.pack_quorum(True, 0, [votequorum.NodeEntry(1, 1)]), 40),
]


@pytest.mark.parametrize(("unpack", "message", "count_at"), MESSAGES)
def test_a_count_beyond_the_message_is_refused(unpack: object, message: bytes, count_at: int) -> None:
    assert callable(unpack)
    for count in (100, 2**31, 2**32 - 1):
        broken = bytearray(message)
        broken[count_at : count_at + 4] = count.to_bytes(4, "little")
        with pytest.raises(ShortBufferError):
            unpack(bytes(broken))
    with pytest.raises(ShortBufferError):
        unpack(message[:30])
