"""What the executive knows of one program that uses closed process groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from aisexec.services.base import Client
from aisexec.services.cpg_iteration import Iteration


class Membership(Enum):
    """A connection belongs to one group at most."""

    UNJOINED = "unjoined"
    JOIN_STARTED = "join started"
    JOIN_COMPLETED = "join completed"
    LEAVE_STARTED = "leave started"


@dataclass(slots=True)
class CpgClient:
    """State of one connection."""

    client: Client
    state: Membership = Membership.UNJOINED
    group: bytes = b""
    pid: int = 0
    configured: bool = False
    """The totem configuration at joining has been asked for; it is sent once in a connection's life."""
    changes: int = 0
    """Configuration changes this connection was told of."""
    changes_at_first_fragment: int = 0
    message_size: int = 0
    fragments_size: int = 0
    """Bytes of the message sent in fragments at present, and of the fragments so far."""
    finalized: bool = False
    head: bytes = b""
    """The executive message in front of its multicasts, once it is made (Cpg.multicast_head)."""
    iterations: dict[int, Iteration] = field(default_factory=dict)
    entries: int = 0
    """Of all these iterations together."""

    def move(self, state: Membership, group: bytes, pid: int) -> None:
        """Into a group, or out of it."""
        self.state, self.group, self.pid = state, group, pid
        self.head = b""

    def may_send(self) -> bool:
        """Multicasting is allowed from the moment the join was asked for."""
        return self.state in (Membership.JOIN_STARTED, Membership.JOIN_COMPLETED)

    def receives(self) -> bool:
        """Events of the group go to this connection."""
        return self.state in (Membership.JOIN_COMPLETED, Membership.LEAVE_STARTED) and not self.finalized
