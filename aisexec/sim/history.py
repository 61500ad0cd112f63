"""What happened in a simulated run: the only thing that checkers get to see.

Records are appended by the engine while the run goes on, so their order is the order of real (virtual)
time; at one instant the order in which things were done.  A node that is started again begins a new
life: what it knows of its former one is the ring sequence number on its disk, nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aisexec.totem.types import RingId

Life = tuple[int, int]
"""A node and how often it was started before."""

Process = tuple[int, int]
"""A program in the words of closed process groups: nodeid and pid. Pids are never used again in a run."""


class Started(NamedTuple):
    """A node begins a life with what is on its disk (0: nothing)."""

    at: float
    life: Life
    ring_seq: int


class Ended(NamedTuple):
    """A life is over: "crash", "leave" (orderly), "lost" (crash that took the state directory along)."""

    at: float
    life: Life
    how: str


class Submitted(NamedTuple):
    """Totem has taken a message from what is above it."""

    at: float
    life: Life
    message: int
    safe: bool
    synchronising: bool = False
    """While the services were brought into step; what was submitted before it waits for its end."""


class Delivered(NamedTuple):
    """Totem has handed up a whole message."""

    at: float
    life: Life
    sender: int
    message: int


class Transitional(NamedTuple):
    """A transitional configuration was delivered; `ring` is that of the regular one that follows."""

    at: float
    life: Life
    ring: RingId
    members: tuple[int, ...]


class Regular(NamedTuple):
    """A regular configuration was delivered."""

    at: float
    life: Life
    ring: RingId
    members: tuple[int, ...]
    left: tuple[int, ...]
    joined: tuple[int, ...]


class Synchronised(NamedTuple):
    """The services are in step after a regular configuration."""

    at: float
    life: Life
    ring: RingId


class Verdict(NamedTuple):
    """What the quorum service of a life said of the ring in which the services came in step."""

    at: float
    life: Life
    ring: RingId
    members: tuple[int, ...]
    quorate: bool
    waits: bool = False
    """wait_for_all is on."""


class Reached(NamedTuple):
    """What programs get from here on comes after a regular configuration, or after it was synchronised.

    The engine carries effects out a little later than they are made, so the order of what programs see
    and of Regular and Synchronised means nothing."""

    at: float
    life: Life
    ring: RingId
    synchronised: bool


class Reconfigured(NamedTuple):
    """A node goes on with other timeouts; `token` in seconds."""

    at: float
    life: Life
    token: float


class Stored(NamedTuple):
    """A ring sequence number went to the disk."""

    at: float
    life: Life
    ring_seq: int


class Sizes(NamedTuple):
    """How full the queues and tables of a node are; `Run.limits` holds what they may be."""

    at: float
    life: Life
    sizes: Mapping[str, int]


class ProgramJoined(NamedTuple):
    """A program's request to join was answered with OK."""

    at: float
    life: Life
    pid: int
    group: bytes


class ProgramSent(NamedTuple):
    """A program's multicast was taken by the executive."""

    at: float
    life: Life
    pid: int
    group: bytes
    message: int
    pieces: bool = False
    """Too long for one request: in fragments."""


class ProgramDelivered(NamedTuple):
    """A program got a message of its group, whole (fragments are put together)."""

    at: float
    life: Life
    pid: int
    sender: Process
    message: int


class ProgramView(NamedTuple):
    """A program got a configuration change of its group; reasons are those of cpg.h."""

    at: float
    life: Life
    pid: int
    members: tuple[Process, ...]
    left: tuple[tuple[int, int, int], ...]
    """(nodeid, pid, reason)"""
    joined: tuple[tuple[int, int, int], ...]


class ProgramEnded(NamedTuple):
    """A program is no longer there: "leave" (cpg_leave answered OK), "exit" (connection closed),
    "node" (with its node), or why the executive closed its connection."""

    at: float
    life: Life
    pid: int
    how: str


class Refused(NamedTuple):
    """A request of a program was answered with an error, its cs_error_t number."""

    at: float
    life: Life
    pid: int
    request: str
    error: int


Record = (
    Started
    | Ended
    | Submitted
    | Delivered
    | Transitional
    | Regular
    | Synchronised
    | Verdict
    | Reached
    | Reconfigured
    | Stored
    | Sizes
    | ProgramJoined
    | ProgramSent
    | ProgramDelivered
    | ProgramView
    | ProgramEnded
    | Refused
)


class Mark(NamedTuple):
    """Something for people who read the trace, no checker: a log line, a fault, a state change."""

    at: float
    life: Life | None
    """None: the network as a whole."""
    kind: str
    """"log", "fault", "state", "work" ..."""
    text: str


@dataclass
class History:
    """All records of one run, and what is needed to read them."""

    records: list[Record] = field(default_factory=list)
    marks: list[tuple[int, Mark]] = field(default_factory=list)
    """(number of records before it, mark); only kept when the run is traced."""
    messages: list[bytes] = field(default_factory=list)
    """By number; equal messages have one number."""
    limits: dict[str, int] = field(default_factory=dict)
    """For each name in Sizes the most it may be."""
    healed_at: float = 0.0
    """When the last fault was taken back."""
    ended_at: float = 0.0
    settled_at: float | None = None
    """When all nodes that are up were in one synchronised ring and everything sent was delivered;
    None: not before the end of the run."""
    must_settle_by: float = 0.0
    """Until when that has to be so."""
    alive: tuple[int, ...] = ()
    """Nodes that are up at the end."""
    index: object = field(default=None, repr=False, compare=False)
    """What checkers have worked out together, see aisexec.sim.checkers.index."""
    corrupted: bool = False
    """Changed frames have arrived at nodes as if they were genuine: without checksum and authentication
    nothing can be promised then but that nobody crashes and nothing grows without bound."""

    def lives(self) -> dict[Life, list[Record]]:
        """Records by life, each list in order."""
        result: dict[Life, list[Record]] = defaultdict(list)
        for record in self.records:
            result[record.life].append(record)
        return dict(result)


class Violation(AssertionError):
    """A promise was broken: which property, what happened, and the records that show it."""

    def __init__(self, property: str, text: str, evidence: tuple[Record, ...] = ()) -> None:
        super().__init__(f"{property}: {text}")
        self.property = property
        self.text = text
        self.evidence = evidence
