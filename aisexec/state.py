"""Stable storage, as corosync keeps it: the ring id, ``<state_dir>/ringid_<nodeid>``, eight bytes, and
the most votes ever expected, ``<state_dir>/ev_tracking``, four bytes.

A ring sequence number that went backwards makes the others ignore our JOINs as stale, and lets
frames of a former ring match a new one (Amir 1995, section 5: stable storage of the ring sequence
number).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

from aisexec.exit_codes import ExitCode

RING_SEQ_MAX: Final = 2**63 - 1
"""A larger number can only be a damaged file; no ring ever gets that far in steps of four."""

_SEQ = struct.Struct("=Q")  # host order, so that corosync and we can take over from each other
_VOTES = struct.Struct("=I")
_MODE: Final = 0o600
_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe in the file's place must not make the start hang."""


class StateError(Exception):
    """The state directory or a file in it cannot be used.  `text` says what to do."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


def _reason(error: OSError) -> str:
    return f"{os.strerror(error.errno or 0)} ({error.errno})"


def enter_state_directory(path: str) -> str:
    """Make the state directory the current one; hands back its absolute path.  Raises StateError."""
    try:
        os.chdir(path)
        return os.getcwd()
    except OSError as error:
        raise StateError(
            f"Cannot chdir to state directory {path}. {_reason(error)}. Create it (install -d -m 0750"
            f" {path}) or point system.state_dir to an existing directory.",
            ExitCode.DIR_NOT_PRESENT,
        ) from None


class RingIdFile:
    """The stored ring sequence number of one node.

    Eight bytes are written over the old ones, in place: the file is never empty or short in
    between, and a disk that has filled up since the file was created does not matter.  There is no
    fsync: it can take seconds on a busy disk, and the ring waits for us meanwhile.  The number thus
    outlives the process but perhaps not a power cut; then the others ignore our JOINs for one token
    timeout at most (they take us for a straggler until their token is lost or we have caught up).
    """

    def __init__(self, state_dir: str, nodeid: int) -> None:
        self.path = os.path.join(state_dir, f"ringid_{nodeid}")

    def load(self) -> int:
        """The stored number; 0, and the file is created, when it is missing or short.

        Raises StateError when the file can be neither read nor created.
        """
        try:
            content = self._read()
            if len(content) < _SEQ.size:
                self._write(0)
                return 0
        except OSError as error:
            raise StateError(
                f"Couldn't create ringid file '{self.path}': {_reason(error)}. The directory must exist"
                " and be writable, and its disk must not be full.",
                ExitCode.STORE_RINGID,
            ) from None
        seq: int = _SEQ.unpack_from(content)[0]
        if seq > RING_SEQ_MAX:
            raise StateError(
                f"The ringid file '{self.path}' is damaged (it says {seq:#x}): remove it. The node then"
                " starts to count at 0 and may have to wait one token timeout to be let in.",
                ExitCode.STORE_RINGID,
            )
        return seq

    def store(self, seq: int) -> str | None:
        """Write the number.  Returns None, or what went wrong, ready for the log; the ring can go on."""
        try:
            self._write(seq)
        except OSError as error:
            return (
                f"Couldn't store new ring id {seq:x} to stable storage ({self.path}): {_reason(error)}."
                " Mend this before the node is restarted, or the others may ignore it for a while."
            )
        return None

    def _read(self) -> bytes:
        return _read(self.path, _SEQ.size)

    def _write(self, seq: int) -> None:
        _write(self.path, _SEQ.pack(seq))


class ExpectedVotesFile:
    """The most votes that were ever expected here (quorum.expected_votes_tracking, votequorum(5)).

    Written over in place, without fsync, as the ring id is.
    """

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, "ev_tracking")

    def load(self) -> int:
        """The stored number; 0, and the file is created, when it is missing or short.

        Raises StateError when the file can be neither read nor created.
        """
        try:
            content = _read(self.path, _VOTES.size)
            if len(content) < _VOTES.size:
                _write(self.path, _VOTES.pack(0))
                return 0
        except OSError as error:
            raise StateError(
                f"Unable to load ev_tracking file '{self.path}': {_reason(error)}. The directory must exist"
                " and be writable, and its disk must not be full.",
                ExitCode.SERVICE_ENGINE_INIT,
            ) from None
        votes: int = _VOTES.unpack_from(content)[0]
        return votes

    def store(self, votes: int) -> str | None:
        """Write the number.  Returns None, or what went wrong, ready for the log; the node can go on."""
        try:
            _write(self.path, _VOTES.pack(votes))
        except OSError as error:
            return f"Unable to update ev_tracking_barrier {votes} on disk ({self.path}): {_reason(error)}."
        return None


def _read(path: str, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | _FLAGS, _MODE)
    try:
        written = os.pwrite(fd, content, 0)
    finally:
        os.close(fd)
    if written != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
