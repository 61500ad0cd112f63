"""Putting a sender's messages together again from packets, in plain Python."""

from __future__ import annotations

from collections.abc import Callable

from aisexec.totem.assembly import PacketError, split
from aisexec.totem.limits import ASSEMBLY_SIZE_MAX

Message = bytes | memoryview


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
