"""Values that break arithmetic, and where in a declared layout to put them.

Nothing here knows a frame or a request: fields and their widths come from the `Layout` objects that
the programs themselves use, limits from their `limits` modules.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

from aisexec import limits as executive_limits
from aisexec.net import limits as net_limits
from aisexec.totem import limits as totem_limits
from ipc import limits as ipc_limits
from ipc.layout import Array, Chars, Layout, Nested

_LIMITS: Final[tuple[ModuleType, ...]] = (totem_limits, executive_limits, ipc_limits, net_limits)
_EDGES: Final = (0, 1, 2, *(1 << bits for bits in (7, 8, 15, 16, 30, 31, 32, 62, 63, 64)))
_SIGNED: Final = "bhiq"


def _named_limits() -> set[int]:
    found = (value for module in _LIMITS for value in vars(module).values())
    return {value for value in found if type(value) is int}


_ALL: Final = sorted({value + off for value in {*_EDGES, *_named_limits()} for off in (-1, 0, 1)})


class Leaf(NamedTuple):
    """An integer or a run of bytes in a message: offset, struct code ("s" for bytes), size in bytes."""

    offset: int
    code: str
    size: int


def bounds(code: str) -> tuple[int, int]:
    """Smallest and largest value of an integer code."""
    bits = 8 * struct.calcsize("<" + code)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if code in _SIGNED else (0, (1 << bits) - 1)


def hostile(code: str) -> list[int]:
    """Named limits, powers of two and their neighbours, as far as the width takes them."""
    low, high = bounds(code)
    return sorted({value for edge in _ALL for value in (edge, -edge) if low <= value <= high})


HOSTILE: Final = {code: hostile(code) for code in "BbHhIiQq"}


def leaves(layout: Layout[Any], base: int = 0) -> Iterator[Leaf]:
    """All fields of a structure, nested ones taken apart; of long arrays the ends."""
    for field in layout.fields:
        at, kind = base + field.offset, field.kind
        if isinstance(kind, Nested):
            yield from leaves(kind.layout, at)
        elif isinstance(kind, Array):
            size = struct.calcsize("<" + kind.code)
            yield from (Leaf(at + i * size, kind.code, size) for i in {0, 1, kind.length - 1})
        elif isinstance(kind, Chars):
            yield Leaf(at, "s", kind.length)
        else:
            code = str(kind)[0]  # what follows is padding
            yield Leaf(at, code, struct.calcsize("<" + code))


def write(data: bytearray, leaf: Leaf, value: int) -> None:
    """Put a value where it fits; a leaf beyond the end is left alone."""
    if leaf.offset + leaf.size <= len(data):
        low, high = bounds(leaf.code)
        struct.pack_into("<" + leaf.code, data, leaf.offset, max(low, min(high, value)))


def read(data: bytes | bytearray, leaf: Leaf) -> int:
    """The value there, 0 beyond the end."""
    if leaf.offset + leaf.size > len(data):
        return 0
    return int(struct.unpack_from("<" + leaf.code, data, leaf.offset)[0])


def spoil(data: bytes, fields: Sequence[Leaf], rng: random.Random) -> bytes:
    """One to three fields get hostile values, or move a little; sometimes the end is cut or drawn out."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not fields:
            break
        leaf = rng.choice(fields)
        if leaf.code == "s":
            _spoil_bytes(spoilt, leaf, rng)
        elif rng.random() < 0.3:
            write(spoilt, leaf, read(spoilt, leaf) + rng.choice((-2, -1, 1, 2, 100)))
        else:
            write(spoilt, leaf, rng.choice(HOSTILE[leaf.code]))
    match rng.randrange(10):
        case 0:
            del spoilt[rng.randrange(len(spoilt) + 1) :]
        case 1:
            spoilt += rng.randbytes(rng.randrange(64))
        case _:
            pass
    return bytes(spoilt)


def _spoil_bytes(data: bytearray, leaf: Leaf, rng: random.Random) -> None:
    end = min(len(data), leaf.offset + leaf.size)
    if leaf.offset >= end:
        return
    match rng.randrange(3):
        case 0:
            data[leaf.offset : end] = bytes(end - leaf.offset)
        case 1:
            data[leaf.offset : end] = b"\xff" * (end - leaf.offset)
        case _:
            data[rng.randrange(leaf.offset, end)] = rng.randrange(256)
