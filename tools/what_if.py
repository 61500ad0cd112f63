"""What becomes of quorum when nodes go: votequorum(5) reckoned through, without touching the cluster.

Pure: it knows what `Situation` says and nothing else.  What it cannot know, such as which side a quorum
device will vote for, it reckons both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum


class UnknownNodeError(Exception):
    """A node was named that is neither configured nor a member."""


class TieBreaker(Enum):
    """Whose half goes on when the votes are halved; numbers as in runtime.votequorum.atb_type."""

    NONE = 0
    LOWEST = 1
    HIGHEST = 2
    LIST = 3


class Reason(Enum):
    """Why a side has quorum or has not."""

    VOTES = "votes"
    TWO_NODE = "two_node"
    TIE_BREAKER = "auto_tie_breaker"
    DEVICE_MASTER = "qdevice_master_wins"
    TOO_FEW_VOTES = "too_few_votes"
    WAITING = "wait_for_all"
    NOBODY = "nobody_left"


@dataclass(frozen=True)
class Voter:
    """A node: votes it has, votes it expects in the whole cluster."""

    nodeid: int
    name: str
    votes: int = 1
    expected: int = 0

    @property
    def label(self) -> str:
        """Its name, or its id where it has none."""
        return self.name or f"node {self.nodeid}"

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {"nodeid": self.nodeid, "name": self.name, "votes": self.votes}


@dataclass(frozen=True)
class Situation:
    """The cluster as one of its nodes sees it.

    members: those in the ring now, `absent`: configured, but not there.
    quorum: votes needed now; expected_votes: of the node asked.
    waiting: wait_for_all has not seen all yet.
    lowest, highest: node ids when there was quorum last.  tie_nodes: auto_tie_breaker_node's list.
    window: milliseconds of last_man_standing.
    least_expected: allow_downscale lowers quorum as far as for so many votes, not further.
    device_votes: of a quorum device that votes for this side now, else 0.
    """

    members: tuple[Voter, ...]
    expected_votes: int
    quorum: int
    quorate: bool
    absent: tuple[Voter, ...] = ()
    two_node: bool = False
    wait_for_all: bool = False
    waiting: bool = False
    tie_breaker: TieBreaker = TieBreaker.NONE
    tie_nodes: tuple[int, ...] = ()
    lowest: int = 0
    highest: int = 0
    last_man_standing: bool = False
    window: int = 0
    allow_downscale: bool = False
    least_expected: int = 0
    device_votes: int = 0
    device_name: str = ""
    device_master_wins: bool = False


@dataclass(frozen=True)
class Side:
    """Nodes that see each other and nobody else.

    votes: without a quorum device's.  needed: votes for quorum.
    quorate: None where it depends on the quorum device; with_device and without_device say how then.
    """

    nodes: tuple[Voter, ...]
    votes: int
    needed: int
    quorate: bool | None
    reason: Reason
    with_device: bool | None = None
    without_device: bool | None = None

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {
            "nodes": [node.as_json() for node in self.nodes],
            "votes": self.votes,
            "quorum": self.needed,
            "quorate": self.quorate,
            "reason": self.reason.value,
            "quorate_with_qdevice": self.with_device,
            "quorate_without_qdevice": self.without_device,
        }


@dataclass(frozen=True)
class Step:
    """One node of several that go one after the other, each some time after the one before."""

    gone: Voter
    side: Side
    expected_votes: int
    quorum: int
    """Expected and needed when everything has settled after it."""

    def as_json(self) -> dict[str, object]:
        """For --json."""
        return {
            "gone": self.gone.as_json(),
            "remaining": self.side.as_json(),
            "expected_votes": self.expected_votes,
            "quorum": self.quorum,
        }


@dataclass(frozen=True)
class Verdict:
    """The answer.

    gone: members that go; absent: named, but not in the ring anyway.
    remaining: the others, when all go at once.  cut_off: those that go, if they still live and see each
    other; None when nobody goes.
    settled: expected votes and quorum of those who remain after last_man_standing's window, where it lowers
    them.
    critical: nodes of which each alone would take quorum away if it went next.
    one_by_one: the same nodes one after the other in the order named, where that makes a difference:
    with last_man_standing's window in between, or (allow_downscale) each shut down in order.
    """

    situation: Situation
    gone: tuple[Voter, ...]
    absent: tuple[Voter, ...]
    remaining: Side
    cut_off: Side | None
    settled: tuple[int, int] | None
    critical: tuple[Voter, ...]
    one_by_one: tuple[Step, ...]


def find(situation: Situation, words: Sequence[str]) -> tuple[Voter, ...]:
    """The nodes named, by name or id, each once; raises UnknownNodeError."""
    known = (*situation.members, *situation.absent)
    found: dict[int, Voter] = {}
    for word in words:
        match = [voter for voter in known if word in (voter.name, str(voter.nodeid))]
        if not match:
            names = ", ".join(f"{voter.name or '-'} ({voter.nodeid})" for voter in known)
            raise UnknownNodeError(f"There is no node {word!r}; known are: {names}")
        found[match[0].nodeid] = match[0]
    return tuple(found.values())


def consider(situation: Situation, words: Sequence[str]) -> Verdict:
    """What happens if the nodes named go; raises UnknownNodeError."""
    named = find(situation, words)
    gone = tuple(voter for voter in named if voter in situation.members)
    remaining = judge(situation, _without(situation.members, gone))
    after = settle(situation, remaining)
    shrunk = (after.expected_votes, after.quorum)
    return Verdict(
        situation=situation,
        gone=gone,
        absent=tuple(voter for voter in named if voter not in situation.members),
        remaining=remaining,
        cut_off=judge(situation, gone) if gone else None,
        settled=shrunk if gone and after.quorum != remaining.needed else None,
        critical=tuple(_critical(after)) if remaining.quorate else (),
        one_by_one=tuple(_one_by_one(situation, gone)) if _order_matters(situation, gone) else (),
    )


def judge(situation: Situation, nodes: tuple[Voter, ...]) -> Side:
    """Would these nodes, alone, have quorum?"""
    votes = sum(node.votes for node in nodes)
    quorate, needed, reason = _count(situation, nodes, device=False)
    if not situation.device_votes or not nodes:
        return Side(nodes, votes, needed, quorate, reason)
    aided, needed_with, reason_with = _count(situation, nodes, device=True)
    if aided == quorate:
        return Side(nodes, votes, needed, quorate, reason, aided, quorate)
    return Side(nodes, votes, needed_with, None, reason_with, aided, quorate)


def _count(situation: Situation, nodes: tuple[Voter, ...], *, device: bool) -> tuple[bool, int, Reason]:
    if not nodes:
        return False, situation.quorum, Reason.NOBODY
    total = sum(node.votes for node in nodes) + device * situation.device_votes
    expected = max(node.expected for node in nodes)
    needed = max(situation.quorum, (expected + 2) // 2, (total + 2) // 2)
    two_node = situation.two_node and len(nodes) + device <= 2
    if two_node:
        needed = 1
    if situation.waiting and total != situation.expected_votes:
        return False, needed, Reason.WAITING
    if total >= needed:
        return True, needed, Reason.TWO_NODE if two_node else Reason.VOTES
    if _breaks_tie(situation, nodes, total, needed):
        return True, needed, Reason.TIE_BREAKER
    if device and situation.device_master_wins:
        return True, needed, Reason.DEVICE_MASTER
    return False, needed, Reason.TOO_FEW_VOTES


def _breaks_tie(situation: Situation, nodes: tuple[Voter, ...], total: int, needed: int) -> bool:
    if situation.tie_breaker is TieBreaker.NONE or total != situation.expected_votes // 2:
        return False
    if len(situation.members) - len(nodes) >= needed:
        return False
    return _has_tie_breaker(situation, nodes)


def _has_tie_breaker(situation: Situation, nodes: tuple[Voter, ...]) -> bool:
    ids = {node.nodeid for node in nodes}
    match situation.tie_breaker:
        case TieBreaker.LOWEST:
            return situation.lowest in ids
        case TieBreaker.HIGHEST:
            return situation.highest in ids
        case _:
            first = _first_of_list(situation)
            return first is not None and first in ids


def _first_of_list(situation: Situation) -> int | None:
    """Of auto_tie_breaker_node's list, the first that is in the ring now."""
    present = {node.nodeid for node in situation.members}
    return next((nodeid for nodeid in situation.tie_nodes if nodeid in present), None)


