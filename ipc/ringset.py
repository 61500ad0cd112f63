"""The shared memory of one connection: a directory with the files of three rings."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import NamedTuple

from ipc._ring import Ring

HEADER_SUFFIX = "-header"
DATA_SUFFIX = "-data"
DIRECTORY_MODE = 0o770


class Credentials(NamedTuple):
    """Who a client is, as the kernel saw its set-up request: real uid and gid, pid in our namespace."""

    pid: int
    uid: int
    gid: int


def remove_directory(path: str, names: list[str]) -> None:
    """Unlink `names` in the directory and the directory itself; raises OSError if it stays.

    The client owns the directory and may have put a link in its place: never follow it.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
    os.rmdir(path)


class RingSet:
    """The request, response and event ring of one client and the directory they live in."""

    __slots__ = ("_names", "directory", "event", "request", "response")

    def __init__(self, directory: str, service: str) -> None:
        self.directory = directory
        self._names = {kind: f"qb-{kind}-{service}" for kind in ("request", "response", "event")}
        self.request: Ring
        self.response: Ring
        self.event: Ring

    @staticmethod
    def create(
        run_dir: str,
        service: str,
        creds: Credentials,
        fd: int,
        max_msg_size: int,
        *,
        flow_level: int = 0,
        sysv: bool = False,
    ) -> RingSet:
        """Make directory and rings, owned by the client; raises OSError and leaves nothing behind."""
        directory = tempfile.mkdtemp(prefix=f"qb-{os.getpid()}-{creds.pid}-{fd}-", dir=run_dir)
        rings = RingSet(directory, service)
        made: list[Ring] = []
        try:
            for kind, name in rings._names.items():
                ring = Ring.create(
                    f"{directory}/{name}",
                    max_msg_size,
                    user_data=flow_level if kind == "request" else 0,
                    uid=creds.uid,
                    gid=creds.gid,
                    sysv=sysv,
                )
                setattr(rings, kind, ring)
                made.append(ring)
            # Last: as long as the directory is ours the client cannot exchange it under our hands.
            os.chmod(directory, DIRECTORY_MODE)
            with suppress(PermissionError):
                os.chown(directory, creds.uid, creds.gid)
        except BaseException:
            for ring in made:
                ring.close()
            with suppress(OSError):
                remove_directory(directory, rings.files())
            raise
        return rings

    def files(self) -> list[str]:
        """Names of the six files, in the order libqb removes them."""
        return [
            self._names[kind] + suffix
            for kind in ("response", "event", "request")
            for suffix in (DATA_SUFFIX, HEADER_SUFFIX)
        ]

    def base(self, kind: str) -> str:
        """Absolute base name of ring `kind`: what the client is told."""
        return f"{self.directory}/{self._names[kind]}"

    def close(self) -> None:
        """Unmap the rings (the client then sees ref_count 0) and remove the files.

        Raises OSError when the directory could not be removed, e.g. as the client put files into it.
        """
        for ring in (self.response, self.event, self.request):
            ring.close()
        remove_directory(self.directory, self.files())
