"""Quorum in words, to the byte as the stock corosync-quorumtool prints it, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence

from libais.votequorum import QDEVICE_NODEID, Info, InfoFlag

from .quorum_state import Member, Session, Status

FLAG_WORDS = (
    (InfoFlag.TWONODE, "2Node"),
    (InfoFlag.QUORATE, "Quorate"),
    (InfoFlag.WAIT_FOR_ALL, "WaitForAll"),
    (InfoFlag.LAST_MAN_STANDING, "LastManStanding"),
    (InfoFlag.AUTO_TIE_BREAKER, "AutoTieBreaker"),
    (InfoFlag.ALLOW_DOWNSCALE, "AllowDownscale"),
    (InfoFlag.QDEVICE_REGISTERED, "Qdevice"),
)


def status_text(
    status: Status, session: Session, *, hexadecimal: bool, parsable: bool, order: str
) -> str:
    """The output of -s, and of -m for each change."""
    ring_id = f"{status.ring_id.seq:x}"
    if session.votequorum is not None:
        ring_id = f"{status.ring_id.nodeid:x}.{ring_id}"
    lines = [
        "Quorum information",
        "------------------",
        f"Date:             {time.ctime()}",
        f"Quorum provider:  {session.provider or 'Not configured'}",
        f"Nodes:            {len(status.members)}",
        f"Node ID:          {_hex(session.local_nodeid) if hexadecimal else session.local_nodeid}",
        f"Ring ID:          {ring_id}",
        f"Quorate:          {'Yes' if status.quorate else 'No'}",
    ]
    if session.votequorum is None:
        return _joined(lines)
    if status.local is not None:
        lines += votes_lines(status.local)
    nodes = nodes_text(status.nodes, session, hexadecimal=hexadecimal, parsable=parsable, order=order)
    return _joined(lines) + nodes


def votes_lines(info: Info) -> list[str]:
    """The paragraph about votes."""
    blocked = " " if info.flags & InfoFlag.QUORATE else "Activity blocked"
    flags = "".join(f"{word} " for flag, word in FLAG_WORDS if info.flags & flag)
    return [
        "",
        "Votequorum information",
        "----------------------",
        f"Expected votes:   {info.expected_votes}",
        f"Highest expected: {info.highest_expected}",
        f"Total votes:      {info.total_votes}",
        f"Quorum:           {info.quorum} {blocked}",
        f"Flags:            {flags}",
    ]


def nodes_text(
    nodes: Sequence[Member], session: Session, *, hexadecimal: bool, parsable: bool, order: str
) -> str:
    """The output of -l: a table of the members."""
    voting = session.votequorum is not None
    device = any(node.qdevice & InfoFlag.QDEVICE_REGISTERED for node in nodes)
    lines = []
    if voting:
        lines += [f"Unable to get node {node.nodeid} info" for node in nodes if node.info is None]
    lines += ["", "Membership information", "----------------------"]
    columns = ["Nodeid"]
    if voting:
        columns += ["Votes", "Qdevice"] if device or parsable else ["Votes"]
    lines.append(_padded(columns) + "Name")
    for node in _ordered(nodes, order):
        fields = [_hex(node.nodeid) if hexadecimal else str(node.nodeid)]
        if voting:
            fields.append(str(node.info.votes if node.info else 0))
        if len(columns) == 3:
            fields.append(_qdevice_word(node.qdevice))
        local = " (local)" if node.nodeid == session.local_nodeid else ""
        lines.append(f"{_padded(fields)}{node.name}{local}")
    if device:
        lines.append(_device_line(nodes, session.local_nodeid, hexadecimal))
    return _joined(lines)


def _device_line(nodes: Sequence[Member], local_nodeid: int, hexadecimal: bool) -> str:
    first = nodes[0].info
    name, votes = (first.qdevice_name, first.qdevice_votes) if first else ("", 0)
    flags = next((node.qdevice for node in nodes if node.nodeid == local_nodeid), InfoFlag(0))
    casts = bool(flags & InfoFlag.QDEVICE_CAST_VOTE)
    nodeid = _hex(QDEVICE_NODEID) if hexadecimal else str(QDEVICE_NODEID)
    line = f"{_padded([nodeid, str(votes if casts else 0)])}{'':11}{name}"
    # A device that gives no vote here has its votes shown behind its name, not in the column that adds up.
    return line if casts else f"{line} (votes {votes})"


def _ordered(nodes: Sequence[Member], order: str) -> list[Member]:
    if order == "i":
        return sorted(nodes, key=lambda node: _signed(node.nodeid))
    if order == "n":
        return sorted(nodes, key=lambda node: node.name.encode("utf-8", "surrogateescape"))
    return list(nodes)


def _signed(nodeid: int) -> int:
    """The stock tool compares node ids as signed numbers."""
    return nodeid - (1 << 32) if nodeid >> 31 else nodeid


def _qdevice_word(flags: InfoFlag) -> str:
    if not flags & InfoFlag.QDEVICE_REGISTERED:
        return "NR"
    words = [
        "A" if flags & InfoFlag.QDEVICE_ALIVE else "NA",
        "V" if flags & InfoFlag.QDEVICE_CAST_VOTE else "NV",
        "MW" if flags & InfoFlag.QDEVICE_MASTER_WINS else "NMW",
    ]
    return ",".join(words)


def _hex(nodeid: int) -> str:
    return f"0x{nodeid:08x}"


def _padded(fields: Sequence[str]) -> str:
    return "".join(f"{text:>10} " for text in fields)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


# --- JSON ------------------------------------------------------------------------------------------


def json_status(status: Status, session: Session) -> dict[str, object]:
    """The answer to -s --json."""
    ring_id = status.ring_id
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "provider": session.provider,
        "quorate": status.quorate,
        "local_nodeid": session.local_nodeid or None,
        "ring_id": {"nodeid": ring_id.nodeid or None, "seq": ring_id.seq},
        "votequorum": _json_votes(status.local) if status.local else None,
        "nodes": json_nodes(status, session),
    }


def _json_votes(info: Info) -> dict[str, object]:
    return {
        "expected_votes": info.expected_votes,
        "highest_expected": info.highest_expected,
        "total_votes": info.total_votes,
        "quorum": info.quorum,
        "flags": [flag.name.lower() for flag in InfoFlag if info.flags & flag and flag.name],
        "qdevice": {"name": info.qdevice_name, "votes": info.qdevice_votes} if info.qdevice_name else None,
    }


def json_nodes(status: Status, session: Session) -> list[dict[str, object]]:
    """The members, as the answer to -l --json has them."""
    return [_json_node(node, session) for node in status.nodes]


def _json_node(node: Member, session: Session) -> dict[str, object]:
    return {
        "nodeid": node.nodeid,
        "name": node.name,
        "local": node.nodeid == session.local_nodeid,
        "votes": node.info.votes if node.info else None,
        "state": node.info.state.name.lower() if node.info else None,
        "qdevice": {
            "registered": bool(node.qdevice & InfoFlag.QDEVICE_REGISTERED),
            "alive": bool(node.qdevice & InfoFlag.QDEVICE_ALIVE),
            "cast_vote": bool(node.qdevice & InfoFlag.QDEVICE_CAST_VOTE),
            "master_wins": bool(node.qdevice & InfoFlag.QDEVICE_MASTER_WINS),
        },
    }
