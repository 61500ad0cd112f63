"""Putting a sender's messages together again from packets (totempg; spec 7.5, 7.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from aisexec.totem.limits import ASSEMBLY_SIZE_MAX
from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD

Message = bytes | memoryview


class PacketError(ValueError):
    """A packet whose counts and lengths do not fit its size."""


class OpenMessage:
    """The beginning of a message whose end has not come yet."""

    __slots__ = ("content", "fragment")

    def __init__(self, first: Message, fragment: int) -> None:
        # One growing buffer: a list of pieces of one byte each would take forty times their size.
        self.content = bytearray(first)
        self.fragment = fragment

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self.content)


class Assembly:
    """One set of assembly buffers, one for each sender."""

    def __init__(self, deliver: Callable[[int, Message], None]) -> None:
        self._deliver = deliver
        self._open: dict[int, OpenMessage] = {}

    def forget(self, nodeid: int) -> None:
        """The node left: what it began will not be finished."""
        self._open.pop(nodeid, None)

    def packet(self, nodeid: int, payload: memoryview) -> None:
        """Take a packet of `nodeid` in total order; raises PacketError when it is malformed.

        A head piece whose beginning we do not have belongs to a message sent before we came: it
        is thrown away, and only it.  (Stock throws away the complete messages behind it, too.)
        """
        fragmented, continuation, pieces = split(payload)
        if not pieces:
            return
        first_whole = 0
        if continuation:
            first_whole = 1
            ends_here = len(pieces) > 1 or fragmented == 0
            self._continue(nodeid, pieces[0], continuation, 0 if ends_here else fragmented)
        else:
            self._open.pop(nodeid, None)
        whole = pieces[first_whole:]
        last = whole.pop() if fragmented and whole else None
        for piece in whole:
            self._deliver(nodeid, piece)
        if last is not None:
            self._open[nodeid] = OpenMessage(last, fragmented)

    def _continue(self, nodeid: int, piece: memoryview, continuation: int, fragmented: int) -> None:
        """`fragmented` is 0 when the message ends with this piece."""
        message = self._open.pop(nodeid, None)
        if message is None or message.fragment != continuation:
            return
        if message.size + len(piece) > ASSEMBLY_SIZE_MAX:
            raise PacketError(f"message longer than {ASSEMBLY_SIZE_MAX} bytes")
        message.content += piece
        if fragmented:
            message.fragment = fragmented
            self._open[nodeid] = message
        else:
            self._deliver(nodeid, memoryview(message.content))


def split(payload: memoryview) -> tuple[int, int, list[memoryview]]:
    """(fragmented, continuation, pieces); raises PacketError unless all lengths fit exactly."""
    if len(payload) < PACKET_HEAD.size:
        raise PacketError(f"packet of {len(payload)} bytes")
    _, _, fragmented, continuation, count = PACKET_HEAD.struct.unpack_from(payload)
    offset = PACKET_HEAD.size + LENGTH_SIZE * count
    if offset > len(payload):
        raise PacketError(f"{count} pieces in a packet of {len(payload)} bytes")
    pieces = []
    for length in struct.unpack_from(f"<{count}H", payload, PACKET_HEAD.size):
        pieces.append(payload[offset : offset + length])
        offset += length
    if offset != len(payload):
        raise PacketError(f"pieces end at {offset} in a packet of {len(payload)} bytes")
    return fragmented, continuation, pieces
