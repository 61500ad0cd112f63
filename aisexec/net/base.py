"""What a transport is: frames in, frames out, in batches.  Settings, errors and counters shared by all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple, Protocol

from aisexec.exit_codes import ExitCode

Log = Callable[[int, str], None]
"""Takes a syslog priority (0..7, 8 trace) and a text; the subsystem is always TOTEM."""

Received = tuple[bytes, str]
"""A frame and the address it came from, in text form for logs."""


class NetError(Exception):
    """The transport cannot be started.  `text` says what is wrong and what to do about it."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Security:
    """How frames are encrypted or authenticated, the same on all nodes of the cluster."""

    algorithm: str
    """A cipher (aes256, aes192, aes128, chacha20), or a hash (sha256 ...) that only authenticates."""
    key: bytes = field(repr=False)
    """The content of the key file."""
    key_source: str
    """Where the key comes from, for logs."""
    model: str | None = None
    """openssl or pycryptodome; None takes the fastest there is."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Where this node and its peers are.  Addresses are numeric text, IPv4 or IPv6, all of one family."""

    transport: Literal["udp", "udpu"]
    nodeid: int
    local_address: str
    port: int = 5405
    """UDP port frames are sent to; udp sends from the one below it."""
    ttl: int = 1
    """Hops a multicast frame may go (udp)."""
    mcast_address: str = ""
    """The group (udp); not used with `broadcast`."""
    broadcast: bool = False
    """Use 255.255.255.255 instead of a group (udp, IPv4)."""
    members: dict[int, str] = field(default_factory=dict)
    """Address of every node by nodeid, in the order of the nodelist, ourselves included."""
    block_unlisted_ips: bool = True
    """Drop datagrams from addresses that are no member's (udpu)."""
    interface_name: str | None = None
    """The interface to use; None is the one that carries the local address."""
    interface_index: int | None = None
    security: Security | None = None
    """None: frames travel as they are."""


class LinkChange(Enum):
    """What a look at the network interface found out."""

    NONE = "none"
    DOWN = "down"
    """The interface is down or has lost our address since the last look."""
    UP = "up"
    """The interface is there again; group membership has been renewed."""


@dataclass(slots=True)
class NetStats:
    """Counters since start."""

    received_frames: int = 0
    received_bytes: int = 0
    sent_frames: int = 0
    sent_bytes: int = 0
    rejected_unlisted: int = 0
    """Datagrams from addresses outside the nodelist."""
    rejected_oversized: int = 0
    receive_errors: int = 0
    own_echoes: int = 0
    """Own broadcasts that the kernel handed back."""
    test_dropped: int = 0
    """Frames thrown away because AISEXEC_TEST_DROP_RX asked for it."""
    send_errors: int = 0
    """Frames the kernel refused, dropped ones not counted."""
    send_dropped: int = 0
    """Frames lost because the send buffer or the device queue was full."""
    continuous_send_failures: int = 0
    """Failed sends since the last one that went well."""
    unknown_nodes: int = 0
    """Frames for nodeids that have no address."""
    refused: Counter[str] = field(default_factory=Counter)
    """Datagrams that held no genuine frame, by `aisexec.net.crypto.Verdict`; handshakes are among them."""
    handshakes_sent: int = 0
    """Challenges and answers."""


class Source(NamedTuple):
    """A socket that is read, as `_datagrams.receive` wants it."""

    fd: int
    buffer: bytearray
    names: dict[bytes, str]
    """Senders that were accepted."""
    judge: Callable[[bytes, int], str | None]


class Plain(NamedTuple):
    """One socket for everything, whose datagrams are frames: `aisexec._turn` can read and write it itself."""

    source: Source
    addresses: dict[int, bytes]
    """Of the other nodes, by nodeid, as `struct sockaddr`."""


class Transport(Protocol):
    """A way to reach the other nodes.  Nothing here raises once start() has returned."""

    stats: NetStats

    def start(self, on_ready: Callable[[], None]) -> None:
        """Open the sockets; `on_ready` is called from the hub when something can be received.

        Waits for a port or address that is not there yet, for some seconds.  Raises NetError.
        """

    def receive(self) -> list[Received]:
        """All frames that have arrived, in the order in which the core has to handle them."""

    def broadcast(self, frames: Sequence[bytes]) -> None:
        """Send to all other nodes."""

    def unicast(self, nodeid: int, frames: Sequence[bytes]) -> None:
        """Send to one node; frames to ourselves come back from receive() on the next turn."""

    def broadcast_and_pass(self, frames: Sequence[bytes], nodeid: int, token: bytes) -> None:
        """Send `frames` to all other nodes, then the token to one, who may be ourselves."""

    def plain(self) -> Plain | None:
        """The one socket of a transport whose datagrams are frames, once it has been started; else None."""

    def failed(self, nodeid: int, number: int) -> None:
        """A frame could not be sent past us: `number` is the errno."""

    def reconfigure(self, members: Mapping[int, str], *, block_unlisted_ips: bool) -> None:
        """Go on with another nodelist; addresses of nodes in both lists are the same."""

    def check(self) -> LinkChange:
        """Look at the network interface and mend what its going away has broken."""

    def close(self) -> None:
        """Close the sockets; may be called twice."""
