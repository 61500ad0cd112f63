"""Totem's frames as they lie on the wire (magic 0xC070, version 3): the one declaration of each layout.

All structures are packed and little-endian.  `read_*` check every count against the frame's length
and the named limits and raise `FrameError` with the kind of fault; nothing else in the core looks
at raw bytes of control frames.
"""

from __future__ import annotations

import itertools
import struct
from enum import IntEnum
from typing import Annotated, Final, NamedTuple

from aisexec.totem.foreign import PLAIN_MAGIC, name_format
from aisexec.totem.limits import PROCESSOR_COUNT_MAX, RETRANSMIT_ENTRIES_MAX, RING_SEQ_MAX
from aisexec.totem.types import RingId
from ipc.layout import I32, U8, U16, U32, U64, Layout, Nested

MAGIC: Final = 0xC070
VERSION: Final = 3


class FrameType(IntEnum):
    """Byte 3 of every frame."""

    ORF_TOKEN = 0
    MCAST = 1
    MERGE_DETECT = 2
    JOIN = 3
    COMMIT_TOKEN = 4
    HOLD_CANCEL = 5


class Encapsulated(IntEnum):
    """Byte 4 of an mcast frame."""

    RECOVERY = 1
    PLAIN = 2


class FrameError(ValueError):
    """A frame that cannot be used; `kind` is the counter it goes to."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


RING_ID = Layout(RingId)


class Header(NamedTuple):
    """The 13 bytes at the head of every frame."""

    magic: U16
    version: U8
    type: U8
    encapsulated: U8
    nodeid: U32
    """Who put the frame on the wire; in a retransmitted mcast still the originator."""
    target_nodeid: U32
    """knet's unicast destination; uninitialised memory in many stock frames, never validated."""


HEADER = Layout(Header)


class McastHeader(NamedTuple):
    """Head of an mcast frame; its payload follows."""

    header: Annotated[Header, Nested(HEADER)]
    system_from: U32
    seq: U32
    this_seqno: I32
    ring_id: Annotated[RingId, Nested(RING_ID)]
    node_id: U32
    guarantee: I32


MCAST = Layout(McastHeader)


class OrfTokenFixed(NamedTuple):
    """The token without its retransmit list."""

    header: Annotated[Header, Nested(HEADER)]
    seq: U32
    token_seq: U32
    aru: U32
    aru_addr: U32
    ring_id: Annotated[RingId, Nested(RING_ID)]
    backlog: U32
    fcc: U32
    retrans_flg: U32
    rtr_list_entries: U32


ORF_TOKEN = Layout(OrfTokenFixed)


class RtrItem(NamedTuple):
    """A message somebody lacks."""

    ring_id: Annotated[RingId, Nested(RING_ID)]
    seq: U32


RTR_ITEM = Layout(RtrItem)


class JoinFixed(NamedTuple):
    """A JOIN without its two lists.  header.nodeid 0 makes it a leave message."""

    header: Annotated[Header, Nested(HEADER)]
    system_from: U32
    proc_list_entries: U32
    failed_list_entries: U32
    ring_seq: U64


JOIN = Layout(JoinFixed)


class MergeDetectFrame(NamedTuple):
    """Says that a ring exists to those who are not in it."""

    header: Annotated[Header, Nested(HEADER)]
    system_from: U32
    ring_id: Annotated[RingId, Nested(RING_ID)]


MERGE_DETECT = Layout(MergeDetectFrame)


class HoldCancelFrame(NamedTuple):
    """Asks the representative to let the held token go."""

    header: Annotated[Header, Nested(HEADER)]
    ring_id: Annotated[RingId, Nested(RING_ID)]


HOLD_CANCEL = Layout(HoldCancelFrame)


class CommitTokenFixed(NamedTuple):
    """The commit token without its member lists."""

    header: Annotated[Header, Nested(HEADER)]
    token_seq: U32
    ring_id: Annotated[RingId, Nested(RING_ID)]
    retrans_flg: U32
    memb_index: U32
    addr_entries: U32


COMMIT_TOKEN = Layout(CommitTokenFixed)


class CommitEntry(NamedTuple):
    """What one member of the new ring says about its old ring."""

    ring_id: Annotated[RingId, Nested(RING_ID)]
    aru: U32
    high_delivered: U32
    received_flg: U32


COMMIT_ENTRY = Layout(CommitEntry)

