"""auto_tie_breaker: of two halves the one with the right node goes on (votequorum(5))."""

from __future__ import annotations

from aisexec.services.votequorum_state import Ballot, Flag, TieBreaker


def breaks_tie(ballot: Ballot, total_votes: int) -> bool:
    """Are we the half that goes on?

    Only with exactly half of the votes (or half a vote less), and only when those who have gone
    could not have quorum without us.
    """
    if ballot.tie_breaker is TieBreaker.NONE or total_votes != ballot.us.expected_votes // 2:
        return False
    gone = len(ballot.previous_members) - len(ballot.members)
    return gone < ballot.quorum and has_tie_breaker(ballot)


def has_tie_breaker(ballot: Ballot) -> bool:
    """The deciding node is with us."""
    match ballot.tie_breaker:
        case TieBreaker.LOWEST:
            return has_lowest(ballot)
        case TieBreaker.HIGHEST:
            return ballot.is_member(ballot.highest)
        case _:
            return _has_first_of_list(ballot)


def has_lowest(ballot: Ballot) -> bool:
    """The node that had the lowest id when there was quorum is with us."""
    return ballot.is_member(ballot.lowest)


def _has_first_of_list(ballot: Ballot) -> bool:
    """The first node of the list that was in the ring before: if it is not here, it may be elsewhere."""
    nodes = ballot.options.tie_breaker_nodes
    for index, nodeid in enumerate(nodes):
        if nodeid in ballot.members:
            return not any(earlier in ballot.previous_members for earlier in nodes[:index])
    return False


def has_master(ballot: Ballot) -> bool:
    """A member's quorum device votes for it and alone decides (qdevice master_wins)."""
    wanted = Flag.QDEVICE_MASTER_WINS | Flag.QDEVICE_CAST_VOTE
    return any(node.flags & wanted == wanted for node in ballot.roll.members)
