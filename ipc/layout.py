"""A language for binary layouts: a structure is declared once, everything else derives from it.

A structure is a ``NamedTuple`` whose fields carry their wire type as an annotation:

    class RingIdFields(NamedTuple):
        rep: U32
        seq: U64

    RING_ID = Layout(RingIdFields, align=1)

``Layout`` gives its size, the offset of every field, a codec and a pretty-printer.  ``align`` says
how fields are placed: 1 packs them (Totem's frames), 8 puts each field on a multiple of eight (the
``mar_*`` types of corosync's IPC and executive messages), 0 follows the C rules of the platform.
A field may be another structure (use ``Nested``); padding is written as zeros and never read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, cast, get_type_hints

U8 = Annotated[int, "B"]
I8 = Annotated[int, "b"]
U16 = Annotated[int, "H"]
I16 = Annotated[int, "h"]
U32 = Annotated[int, "I"]
I32 = Annotated[int, "i"]
U64 = Annotated[int, "Q"]
I64 = Annotated[int, "q"]

Buffer = bytes | bytearray | memoryview


class Chars(NamedTuple):
    """Annotation of a ``bytes`` field of fixed length, padded with NUL when shorter."""

    length: int


class Array(NamedTuple):
    """Annotation of a fixed-length array of integers: ``Annotated[tuple[int, ...], Array("I", 4)]``.

    A shorter value is filled up with zeros.
    """

    code: str
    length: int


class Nested(NamedTuple):
    """Annotation of a field that is itself a structure."""

    layout: Layout[Any]


class Field(NamedTuple):
    """Where a field lies: offset and size in bytes."""

    name: str
    offset: int
    size: int
    kind: object


class ShortBufferError(ValueError):
    """The buffer ends before the structure does."""


T = TypeVar("T")


def _natural_alignment(kind: object) -> int:
    if isinstance(kind, str):
        return struct.calcsize("<" + kind)
    if isinstance(kind, Array):
        return struct.calcsize("<" + kind.code)
    if isinstance(kind, Nested):
        return kind.layout.alignment
    return 1


def _kind_size(kind: object) -> int:
    if isinstance(kind, str):
        return struct.calcsize("<" + kind)
    if isinstance(kind, Chars):
        return kind.length
    if isinstance(kind, Array):
        return kind.length * struct.calcsize("<" + kind.code)
    if isinstance(kind, Nested):
        return kind.layout.size
    raise TypeError(f"no wire type in annotation {kind!r}")


def _kind_format(kind: object) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, Chars):
        return f"{kind.length}s"
    if isinstance(kind, Array):
        return f"{kind.length}{kind.code}"
    assert isinstance(kind, Nested)
    return kind.layout.format


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


class Layout(Generic[T]):
    """The binary form of the ``NamedTuple`` class ``cls``, little-endian.

    align: 1 packed, 8 every field on a multiple of 8, 0 natural C alignment.
    size:  bytes of the whole structure, padding at the end included.
    """

    def __init__(self, cls: Callable[..., T], align: int = 1, *, pad_to: int | None = None) -> None:
        self.cls = cls
        self.name: str = cls.__name__
        hints = get_type_hints(cls, include_extras=True)
        fields: list[Field] = []
        parts: list[str] = []
        widths: list[tuple[int, object]] = []
        offset = 0
        biggest = 1
        for name in cls._fields:  # type: ignore[attr-defined]
            metadata = getattr(hints[name], "__metadata__", None)
            if metadata is None:
                raise TypeError(f"{self.name}.{name} has no wire type")
            kind = metadata[0]
            step = align or _natural_alignment(kind)
            biggest = max(biggest, step)
            start = _round_up(offset, step)
            if start > offset:
                parts.append(f"{start - offset}x")
            size = _kind_size(kind)
            fields.append(Field(name, start, size, kind))
            parts.append(_kind_format(kind))
            widths.append((_leaf_count(kind), kind))
            offset = start + size
        end = _round_up(offset, pad_to or biggest)
        if end > offset:
            parts.append(f"{end - offset}x")
        self.alignment = biggest
        self.format = "".join(parts)
        self.fields: tuple[Field, ...] = tuple(fields)
        self.struct = struct.Struct("<" + self.format)
        self.size = self.struct.size
        self._widths = widths
        self._flat = all(count == 1 and not isinstance(kind, Nested | Array) for count, kind in widths)
        # One Python expression each way: structures are taken apart and put together per message.
        self._build: Callable[[tuple[Any, ...]], T] = _compile("leaves", *_builder(self, 0, {}))
        flat = f"({_flattener(self, 'value')})"
        self._leaves: Callable[[Any], tuple[Any, ...]] = _compile("value", flat, {"fill": _fill})

    def offset_of(self, name: str) -> int:
        """Offset in bytes of field `name`."""
        return next(f.offset for f in self.fields if f.name == name)

    def unpack(self, buffer: Buffer, offset: int = 0) -> T:
        """Read the structure at `offset`; raises ShortBufferError when the buffer ends before it."""
        try:
            leaves = self.struct.unpack_from(buffer, offset)
        except (struct.error, OverflowError):  # an offset summed up from forged lengths overflows
            raise ShortBufferError(
                f"{self.name} needs {self.size} bytes at {offset}, buffer has {len(buffer)}"
            ) from None
        if self._flat:
            return self.cls(*leaves)
        return self._build(leaves)

    def pack(self, value: T) -> bytes:
        """The structure's bytes, padding zero; raises struct.error when a value does not fit."""
        fields = cast("tuple[Any, ...]", value)
        if self._flat:
            return self.struct.pack(*fields)
        return self.struct.pack(*self._leaves(fields))

    def pack_into(self, buffer: bytearray | memoryview, offset: int, value: T) -> None:
        """Write the structure at `offset` of a writable buffer."""
        self.struct.pack_into(buffer, offset, *self._leaves(cast("tuple[Any, ...]", value)))

    def describe(self, buffer: Buffer, offset: int = 0) -> Iterator[tuple[int, str, object]]:
        """(offset, dotted field name, value) of every leaf, for dumps."""
        value = self.unpack(buffer, offset)
        yield from self._describe(cast("tuple[Any, ...]", value), offset, "")

    def _describe(
        self, value: tuple[Any, ...], base: int, prefix: str
    ) -> Iterator[tuple[int, str, object]]:
        for field, item in zip(self.fields, value, strict=True):
            if isinstance(field.kind, Nested):
                yield from field.kind.layout._describe(
                    item, base + field.offset, f"{prefix}{field.name}."
                )
            else:
                yield base + field.offset, prefix + field.name, item


