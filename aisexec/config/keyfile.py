"""Reading the shared key: its size, and that nobody else on this machine can read or change it."""

from __future__ import annotations

import os
import stat

from aisexec.config.limits import KEY_SIZE_MAX, KEY_SIZE_MIN

FORBIDDEN_MODE = 0o077
"""Permissions of a key file that anybody but its owner has."""


class KeyFileError(Exception):
    """The key cannot be used: what is wrong, and what to do."""

    def __init__(self, what: str, write: str) -> None:
        super().__init__(what)
        self.what = what
        self.write = write


def read_key(path: str) -> bytes:
    """The content of the key file.  Raises KeyFileError."""
    try:
        # A FIFO in its place must not make the start hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise KeyFileError(
            f"could not open key file {path}: {reason}",
            f"make one with 'corosync-keygen -k {path}' and copy the same file to all nodes",
        ) from None
    try:
        _check_access(path, os.fstat(descriptor))
        key = os.read(descriptor, KEY_SIZE_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"could not read key file {path}: {error.strerror}", "make it readable") from None
    finally:
        os.close(descriptor)
    if len(key) < KEY_SIZE_MIN:
        raise KeyFileError(
            f"could only read {len(key) * 8} bits of minimum {KEY_SIZE_MIN * 8} bits from {path}",
            f"make a new key with 'corosync-keygen -k {path}' and copy it to all nodes",
        )
    if len(key) > KEY_SIZE_MAX:
        raise KeyFileError(
            f"{path} is longer than {KEY_SIZE_MAX} bytes, so it is no key file",
            "name the file that corosync-keygen has written",
        )
    return key


def _check_access(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a file", "name the file that corosync-keygen has written")
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(
            f"key file {path} belongs to user {status.st_uid}, who could change it",
            f"'chown root: {path}'",
        )
    if status.st_mode & FORBIDDEN_MODE:
        raise KeyFileError(
            f"key file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"'chmod 0400 {path}', and make a new key if strangers may have read it",
        )
