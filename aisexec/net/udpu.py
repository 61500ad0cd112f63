"""Transport udpu: everything by unicast, messages once per node, for networks without multicast."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence

from aisexec.net.addresses import canonical, sockaddr
from aisexec.net.base import Log, NetworkSettings, Plain, Received
from aisexec.net.datagram import DatagramTransport
from aisexec.net.interfaces import Interface
from aisexec.net.limits import TURN_PATIENCE, UDPU_BUFFER_SIZE
from aisexec.net.sockets import set_patience, set_priority, set_receive_buffer, set_send_buffer
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING


class UdpuTransport(DatagramTransport):
    """One socket for everything.

    Stock sends messages from a socket of their own per member.  Peers do not look at the source
    port, and from one socket messages and the token behind them are one flow, which neither a
    queue of the kernel nor a multi-path network puts out of order.
    """

    def __init__(
        self, settings: NetworkSettings, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(settings, log, clock)
        self._listed = frozenset(canonical(address) for address in settings.members.values())
        self._orders: dict[int, list[int]] = {}

    def _open_sockets(self, link: Interface) -> list[socket.socket]:
        s = self.settings
        self._sender = self._socket()
        self._bind(self._sender, sockaddr(s.local_address, s.port, link.number), "tokens and messages")
        set_priority(self._sender, self._log)
        set_send_buffer(self._sender, UDPU_BUFFER_SIZE, "UDPU", self._log)
        set_receive_buffer(self._sender, UDPU_BUFFER_SIZE, "UDPU", self._log)
        for address in s.members.values():
            self._log(LOG_NOTICE, f"adding new UDPU member {{{address}}}")
        return [self._sender]

    def reconfigure(self, members: Mapping[int, str], *, block_unlisted_ips: bool) -> None:
        """See Transport."""
        self._listed = frozenset(canonical(address) for address in members.values())
        self._orders.clear()
        super().reconfigure(members, block_unlisted_ips=block_unlisted_ips)

    def _is_listed(self, sender: tuple[str, int]) -> bool:
        if sender[0] in self._listed or not self.settings.block_unlisted_ips:
            return True
        self.stats.rejected_unlisted += 1
        self._reports.report("unlisted", sender[0], LOG_WARNING, self._unlisted(sender[0]))
        return False

    def _unlisted(self, sender: str) -> str:
        return (
            f"Packet rejected from {sender}: the address is not in the nodelist. If it is a node of this"
            " cluster, add it to the nodelist of all nodes; otherwise it should not use this port."
        )

    def receive(self) -> list[Received]:
        """What came in, in order of arrival: messages and tokens share a path, as sent."""
        if not self._sockets:
            return []
        frames = self._drain(self._sender, self._is_listed)
        return frames + self._take_own() if self._own_frames else frames

    def plain(self) -> Plain | None:
        """See Transport."""
        if not self._sockets or self._sealing is not None or self._loss is not None:
            return None
        set_patience(self._sender, TURN_PATIENCE)
        source = self._source(self._sender, self._is_listed)
        return Plain(source, self._raw_addresses)

    def broadcast(self, frames: Sequence[bytes]) -> None:
        """Send to every other node of the nodelist, alive or not: that is how partitions meet again."""
        datagrams = self._for_all(frames)
        for peer in self._peers.values():
            self._send(datagrams, peer)

    def broadcast_and_pass(self, frames: Sequence[bytes], nodeid: int, token: bytes) -> None:
        """The token goes with the messages to its node, as the shorter end of their run: one call for both.

        That node comes first and the others in the order of the ring: each has the messages by the time
        the token gets there, and the token does not wait until all have been sent to.
        """
        peers, sealing = self._peers, self._sealing
        if nodeid not in peers:
            super().broadcast_and_pass(frames, nodeid, token)
            return
        datagrams = self._for_all(frames)
        last = token if sealing is None else sealing.seal((token,), nodeid)[0]
        self._send([*datagrams, last], peers[nodeid])
        for other in self._from(nodeid):
            self._send(datagrams, peers[other])

    @property
    def refusers_known(self) -> bool:
        """Some nodes do not get their frames in runs at the moment."""
        return bool(self._refusers)

    def go_on_sending(self, nodeid: int, frames: list[bytes]) -> None:
        """The first of these could not be sent when somebody else tried: once more, and know what to do."""
        self._send(frames, self._peers[nodeid])

    def _from(self, nodeid: int) -> list[int]:
        """All other nodes in the order in which the token comes to them from `nodeid`."""
        order = self._orders.get(nodeid)
        if order is None:
            others = sorted(self._peers)
            place = others.index(nodeid)
            self._orders[nodeid] = order = others[place + 1 :] + others[:place]
        return order
