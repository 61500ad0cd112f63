"""The flight recorder: the last log records, down to trace, in a ring that outlives the process.

The ring is a file in /dev/shm in the format of ipc.blackbox.  It goes when the executive ends in good
order.  After a crash or SIGKILL it stays: corosync-blackbox(8) reads it, and the next executive of this
state directory keeps it there before it begins its own.
"""

from __future__ import annotations

import mmap
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ipc.blackbox import (
    PAGE,
    RING_OFFSET,
    TRAILER,
    TRAILER_MAGIC,
    TRAILER_VERSION,
    WORD,
    BlackboxError,
    Ring,
    Trailer,
    encode,
    file_size,
    read_recording,
    ring_path,
)

DUMPS_MAX: Final = 16
"""Dumps kept in the state directory; the oldest goes when there is one more."""

RESCUE_BYTES_MAX: Final = 80 * 1024 * 1024
"""A file larger than this is no ring of ours."""

DUMP_PREFIX: Final = "fdata-"
NEWEST_DUMP: Final = "fdata"
_MODE: Final = 0o600


class FlightRecorder:
    """Records cost a few microseconds, so only what is a log line anyway is recorded."""

    def __init__(
        self,
        state_dir: str,
        size: int,
        run_dir: str = "/dev/shm",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """size: bytes, rounded up to pages.  clock: nanoseconds since the epoch.

        Raises OSError when the ring cannot be made.  An old one is removed: see rescue().
        """
        self.path = ring_path(state_dir, run_dir)
        self.records = 0
        """Records so far, those that are gone again included."""
        self._state_dir = state_dir
        self._clock = clock
        words = -(-max(size, PAGE) // PAGE) * PAGE // WORD
        self._size = file_size(words)
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, _MODE)
        try:
            # Without room behind a mapped page the kernel ends the process when it is written.
            os.posix_fallocate(self._fd, 0, self._size)
            self._map = mmap.mmap(self._fd, self._size)
        except OSError:
            os.close(self._fd)
            os.unlink(self.path)
            raise
        os.lseek(self._fd, self._size, os.SEEK_SET)
        self._trailer = Trailer(
            TRAILER_MAGIC, TRAILER_VERSION, os.getpid(), clock() // 1_000_000_000, 0, 0
        )
        memory = memoryview(self._map)
        TRAILER.pack_into(memory, RING_OFFSET + words * WORD, self._trailer)
        self._ring = Ring(memory, words)

    @property
    def crash_descriptor(self) -> int:
        """What is written here at the end of the process is read with the records."""
        return self._fd

    def record(self, subsystem: str, priority: int, text: str, when: int | None = None) -> None:
        """Record a line.  when: nanoseconds since the epoch, now unless given."""
        self.records += 1
        append = self._ring.append
        for chunk in encode(subsystem, min(max(priority, 0), 255), text, when or self._clock()):
            append(chunk)

    def dump(self) -> str:
        """Write all records to a file in the state directory; its path.  Raises OSError."""
        return _keep(bytes(self._map), self._state_dir, os.getpid(), self._clock() // 1_000_000_000)

    def close(self) -> None:
        """The end, in good order: nothing is left behind."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
                os.unlink(self.path)


def rescue(state_dir: str, run_dir: str = "/dev/shm") -> str | None:
    """Keep the ring of an executive that did not end in good order; the text to log, None without one.

    Call it with the lock of the state directory held.  Raises OSError.
    """
    path = ring_path(state_dir, run_dir)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None  # /dev/shm is everybody's
        with open(fd, "rb", closefd=False) as file:
            data = file.read(RESCUE_BYTES_MAX)
    finally:
        os.close(fd)
    try:
        recording = read_recording(data)
    except BlackboxError:
        return None
    pid = 0 if recording.trailer is None else recording.trailer.pid
    kept = _keep(data, state_dir, pid, int(status.st_mtime))
    why = f" It crashed: {recording.crash.splitlines()[0]}." if recording.crash else ""
    return (
        f"The executive before this one (process {pid}) ended without leaving.{why} Its last"
        f" {len(recording.records)} log records are in {kept}: corosync-blackbox --file {kept}"
    )


def _keep(data: bytes, state_dir: str, pid: int, seconds: int) -> str:
    """Named as corosync names its dumps, with a link to the newest; complete when it appears."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
    path = os.path.join(state_dir, f"{DUMP_PREFIX}{stamp}-{pid}")
    partial = f"{path}.partial"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            os.unlink(partial)
        raise
    link = os.path.join(state_dir, NEWEST_DUMP)
    with suppress(FileNotFoundError):
        os.unlink(f"{link}.new")
    os.symlink(path, f"{link}.new")
    os.replace(f"{link}.new", link)
    _forget_oldest(state_dir)
    return path


def _forget_oldest(state_dir: str) -> None:
    dumps = [e for e in os.scandir(state_dir) if e.name.startswith(DUMP_PREFIX) and e.is_file()]
    dumps.sort(key=lambda entry: entry.stat().st_mtime)
    for entry in dumps[:-DUMPS_MAX]:
        os.unlink(entry.path)