def deciding_node(situation: Situation) -> int | None:
    """The node whose half goes on."""
    match situation.tie_breaker:
        case TieBreaker.NONE:
            return None
        case TieBreaker.LOWEST:
            return situation.lowest
        case TieBreaker.HIGHEST:
            return situation.highest
        case _:
            return _first_of_list(situation)


def settle(situation: Situation, side: Side, *, in_order: bool = False) -> Situation:
    """The situation of a side when nothing more happens; in_order: the others were shut down in order."""
    nodes = side.nodes
    highest = max((node.expected for node in nodes), default=0)
    after = replace(
        situation,
        members=nodes,
        quorum=side.needed,
        quorate=bool(side.quorate),
        waiting=situation.wait_for_all and not side.quorate,
        expected_votes=max(highest, situation.expected_votes),
    )
    if side.quorate and nodes:
        ids = [node.nodeid for node in nodes]
        if side.reason is not Reason.TIE_BREAKER:
            after = replace(after, lowest=min(ids), highest=max(ids))
    if side.quorate and _window_runs(situation, nodes):
        return _expect(after, len(nodes))
    if in_order and situation.allow_downscale:
        return _expect(after, len(nodes), least=situation.least_expected)
    return after


def _window_runs(situation: Situation, nodes: tuple[Voter, ...]) -> bool:
    """Does last_man_standing count anew after its window?"""
    if not situation.last_man_standing or any(node.votes > 1 for node in situation.members):
        return False
    if len(nodes) >= situation.quorum and len(nodes) < len(situation.members):
        return True
    ids = {node.nodeid for node in nodes}
    # The window looks at the lowest node id whatever auto_tie_breaker_node says.
    tie = situation.tie_breaker is not TieBreaker.NONE and situation.lowest in ids
    return len(nodes) <= situation.quorum and tie


