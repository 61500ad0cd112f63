"""Executive messages: what services of different nodes say to each other (spec totem.md 11 to 13).

Naturally aligned as corosync's C compilers lay them out, so most fields sit on multiples of eight.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from aisexec.limits import SYNC_SERVICES_MAX
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import RingId
from aisexec.totem.wire import RING_ID
from ipc.layout import I32, U8, U16, U32, U64, Array, Chars, Layout, Nested

GROUP_SERVICES: Final = b"a"
GROUP_SYNC: Final = b"sync"


class ExecHeader(NamedTuple):
    """id is service << 16 | function; size counts the whole message."""

    id: I32
    size: I32


EXEC_HEADER = Layout(ExecHeader, align=8)


def exec_id(service: int, function: int) -> int:
    """The id of a service's message."""
    return service << 16 | function


class GroupName(NamedTuple):
    """A cpg group; only `length` bytes of the value count."""

    length: U32
    value: Annotated[bytes, Chars(128)]


class Name(NamedTuple):
    """A cmap key or a reason text."""

    length: U16
    value: Annotated[bytes, Chars(256)]


class Source(NamedTuple):
    """Who asked: only that node knows what the connection number means."""

    nodeid: U32
    conn: U64


GROUP_NAME = Layout(GroupName, align=8)
NAME = Layout(Name, align=8)
SOURCE = Layout(Source, align=8)

# Synchronisation (group "sync").


class SyncMessage:
    """Ids in group "sync"."""

    BARRIER: Final = 0
    SERVICE_BUILD: Final = 1


class ServiceBuild(NamedTuple):
    """The services that a member wants synchronised."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    ring_id: Annotated[RingId, Nested(RING_ID)]
    service_list_entries: I32
    service_list: Annotated[tuple[int, ...], Array("i", SYNC_SERVICES_MAX)]


class Barrier(NamedTuple):
    """A member has finished one service's step."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    ring_id: Annotated[RingId, Nested(RING_ID)]


SERVICE_BUILD = Layout(ServiceBuild, align=8)

COMPANION: Final = (0x58534941, 1)
"""Ends the array of a service list, behind all entries, where corosync has zeros and never looks: the
sender is one of us ("AISX"), and what it can do: 1, check its configuration file before a reload."""
BARRIER = Layout(Barrier, align=8)

# cmap, service 0.


class CmapMcast(NamedTuple):
    """Followed by `no_items` items."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    reason: U8
    no_items: U8
    reserved1: U8
    reserved2: U8


class CmapItem(NamedTuple):
    """Followed by `value_len` bytes, padded to a multiple of 8."""

    key_name: Annotated[Name, Nested(NAME)]
    value_type: U8
    value_len: U64


CMAP_MCAST = Layout(CmapMcast, align=8)
CMAP_ITEM = Layout(CmapItem, align=8)

# cfg, service 1.


class CfgKillNode(NamedTuple):
    """The named node has to end at once."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    nodeid: U32
    reason: Annotated[Name, Nested(NAME)]


class CfgReloadConfig(NamedTuple):
    """All nodes read their configuration files."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    source: Annotated[Source, Nested(SOURCE)]


CFG_KILL_NODE = Layout(CfgKillNode, align=8)
CFG_RELOAD_CONFIG = Layout(CfgReloadConfig, align=8)

# Checking configuration files before a reload, service 16 (ours; corosync drops it unread).

RELOAD_TEXT_MAX: Final = 1024
"""Bytes of what a node says about its broken configuration file."""


class ReloadCheck(NamedTuple):
    """The sender's `round`: check your file and say what came of it."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    round: U64


class ReloadVerdict(NamedTuple):
    """The file is good when there are no errors; `text` says what the first ones are."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    requester: U32
    round: U64
    errors: U32
    text: Annotated[bytes, Chars(RELOAD_TEXT_MAX)]


RELOAD_CHECK = Layout(ReloadCheck, align=8)
RELOAD_VERDICT = Layout(ReloadVerdict, align=8)

# cpg, service 2.


class CpgProc(NamedTuple):
    """procjoin and procleave."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    group: Annotated[GroupName, Nested(GROUP_NAME)]
    pid: U32
    reason: U32


