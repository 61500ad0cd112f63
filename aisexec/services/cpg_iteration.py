"""Walking over groups and members: a snapshot a client takes and reads entry by entry."""

from __future__ import annotations

from collections.abc import Iterable

from aisexec.services.cpg_processes import Process, by_group
from ipc.cpg_layouts import IterationType


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
