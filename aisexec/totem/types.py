"""What crosses the border of the protocol core: ring ids, configurations, effects, and who sits above."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ipc.layout import U32, U64


class RingId(NamedTuple):
    """Names one membership: its representative's nodeid and a sequence number that never goes back."""

    rep: U32
    seq: U64

    def __str__(self) -> str:
        return f"{self.rep:x}.{self.seq:x}"


class Configuration(NamedTuple):
    """A configuration change of extended virtual synchrony.

    A transitional one closes the old ring: `members` came along from it, `left` did not.  The
    regular one that follows opens the new ring: `members` are all of it, `joined` are new to us.
    Both carry the id of the new ring.
    """

    transitional: bool
    members: tuple[int, ...]
    left: tuple[int, ...]
    joined: tuple[int, ...]
    ring_id: RingId


class Unicast(NamedTuple):
    """Send `frame` to one member, who may be ourselves."""

    nodeid: int
    frame: bytes


class Broadcast(NamedTuple):
    """Send `frame` to all other nodes; the core has already taken its own copy."""

    frame: bytes


class Broadcasts(NamedTuple):
    """Send `frames`, numbered one behind the other in one token visit, to all other nodes, in order."""

    frames: list[bytes]


class StoreRingId(NamedTuple):
    """Write the ring sequence number to stable storage before any later effect is carried out."""

    seq: int


class Log(NamedTuple):
    """A log record: corosync's subsystem tag, syslog priority (8 is trace), text."""

    subsystem: str
    priority: int
    text: str


class InterfaceCheck(NamedTuple):
    """The token was lost or the ring has one member: look whether the network interface still works."""


Effect = Unicast | Broadcast | Broadcasts | StoreRingId | Log | InterfaceCheck

LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG, LOG_TRACE = 2, 3, 4, 5, 6, 7, 8


class Upper(Protocol):
    """Who sits above the ring.  Called synchronously, in the total order of the ring."""

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        """A whole message of `group`, sent by `nodeid`."""

    def configuration(self, change: Configuration) -> None:
        """The membership changed."""

    def token_passed(self) -> None:
        """The token has just been passed on; answers one call_when_token_passed()."""
