"""What votequorum counts with: the nodes and their votes, and what was configured (votequorum(5))."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import RingId
from ipc.votequorum_layouts import NodeState as NodeState

VOTES_MAX: Final = 0xFFFFFFFF
"""What a message's field holds; a sum of forged votes is more."""
QDEVICE: Final = 0
"""The quorum device goes by this nodeid."""


class Flag(IntFlag):
    """Flags of a nodeinfo message."""

    QUORATE = 1
    LEAVING = 2
    WAIT_FOR_ALL = 4
    FIRST = 8
    QDEVICE_REGISTERED = 16
    QDEVICE_ALIVE = 32
    QDEVICE_CAST_VOTE = 64
    QDEVICE_MASTER_WINS = 128


NO_FLAGS: Final = Flag(0)


class TieBreaker(IntEnum):
    """Which half of a cluster goes on; the numbers of runtime.votequorum.atb_type."""

    NONE = 0
    LOWEST = 1
    HIGHEST = 2
    LIST = 3


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Section quorum.device; times in milliseconds."""

    votes: int = 0
    timeout: int = 10000
    sync_timeout: int = 30000


@dataclass(frozen=True, slots=True)
class QuorumOptions:
    """What votequorum starts with; contradictions are solved already (aisexec.config.quorum)."""

    votes: int = 1
    expected_votes: int = 1
    two_node: bool = False
    wait_for_all: bool = False
    wait_for_all_follows_two_node: bool = False
    """It was not configured, so it changes with two_node."""
    last_man_standing: bool = False
    last_man_standing_window: int = 10000
    """Milliseconds."""
    tie_breaker: TieBreaker = TieBreaker.NONE
    configured_tie_breaker: TieBreaker = TieBreaker.NONE
    """As written: an odd number of votes switches it off until the configuration changes."""
    tie_breaker_nodes: tuple[int, ...] = ()
    allow_downscale: bool = False
    expected_votes_tracking: bool = False
    tracked_votes: int = 0
    """The most that was ever expected, as stored by the last run."""
    device: DeviceOptions | None = None


@dataclass(slots=True)
class Voter:
    """A node that votes, or the quorum device."""

    nodeid: int
    votes: int = 0
    expected_votes: int = 0
    state: NodeState | None = None
    """None: the quorum device, whose state corosync never sets."""
    flags: Flag = NO_FLAGS

    @property
    def is_member(self) -> bool:
        """Its votes count."""
        return self.state is NodeState.MEMBER


def signed(nodeid: int) -> int:
    """As C's int: votequorum compares node ids so, wherever it looks for the lowest or highest."""
    return nodeid - (1 << 32) if nodeid >= 1 << 31 else nodeid


class Roll:
    """All nodes that were ever heard of, in corosync's order, which clients see."""

    def __init__(self, us: Voter) -> None:
        self.us = us
        self.device = Voter(QDEVICE)
        self._nodes = [us]
        self._by_id = {us.nodeid: us}

    def __iter__(self) -> Iterator[Voter]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def members(self) -> list[Voter]:
        """Those who vote."""
        return [node for node in self._nodes if node.is_member]

    @property
    def is_full(self) -> bool:
        """No further node can be added."""
        return len(self._nodes) >= PROCESSOR_COUNT_MAX

    def make_room(self, members: Container[int], configured: Container[int]) -> bool:
        """Forget a dead node that is not in the ring, rather one that is not configured; False: none."""
        dead = [node for node in self._nodes if node.state is NodeState.DEAD and node.nodeid not in members]
        if not dead:
            return False
        gone = min(dead, key=lambda node: node.nodeid in configured)
        self._nodes.remove(gone)
        del self._by_id[gone.nodeid]
        return True

    def get(self, nodeid: int) -> Voter | None:
        """A node, or the quorum device."""
        return self.device if nodeid == QDEVICE else self._by_id.get(nodeid)

    def add(self, nodeid: int) -> Voter:
        """A node that was not known.

        It goes before the first with a higher id; one that has the highest goes before the last node,
        not behind it: clients are told of nodes in this order, so it is kept.
        """
        node = self._by_id[nodeid] = Voter(nodeid)
        higher = (i for i, known in enumerate(self._nodes) if signed(nodeid) < signed(known.nodeid))
        self._nodes.insert(next(higher, len(self._nodes) - 1), node)
        return node


class Ballot:
    """The state that all parts of votequorum share."""

    def __init__(self, nodeid: int, options: QuorumOptions) -> None:
        self.options = options
        flags = Flag.FIRST | (Flag.WAIT_FOR_ALL if options.wait_for_all else NO_FLAGS)
        expected = min(options.expected_votes, VOTES_MAX)
        if options.expected_votes_tracking:
            expected = max(expected, options.tracked_votes)
        self.us = Voter(nodeid, options.votes, expected, NodeState.MEMBER, flags)
        self.roll = Roll(self.us)
        self.quorum = 0
        self.quorate = False
        self.members: tuple[int, ...] = ()
        self.previous_members: tuple[int, ...] = ()
        """Of the ring before."""
        self.ring_id = RingId(0, 0)
        self.syncing = False
        self.two_node = options.two_node
        self.wait_for_all = options.wait_for_all
        self.waiting = options.wait_for_all
        """All have to be seen together before there is quorum again."""
        self.last_man_standing = options.last_man_standing
        self.tie_breaker = options.tie_breaker
        self.allow_downscale = options.allow_downscale
        self.tracking = options.expected_votes_tracking
        self.tracked_votes = options.tracked_votes
        self.configured_votes = expected
        """allow_downscale goes down to this."""
        self.lowest = self.highest = -1
        """Node ids of the members, signed, when there was quorum last."""
        self.master_wins = False

    @property
    def device_casts(self) -> bool:
        """Our quorum device votes for us."""
        return bool(self.us.flags & Flag.QDEVICE_CAST_VOTE)

    def is_member(self, nodeid: int) -> bool:
        """Compared signed."""
        return any(signed(node.nodeid) == nodeid for node in self.roll.members)
