"""Walking over groups and members: a snapshot a client takes and reads entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aisexec.services.cpg_processes import Process, by_group
from ipc.cpg_layouts import IterationType


class Iteration:
    """One walk over a snapshot, which may be shared with others."""

    __slots__ = ("_at", "_entries")

    def __init__(self, entries: Sequence[Process]) -> None:
        self._entries = entries
        self._at = 0

    def __len__(self) -> int:
        return len(self._entries)

    def next(self) -> Process | None:
        """The next entry, None behind the last one."""
        if self._at >= len(self._entries):
            return None
        self._at += 1
        return self._entries[self._at - 1]


def snapshot(processes: Iterable[Process], kind: int, group: bytes | None) -> list[Process]:
    """Entries in the order corosync gives them: an entry of a group that is listed goes behind the
    group's first entry, one of a new group to the front."""
    if kind == IterationType.NAME_ONLY:
        names = dict.fromkeys(process.group for process in processes)
        return [Process(0, 0, name) for name in reversed(names)]
    if kind == IterationType.ONE_GROUP:
        processes = (process for process in processes if process.group == group)
    entries: list[Process] = []
    for first, *rest in reversed(by_group(processes).values()):
        entries += [first, *reversed(rest)]
    return entries
