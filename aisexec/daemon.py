"""Going into the background in such a way that the command's exit status still says whether it worked."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, NoReturn

import gevent.os

from aisexec.exit_codes import ExitCode

UMASK: Final = 0o027


class DaemonError(Exception):
    """The process cannot go into the background."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


class Startup:
    """The way back to the command that the operator typed, which waits to hear how starting went.

    In the foreground there is nobody to tell and nothing happens.
    """

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    def succeeded(self) -> None:
        """Let the command end with status 0 and cut the ties to its terminal.  Raises DaemonError."""
        if self._pipe is None:
            return
        try:
            _detach_standard_streams()
        finally:
            self._tell(ExitCode.OK)

    def failed(self, exit_code: ExitCode) -> None:
        """Let the command end with this status; the text has been written to its stderr before."""
        if self._pipe is not None:
            self._tell(exit_code)

    def _tell(self, exit_code: ExitCode) -> None:
        assert self._pipe is not None
        with suppress(BrokenPipeError):  # somebody pressed Ctrl-C at the command
            os.write(self._pipe, bytes([exit_code]))
        os.close(self._pipe)
        self._pipe = None


def go_to_background() -> Startup:
    """Fork; returns in the daemon only, which must call succeeded() or failed() later.

    The daemon leads no session, so that it never gets a controlling terminal, and keeps stderr
    until it has succeeded.  The command that was typed waits here and ends with the status it is
    told.  Call this before threads run.  Raises DaemonError.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both processes write what is buffered
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        child = gevent.os.fork()
    except OSError as error:
        raise DaemonError(
            f"Cannot go into the background: {error.strerror} ({error.errno}). Use -f to stay in the"
            " foreground.",
            ExitCode.FORK,
        ) from None
    if child:
        os.close(write_end)
        _wait_for_daemon(read_end, child)
    os.close(read_end)
    os.setsid()
    _leave_session_leader(write_end)
    os.umask(UMASK)
    return Startup(write_end)


def _leave_session_leader(write_end: int) -> None:
    try:
        if gevent.os.fork():
            os._exit(ExitCode.OK)
    except OSError as error:
        os.write(2, f"Cannot go into the background: {error.strerror}\n".encode())
        os.write(write_end, bytes([ExitCode.FORK]))
        os._exit(ExitCode.FORK)


def _wait_for_daemon(read_end: int, child: int) -> NoReturn:
    os.waitpid(child, 0)
    status = os.read(read_end, 1)
    if not status:
        os.write(2, b"aisexec ended while starting up; the last lines of its log say why.\n")
        os._exit(ExitCode.FATAL_ERROR)
    os._exit(status[0])


def _detach_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)
    except OSError as error:
        raise DaemonError(
            f"Cannot connect standard input and output to {os.devnull}: {error.strerror} ({error.errno}).",
            ExitCode.STD_TO_NULL_REDIR,
        ) from None
