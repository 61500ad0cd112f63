"""Totem frames as a person reads them, and frames put together from named fields."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from aisexec.totem import wire
from aisexec.totem.assembly import PacketError, split
from aisexec.totem.sequence import HALF
from aisexec.totem.types import RingId
from aisexec.totem.wire import FrameType

KINDS = ("token", "mcast", "recovery", "merge", "join", "leave", "commit", "cancel")
"""What scripts call the frames; `recovery` is an mcast that carries an old ring's message."""

PAD = b"."
"""Fills messages that a script wants of a certain size."""

GROUP_HEAD = struct.Struct("<HH1s")
"""Group count, length and name in front of a message: one group of one letter."""


def kind(frame: bytes) -> str:
    """Which of KINDS it is; "?" for what is no frame of Totem."""
    try:
        frame_type = wire.check_header(frame)
    except wire.FrameError:
        return "?"
    match frame_type:
        case FrameType.ORF_TOKEN:
            return "token"
        case FrameType.MCAST:
            recovery = frame[wire.ENCAPSULATED_OFFSET] == wire.Encapsulated.RECOVERY
            return "recovery" if recovery else "mcast"
        case FrameType.MERGE_DETECT:
            return "merge"
        case FrameType.JOIN:
            return "leave" if wire.mcast_nodeid(frame) == 0 else "join"
        case FrameType.COMMIT_TOKEN:
            return "commit"
        case FrameType.HOLD_CANCEL:
            return "cancel"


def seq(frame: bytes) -> int | None:
    """The sequence number by which a script can name a message."""
    if kind(frame) in ("mcast", "recovery"):
        return wire.read_mcast_key(frame).seq
    return None


def number(value: int) -> str:
    """Sequence numbers near the wrap are unreadable in decimal."""
    return f"0x{value:x}" if value > HALF else str(value)


def ids(nodeids: tuple[int, ...] | list[int]) -> str:
    """A list of nodeids or sequence numbers."""
    return ",".join(map(number, nodeids)) or "-"


def describe(frame: bytes) -> str:
    """One line with every field that says something; those that are zero are left out."""
    name = kind(frame)
    return _DESCRIBE[name](frame) if name in _DESCRIBE else f"{len(frame)} bytes"


def _token(frame: bytes) -> str:
    token = wire.read_orf_token(frame)
    text = f"token {token.ring_id} #{number(token.token_seq)} seq={number(token.seq)} aru={number(token.aru)}"
    for name in ("aru_addr", "fcc", "backlog", "retrans_flg"):
        if value := getattr(token, name):
            text += f" {name}={value}"
    if token.rtr_list:
        text += " rtr=" + ids([item.seq for item in token.rtr_list])
    return text


def _mcast(frame: bytes) -> str:
    head = wire.MCAST.unpack(frame)
    payload = frame[wire.MCAST_SIZE :]
    if head.header.encapsulated == wire.Encapsulated.RECOVERY:
        old = f"{_mcast(payload)} of {wire.mcast_nodeid(payload)}"
        return f"recovery {head.ring_id} seq={number(head.seq)} [{old}]"
    safe = " safe" if head.guarantee else ""
    return f"mcast {head.ring_id} seq={number(head.seq)}{safe} {packet(payload)}"


def packet(payload: bytes) -> str:
    """The pieces of a packet; `»` stands where a message goes on in another packet."""
    try:
        fragmented, continuation, pieces = split(memoryview(payload))
    except PacketError as error:
        return f"({error})"
    texts = []
    for index, piece in enumerate(pieces):
        continues = continuation if index == 0 else 0
        goes_on = fragmented if index == len(pieces) - 1 else 0
        text = f"{continues}»{len(piece)} bytes" if continues else message(bytes(piece[GROUP_HEAD.size :]))
        texts.append(text + (f"»{goes_on}" if goes_on else ""))
    return " ".join(texts)


def message(body: bytes) -> str:
    """Text of a message; how long it is when it was padded."""
    text = body.rstrip(PAD).decode("ascii", "backslashreplace")
    return f'"{text}"' if len(text) == len(body) else f'"{text}..."({len(body)})'


def _merge(frame: bytes) -> str:
    return f"merge {wire.read_merge_detect(frame).ring_id}"


def _join(frame: bytes) -> str:
    join = wire.read_join(frame)
    name = "leave" if join.leave else "join"
    return f"{name} proc={ids(join.proc)} failed={ids(join.failed)} ring_seq={join.ring_seq:x}"


def _commit(frame: bytes) -> str:
    token = wire.read_commit_token(frame)
    text = f"commit {token.ring_id} #{token.token_seq} index={token.memb_index} addr={ids(token.addr)}"
    for nodeid, entry in zip(token.addr, token.memb, strict=True):
        if entry.ring_id.rep:
            received = "all" if entry.received_flg else "not all"
            text += (
                f" [{nodeid}: old={entry.ring_id} aru={number(entry.aru)}"
                f" delivered={number(entry.high_delivered)} {received}]"
            )
    return text


