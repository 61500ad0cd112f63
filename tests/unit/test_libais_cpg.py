"""The parts of libais.cpg that need no executive: decoding, reassembly, cutting, error classes."""

from __future__ import annotations

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc import cpg_layouts as layout
from ipc.cpg_layouts import Address, PartialType, Reason
from ipc.errors import CsError
from libais import _cpg_events as cpg_events
from libais import cpg, errors, limits
from libais._cpg_events import Decoder, decode_group, encode_group
from libais._cpg_message import PARTS_MAX, flatten, fragments, total_size

FIRST, CONTINUED, LAST = PartialType


def deliver(message: bytes, nodeid: int = 1, pid: int = 10) -> bytes:
    return layout.pack_deliver(b"g", nodeid, pid, len(message)) + message


def part(place: PartialType, data: bytes, total: int, nodeid: int = 1, pid: int = 10) -> bytes:
    return layout.pack_partial_deliver(b"g", nodeid, pid, total, len(data), place) + data


def test_events_become_objects() -> None:
    decoder = Decoder()
    assert decoder.decode(deliver(b"text")) == cpg.Deliver("g", 1, 10, b"text")
    change = layout.pack_confchg(b"g", [Address(1, 10)], [Address(2, 20, 3)], [Address(1, 10, 1)])
    assert decoder.decode(change) == cpg.ConfigChange(
        "g",
        (cpg.Process(1, 10),),
        (cpg.Process(2, 20, Reason.NODEDOWN),),
        (cpg.Process(1, 10, Reason.JOIN),),
    )
    totem = decoder.decode(layout.pack_totem_confchg(1, 0x1A, [1, 2]))
    assert totem == cpg.TotemChange(cpg.RingId(1, 0x1A), (1, 2))


def test_reason_nobody_defined_is_undefined() -> None:
    change = Decoder().decode(layout.pack_confchg(b"g", [], [Address(2, 20, 77)], []))
    assert isinstance(change, cpg.ConfigChange)
    assert change.left[0].reason is Reason.UNDEFINED


@pytest.mark.parametrize("group", [b"plain", "grün".encode(), b"\xff\xfe binary \x00", b""])
def test_group_names_survive_the_round_trip(group: bytes) -> None:
    assert encode_group(decode_group(group)) == group
    assert encode_group(group) == group


def test_long_message_is_put_together() -> None:
    decoder = Decoder()
    assert decoder.decode(part(FIRST, b"abc", 8)) is None
    assert decoder.decode(part(CONTINUED, b"def", 8)) is None
    assert decoder.decode(part(LAST, b"gh", 8)) == cpg.Deliver("g", 1, 10, b"abcdefgh")
    assert decoder._held == 0


def test_fragments_of_several_senders_do_not_mix() -> None:
    decoder = Decoder()
    decoder.decode(part(FIRST, b"aa", 4, nodeid=1))
    decoder.decode(part(FIRST, b"bb", 4, nodeid=2))
    decoder.decode(part(FIRST, b"cc", 4, nodeid=1, pid=11))
    assert decoder.decode(deliver(b"between", 1)) == cpg.Deliver("g", 1, 10, b"between")
    assert decoder.decode(part(LAST, b"BB", 4, nodeid=2)) == cpg.Deliver("g", 2, 10, b"bbBB")
    assert decoder.decode(part(LAST, b"AA", 4, nodeid=1)) == cpg.Deliver("g", 1, 10, b"aaAA")
    assert decoder.decode(part(LAST, b"CC", 4, nodeid=1, pid=11)) == cpg.Deliver("g", 1, 11, b"ccCC")


def test_sender_that_starts_again_replaces_its_unfinished_message() -> None:
    decoder = Decoder()
    decoder.decode(part(FIRST, b"old", 6))
    decoder.decode(part(FIRST, b"new", 6))
    assert decoder.decode(part(LAST, b"new", 6)) == cpg.Deliver("g", 1, 10, b"newnew")


def test_message_whose_start_was_missed_is_ignored() -> None:
    decoder = Decoder()
    assert decoder.decode(part(CONTINUED, b"abc", 9)) is None
    assert decoder.decode(part(LAST, b"abc", 9)) is None


