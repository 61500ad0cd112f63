"""What a supervisor has to do with the executive: keys in cmap, and quorum."""

from __future__ import annotations

import contextlib
import time
from enum import StrEnum

from libais import cmap, quorum
from libais._types import Dispatch
from libais.errors import CsException, LibraryError


class State(StrEnum):
    """The words of key `state`, which the executive's mon and wd services look for."""

    STOPPED = "stopped"
    RUNNING = "running"
    WAITING = "waiting for quorum"
    FAILED = "failed"


class Keys:
    """`resources.process.<pid>.*`, of the supervisor's process id.

    recovery: quit or restart.  period: milliseconds between two signs of life.
    When the executive was restarted since, the keys are made anew.
    """

    def __init__(self, pid: int, recovery: str, period: int) -> None:
        self._prefix = f"resources.process.{pid}."
        self._recovery = recovery
        self._period = period
        self._state = State.STOPPED
        self._handle: cmap.Handle | None = None

    def set_state(self, state: State) -> None:
        """Raises CsException."""
        self._state = state
        try:
            self._open().set_string(f"{self._prefix}state", state.value)
        except LibraryError:
            # The executive may have been restarted, which makes the handle useless.
            self._drop()
            self._open().set_string(f"{self._prefix}state", state.value)

    def updated(self) -> None:
        """Something was heard of the process just now; nothing is done about an error."""
        try:
            self._open().set_uint64(f"{self._prefix}last_updated", time.monotonic_ns())
        except LibraryError:
            self._drop()
        except CsException:
            pass

    def remove(self) -> None:
        """All of them; nothing is done about an error."""
        with contextlib.suppress(CsException), self._open() as handle:
            for entry in handle.iteration(self._prefix):
                handle.delete(entry.key)

    def _open(self) -> cmap.Handle:
        if self._handle is None:
            handle = cmap.Handle()
            try:
                handle.set_string(f"{self._prefix}recovery", self._recovery)
                handle.set_uint64(f"{self._prefix}poll_period", self._period)
                handle.set_string(f"{self._prefix}state", self._state.value)
            except BaseException:
                handle.close()
                raise
            self._handle = handle
        return self._handle

    def _drop(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


class Quorum:
    """Whether this node is quorate, as it was told last.  Raises CsException."""

    def __init__(self) -> None:
        self.quorate = False
        self._handle: quorum.Handle | None = None
        self.open()

    def open(self) -> None:
        """Connect, unless it is; returns knowing whether the node is quorate."""
        if self._handle is not None:
            return
        handle = quorum.Handle(notify=self._notify, model=quorum.QuorumModel.V0)
        try:
            handle.trackstart(quorum.Track.CHANGES)
            handle.dispatch(Dispatch.ONE)
        except BaseException:
            handle.close()
            raise
        self._handle = handle

    def _notify(self, _: quorum.Handle, change: quorum.QuorumChange) -> None:
        self.quorate = change.quorate

    def fileno(self) -> int | None:
        """Readable when there is news; None when the executive has gone."""
        return None if self._handle is None else self._handle.fileno()

    def refresh(self) -> None:
        """Take the news; without an executive there is no quorum."""
        if self._handle is None:
            return
        try:
            self._handle.dispatch(Dispatch.ALL)
        except CsException:
            self.close()

    def close(self) -> None:
        """Not connected any more."""
        self.quorate = False
        if self._handle is not None:
            self._handle.close()
            self._handle = None
