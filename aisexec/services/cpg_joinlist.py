"""What nodes tell each other about their groups while services are synchronised (spec totem.md 13.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aisexec.limits import JOINLIST_ENTRIES_MAX
from aisexec.messages import (
    CPG_DOWNLIST,
    CPG_JOINLIST_ENTRY,
    CPG_JOINLIST_HEAD,
    CpgDownlist,
    CpgJoinlistEntry,
    CpgJoinlistHead,
    ExecHeader,
    GroupName,
    exec_id,
)
from aisexec.services.base import AnomalyError
from aisexec.services.cpg_processes import Process

SERVICE = 2
PROCJOIN, PROCLEAVE, JOINLIST, MCAST, DOWNLIST_OLD, DOWNLIST, PARTIAL_MCAST = range(7)


def exec_name(group: GroupName) -> bytes:
    """The bytes of a name that count; AnomalyError when its length lies."""
    if group.length > len(group.value):
        raise AnomalyError(f"group name of {group.length} bytes")
    return group.value[: group.length]


def pack_downlist(old_members: int, left: Sequence[int]) -> bytes:
    """Who has left of so many old members; nobody uses it, but its absence would be noticed."""
    header = ExecHeader(exec_id(SERVICE, DOWNLIST), CPG_DOWNLIST.size)
    return CPG_DOWNLIST.pack(CpgDownlist(header, old_members, len(left), tuple(left)))


class OwnProcesses:
    """The processes of this node on their way to the others, a message of bounded size at a time."""

    def __init__(self) -> None:
        self._unsent: list[Process] | None = None

    def restart(self) -> None:
        """A new synchronisation: everything is to be sent again."""
        self._unsent = None

    def send(self, processes: Callable[[], list[Process]], multicast: Callable[[list[bytes]], bool]) -> bool:
        """Send the next part; True when nothing is left.  Receivers, stock too, add the parts up."""
        if self._unsent is None:
            self._unsent = processes()
        if self._unsent and multicast([pack_joinlist(self._unsent[:JOINLIST_ENTRIES_MAX])]):
            del self._unsent[:JOINLIST_ENTRIES_MAX]
        return not self._unsent


def pack_joinlist(processes: Sequence[Process]) -> bytes:
    """Group members of the sending node."""
    size = CPG_JOINLIST_HEAD.size + CPG_JOINLIST_ENTRY.size * len(processes)
    head = CpgJoinlistHead(ExecHeader(exec_id(SERVICE, JOINLIST), size), 0)
    entries = (
        CPG_JOINLIST_ENTRY.pack(CpgJoinlistEntry(p.pid, GroupName(len(p.group), p.group))) for p in processes
    )
    return CPG_JOINLIST_HEAD.pack(head) + b"".join(entries)


def read_joinlist(nodeid: int, message: bytes) -> Iterator[Process]:
    """Processes of that node; AnomalyError at an entry that cannot be used."""
    size = min(CPG_JOINLIST_HEAD.unpack(message).header.size, len(message))
    end = size - CPG_JOINLIST_ENTRY.size + 1
    for offset in range(CPG_JOINLIST_HEAD.size, end, CPG_JOINLIST_ENTRY.size):
        entry = CPG_JOINLIST_ENTRY.unpack(message, offset)
        yield Process(nodeid, entry.pid, exec_name(entry.group))
