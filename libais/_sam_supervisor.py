"""The process that watches another one, its child, and acts when that fails."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from enum import Enum, auto
from typing import Final

from ipc.errors import CsError
from ipc.waiting import original
from libais._sam_executive import Keys, Quorum, State
from libais._sam_pipe import Command, Pipes
from libais.errors import CsException

GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class End(Enum):
    """How the watch over a process has ended."""

    STOPPED = auto()
    """It went while it was not watched: no failure."""
    FAILED = auto()
    """It died while it was watched, or was killed."""
    MARKED_FAILED = auto()
    """It said so itself: whatever the policy, it is not to be started again."""


class Watch:
    """Over one process.

    pid: of the process.  period: milliseconds it may be silent, 0 for ever.
    warn_signal: what is sent first when it fails.
    data: what it stored; both change as it says and are for the next process.
    """

    def __init__(
        self,
        pid: int,
        pipes: Pipes,
        period: int,
        warn_signal: int,
        data: bytes,
        keys: Keys | None,
        quorum: Quorum | None,
    ) -> None:
        self.warn_signal = warn_signal
        self.data = data
        self._pid = pid
        self._pipes = pipes
        self._period = period
        self._keys = keys
        self._quorum = quorum
        self._watched = False
        self._warned = False
        self._end: End | None = None

    def run(self) -> End:
        """Until the process has ended, or has been sent SIGKILL."""
        while self._end is None:
            ready = self._poll(select.POLLIN, self._period if self._watched and self._period else None)
            if not ready:
                self._punish()
                continue
            if self._pipes.reading in ready:
                self._take_command()
            if self._quorum is not None and self._quorum.fileno() in ready and self._end is None:
                self._quorum.refresh()
                if self._watched and not self._quorum.quorate:
                    self._punish()
        return self._end

    def _poll(self, events: int, timeout: int | None) -> dict[int, int]:
        """Descriptors and what is with them; empty after `timeout` milliseconds."""
        poller = original(select, "poll")()
        poller.register(self._pipes.reading, events)
        quorum = None if self._quorum is None else self._quorum.fileno()
        if quorum is not None:
            poller.register(quorum, select.POLLIN)
        return dict(poller.poll(timeout))

    def _take_command(self) -> None:
        byte = self._pipes.receive(1)
        if not byte:
            self._end = End.FAILED if self._watched else End.STOPPED
            return
        if self._keys is not None:
            self._keys.updated()
        # A process that has gone in the meantime is noticed at the next look.
        with contextlib.suppress(BrokenPipeError):
            self._obey(byte[0])

    def _obey(self, command: int) -> None:
        match command:
            case Command.START:
                self._start()
            case Command.STOP:
                if self._answer_state(State.STOPPED):
                    self._watched = False
            case Command.DATA_STORE:
                data = self._pipes.receive_data()
                if data is not None:
                    self.data = data
                self._pipes.send_number(CsError.LIBRARY if data is None else CsError.OK)
            case Command.WARN_SIGNAL_SET:
                number = self._pipes.receive_number()
                if number is not None:
                    self.warn_signal = number
                self._pipes.send_number(CsError.LIBRARY if number is None else CsError.OK)
            case Command.MARK_FAILED:
                self._kill(signal.SIGKILL)
                self._end = End.MARKED_FAILED

    def _start(self) -> None:
        try:
            present = self._wait_quorate()
        except CsException as error:
            if self._keys is not None:
                with contextlib.suppress(CsException):
                    self._keys.set_state(State.STOPPED)
            self._pipes.send_number(error.code)
            return
        if present and self._answer_state(State.RUNNING):
            self._watched = True

    def _wait_quorate(self) -> bool:
        """False when the process has ended meanwhile."""
        if self._quorum is None:
            return True
        if self._keys is not None:
            self._keys.set_state(State.WAITING)
        self._quorum.open()
        self._quorum.refresh()
        while not self._quorum.quorate:
            # After the executive's end this raises: nobody can tell any more.
            self._quorum.open()
            if self._poll(0, None).get(self._pipes.reading, 0) & GONE:
                return False
            self._quorum.refresh()
        return True

    def _answer_state(self, state: State) -> bool:
        """Publish the state and tell the process whether that went well."""
        try:
            if self._keys is not None:
                self._keys.set_state(state)
        except CsException as error:
            self._pipes.send_number(error.code)
            return False
        self._pipes.send_number(CsError.OK)
        return True

    def _punish(self) -> None:
        """A warning first; whoever goes on to fail is killed."""
        if not self._warned:
            self._warned = True
            self._kill(self.warn_signal)
        else:
            self._kill(signal.SIGKILL)
            self._end = End.FAILED

    def _kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)
