"""Which processes are in which groups, on all nodes; the same table everywhere."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple


class Process(NamedTuple):
    """A member of a group."""

    nodeid: int
    pid: int
    group: bytes


class ProcessTable:
    """All group members of the cluster."""

    def __init__(self) -> None:
        # By group, then by node; the numbers grow with each that is added.
        self._groups: dict[bytes, dict[int, dict[Process, int]]] = {}
        self._count = 0
        self._serial = 0
        # Worked out when asked for the first time, and kept up: sorting a large group at each change
        # would hold up the token.
        self._members: dict[bytes, list[Process]] = {}
        self.version = 0
        """Another one after each change."""

    def __contains__(self, process: Process) -> bool:
        return process in self._groups.get(process.group, {}).get(process.nodeid, ())

    def __len__(self) -> int:
        return self._count

    @property
    def group_count(self) -> int:
        """Groups with members."""
        return len(self._groups)

    def __iter__(self) -> Iterator[Process]:
        """As corosync lists them: by node, then process id, and a process's groups as it joined them."""
        numbered = (members.items() for nodes in self._groups.values() for members in nodes.values())
        return iter(_listed(chain.from_iterable(numbered)))

    def add(self, process: Process) -> bool:
        """False when it is there already."""
        members = self._groups.setdefault(process.group, {}).setdefault(process.nodeid, {})
        if process in members:
            return False
        self._serial += 1
        members[process] = self._serial
        self._count += 1
        self.version += 1
        if process.group in self._members:
            insort(self._members[process.group], process)
        return True

    def remove(self, processes: Iterable[Process]) -> None:
        """Unknown ones are left alone."""
        for process in processes:
            if process not in self:
                continue
            nodes = self._groups[process.group]
            del nodes[process.nodeid][process]
            self._count -= 1
            self.version += 1
            if process.group in self._members:
                known = self._members[process.group]
                del known[bisect_left(known, process)]
            if not nodes[process.nodeid]:
                del nodes[process.nodeid]
            if not nodes:
                del self._groups[process.group]
                self._members.pop(process.group, None)

    def members(self, group: bytes | None) -> Sequence[Process]:
        """Of one group, sorted; nobody is in a group without a name.  It changes when the table does."""
        if group is None or group not in self._groups:
            return []
        known = self._members.get(group)
        if known is None:
            nodes = self._groups[group]
            known = self._members[group] = sorted(p for members in nodes.values() for p in members)
        return known

    def has_member_on(self, group: bytes, nodeid: int) -> bool:
        """Has that node any process in the group?"""
        return nodeid in self._groups.get(group, ())

    def on_node(self, nodeid: int) -> list[Process]:
        """All of one node, in the order of iteration."""
        groups = self._groups.values()
        return _listed(item for nodes in groups if nodeid in nodes for item in nodes[nodeid].items())


def _listed(numbered: Iterable[tuple[Process, int]]) -> list[Process]:
    ordered = sorted(numbered, key=lambda item: (item[0].nodeid, item[0].pid, item[1]))
    return [process for process, _ in ordered]


def by_group(processes: Iterable[Process]) -> dict[bytes, list[Process]]:
    """Processes of each group, groups and processes in the order given."""
    result: dict[bytes, list[Process]] = {}
    for process in processes:
        result.setdefault(process.group, []).append(process)
    return result