def _cancel(frame: bytes) -> str:
    return f"cancel {wire.read_hold_cancel(frame).ring_id}"


_DESCRIBE: dict[str, Callable[[bytes], str]] = {
    "token": _token,
    "mcast": _mcast,
    "recovery": _mcast,
    "merge": _merge,
    "join": _join,
    "leave": _join,
    "commit": _commit,
    "cancel": _cancel,
}


# Frames from named fields.


def parse_number(text: str) -> int:
    """Decimal or 0x..."""
    return int(text, 0)


def parse_ring(text: str) -> RingId:
    """A ring id as logs have it: rep.seq, both hexadecimal."""
    rep, _, ring_seq = text.partition(".")
    return RingId(int(rep, 16), int(ring_seq, 16))


def parse_list(text: str) -> list[int]:
    """`1,2,5..8`; `-` is the empty list."""
    if text == "-":
        return []
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("..")
        numbers += range(parse_number(first), parse_number(last or first) + 1)
    return numbers


def build(what: str, sender: int, ring: RingId, fields: Mapping[str, str]) -> bytes:
    """A frame of `sender`.  Fields by the names of the layouts in aisexec/totem/wire.py; what is not
    named is what an honest sender on `ring` would write, counts and lists included.

    Besides: `ring`, the lists (`rtr`, `proc`, `failed`, `addr`), `text` of an mcast, `truncate`, the
    bytes to keep, and `magic`, `version`, `type`, `nodeid` of the header.  Raises ValueError for a
    field the frame does not have.
    """
    given = dict(fields)
    ring = parse_ring(given.pop("ring", str(ring)))
    truncate = given.pop("truncate", None)
    head = wire.header(_TYPES[what], 0 if what == "leave" else sender)
    head = _replaced(head, given, ("magic", "version", "type", "nodeid"))
    frame = _BUILD[what](head, sender, ring, given)
    if given:
        raise ValueError(f"{what} has no field {', '.join(given)}")
    return frame if truncate is None else frame[: parse_number(truncate)]


def _replaced(value: Any, given: dict[str, str], names: tuple[str, ...] | None = None) -> Any:
    """A NamedTuple with the integer fields that were given; takes them out of `given`."""
    mine = [name for name in given if name in (names or value._fields)]
    return value._replace(**{name: parse_number(given.pop(name)) for name in mine})


def _u32s(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def _build_token(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    rtr = parse_list(given.pop("rtr", "-"))
    fixed = wire.OrfTokenFixed(head, 0, 0, 0, 0, ring, 0, 0, 0, len(rtr))
    items = b"".join(wire.RTR_ITEM.pack(wire.RtrItem(ring, missing)) for missing in rtr)
    return wire.ORF_TOKEN.pack(_replaced(fixed, given)) + items


def _build_mcast(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    body = given.pop("text", "x").encode()
    data = GROUP_HEAD.pack(1, 1, b"a") + body
    payload = struct.pack("<HHBBHH", 0, 0, 0, 0, 1, len(data)) + data
    fixed = wire.McastHeader(
        head._replace(encapsulated=wire.Encapsulated.PLAIN), sender, 1, 0, ring, 0, 0
    )
    return wire.MCAST.pack(_replaced(fixed, given)) + payload


def _build_merge(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    return wire.MERGE_DETECT.pack(_replaced(wire.MergeDetectFrame(head, sender, ring), given))


def _build_join(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    proc, failed = parse_list(given.pop("proc", str(sender))), parse_list(given.pop("failed", "-"))
    fixed = wire.JoinFixed(head, sender, len(proc), len(failed), ring.seq)
    return wire.JOIN.pack(_replaced(fixed, given)) + _u32s(proc) + _u32s(failed)


def _build_commit(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    addr = parse_list(given.pop("addr", str(sender)))
    fixed = wire.CommitTokenFixed(head, 0, ring, 0, 0, len(addr))
    entries = bytes(wire.COMMIT_ENTRY.size * len(addr))
    return wire.COMMIT_TOKEN.pack(_replaced(fixed, given)) + _u32s(addr) + entries


def _build_cancel(head: wire.Header, sender: int, ring: RingId, given: dict[str, str]) -> bytes:
    return wire.HOLD_CANCEL.pack(wire.HoldCancelFrame(head, ring))


_TYPES = {
    "token": FrameType.ORF_TOKEN,
    "mcast": FrameType.MCAST,
    "merge": FrameType.MERGE_DETECT,
    "join": FrameType.JOIN,
    "leave": FrameType.JOIN,
    "commit": FrameType.COMMIT_TOKEN,
    "cancel": FrameType.HOLD_CANCEL,
}
_BUILD = {
    "token": _build_token,
    "mcast": _build_mcast,
    "merge": _build_merge,
    "join": _build_join,
    "leave": _build_join,
    "commit": _build_commit,
    "cancel": _build_cancel,
}

LINK = re.compile(r"(\d+|\*)?->(\d+|\*)?$")
"""`1->2`; a side left out or `*` is any node."""
