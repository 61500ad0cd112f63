"""Transport udp: messages by multicast or broadcast, tokens by unicast (what corosync calls udp)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from aisexec.exit_codes import ExitCode
from aisexec.net.addresses import family_of, sockaddr
from aisexec.net.base import Log, NetError, NetworkSettings, Received
from aisexec.net.datagram import DatagramTransport, Peer
from aisexec.net.interfaces import Interface
from aisexec.net.limits import UDP_BUFFER_SIZE
from aisexec.net.sockets import (
    join_group,
    leave_group,
    set_multicast_sender,
    set_priority,
    set_receive_buffer,
    set_send_buffer,
)
from aisexec.totem.wire import FrameType

_BROADCAST: Final = "255.255.255.255"
_TYPE_OFFSET: Final = 3


def _is_join(received: Received) -> bool:
    frame = received[0]
    return len(frame) > _TYPE_OFFSET and frame[_TYPE_OFFSET] == FrameType.JOIN


class UdpTransport(DatagramTransport):
    """Three sockets: multicast in, tokens in, and one that sends everything, from the port below."""

    def __init__(
        self, settings: NetworkSettings, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(settings, log, clock)
        self._group = _BROADCAST if settings.broadcast else settings.mcast_address
        self._check_group()
        self._all: Peer
        self._send_address: tuple[str, int] = (settings.local_address, settings.port - 1)
        self._joined: Interface | None = None

    def _check_group(self) -> None:
        s = self.settings
        try:
            fits = family_of(self._group) == self._family
        except ValueError:
            raise NetError(f"mcastaddr {self._group!r} is not an IP address.", ExitCode.FATAL_ERROR) from None
        if not fits:
            raise NetError(
                f"{'broadcast' if s.broadcast else 'mcastaddr'} {self._group} does not fit the address"
                f" {s.local_address} of this node: one is IPv4, the other IPv6.",
                ExitCode.FATAL_ERROR,
            )

    def _open_sockets(self, link: Interface) -> list[socket.socket]:
        s = self.settings
        self._all = Peer.at("all nodes", sockaddr(self._group, s.port, link.number))
        token_address = sockaddr(s.local_address, s.port, link.number)
        send_address = sockaddr(s.local_address, s.port - 1, link.number)
        self._send_address = send_address[:2]

        # No SO_REUSEADDR on the unicast sockets, unlike stock: it would let a second executive take
        # over our frames in silence.
        self._sender = self._socket()
        self._bind(self._sender, send_address, "sending")
        self._token_receiver = self._socket()
        self._bind(self._token_receiver, token_address, "tokens")
        self._group_receiver = self._socket()
        self._group_receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        set_priority(self._sender, self._log)
        set_send_buffer(self._sender, UDP_BUFFER_SIZE, "sending", self._log)
        set_receive_buffer(self._group_receiver, UDP_BUFFER_SIZE, "multicast", self._log)
        if s.broadcast:
            self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._group_receiver.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        else:
            self._join(link)
        self._bind(self._group_receiver, self._all.address, "multicast")
        return [self._token_receiver, self._group_receiver]

    def _join(self, link: Interface) -> None:
        local = self.settings.local_address
        set_multicast_sender(self._sender, local, link.number, self.settings.ttl)
        join_group(self._group_receiver, self._group, local, link.number)
        self._joined = link

    def _link_is_back(self, link: Interface) -> None:
        if self.settings.broadcast:
            return
        if self._joined is not None:
            # The kernel forgets the membership with the interface, but the socket's own list still
            # names it and would refuse a second join.
            with suppress(OSError):
                leave_group(
                    self._group_receiver, self._group, self.settings.local_address, self._joined.number
                )
            self._joined = None
        self._join(link)

    def receive(self) -> list[Received]:
        """What came in: messages, then tokens, then JOINs.

        The token socket is read first: whatever was sent before a token read there is then found in
        the multicast socket, and goes before it.  A JOIN would take the ring apart before the token
        of the same batch was used; corosync drops it, we take it last.
        """
        if not self._sockets:
            return []
        tokens = self._drain(self._token_receiver) + self._take_own()
        messages = self._drain(self._group_receiver, self._is_foreign if self.settings.broadcast else None)
        if not tokens:
            return messages
        joins = [received for received in messages if _is_join(received)]
        if joins:
            messages = [received for received in messages if not _is_join(received)]
        return messages + tokens + joins

    def _is_foreign(self, sender: tuple[str, int]) -> bool:
        # IP_MULTICAST_LOOP does not concern broadcasts: the kernel hands us our own.
        if sender != self._send_address:
            return True
        self.stats.own_echoes += 1
        return False

    def broadcast(self, frames: Sequence[bytes]) -> None:
        """Send to the group; our own copy is kept from coming back."""
        self._send(self._for_all(frames), self._all)