def _compile(parameter: str, expression: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    return cast("Callable[[Any], Any]", eval(f"lambda {parameter}: {expression}", names))


def _builder(layout: Layout[Any], first: int, names: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """An expression that makes the structure from the tuple `leaves`, and the names it uses."""
    parts = []
    for count, kind in layout._widths:
        if isinstance(kind, Nested):
            parts.append(_builder(kind.layout, first, names)[0])
        elif isinstance(kind, Array):
            parts.append(f"leaves[{first}:{first + count}]")
        else:
            parts.append(f"leaves[{first}]")
        first += count
    name = f"cls{len(names)}"
    names[name] = layout.cls
    return f"{name}({', '.join(parts)})", names


def _flattener(layout: Layout[Any], value: str) -> str:
    """The items of a tuple expression with all leaves of the structure `value`."""
    parts = []
    for index, (count, kind) in enumerate(layout._widths):
        item = f"{value}[{index}]"
        if isinstance(kind, Nested):
            parts.append(_flattener(kind.layout, item))
        elif isinstance(kind, Array):
            parts.append(f"*fill({item}, {count})")
        else:
            parts.append(f"{item},")
    return " ".join(part if part.endswith(",") else part + "," for part in parts)


def _fill(items: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(items) + (0,) * (count - len(items))


def _leaf_count(kind: object) -> int:
    if isinstance(kind, Nested):
        return sum(count for count, _ in kind.layout._widths)
    return kind.length if isinstance(kind, Array) else 1
