"""Removes the ring directories that a killed executive left behind.

A directory's name tells which server made it.  Only those go whose server is dead (or has our own
pid, which in a container it often had too) and that hold nothing but ring files.  Call it before the
server starts.  Process ids are those of our pid namespace: executives of other pid namespaces that
share this /dev/shm would look dead, so do not share it between containers.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

from ipc._ring import remove_stale_semaphore
from ipc.ratelimit import INFO, WARNING, Log
from ipc.ringset import HEADER_SUFFIX, remove_directory

RING_DIRECTORY = re.compile(r"qb-(\d{1,10})-(\d{1,10})-(\d{1,10})-[A-Za-z0-9_]{6,8}")
RING_FILE_PREFIX = "qb-"


def _is_dead(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _ring_files(path: str) -> list[str] | None:
    """Names in the directory, System V semaphores of rings removed; None: not all are ring files."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = os.listdir(directory)
        for name in names:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if not name.startswith(RING_FILE_PREFIX) or not stat.S_ISREG(mode):
                return None
        for name in names:
            if name.endswith(HEADER_SUFFIX):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                fd = os.open(name, flags, dir_fd=directory)
                try:
                    with suppress(OSError):
                        remove_stale_semaphore(fd)
                finally:
                    os.close(fd)
        return names
    finally:
        os.close(directory)


def sweep(log: Log, run_dir: str = "/dev/shm") -> int:
    """Remove directories of dead servers; how many went.  What cannot be removed is logged, not raised."""
    removed = 0
    try:
        names = os.listdir(run_dir)
    except OSError as error:
        log(WARNING, f"Cannot look for stale rings in {run_dir}: {error.strerror}")
        return 0
    for name in names:
        match = RING_DIRECTORY.fullmatch(name)
        if match is None or not _is_dead(int(match[1])):
            continue
        path = f"{run_dir}/{name}"
        try:
            files = _ring_files(path)
            if files is None:
                log(WARNING, f"Leaving {path} of dead process {match[1]}: it holds other files than rings")
                continue
            remove_directory(path, files)
            removed += 1
        except OSError as error:
            log(WARNING, f"Cannot remove stale {path}: {error.strerror}")
    if removed:
        log(INFO, f"Removed {removed} ring directories of dead executives in {run_dir}")
    return removed
