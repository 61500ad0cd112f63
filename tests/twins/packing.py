"""Packing messages into frames and cutting large ones, in plain Python."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from aisexec.totem.packing import LENGTH_SIZE, PACKET_HEAD

Enqueue = Callable[[bytes, int], None]


class Packer:
    """The staging buffer of one sender.  `enqueue(packet, guarantee)` takes finished packets."""

    def __init__(self, net_mtu: int, enqueue: Enqueue, *, stock: bool = False) -> None:
        """stock: send the end of a message that is longer than a packet alone, as corosync does."""
        self._stock = stock
        self._packet_size = net_mtu - PACKET_HEAD.size
        self._enqueue = enqueue
        self._staged: list[bytes | memoryview] = []
        self._staged_size = 0
        self._lengths: list[int] = []
        self._pending_continuation = 0
        self._next_fragment = 1
        self._guarantee = 0

    @property
    def staged(self) -> bool:
        """Something waits for the token or for more messages."""
        return bool(self._lengths)

    def add(self, parts: Sequence[bytes], guarantee: int) -> None:
        """Stage one message; its parts matter, as stock never cuts a part that fits."""
        if guarantee != self._guarantee:
            self.flush()
            self._guarantee = guarantee
        parts = [part for part in parts if part]
        limit = self._packet_size - LENGTH_SIZE * (len(self._lengths) + 1)
        piece = 0
        for index, part in enumerate(parts):
            base, size = 0, len(part)
            while base < size or size == 0:
                if size - (0 if self._stock else base) + self._staged_size < limit - LENGTH_SIZE:
                    rest = memoryview(part)[base:] if base else part
                    self._stage(rest)
                    piece += len(rest)
                    self._next_fragment = 1
                    break
                taken = min(size - base, limit - self._staged_size)
                self._stage(memoryview(part)[base : base + taken])
                base += taken
                more = base < size or index < len(parts) - 1
                self._close(piece + taken, more)
                piece = 0
                limit = self._packet_size - LENGTH_SIZE
        if piece:
            self._lengths.append(piece)

    def flush(self) -> None:
        """The token is here: what is staged goes out with it."""
        if self._lengths:
            continuation, self._pending_continuation = self._pending_continuation, 0
            self._emit(0, continuation)

    def _stage(self, data: bytes | memoryview) -> None:
        self._staged.append(data)
        self._staged_size += len(data)

    def _close(self, piece: int, more: bool) -> None:
        """The packet is full."""
        self._lengths.append(piece)
        continuation = self._pending_continuation
        fragmented = 0
        if more:
            fragmented = self._next_fragment or 1
            self._next_fragment = (fragmented + 1) & 0xFF
        self._pending_continuation = fragmented
        self._emit(fragmented, continuation)

    def _emit(self, fragmented: int, continuation: int) -> None:
        count = len(self._lengths)
        head = PACKET_HEAD.struct.pack(0, 0, fragmented, continuation, count)
        lengths = struct.pack(f"<{count}H", *self._lengths)
        packet = b"".join((head, lengths, *self._staged))
        self._staged, self._staged_size, self._lengths = [], 0, []
        self._enqueue(packet, self._guarantee)
