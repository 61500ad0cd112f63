"""One executive per node: a lock on a file in the state directory, held as long as the process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from aisexec.exit_codes import ExitCode

LOCK_FILE: Final = "aisexec.lock"


class LockError(Exception):
    """The lock is taken or cannot be made.  `text` says by whom or why."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


class NodeLock:
    """The lock, with our process id in the file.  Take it after the last fork.

    The file stays when the lock is released: removing it would let two processes hold a lock on
    two files of the same name.
    """

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, LOCK_FILE)
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.  Raises LockError."""
        fd = -1
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise LockError(
                f"Another aisexec instance is already running: {holder} holds {self.path}. Stop it, or give"
                " this node a state directory of its own (system.state_dir).",
                ExitCode.ALREADY_RUNNING,
            ) from None
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            raise LockError(
                f"Cannot take the lock {self.path}: {error.strerror} ({error.errno}). The state directory"
                " must exist and be writable, and its disk must not be full.",
                ExitCode.ACQUIRE_LOCK,
            ) from None
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    if not text.isdigit():
        return "another process"  # it has not written its id yet
    try:
        arguments = Path(f"/proc/{text}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return f"process {text}"
    return f"process {text} ({b' '.join(arguments).decode('utf-8', 'replace')})"