def test_member_that_leaves_takes_its_fragments_along() -> None:
    decoder = Decoder()
    decoder.decode(part(FIRST, b"abc", 6))
    decoder.decode(part(FIRST, b"abc", 6, nodeid=2))
    decoder.decode(layout.pack_confchg(b"g", [], [Address(1, 10, Reason.PROCDOWN)], []))
    assert decoder.decode(part(LAST, b"def", 6)) is None
    assert decoder.decode(part(LAST, b"def", 6, nodeid=2)) == cpg.Deliver("g", 2, 10, b"abcdef")
    assert decoder._held == 0


def test_fragments_that_do_not_add_up() -> None:
    decoder = Decoder()
    decoder.decode(part(FIRST, b"abc", 4))
    with pytest.raises(errors.NoMemoryError, match="node 1"):
        decoder.decode(part(CONTINUED, b"def", 4))
    assert decoder.decode(part(LAST, b"x", 4)) is None
    decoder.decode(part(FIRST, b"abc", 8))
    with pytest.raises(ValueError, match="ended after 4"):
        decoder.decode(part(LAST, b"d", 8))
    assert decoder._held == 0


def test_reassembly_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpg_events, "MESSAGE_MAX", 10)
    monkeypatch.setattr(cpg_events, "REASSEMBLY_BYTES_MAX", 12)
    decoder = Decoder()
    with pytest.raises(errors.NoMemoryError, match="11 bytes"):
        decoder.decode(part(FIRST, b"x", 11))
    decoder.decode(part(FIRST, b"x" * 8, 10, nodeid=1))
    with pytest.raises(errors.NoMemoryError):
        decoder.decode(part(FIRST, b"x" * 8, 10, nodeid=2))
    assert decoder.decode(part(LAST, b"yz", 10, nodeid=1)) == cpg.Deliver("g", 1, 10, b"xxxxxxxxyz")


@given(st.binary(max_size=260))
def test_garbage_never_does_worse_than_an_exception_we_know(message: bytes) -> None:
    try:
        Decoder().decode(message)
    except (ValueError, errors.CsException):
        return


@given(
    st.sampled_from([4, 5, 13, 17]),
    st.binary(min_size=150, max_size=400),
)
def test_garbage_behind_a_good_head(kind: int, rest: bytes) -> None:
    try:
        Decoder().decode(kind.to_bytes(8, "little") + rest)
    except (ValueError, errors.CsException):
        return


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 40))
def test_cutting_loses_nothing_and_keeps_the_limit(parts: list[bytes], limit: int) -> None:
    cut = [b"".join(bytes(piece) for piece in group) for group in fragments(flatten(parts), limit)]
    assert b"".join(cut) == b"".join(parts)
    assert all(len(fragment) == limit for fragment in cut[:-1])
    assert all(0 < len(fragment) <= limit for fragment in cut)


def test_message_of_wide_items_is_counted_in_bytes() -> None:
    parts = flatten([array.array("I", [1, 2, 3]), memoryview(b"abcd").cast("I")])  # type: ignore[list-item]
    assert total_size(parts) == 16


def test_message_of_many_pieces_becomes_one() -> None:
    assert flatten([b"ab"] * (PARTS_MAX + 1)) == [b"ab" * (PARTS_MAX + 1)]


@pytest.mark.parametrize("message", ["text", 7, None, [b"good", "bad"]])
def test_message_that_is_not_bytes(message: object) -> None:
    with pytest.raises(TypeError):
        flatten(message)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [code for code in CsError if code is not CsError.OK])
def test_one_exception_class_per_code(code: CsError) -> None:
    kind = errors.error_class(code)
    assert kind is not errors.CsException
    assert issubclass(kind, errors.CsException)
    error = errors.from_code(code, "cpg_call")
    assert error.code == code
    assert str(error).startswith(f"cpg_call: CS_ERR_{code.name} ({int(code)}) - ")


def test_limits_hold_the_library_s_largest_message() -> None:
    assert limits.MESSAGE_MAX > layout.ATOMIC_MESSAGE_MAX
    assert limits.REASSEMBLY_BYTES_MAX >= limits.MESSAGE_MAX