assert (HEADER.size, MCAST.size, ORF_TOKEN.size, RTR_ITEM.size) == (13, 45, 57, 16)
assert (JOIN.size, MERGE_DETECT.size, HOLD_CANCEL.size) == (33, 29, 25)
assert (COMMIT_TOKEN.size, COMMIT_ENTRY.size) == (41, 24)

MCAST_SIZE: Final = MCAST.size
ENCAPSULATED_OFFSET: Final = HEADER.offset_of("encapsulated")
NODEID_OFFSET: Final = HEADER.offset_of("nodeid")

# The fields an mcast frame is judged by, read in one go on the hot path.
_MCAST_KEY = struct.Struct("<4xBI4xII4xIQ")
_U32 = struct.Struct("<I")


class McastKey(NamedTuple):
    """What the ring needs to know of an mcast frame."""

    encapsulated: int
    nodeid: int
    system_from: int
    seq: int
    rep: int
    ring_seq: int


class OrfToken(NamedTuple):
    """A token as it came in."""

    header: Header
    seq: int
    token_seq: int
    aru: int
    aru_addr: int
    ring_id: RingId
    backlog: int
    fcc: int
    retrans_flg: int
    rtr_list: tuple[RtrItem, ...]

    def pack(self) -> bytes:
        """The frame."""
        fixed = OrfTokenFixed(*self[:-1], len(self.rtr_list))
        return ORF_TOKEN.pack(fixed) + b"".join(map(RTR_ITEM.pack, self.rtr_list))


class Join(NamedTuple):
    """A JOIN or leave message."""

    nodeid: int
    system_from: int
    proc: tuple[int, ...]
    failed: tuple[int, ...]
    ring_seq: int

    @property
    def leave(self) -> bool:
        """The sender is going away."""
        return self.nodeid == 0

    def pack(self) -> bytes:
        """The frame."""
        fixed = JoinFixed(
            header(FrameType.JOIN, self.nodeid),
            self.system_from,
            len(self.proc),
            len(self.failed),
            self.ring_seq,
        )
        lists = struct.pack(f"<{len(self.proc) + len(self.failed)}I", *self.proc, *self.failed)
        return JOIN.pack(fixed) + lists


class CommitToken(NamedTuple):
    """The token that collects and spreads the members' old-ring state."""

    nodeid: int
    token_seq: int
    ring_id: RingId
    retrans_flg: int
    memb_index: int
    addr: tuple[int, ...]
    memb: tuple[CommitEntry, ...]

    def pack(self) -> bytes:
        """The frame."""
        fixed = CommitTokenFixed(
            header(FrameType.COMMIT_TOKEN, self.nodeid),
            self.token_seq,
            self.ring_id,
            self.retrans_flg,
            self.memb_index,
            len(self.addr),
        )
        addresses = struct.pack(f"<{len(self.addr)}I", *self.addr)
        return COMMIT_TOKEN.pack(fixed) + addresses + b"".join(map(COMMIT_ENTRY.pack, self.memb))


def header(frame_type: FrameType, nodeid: int, encapsulated: int = 0) -> Header:
    """A header of our own."""
    return Header(MAGIC, VERSION, frame_type, encapsulated, nodeid, 0)


def check_header(frame: bytes) -> FrameType:
    """The frame's type; raises FrameError on anything that is not ours."""
    if len(frame) < HEADER.size:
        raise FrameError("truncated", f"{len(frame)} bytes are too few for a header")
    if frame[:2] != PLAIN_MAGIC:
        kind, text = name_format(frame)
        if kind == "sealed":
            text += " while this node works without: configure all nodes alike"
        raise FrameError(kind, text)
    if frame[2] != VERSION:
        raise FrameError("version", f"protocol version {frame[2]}, this node speaks {VERSION}")
    if frame[3] > FrameType.HOLD_CANCEL:
        raise FrameError("type", f"message type {frame[3]} is unknown")
    return FrameType(frame[3])


def _need(frame: bytes, size: int, what: str) -> None:
    if len(frame) < size:
        raise FrameError("truncated", f"{what} of {len(frame)} bytes needs {size}")


def read_mcast_key(frame: bytes) -> McastKey:
    """The fields an mcast frame is judged by."""
    _need(frame, MCAST_SIZE, "mcast")
    return McastKey(*_MCAST_KEY.unpack_from(frame))


def mcast_nodeid(frame: bytes) -> int:
    """The originator of an mcast frame."""
    return int(_U32.unpack_from(frame, NODEID_OFFSET)[0])