class CpgJoinlistHead(NamedTuple):
    """Followed by entries up to the message's size.  Its third word is a response header's error."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    error: I32


class CpgJoinlistEntry(NamedTuple):
    """One process of the sender."""

    pid: U32
    group: Annotated[GroupName, Nested(GROUP_NAME)]


class CpgMcast(NamedTuple):
    """Followed by `msglen` bytes."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    group: Annotated[GroupName, Nested(GROUP_NAME)]
    msglen: U32
    pid: U32
    source: Annotated[Source, Nested(SOURCE)]


class CpgDownlist(NamedTuple):
    """Who the sender thinks has left; receivers only log it, but check its size."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    old_members: U32
    left_nodes: U32
    nodeids: Annotated[tuple[int, ...], Array("I", PROCESSOR_COUNT_MAX)]


class CpgPartialMcast(NamedTuple):
    """Followed by `fraglen` bytes of a message of `msglen` bytes."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    group: Annotated[GroupName, Nested(GROUP_NAME)]
    msglen: U32
    fraglen: U32
    pid: U32
    type: U32
    source: Annotated[Source, Nested(SOURCE)]


CPG_PROC = Layout(CpgProc, align=8)
CPG_JOINLIST_HEAD = Layout(CpgJoinlistHead, align=8)
CPG_JOINLIST_ENTRY = Layout(CpgJoinlistEntry, align=8)
CPG_MCAST = Layout(CpgMcast, align=8)
CPG_DOWNLIST = Layout(CpgDownlist, align=8)
CPG_PARTIAL_MCAST = Layout(CpgPartialMcast, align=8)

# pload, service 4.


class PloadStart(NamedTuple):
    """Every node sends so many messages of so many bytes.  corosync leaves the header's size to chance."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    msg_count: U32
    msg_size: U32


PLOAD_START = Layout(PloadStart, align=1, pad_to=8)

# votequorum, service 5: packed, but their sizes are rounded up to 8.


class VoteNodeInfo(NamedTuple):
    """What a node says of itself; nodeid 0 is the quorum device."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    nodeid: U32
    votes: U32
    expected_votes: U32
    flags: U32


class VoteReconfigure(NamedTuple):
    """An operator changed expected votes (1), a node's votes (2), or ended wait_for_all (3)."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    nodeid: U32
    value: U32
    param: U8


class VoteQdeviceReg(NamedTuple):
    """A quorum device registers (1) or unregisters (0) at the sender; the name ends with a NUL."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    operation: U32
    name: Annotated[bytes, Chars(255)]


class VoteQdeviceReconfigure(NamedTuple):
    """A quorum device is called otherwise."""

    header: Annotated[ExecHeader, Nested(EXEC_HEADER)]
    oldname: Annotated[bytes, Chars(255)]
    newname: Annotated[bytes, Chars(255)]


VOTE_NODE_INFO = Layout(VoteNodeInfo, align=1, pad_to=8)
VOTE_RECONFIGURE = Layout(VoteReconfigure, align=1, pad_to=8)
VOTE_QDEVICE_REG = Layout(VoteQdeviceReg, align=1, pad_to=8)
VOTE_QDEVICE_RECONFIGURE = Layout(VoteQdeviceReconfigure, align=1, pad_to=8)

assert (SERVICE_BUILD.size, BARRIER.size, CMAP_MCAST.size, CMAP_ITEM.size) == (552, 32, 48, 280)
assert (CFG_KILL_NODE.size, CPG_PROC.size, CPG_MCAST.size, CPG_PARTIAL_MCAST.size) == (288, 168, 184, 200)
assert (CPG_JOINLIST_HEAD.size, CPG_JOINLIST_ENTRY.size, CPG_DOWNLIST.size) == (24, 144, 1568)
assert (VOTE_NODE_INFO.size, VOTE_RECONFIGURE.size) == (32, 32)
assert (VOTE_QDEVICE_REG.size, VOTE_QDEVICE_RECONFIGURE.size) == (280, 528)
