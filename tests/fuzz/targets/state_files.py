"""Small files that are trusted too easily: the stored ring id, and the shared key."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aisexec.config.keyfile import KeyFileError, read_key
from aisexec.config.limits import KEY_SIZE_MAX, KEY_SIZE_MIN
from aisexec.state import RING_SEQ_MAX, RingIdFile, StateError
from aisexec.totem.stack import Totem
from tests.fuzz.hostile import Leaf, spoil
from tests.sim.network import FAST, Application

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0

REGULAR, DIRECTORY, LINK, PIPE, NOBODY = range(5)
"""First byte: what stands in the file's place."""


def fuzz(data: bytes) -> None:
    """A number from which a ring can be counted on, a key of proper length, or the error declared."""
    directory = tempfile.mkdtemp(prefix="aisexec-fuzz-state-", dir="/dev/shm")
    try:
        file = RingIdFile(directory, 1)
        _place(file.path, data)
        _ring_id(file)
        _key(file.path, data)
    finally:
        shutil.rmtree(directory)


def _place(path: str, data: bytes) -> None:
    match data[0] % 5 if data else REGULAR:
        case 1:
            os.mkdir(path)
        case 2:
            os.symlink(path, path)
        case 3:
            os.mkfifo(path)
        case 4:
            pass
        case _:
            Path(path).write_bytes(data[1:])
            os.chmod(path, 0o400 if len(data) % 2 else 0o444)


def _ring_id(file: RingIdFile) -> None:
    try:
        seq = file.load()
    except StateError as error:
        message = error.text
        assert file.path in message
        return
    assert 0 <= seq <= RING_SEQ_MAX
    totem = Totem(FAST, 1, seq, Application(1))
    totem.start(0.0)
    assert file.store(seq + 4) is None or seq + 4 > RING_SEQ_MAX
    totem.take_effects()


def _key(path: str, data: bytes) -> None:
    try:
        key = read_key(path)
    except KeyFileError as error:
        message = str(error)
        assert path in message
        return
    assert KEY_SIZE_MIN <= len(key) <= KEY_SIZE_MAX


def seeds() -> Sequence[bytes]:
    """Good files and what may stand in their place."""
    numbers = (0, 4, 1 << 32, RING_SEQ_MAX - 4, RING_SEQ_MAX, RING_SEQ_MAX + 1, (1 << 64) - 1)
    found = [b"\0" + number.to_bytes(8, "little") for number in numbers]
    sizes = (KEY_SIZE_MIN - 1, KEY_SIZE_MIN, KEY_SIZE_MAX, KEY_SIZE_MAX + 1)
    found += [b"\0" + bytes(size) for size in sizes]
    return [*found, *(bytes([kind]) for kind in range(1, 5)), b""]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The number or the length."""
    return spoil(data, [Leaf(1, "Q", 8), Leaf(0, "B", 1)], rng)


def inputs() -> SearchStrategy[bytes]:
    """Numbers at their edges, contents of any length."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged, integer, mixed

    number = integer("Q").map(lambda value: b"\0" + value.to_bytes(8, "little"))
    return mixed(number, st.integers(0, 5000).map(lambda size: bytes(size)), damaged(seeds(), mutate))