def read_orf_token(frame: bytes) -> OrfToken:
    """Parse a token."""
    _need(frame, ORF_TOKEN.size, "token")
    fixed = ORF_TOKEN.unpack(frame)
    count = fixed.rtr_list_entries
    if count > RETRANSMIT_ENTRIES_MAX:
        raise FrameError("limit", f"token with {count} retransmit entries, limit {RETRANSMIT_ENTRIES_MAX}")
    _need(frame, ORF_TOKEN.size + count * RTR_ITEM.size, "token")
    rtr = tuple(RTR_ITEM.unpack(frame, ORF_TOKEN.size + i * RTR_ITEM.size) for i in range(count))
    return OrfToken(*fixed[:-1], rtr)


def read_join(frame: bytes) -> Join:
    """Parse a JOIN; its lists come back without duplicates, order kept."""
    _need(frame, JOIN.size, "join")
    fixed = JOIN.unpack(frame)
    p, f = fixed.proc_list_entries, fixed.failed_list_entries
    if p > PROCESSOR_COUNT_MAX or f > PROCESSOR_COUNT_MAX:
        raise FrameError("limit", f"join with {p} + {f} processors, limit {PROCESSOR_COUNT_MAX}")
    _need(frame, JOIN.size + 4 * (p + f), "join")
    ids: tuple[int, ...] = struct.unpack_from(f"<{p + f}I", frame, JOIN.size)
    if fixed.system_from == 0 or 0 in ids:
        raise FrameError("nodeid", "join that names nodeid 0")
    if fixed.ring_seq > RING_SEQ_MAX:
        raise FrameError("limit", f"join with ring sequence number {fixed.ring_seq:x}")
    proc, failed = tuple(dict.fromkeys(ids[:p])), tuple(dict.fromkeys(ids[p:]))
    return Join(fixed.header.nodeid, fixed.system_from, proc, failed, fixed.ring_seq)


def read_merge_detect(frame: bytes) -> MergeDetectFrame:
    """Parse a MERGE DETECT."""
    _need(frame, MERGE_DETECT.size, "merge detect")
    return MERGE_DETECT.unpack(frame)


def read_hold_cancel(frame: bytes) -> HoldCancelFrame:
    """Parse a HOLD CANCEL."""
    _need(frame, HOLD_CANCEL.size, "hold cancel")
    return HOLD_CANCEL.unpack(frame)


def read_commit_token(frame: bytes) -> CommitToken:
    """Parse a commit token; its route must be ascending, as every creator sorts it."""
    _need(frame, COMMIT_TOKEN.size, "commit token")
    fixed = COMMIT_TOKEN.unpack(frame)
    n = fixed.addr_entries
    if fixed.ring_id.seq > RING_SEQ_MAX:
        raise FrameError("limit", f"commit token with ring sequence number {fixed.ring_id.seq:x}")
    if not 1 <= n <= PROCESSOR_COUNT_MAX or fixed.memb_index > n:
        raise FrameError("limit", f"commit token with {n} members, index {fixed.memb_index}")
    _need(frame, COMMIT_TOKEN.size + n * (4 + COMMIT_ENTRY.size), "commit token")
    addr: tuple[int, ...] = struct.unpack_from(f"<{n}I", frame, COMMIT_TOKEN.size)
    if addr[0] == 0 or any(a >= b for a, b in itertools.pairwise(addr)):
        raise FrameError("nodeid", "commit token whose members are not ascending nodeids")
    base = COMMIT_TOKEN.size + 4 * n
    memb = tuple(COMMIT_ENTRY.unpack(frame, base + i * COMMIT_ENTRY.size) for i in range(n))
    return CommitToken(
        fixed.header.nodeid,
        fixed.token_seq,
        fixed.ring_id,
        fixed.retrans_flg,
        fixed.memb_index,
        addr,
        memb,
    )


_MCAST_HEADER = MCAST.struct


def pack_mcast_header(
    encapsulated: Encapsulated, nodeid: int, seq: int, this_seqno: int, ring_id: RingId, guarantee: int
) -> bytes:
    """Head of an mcast frame of our own."""
    signed = this_seqno & 0x7FFFFFFF
    return _MCAST_HEADER.pack(
        MAGIC, VERSION, FrameType.MCAST, encapsulated, nodeid, 0, nodeid, seq, signed, *ring_id, 0, guarantee
    )
