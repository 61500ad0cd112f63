"""Zero-copy buffers: shared memory that client and executive both map, so a send copies nothing."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from collections.abc import Callable
from types import TracebackType

import posix_ipc

from ipc.cpg_layouts import (
    MCAST_REQUEST,
    ZC_HEADER,
    ZC_MCAST_OFFSET,
    ZC_PAYLOAD_OFFSET,
    ZERO_COPY_PREFIX,
    CpgRequest,
    Guarantee,
    McastRequest,
    ZcHeader,
)
from libais.errors import InvalidParamError, NoSpaceError
from libais.limits import SHARED_MEMORY_ATTEMPTS

SIZE_MAX = 2**31 - 1 - ZC_PAYLOAD_OFFSET


def create_shared_memory(map_size: int) -> tuple[str, mmap.mmap]:
    """A new file in /dev/shm with the name the executive expects: (its path, the mapping).

    Raises NoSpaceError when it cannot be made.
    """
    for _ in range(SHARED_MEMORY_ATTEMPTS):
        name = f"/{ZERO_COPY_PREFIX}{secrets.token_hex(3)}"
        try:
            memory = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600, size=map_size)
        except posix_ipc.ExistentialError:
            continue
        except (OSError, posix_ipc.Error, ValueError) as error:
            raise NoSpaceError(f"cpg_zcb_alloc: no shared memory of {map_size} bytes: {error}") from None
        try:
            # Reserved now, so that a full /dev/shm is an error here and not a SIGBUS later.
            os.posix_fallocate(memory.fd, 0, map_size)
            return f"/dev/shm{name}", mmap.mmap(memory.fd, map_size)
        except (OSError, ValueError) as error:
            memory.unlink()
            raise NoSpaceError(f"cpg_zcb_alloc: no shared memory of {map_size} bytes: {error}") from None
        finally:
            memory.close_fd()
    raise NoSpaceError(f"cpg_zcb_alloc: no free name /dev/shm/{ZERO_COPY_PREFIX}*")


class ZeroCopyBuffer:
    """A buffer of `Handle.zcb_alloc`.  `data` is its writable memory, `len(buffer)` its bytes.

    As a context manager it frees itself.
    """

    def __init__(self, mapping: mmap.mmap, size: int, free: Callable[[ZeroCopyBuffer], None]) -> None:
        self._mapping = mapping
        self._free = free
        self._view = memoryview(mapping)
        self.size = size
        self.freed = False
        self.data = self._view[ZC_PAYLOAD_OFFSET : ZC_PAYLOAD_OFFSET + size]

    def __len__(self) -> int:
        return self.size

    def __enter__(self) -> ZeroCopyBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.freed:
            self._free(self)

    @property
    def map_size(self) -> int:
        """Bytes of the mapping, the executive's head included."""
        return ZC_PAYLOAD_OFFSET + self.size

    @property
    def server_address(self) -> int:
        """The executive's name for this buffer, which it wrote into the mapping."""
        return ZC_HEADER.unpack(self._view).server_address

    def write_head(self, length: int, guarantee: Guarantee) -> None:
        """Put the head of a multicast of `length` bytes before the data."""
        if not 0 <= length <= self.size:
            raise InvalidParamError(f"cpg_zcb_mcast_joined: {length} bytes of a buffer of {self.size}")
        head = McastRequest(CpgRequest.MCAST, MCAST_REQUEST.size + length, 0, guarantee, length)
        MCAST_REQUEST.pack_into(self._view, ZC_MCAST_OFFSET, head)

    def finish_allocation(self) -> None:
        """Note the size where the C library keeps it."""
        ZC_HEADER.pack_into(self._view, 0, ZcHeader(self.map_size, self.server_address))

    def release(self) -> None:
        """Unmap; memory that the program still holds views of goes when the last view goes."""
        self.freed = True
        with contextlib.suppress(BufferError):
            self.data.release()
            self._view.release()
            self._mapping.close()
