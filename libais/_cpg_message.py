"""The pieces of an outgoing message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ipc.layout import Buffer
from ipc.limits import WRITE_PARTS_MAX

# One place is taken by the request's head.
PARTS_MAX = WRITE_PARTS_MAX - 1


def flatten(message: Buffer | Sequence[Buffer]) -> list[Buffer]:
    """The message as a few flat buffers; TypeError when it is not bytes-like, or not contiguous."""
    if isinstance(message, bytes):
        return [message]
    if not isinstance(message, list | tuple):
        return [_flat(message)]
    if len(message) > PARTS_MAX:
        return [b"".join(message)]
    return [_flat(part) for part in message]


def _flat(part: object) -> Buffer:
    if isinstance(part, bytes):
        return part
    return memoryview(part).cast("B")  # type: ignore[arg-type]


def total_size(parts: Sequence[Buffer]) -> int:
    """Bytes of all parts, which `flatten` made."""
    return sum(map(len, parts))


def fragments(parts: Sequence[Buffer], limit: int) -> Iterator[list[Buffer]]:
    """The parts cut into groups of `limit` bytes, the last one shorter; nothing is copied."""
    group: list[Buffer] = []
    room = limit
    for part in parts:
        view = memoryview(part)
        while len(view) > room:
            group.append(view[:room])
            yield group
            view, group, room = view[room:], [], limit
        if view:
            group.append(view)
            room -= len(view)
    if group:
        yield group
