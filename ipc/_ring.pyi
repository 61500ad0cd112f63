"""Python face of the C ring (ring.h).  Sizes are bytes, times milliseconds."""

from collections.abc import Sequence
from typing import Final

from ipc._event_batch import EventBatch
from ipc.layout import Buffer

class RingError(OSError):
    """A ring operation failed; `errno` tells why."""

class RingCorrupt(RingError):
    """The peer wrote an impossible pointer, magic, length or semaphore value."""

class RingGone(RingError):
    """The peer truncated the files, or removed the semaphore, under us."""

class Ring:
    """One ring of libqb's shared-memory transport: two files, one writer, one reader.

    A closed ring raises ValueError from every method but `close`.  Two threads may use one ring only
    if one writes and the other reads.  All methods raise RingCorrupt or RingGone when the peer
    spoiled the shared memory.
    """

    base: Final[str]
    closed: Final[bool]
    max_msg_size: Final[int]
    sysv: Final[bool]
    ref_count: int
    """1 after create, 2 while connected; libqb's client refuses to send at any other value."""
    flow_level: int
    """The i32 of user data; in a request ring the flow-control level."""

    @staticmethod
    def create(
        base: str,
        max_msg_size: int,
        *,
        user_data: int = 0,
        uid: int = -1,
        gid: int = -1,
        sysv: bool = False,
    ) -> Ring:
        """Make <base>-header and <base>-data, mode 0600, owned by uid:gid (-1: left as they are).

        user_data is the first flow level.  sysv: System V semaphore instead of a sem_t; stock clients
        cannot use such a ring.  Raises RingError (EEXIST, ENOSPC, EPERM, ...).
        """

    @staticmethod
    def open(base: str, max_msg_size: int) -> Ring:
        """Open an existing ring and add one to its ref_count; raises RingError."""

    def write(self, parts: Sequence[Buffer] | Buffer) -> bool:
        """Write one chunk (the parts, at most 64, joined) and post the semaphore; False: no room.

        Raises RingError (EMSGSIZE) when longer than max_msg_size.
        """

    def write_batch(self, batch: EventBatch, first: int, last: int) -> int:
        """Write the events first..last-1 of a batch as far as there is room; how many were written."""

    def read(self, timeout_ms: int = 0) -> bytes | None:
        """Take the next chunk; None: nothing came.  0 does not wait, <0 waits for ever, without the GIL."""

    def read_many(self, limit: int, size_limit: int = -1) -> list[bytes]:
        """Take up to `limit` chunks that are there already, of `size_limit` bytes in all (-1: any)."""

    def pending(self) -> int:
        """Chunks written and not yet read."""

    def free_bytes(self) -> int:
        """Room; a chunk needs its length + 12."""

    def close(self, *, unlink: bool = False) -> None:
        """Store ref_count 0 and unmap; `unlink` removes the files too.  Twice is harmless.

        A forked child only unmaps: the ring is its parent's.

        Raises RingError (EBUSY) while another thread waits in read().
        """

class SharedMap:
    """A shared mapping of a file that its owner may truncate at any time.

    Raises RingGone instead of dying of SIGBUS, ValueError outside the mapping or after close().
    """

    size: Final[int]

    def __init__(self, fd: int, size: int) -> None: ...
    def read(self, offset: int, size: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def close(self) -> None: ...

def remove_stale_semaphore(header_fd: int) -> bool:
    """Remove the System V set of a ring whose creator died; False: it has none that is ours."""
