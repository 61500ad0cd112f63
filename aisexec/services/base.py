"""What a service engine is: requests of local programs in, executive messages out, and back again.

Services are pure: what they do to the world goes through the `Context` they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from aisexec.icmap import Icmap
from aisexec.messages import ExecHeader, exec_id
from aisexec.services.options import ExecutiveOptions, Findings, Reconfiguration
from aisexec.services.timers import Alarm
from aisexec.totem.types import RingId
from ipc._event_batch import EventBatch
from ipc.layout import Buffer


class Client(NamedTuple):
    """A connected program.  `id` is unique for the life of the executive."""

    id: int
    pid: int
    uid: int
    gid: int


class Context(Protocol):
    """What a service may do.  Implemented by the executive."""

    @property
    def nodeid(self) -> int:
        """Our node."""

    @property
    def now(self) -> float:
        """Seconds on the monotonic clock."""

    @property
    def map(self) -> Icmap:
        """The executive's configuration map."""

    @property
    def options(self) -> ExecutiveOptions:
        """The configuration in force."""

    @property
    def members(self) -> Sequence[int]:
        """Nodeids of the installed ring."""

    @property
    def companions(self) -> frozenset[int]:
        """Those of the members that run this executive and not corosync, ourselves included."""

    @property
    def mtu(self) -> int:
        """Bytes of a frame's content, as corosync counts them."""

    @property
    def link_up(self) -> bool:
        """The network interface is there."""

    def reaches(self, nodeid: int) -> bool:
        """Do we hear this node, member already or not?"""

    def read_configuration(self, done: Callable[[Findings], None]) -> None:
        """Read and check the configuration file beside the loop; `done` is called later."""

    def reconfigure(self, reconfiguration: Reconfiguration) -> None:
        """Let it take effect: Totem's settings, the map's keys, all services, then the world outside."""

    def reopen_logs(self, client: int, done: bytes, failed: bytes) -> None:
        """Open the log files anew and answer the client with one or the other."""

    def multicast(self, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        """Send an executive message, header first, to all nodes and ourselves, in total order.

        False when the send queue has no room.
        """

    def respond(self, client: int, message: bytes) -> None:
        """Answer a synchronous request."""

    def event(self, client: int, *parts: Buffer) -> None:
        """Send an event; never blocks and never loses one."""

    def event_to_all(self, clients: Sequence[int], *parts: Buffer) -> None:
        """Send the same event to many."""

    def close(self, client: int, reason: str) -> None:
        """Close a client that broke the rules; logged."""

    def log(self, priority: int, text: str) -> None:
        """A line under the service's subsystem."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """Have `callback` called in `delay` seconds, unless the alarm is cancelled before."""

    def want_token(self) -> None:
        """Have Service.token_passed() called after the next visit of the token."""

    def store_expected_votes(self, votes: int) -> None:
        """Keep the number over restarts."""

    def expect_end(self, nodeid: int, by: str) -> None:
        """Another node has been ordered to end at once: the log tells it when it is missed."""

    def shut_down(self, reason: str, exit_code: int, *, leave: bool) -> None:
        """End the executive, with or without saying goodbye to the ring."""

    def open_batch(self) -> EventBatch:
        """Events appended to it are sent in their place; it ends when anything else is said to clients."""

    def open_buffer(self, client: int, path: str, size: int) -> None:
        """Map a client's zero-copy buffer; raises OSError when it must not be mapped."""

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        """Copy out of it; raises KeyError, ValueError or OSError."""

    def release_buffer(self, client: int, cookie: int) -> None:
        """Unmap it; raises KeyError."""


class Request(NamedTuple):
    """A library call: how it is handled, and what is checked before."""

    handler: Callable[[Client, bytes], None]
    size: int
    """Bytes that the request must have at least."""
    flow_control: bool
    """Not served while the ring is being synchronised or the send queue is full."""
    answered: bool = True
    """A request that is refused gets an error answer."""


class Message(NamedTuple):
    """An executive message: how it is handled, and the bytes it must have at least."""

    handler: Callable[[int, bytes], None]
    size: int


class AnomalyError(ValueError):
    """A member sent what cannot be used: dropped, and logged at most once per node and interval."""


class Service:
    """Base of all engines.  Those with `syncs` take part in synchronisation after each ring change."""

    id: ClassVar[int]
    name: ClassVar[str]
    subsystem: ClassVar[str]
    socket: ClassVar[str | None] = None
    syncs: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        return {}

    def multicast_head(self, client: Client) -> bytes:
        """What goes in front of the client's multicasts, sizes 0; empty when it may not send any now."""
        return b""

    def messages(self) -> Mapping[int, Message]:
        """Executive messages by function number."""
        return {}

    def counters(self) -> Mapping[str, int]:
        """Statistics by name."""
        return {}

    def start(self) -> None:
        """The network is about to come up; what is sent here is the node's first message."""

    def connected(self, client: Client) -> None:
        """A program has connected to our socket."""

    def disconnected(self, client: Client) -> None:
        """It has gone, for whatever reason."""

    @property
    def wants_token(self) -> bool:
        """Something waits for room in the send queue: token_passed() is wanted."""
        return False

    def token_passed(self) -> None:
        """The token went by: there may be room in the send queue again."""

    def reconfigured(self, old: ExecutiveOptions, new: ExecutiveOptions) -> None:
        """A changed configuration has taken effect; the map's keys are those of the new one already."""

    def leaving(self) -> bool:
        """The node is about to leave the ring; True: last words were sent, which are waited for."""
        return False

    # Synchronisation, see aisexec.sync.

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """A new ring was installed; `trans` came along from our old one through all changes since."""

    def sync_process(self) -> bool:
        """Send what the others need; called at every token until it returns True."""
        return True

    def sync_activate(self) -> None:
        """Everybody's messages are here: take over the new state."""

    def sync_abort(self) -> None:
        """The ring changed again before the end."""

    def synchronised(self) -> None:
        """All services are in step: normal traffic goes on."""

    def header(self, function: int, size: int) -> ExecHeader:
        """Head of an executive message of ours of `size` bytes."""
        return ExecHeader(exec_id(self.id, function), size)
