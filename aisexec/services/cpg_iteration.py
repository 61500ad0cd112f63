"""Walking over groups and members: a snapshot a client takes and reads entry by entry."""

from __future__ import annotations

from collections.abc import Iterable

from aisexec.services.cpg_processes import Process
from ipc.cpg_layouts import IterationType


def snapshot(processes: Iterable[Process], kind: int, group: bytes) -> list[Process]:
    """Entries in the order corosync gives them: an entry of a group that is listed goes behind the
    group's first entry, one of a new group to the front."""
    if kind == IterationType.NAME_ONLY:
        names = dict.fromkeys(process.group for process in processes)
        return [Process(0, 0, name) for name in reversed(names)]
    entries: list[Process] = []
    for process in processes:
        if kind == IterationType.ONE_GROUP and process.group != group:
            continue
        first = next((i for i, entry in enumerate(entries) if entry.group == process.group), None)
        entries.insert(0 if first is None else first + 1, process)
    return entries
