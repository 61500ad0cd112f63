"""The situation that --what-if reckons with, as the executive tells it."""

from __future__ import annotations

from libais.votequorum import InfoFlag

from .quorum_state import Session, ToolError
from .what_if import Situation, TieBreaker, Voter


def gather(session: Session) -> Situation:
    """Ask for everything that bears on quorum; raises ToolError."""
    assert session.votequorum is not None
    view = session.view()
    own = session.info(session.votequorum)
    if own is None:
        raise ToolError("Without this node's votes nothing can be said")
    names = session.names()
    members = tuple(
        Voter(node.nodeid, names.get(node.nodeid, ""), node.info.votes, node.info.expected_votes)
        for node in session.members(view)
        if node.info is not None
    )
    present = {voter.nodeid for voter in members}
    flags = own.flags
    casts = InfoFlag.QDEVICE_REGISTERED | InfoFlag.QDEVICE_CAST_VOTE
    return Situation(
        members=members,
        absent=tuple(_configured(session, names, present)),
        expected_votes=own.expected_votes,
        quorum=own.quorum,
        quorate=bool(flags & InfoFlag.QUORATE),
        two_node=bool(flags & InfoFlag.TWONODE),
        wait_for_all=bool(flags & InfoFlag.WAIT_FOR_ALL),
        waiting=session.number("runtime.votequorum.wait_for_all_status") == 1,
        tie_breaker=_tie_breaker(session, flags),
        tie_nodes=_tie_nodes(session.text("quorum.auto_tie_breaker_node")),
        lowest=session.number("runtime.votequorum.lowest_node_id"),
        highest=session.number("runtime.votequorum.highest_node_id"),
        last_man_standing=bool(flags & InfoFlag.LAST_MAN_STANDING),
        window=session.number("quorum.last_man_standing_window", 10000),
        allow_downscale=bool(flags & InfoFlag.ALLOW_DOWNSCALE),
        least_expected=session.number("runtime.votequorum.ev_barrier", own.expected_votes),
        device_votes=own.qdevice_votes if flags & casts == casts else 0,
        device_name=own.qdevice_name,
        device_master_wins=bool(flags & InfoFlag.QDEVICE_MASTER_WINS),
    )


def _configured(session: Session, names: dict[int, str], present: set[int]) -> list[Voter]:
    nodes = session.cmap.mapping("nodelist.node.")
    votes: dict[int, int] = {}
    for key in list(nodes):
        position, _, last = key.partition(".")
        nodeid = nodes.get(key) if last == "nodeid" else None
        given = nodes.get(f"{position}.quorum_votes", 1)
        if isinstance(nodeid, int) and isinstance(given, int):
            votes[nodeid] = given
    return [Voter(nodeid, names[nodeid], votes.get(nodeid, 1)) for nodeid in names if nodeid not in present]


def _tie_breaker(session: Session, flags: InfoFlag) -> TieBreaker:
    if not flags & InfoFlag.AUTO_TIE_BREAKER:
        return TieBreaker.NONE
    try:
        return TieBreaker(session.number("runtime.votequorum.atb_type", TieBreaker.LOWEST.value))
    except ValueError:
        return TieBreaker.LOWEST


def _tie_nodes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split() if word.isdecimal())
