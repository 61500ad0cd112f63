"""Reading a configuration file without ever waiting for somebody to write it."""

from __future__ import annotations

import errno
import os
import stat

from aisexec.config.limits import FILE_SIZE_MAX


def read_file(path: str) -> bytes:
    """Its content, FILE_SIZE_MAX + 1 bytes at most.  Raises OSError; ValueError for a NUL in the path.

    A FIFO or a terminal in its place would hold up the reader, and with it every later reload.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        return file.read(FILE_SIZE_MAX + 1)
