"""Where log lines go: standard error, files, the system log.  None of them raises or waits."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

LINE_MAX = 8192
"""Bytes of a line; longer ones are cut."""

FILE_QUEUE_MAX = 4096
"""Lines waiting for the writing thread; what comes after that is counted and lost."""

DRAIN_SECONDS = 2.0
"""How long close() waits for the writing thread."""

RECONNECT_SECONDS = 1.0
"""Pause between attempts to reach a system log that is not there."""

PIPE_ATOMIC = select.PIPE_BUF
"""Bytes that a pipe reported as writable takes without blocking."""


class Output(Protocol):
    """A destination.  `lost` counts the lines it could not take."""

    lost: int

    def write(self, line: bytes, priority: int) -> None:
        """Take a line without its newline; priority as in syslog."""

    def close(self) -> None:
        """Give everything back."""


class StderrOutput:
    """Standard error, skipped while whoever reads it does not."""

    def __init__(self, descriptor: int = 2) -> None:
        self.descriptor = descriptor
        self.lost = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: bytes, priority: int) -> None:
        # O_NONBLOCK would change the terminal or pipe for everybody who shares it.
        try:
            if not any(events & select.POLLOUT for _, events in self._poll.poll(0)):
                self.lost += 1
                return
            os.write(self.descriptor, line[: PIPE_ATOMIC - 1] + b"\n")
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Standard error stays open."""


def is_journal(descriptor: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Does the descriptor lead to the systemd journal (JOURNAL_STREAM of systemd.exec(5))?"""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class FileOutput:
    """A file that is appended to.  Survives a full disk: counts, and says so when it works again.

    After start_thread() a thread of its own writes, so that a slow disk does not hold the token.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError when the file cannot be opened."""
        self.path = os.path.abspath(path)  # the process changes its directory later
        self.lost = 0
        self._unreported = 0
        self._reason = ""
        self._torn = False
        self._descriptor = _open(self.path)
        self._lines: deque[bytes] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._retired = False

    def start_thread(self) -> None:
        """Write from a thread from now on.  Not before the process has forked into the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"log {self.path}", daemon=True)
            self._thread.start()

    def write(self, line: bytes, priority: int) -> None:
        if self._thread is None:
            self._store(line + b"\n", 1)
            return
        with self._wake:
            if len(self._lines) >= FILE_QUEUE_MAX:
                self._lose(1, "the disk is too slow")
                return
            self._lines.append(line)
            self._wake.notify()

    def reopen(self) -> None:
        """Open the path anew (log rotation).  Raises OSError and keeps the old file on failure."""
        descriptor = _open(self.path)
        # dup2 swaps the file under a writing thread in one step.
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)

    def close(self) -> None:
        if self._thread is not None:
            with self._wake:
                self._closing = True
                self._wake.notify()
            self._thread.join(DRAIN_SECONDS)
            if self._retired or self._thread.is_alive():
                return  # it still uses the descriptor; the process is about to end
        os.close(self._descriptor)

    def retire(self) -> None:
        """Close it without waiting: the thread writes what it has and closes the file itself."""
        if self._thread is None:
            os.close(self._descriptor)
            return
        with self._wake:
            self._closing = self._retired = True
            self._wake.notify()

    @property
    def is_retiring(self) -> bool:
        """Retired, and not through yet."""
        return self._retired and self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._closing:
                    self._wake.wait()
                if not self._lines:
                    if self._retired:
                        os.close(self._descriptor)
                    return
                batch = list(self._lines)
                self._lines.clear()
            self._store(b"".join(line + b"\n" for line in batch), len(batch))

    def _store(self, data: bytes, count: int) -> None:
        reported = self._unreported
        if reported:
            data = f"aisexec: {reported} log lines were lost here: {self._reason}\n".encode() + data
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._lose(count, error.strerror or str(error))
            return
        if written < len(data):
            self._torn = not data[:written].endswith(b"\n")
            self._lose(min(count, data[written:].count(b"\n")), "no space left")
            return
        self._torn = False
        with self._wake:
            self._unreported -= reported

    def _lose(self, count: int, reason: str) -> None:
        with self._wake:
            self.lost += count
            self._unreported += count
            self._reason = reason


class SyslogOutput:
    """The system log's datagram socket, in the form of syslog(3).  A log that is not there is retried."""

    def __init__(
        self,
        ident: str,
        facility: int,
        path: str = "/dev/log",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ident = ident
        self.facility = facility
        self.path = path
        self.lost = 0
        self._clock = clock
        self._socket: socket.socket | None = None
        self._next_attempt = float("-inf")

    def write(self, line: bytes, priority: int) -> None:
        # libqb sends debug and trace one step more important, so that daemons do not drop them.
        level = priority if priority <= 6 else priority - 1
        head = f"<{self.facility * 8 + level}>{_bsd_time()} {self.ident}[{os.getpid()}]: "
        if not self._send(head.encode() + line):
            self.lost += 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, datagram: bytes) -> bool:
        for _ in range(2):  # the second time after the daemon was restarted
            connected = self._connected()
            if connected is None:
                return False
            try:
                connected.send(datagram)
                return True
            except BlockingIOError:
                return False
            except OSError:
                self.close()
        return False

    def _connected(self) -> socket.socket | None:
        now = self._clock()
        if self._socket is None and now >= self._next_attempt:
            attempt = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            attempt.setblocking(False)
            try:
                attempt.connect(self.path)
            except OSError:
                attempt.close()
                self._next_attempt = now + RECONNECT_SECONDS
            else:
                self._socket = attempt
        return self._socket


def _open(path: str) -> int:
    # A program may name a pipe, through cmap: nobody waits for its reader, neither here nor when writing.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags, 0o666)


def _bsd_time() -> str:
    now = time.localtime()
    return f"{MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