def _expect(situation: Situation, votes: int, *, least: int = 0) -> Situation:
    """Counted anew with so many votes expected; quorum as if they were `least` at least."""
    members = tuple(replace(node, expected=votes) for node in situation.members)
    total = sum(node.votes for node in members)
    quorum = max((max(votes, least) + 2) // 2, (total + 2) // 2)
    if situation.two_node and len(members) <= 2:
        quorum = 1
    return replace(situation, members=members, expected_votes=votes, quorum=quorum)


def _critical(situation: Situation) -> Iterator[Voter]:
    for node in situation.members:
        if not judge(situation, _without(situation.members, (node,))).quorate:
            yield node


def _order_matters(situation: Situation, gone: Sequence[Voter]) -> bool:
    return (situation.last_man_standing and len(gone) > 1) or (situation.allow_downscale and bool(gone))


def _one_by_one(situation: Situation, gone: Sequence[Voter]) -> Iterator[Step]:
    for node in gone:
        present = next(member for member in situation.members if member.nodeid == node.nodeid)
        side = judge(situation, _without(situation.members, (present,)))
        if situation.allow_downscale:
            side = _leave(situation, present, side)
        situation = settle(situation, side, in_order=True)
        yield Step(node, side, situation.expected_votes, situation.quorum)


def _leave(situation: Situation, node: Voter, side: Side) -> Side:
    """A node that is shut down says so before it goes, and fewer votes are expected at once."""
    rest = _without(situation.members, (node,))
    if not rest:
        return side
    told = _expect(replace(situation, members=rest), len(rest), least=situation.least_expected)
    return judge(told, told.members)


def _without(nodes: tuple[Voter, ...], gone: Sequence[Voter]) -> tuple[Voter, ...]:
    ids = {node.nodeid for node in gone}
    return tuple(node for node in nodes if node.nodeid not in ids)
