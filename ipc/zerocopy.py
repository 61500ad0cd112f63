"""Server half of zero-copy buffers: files that a client made in shared memory and hands over.

The client keeps its mapping and owned the file, so nothing about either is believed: only a regular
file with libcpg's name pattern directly in one of the two directories libcpg uses, owned by the
client, of bounded size; and it is only ever read through the SIGBUS guard.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress

from ipc._ring import SharedMap
from ipc.limits import (
    BUFFER_BYTES_PER_CLIENT_MAX,
    BUFFER_SIZE_MAX,
    BUFFERS_MAX,
    BUFFERS_PER_CLIENT_MAX,
)

DIRECTORIES = ("/dev/shm", "/var/run", "/run")
PREFIX = "corosync_zerocopy-"
# Where the server leaves the cookie for the client: second field of the buffer's header.
COOKIE = struct.Struct("<Q")
COOKIE_OFFSET = 8


class BufferError(OSError):
    """A client asked for a buffer it must not have; the text says why."""


def _checked_name(path: str) -> tuple[str, str]:
    directory, name = os.path.split(path)
    if directory not in DIRECTORIES or not name.startswith(PREFIX) or "\0" in path:
        raise BufferError(errno.EACCES, f"not a {PREFIX} file in {DIRECTORIES[0]}", path)
    return directory, name


def _take_file(path: str, size: int, uid: int) -> int:
    """Open and unlink the client's file; the descriptor of a file of at least `size` bytes."""
    directory, name = _checked_name(path)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(name, flags, dir_fd=directory_fd)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise BufferError(errno.EACCES, "not a regular file", path)
            if uid not in (0, status.st_uid):
                raise BufferError(errno.EACCES, f"file of uid {status.st_uid}, client is {uid}", path)
            if status.st_size < size:
                os.ftruncate(fd, size)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory_fd)
        except BaseException:
            os.close(fd)
            raise
    finally:
        os.close(directory_fd)
    return fd


class BufferCount:
    """How many buffers all clients have open."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0


class BufferTable:
    """The zero-copy buffers of one client, by cookie; `count` is what all clients share."""

    __slots__ = ("_bytes", "_count", "_maps", "_next", "_uid")

    def __init__(self, uid: int, count: BufferCount) -> None:
        self._uid = uid
        self._count = count
        self._maps: dict[int, SharedMap] = {}
        self._bytes = 0
        self._next = 1

    def open(self, path: str, size: int) -> int:
        """Map the client's file (and unlink it); the cookie, which also is in the buffer's header.

        Raises OSError: EACCES not a file to accept, E2BIG or EMFILE beyond the limits.
        """
        if not COOKIE_OFFSET + COOKIE.size <= size <= BUFFER_SIZE_MAX:
            raise BufferError(errno.E2BIG, f"buffer of {size} bytes, limit {BUFFER_SIZE_MAX}", path)
        if len(self._maps) >= BUFFERS_PER_CLIENT_MAX or self._bytes + size > BUFFER_BYTES_PER_CLIENT_MAX:
            raise BufferError(errno.EMFILE, f"{len(self._maps)} buffers of {self._bytes} bytes open", path)
        if self._count.open >= BUFFERS_MAX:
            raise BufferError(errno.EMFILE, f"{BUFFERS_MAX} buffers of all clients are open", path)
        fd = _take_file(path, size, self._uid)
        try:
            mapping = SharedMap(fd, size)
        finally:
            os.close(fd)
        cookie = self._next
        mapping.write(COOKIE_OFFSET, COOKIE.pack(cookie))
        self._next += 1
        self._maps[cookie] = mapping
        self._bytes += size
        self._count.open += 1
        return cookie

    def read(self, cookie: int, offset: int, size: int) -> bytes:
        """Copy out of a buffer; raises KeyError (no such cookie), ValueError (outside), RingGone."""
        return self._maps[cookie].read(offset, size)

    def size(self, cookie: int) -> int:
        """Bytes of the buffer; raises KeyError."""
        return self._maps[cookie].size

    def release(self, cookie: int) -> None:
        """Unmap; raises KeyError."""
        mapping = self._maps.pop(cookie)
        self._bytes -= mapping.size
        self._count.open -= 1
        mapping.close()

    def close(self) -> None:
        """Unmap all."""
        for mapping in self._maps.values():
            mapping.close()
        self._count.open -= len(self._maps)
        self._maps.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._maps)
