"""What cmap holds: values with their types, and the news about them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ipc.cmap_layouts import NUMBER_FORMATS, TrackEvent, ValueType

if TYPE_CHECKING:
    from libais.cmap import Track

Plain = int | float | str | bytes
"""A value without its type: whole numbers, floating point, strings, binary."""

INTEGERS = frozenset(
    {
        ValueType.I8,
        ValueType.U8,
        ValueType.I16,
        ValueType.U16,
        ValueType.I32,
        ValueType.U32,
        ValueType.I64,
        ValueType.U64,
    }
)
FLOATS = frozenset({ValueType.FLOAT, ValueType.DOUBLE})


class Entry(NamedTuple):
    """A key with the type and the length in bytes of its value; a string's length counts its NUL."""

    key: str
    type: ValueType
    length: int


@dataclass(frozen=True, slots=True)
class Value:
    """A value of cmap with its type.

    plain: int for the integer types, float, str, or bytes for BINARY.
    raw: the bytes that the executive holds, of a string with its NUL.
    """

    type: ValueType
    plain: Plain
    raw: bytes


@dataclass(frozen=True, slots=True)
class Notification:
    """A tracked key changed.

    event: ADD, DELETE or MODIFY.  new: None when the key was deleted; old: None when it was added.
    track: what `track_add` returned.
    """

    key: str
    event: TrackEvent
    new: Value | None
    old: Value | None
    track: Track = field(compare=False, repr=False)


def encode_text(text: str | bytes) -> bytes:
    """As the executive keeps it; what came as surrogate escapes goes back as it was."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def decode_text(data: bytes) -> str:
    """The text before the first NUL."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def encode_value(kind: ValueType, value: Plain) -> bytes:
    """The bytes of a request to set it; ValueError when the value does not fit the type."""
    if kind in NUMBER_FORMATS:
        return _encode_number(kind, value)
    if kind == ValueType.STRING:
        if not isinstance(value, str | bytes):
            raise ValueError(f"{value!r} is no string")
        return encode_text(value)
    if not isinstance(value, bytes):
        raise ValueError(f"{value!r} is not bytes")
    return value


def _encode_number(kind: ValueType, value: Plain) -> bytes:
    wanted: type | tuple[type, ...] = int if kind in INTEGERS else (int, float)
    if not isinstance(value, wanted):
        raise ValueError(f"{value!r} is no number of type {kind.name.lower()}")
    try:
        return struct.pack(NUMBER_FORMATS[kind], value)
    except (struct.error, OverflowError):
        raise ValueError(f"{value!r} is outside the range of type {kind.name.lower()}") from None


def decode_value(kind: int, data: bytes) -> Value:
    """Inverse of encode_value; ValueError for a type nobody defined or a number of the wrong size."""
    known = ValueType(kind)
    if known == ValueType.STRING:
        return Value(known, decode_text(data), data)
    if known == ValueType.BINARY:
        return Value(known, data, data)
    code = NUMBER_FORMATS[known]
    if len(data) != struct.calcsize(code):
        raise ValueError(f"a number of type {known.name.lower()} has {len(data)} bytes")
    return Value(known, struct.unpack(code, data)[0], data)
