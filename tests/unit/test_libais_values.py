"""What libais.cmap and libais.cfg make of bytes, without an executive."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipc import cfg_layouts as cfg
from ipc import cmap_layouts as cmap
from ipc.cmap_layouts import ValueType
from libais._cmap_types import decode_value, encode_value

TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.one_of(
    st.tuples(st.just(ValueType.I8), st.integers(-128, 127)),
    st.tuples(st.just(ValueType.U32), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(ValueType.I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(ValueType.DOUBLE), st.floats(allow_nan=False)),
    st.tuples(st.just(ValueType.STRING), TEXT),
    st.tuples(st.just(ValueType.BINARY), st.binary()),
)


@given(VALUES)
@example((ValueType.STRING, "\udc80\udcff"))
def test_values_come_back(value: tuple[ValueType, int | float | str | bytes]) -> None:
    kind, plain = value
    stored = encode_value(kind, plain) + (b"\0" if kind == ValueType.STRING else b"")
    assert decode_value(kind, stored).plain == plain


@given(st.integers(0, 255), st.binary(max_size=20))
def test_any_bytes_are_a_value_or_refused(kind: int, data: bytes) -> None:
    try:
        value = decode_value(kind, data)
    except ValueError:
        return
    assert value.raw == data


def notification(new: bytes, old: bytes) -> bytes:
    event = cmap.Notification(
        0x1122334455667788, b"my.key", 2, cmap.StoredValue(11, new), cmap.StoredValue(12, old)
    )
    return cmap.pack_notification(event)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_notifications_come_back(new: bytes, old: bytes) -> None:
    decoded = cmap.unpack_notification(notification(new, old))
    assert (decoded.track_inst_handle, decoded.key, decoded.event) == (0x1122334455667788, b"my.key", 2)
    assert (decoded.new, decoded.old) == (cmap.StoredValue(11, new), cmap.StoredValue(12, old))


@given(st.data())
def test_damaged_messages_are_refused_as_such(data: st.DataObject) -> None:
    """Cut off and overwritten: ValueError, nothing else."""
    status = cfg.NodeStatus(cfg.NodeStatusHead(1, 2), (cfg.LinkStatus(1, 1, 0, 1500, b"10.0.0.1"),))
    messages = [
        (notification(b"new", b"old"), cmap.unpack_notification),
        (cfg.pack_ring_status([cfg.Interface(b"0 10.0.0.1", b"OK")]), cfg.unpack_ring_status),
        (cfg.pack_node_status(status), cfg.unpack_node_status),
        (cfg.pack_node_addrs(cfg.AF_INET, [b"\x0a\0\0\1"]), cfg.unpack_node_addrs),
    ]
    message, unpack = data.draw(st.sampled_from(messages))
    damaged = bytearray(message[: data.draw(st.integers(0, len(message)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        unpack(bytes(damaged))


def test_statuses_come_back() -> None:
    interfaces = (cfg.Interface(b"0 10.0.0.1", b"OK"), cfg.Interface(b"1 fe80::1", b"n33"))
    assert cfg.unpack_ring_status(cfg.pack_ring_status(interfaces)) == interfaces
    head = cfg.NodeStatusHead(1, 7, reachable=1, onwire_max=1)
    link = cfg.LinkStatus(1, 1, 0, 1446, b"10.0.0.1", b"10.0.0.2")
    decoded = cfg.unpack_node_status(cfg.pack_node_status(cfg.NodeStatus(head, (link,))))
    assert decoded == (head, (link, *[cfg.LinkStatus()] * 7))
    with pytest.raises(ValueError, match="at most 511"):
        cfg.pack_ring_status([cfg.Interface(b"0", b"x" * 512)])
