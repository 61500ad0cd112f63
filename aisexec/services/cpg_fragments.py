"""Messages sent in fragments, as far as receivers' libraries have to be kept from harm.

libcpg copies fragments into a buffer of the size that the first one announced, and hands up that many
bytes at the last one, without looking at what came.  Our own programs are held to their word when they
send; this is about what other nodes send.
"""

from __future__ import annotations

from aisexec.services.base import AnomalyError
from aisexec.services.cpg_processes import Process
from ipc.cpg_layouts import PartialType


class Fragments:
    """Size and progress of the message that each process is sending."""

    def __init__(self) -> None:
        self._open: dict[Process, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def take(self, sender: Process, total: int, size: int, place: int) -> bool:
        """Count a fragment of `size` bytes of a message of `total`; False when nobody has its beginning.

        Raises AnomalyError when it does not belong to the message that was begun: the rest of that
        message is dropped with it.
        """
        begun = (total, 0) if place == PartialType.FIRST else self._open.pop(sender, None)
        if begun is None:
            return False
        announced, before = begun
        come = before + size
        last = place == PartialType.LAST
        if total != announced or come > total or (last and come != total) or place not in tuple(PartialType):
            self.forget(sender)
            raise AnomalyError(
                f"fragment of type {place}, {size} bytes behind {before} of a message of {announced},"
                f" now {total}, by process {sender.pid}"
            )
        if not last:
            self._open[sender] = total, come
        return True

    def forget(self, sender: Process) -> None:
        """The process has left; so does libcpg."""
        self._open.pop(sender, None)
