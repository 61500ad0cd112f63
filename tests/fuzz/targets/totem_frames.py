"""Decoders of Totem frames: `FrameError` or a value within the limits that packs to the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from aisexec.totem import wire
from aisexec.totem.foreign import name_format
from aisexec.totem.limits import PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX, RING_SEQ_MAX
from aisexec.totem.types import RingId
from aisexec.totem.wire import FrameError, FrameType
from tests.fuzz.captured import frames
from tests.fuzz.frames import any_frame, fields
from tests.fuzz.hostile import spoil

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 1.0


def fuzz(data: bytes) -> None:
    """Every reader sees the bytes, whatever type they say they are."""
    assert name_format(data).text
    refusals: list[FrameError] = []
    try:
        kind = wire.check_header(data)
    except FrameError as error:
        refusals.append(error)
    else:
        for reader in (_token, _join, _commit, _others):
            try:
                reader(data, kind)
            except FrameError as error:
                refusals.append(error)
    for refusal in refusals:
        assert refusal.kind
        assert len(str(refusal)) < 300


def _token(data: bytes, kind: FrameType) -> None:
    token = wire.read_orf_token(data)
    assert len(token.rtr_list) <= RETRANSMIT_ENTRIES_MAX
    again = token.pack()
    assert again == data[: len(again)]


def _join(data: bytes, kind: FrameType) -> None:
    join = wire.read_join(data)
    for ids in (join.proc, join.failed):
        assert len(ids) == len(set(ids)) <= PROCESSOR_COUNT_MAX
        assert 0 not in ids
    assert join.ring_seq <= RING_SEQ_MAX
    assert wire.read_join(join.pack()) == join


def _commit(data: bytes, kind: FrameType) -> None:
    token = wire.read_commit_token(data)
    assert 1 <= len(token.addr) == len(token.memb) <= PROCESSOR_COUNT_MAX
    assert list(token.addr) == sorted(set(token.addr))
    assert token.memb_index <= len(token.addr)
    again = token.pack()
    head = wire.HEADER.size
    assert again[head:] == data[head : len(again)]


def _others(data: bytes, kind: FrameType) -> None:
    if kind is FrameType.MERGE_DETECT:
        detect = wire.read_merge_detect(data)
        assert wire.MERGE_DETECT.pack(detect) == data[: wire.MERGE_DETECT.size]
    elif kind is FrameType.HOLD_CANCEL:
        cancel = wire.read_hold_cancel(data)
        assert wire.HOLD_CANCEL.pack(cancel) == data[: wire.HOLD_CANCEL.size]
    else:
        key = wire.read_mcast_key(data)
        parsed = wire.MCAST.unpack(data)
        assert (key.seq, key.rep, key.ring_seq) == (parsed.seq, *parsed.ring_id)
        assert wire.mcast_nodeid(data) == parsed.header.nodeid


@cache
def seeds() -> Sequence[bytes]:
    """Frames of a real ring, and the longest there can be, and such as are one entry longer."""
    return (*frames(), *_longest())


def _longest() -> Iterator[bytes]:
    ring_id = RingId(1, 8)
    for excess in (0, 1):
        token = wire.header(FrameType.ORF_TOKEN, 1)
        rtr = tuple(wire.RtrItem(ring_id, n) for n in range(RETRANSMIT_ENTRIES_MAX + excess))
        yield wire.OrfToken(token, 1, 1, 0, 0, ring_id, 0, 0, 0, rtr).pack()
        ids = tuple(range(1, PROCESSOR_COUNT_MAX + excess + 1))
        yield wire.Join(1, 1, ids, (), 8).pack()
        yield wire.Join(1, 1, (1,), ids, 8).pack()
        entries = (wire.CommitEntry(ring_id, 0, 0, 0),) * len(ids)
        yield wire.CommitToken(1, 0, ring_id, 0, 0, ids, entries).pack()


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A field or two."""
    return spoil(data, fields(data), rng)


def inputs() -> SearchStrategy[bytes]:
    """Frames from the layouts, and spoilt ones of a real ring."""
    from tests.fuzz.strategies import damaged, mixed

    return mixed(any_frame(), damaged(seeds(), mutate))
