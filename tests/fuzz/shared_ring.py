"""The files of a ring as libqb lays them out, and a peer that writes into them as it likes."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Annotated, Final, NamedTuple

from ipc.layout import I32, U32, Chars, Layout
from tests.fuzz.hostile import leaves


class RingHeader(NamedTuple):
    """struct qb_ringbuffer_shared_s of libqb 2.0.6 on x86-64, its semaphore glibc's."""

    write_pt: U32
    read_pt: U32
    word_size: U32
    hdr_path: Annotated[bytes, Chars(4096)]
    data_path: Annotated[bytes, Chars(4096)]
    ref_count: I32
    sem_value: U32
    sem_waiters: U32
    sem_private: U32
    sem_rest: Annotated[bytes, Chars(20)]
    user_data: I32


RING_HEADER = Layout(RingHeader, align=0)
HEADER_LEAVES: Final = tuple(leaf for leaf in leaves(RING_HEADER) if leaf.code != "s")
MARKS: Final = (0xA1A1A1A1, 0xA110CED0, 0xD0D0D0D0, 5, 0x56737953)
"""Commit, allocated, dead; the mirror's mark; a System V semaphore's."""

assert RING_HEADER.size == 8244


class Scribbler:
    """Writes into the two files of a ring; what is not there any more is left alone."""

    def __init__(self, base: str, data_path: str | None = None) -> None:
        self._header = os.open(base + "-header", os.O_RDWR | os.O_CLOEXEC)
        self._data = os.open(data_path or base + "-data", os.O_RDWR | os.O_CLOEXEC)
        self.data_bytes = os.fstat(self._data).st_size

    def header_field(self, index: int, value: int) -> None:
        """An integer of the header."""
        leaf = HEADER_LEAVES[index % len(HEADER_LEAVES)]
        value &= (1 << 8 * leaf.size) - 1
        self._write(self._header, leaf.offset, value.to_bytes(leaf.size, "little"))

    def header_bytes(self, offset: int, data: bytes) -> None:
        """Anything anywhere in the header."""
        self._write(self._header, offset % RING_HEADER.size, data)

    def data_bytes_at(self, offset: int, data: bytes) -> None:
        """Anything anywhere in the data."""
        self._write(self._data, offset % max(1, self.data_bytes), data)

    def chunk(self, word: int, length: int, mark: int) -> None:
        """Length and magic of a chunk."""
        at = word * 4 % max(4, self.data_bytes - 8)
        self._write(self._data, at, struct.pack("<II", length & 0xFFFFFFFF, MARKS[mark % len(MARKS)]))

    def read_point(self) -> int:
        """Where the reader says it is."""
        return int.from_bytes(os.pread(self._header, 4, 4).ljust(4, b"\0"), "little")

    def post(self, count: int) -> None:
        """So many chunks, says the semaphore."""
        at = RING_HEADER.offset_of("sem_value")
        self._write(self._header, at, struct.pack("<I", count & 0xFFFFFFFF))

    def truncate(self, header: bool, size: int) -> None:
        """Cut a file short; never longer than it was."""
        fd = self._header if header else self._data
        with suppress(OSError):
            os.ftruncate(fd, min(size, os.fstat(fd).st_size))

    def close(self) -> None:
        os.close(self._header)
        os.close(self._data)

    @staticmethod
    def _write(fd: int, offset: int, data: bytes) -> None:
        with suppress(OSError):  # the file does not grow: what is behind its end is not there
            room = max(0, os.fstat(fd).st_size - offset)
            os.pwrite(fd, data[:room], offset)
