"""A flight recording from a file: corosync-blackbox must read whatever a crash or a disk has left."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipc.blackbox import (
    CHUNK_HEAD,
    FILE_HEADER,
    NEW_FORMAT,
    PAGE,
    RECORD_HEAD,
    RECORD_TAIL,
    RING_HEADER,
    RING_OFFSET,
    TRAILER,
    TRAILER_MAGIC,
    TRAILER_VERSION,
    WORD,
    BlackboxError,
    Ring,
    Trailer,
    encode,
    file_size,
    read_recording,
)
from tests.fuzz.hostile import Leaf, leaves, spoil
from tools.blackbox import as_json, as_text

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0
WORDS = PAGE // WORD
NOW = 1_700_000_000_000_000_000


def fuzz(data: bytes) -> None:
    """Records that can be printed in both forms, or the error declared."""
    try:
        recording = read_recording(data)
    except BlackboxError:
        return
    # Every record takes a word of the file at least.
    assert len(recording.records) <= len(data) // WORD
    for line in as_text(recording):
        assert line.isprintable()
    json.dumps(as_json("file", recording))


def _recording(*texts: str, crash: bytes = b"", new: bool = True) -> bytes:
    memory = bytearray(file_size(WORDS))
    ring = Ring(memoryview(memory), WORDS)
    for number, text in enumerate(texts):
        for chunk in encode("TOTEM", number % 9, text, NOW + number):
            ring.append(chunk)
    trailer = Trailer(TRAILER_MAGIC, TRAILER_VERSION, 4711, NOW // 10**9, 0, 0)
    TRAILER.pack_into(memory, RING_OFFSET + WORDS * WORD, trailer)
    data = bytes(memory) + crash
    return data if new else data[FILE_HEADER.size : -TRAILER.size]


def seeds() -> Sequence[bytes]:
    """Empty, short, gone round many times, crashed, of the old format."""
    return [
        _recording(),
        _recording("one", "two %s", "x" * 2000),
        _recording(*(f"number {n} " + "y" * (n % 60) for n in range(200))),
        _recording("last words", crash=b"Fatal Python error: Segmentation fault\n\n\x1b[31m"),
        _recording("one", new=False),
        FILE_HEADER.pack(NEW_FORMAT),
        b"",
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Headers, and the first record's fields."""
    record = RING_OFFSET + CHUNK_HEAD.size
    places: list[Leaf] = [
        *leaves(FILE_HEADER),
        *leaves(RING_HEADER, FILE_HEADER.size),
        *leaves(CHUNK_HEAD, RING_OFFSET),
        *leaves(RECORD_HEAD, record),
        *leaves(RECORD_TAIL, record + RECORD_HEAD.size + len(b"TOTEM\0")),
        Leaf(record + RECORD_HEAD.size + len(b"TOTEM\0") + RECORD_TAIL.size, "s", 8),
    ]
    data = spoil(data, places, rng)
    if rng.random() < 0.5 and len(data) >= RING_OFFSET:
        # A sum that is right lets the rest be looked at.
        header = RING_HEADER.unpack(data, FILE_HEADER.size)
        total = sum(header[:4]) & 0xFFFFFFFF
        at = FILE_HEADER.size + RING_HEADER.offset_of("hash")
        data = data[:at] + total.to_bytes(4, "little") + data[at + 4 :]
    return data


def inputs() -> SearchStrategy[bytes]:
    """Damaged recordings."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, mixed

    return mixed(st.binary(max_size=200), damaged(seeds(), mutate))
