"""What udp and udpu have in common: start-up with retries, batches over plain datagrams, error handling."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import gevent

from aisexec.exit_codes import ExitCode
from aisexec.net import loss
from aisexec.net._datagrams import receive, send
from aisexec.net.addresses import SockAddr, family_of, from_raw, raw, show, sockaddr
from aisexec.net.base import (
    LinkChange,
    Log,
    NetError,
    NetStats,
    NetworkSettings,
    Plain,
    Received,
    Source,
)
from aisexec.net.hints import FIREWALL, MAY_PASS, NO_ROOM, bind_failed, no_such_address, send_hint
from aisexec.net.interfaces import Interface, find_interface
from aisexec.net.limits import (
    BIND_PAUSE,
    BIND_RETRIES,
    OWN_FRAMES_MAX,
    RECEIVE_BYTES_MAX,
    RECEIVE_FRAMES_MAX,
    RECEIVE_SIZE_MAX,
    SEND_FAILURES_WARNED,
    SENDERS_KNOWN_MAX,
)
from aisexec.net.reports import Reports
from aisexec.net.sealing import Sealing
from aisexec.net.segmentation import REFUSALS, Refusers, ask_for_joined
from aisexec.net.sockets import datagram_socket
from aisexec.totem.types import LOG_DEBUG, LOG_ERR, LOG_NOTICE, LOG_WARNING

_READABLE: Final = 1  # libev's EV_READ


class _NotYetError(Exception):
    """The sockets cannot be opened now, but maybe in a moment."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Peer(NamedTuple):
    """Where to send, and what to call it in the log."""

    name: str
    address: SockAddr
    raw: bytes
    """The address as the kernel takes it."""

    @classmethod
    def at(cls, name: str, address: SockAddr) -> Peer:
        """The usual way to make one."""
        return cls(name, address, raw(address))


class DatagramTransport:
    """Base of the transports over plain UDP.

    `log` gets what an operator should know (subsystem TOTEM), `clock` gives monotonic seconds.
    Raises NetError on settings that cannot work.
    """

    _sender: socket.socket
    """Sends everything; there once the sockets are open."""

    def __init__(
        self, settings: NetworkSettings, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.stats = NetStats()
        self._log = log
        self._clock = clock
        self._reports = Reports(log, clock)
        self._refusers = Refusers()
        self._loss = loss.TestLoss.from_environment(os.environ)
        self._sealing: Sealing | None = None
        if settings.security is not None:
            self._sealing = Sealing(settings, settings.security, self.stats, self._reports, log, clock)
        # One byte more than the limit, so that a longer datagram shows.
        self._buffer = bytearray(RECEIVE_SIZE_MAX + 1)
        self._sources: dict[socket.socket, Source] = {}
        self._link: Interface | None = None
        self._family = self._only_family()
        self._peers: dict[int, Peer] = {}
        self._raw_addresses: dict[int, bytes] = {}
        """Of the peers; changed in place, for `aisexec._turn` keeps it."""
        self._sockets: list[socket.socket] = []
        self._watchers: list[Any] = []
        self._on_ready: Callable[[], None] | None = None
        self._own_frames: list[Received] = []
        self._own_wakeup: Any = None

    def _only_family(self) -> socket.AddressFamily:
        try:
            family = family_of(self.settings.local_address)
            families = {family_of(address) for address in self.settings.members.values()}
        except ValueError as error:
            raise NetError(f"{error}; transports take numeric addresses.", ExitCode.FATAL_ERROR) from None
        if families - {family}:
            raise NetError(
                f"The nodelist mixes IPv4 and IPv6 addresses; transport {self.settings.transport}"
                f" needs all of the family of {self.settings.local_address}.",
                ExitCode.FATAL_ERROR,
            )
        return family

    # Opening and closing

    def _open_sockets(self, link: Interface) -> list[socket.socket]:
        """Open, set up and bind the sockets; hands back those to be read."""
        raise NotImplementedError

    def _link_is_back(self, link: Interface) -> None:
        """Mend what got lost while the interface was away.  Raises OSError."""

    def start(self, on_ready: Callable[[], None]) -> None:
        """Open the sockets.  Raises NetError, after some seconds of retries where these could help."""
        if self._loss is not None:
            self._log(
                LOG_WARNING,
                f"TEST ONLY: {self._loss.percent:g} % of received frames are thrown away"
                f" (seed {self._loss.seed}) because {loss.VARIABLE} is set.",
            )
        readable = self._open_with_retries()
        self._on_ready = on_ready
        loop = gevent.get_hub().loop
        for each in readable:
            ask_for_joined(each)
            watcher = loop.io(each.fileno(), _READABLE)
            watcher.start(on_ready)
            self._watchers.append(watcher)
        if self._own_frames:
            self._wake_up_for_own_frames()
        self._log(LOG_NOTICE, f"The network interface [{self.settings.local_address}] is now up.")

    def _open_with_retries(self) -> list[socket.socket]:
        attempt = 0
        while True:
            try:
                return self._open()
            except _NotYetError as trouble:
                self._close_sockets()
                attempt += 1
                if attempt > BIND_RETRIES:
                    raise NetError(str(trouble), trouble.exit_code) from None
                pause = BIND_PAUSE * attempt
                # One warning; that each further try failed the same way is nothing new.
                priority = LOG_WARNING if attempt == 1 else LOG_DEBUG
                self._log(priority, f"{trouble} Trying again, {BIND_RETRIES + 1 - attempt} times at most.")
                gevent.sleep(pause)
            except NetError:
                self._close_sockets()
                raise
            except OSError as error:
                self._close_sockets()
                raise NetError(
                    f"Cannot set up the sockets of transport {self.settings.transport} on"
                    f" {self.settings.local_address}: {error.strerror} ({error.errno}).",
                    ExitCode.FAILURE,
                ) from None

    def _open(self) -> list[socket.socket]:
        s = self.settings
        link = find_interface(s.local_address, s.interface_name, s.interface_index)
        if link is None:
            raise _NotYetError(no_such_address(s), ExitCode.FATAL_ERROR)
        if not link.up:
            self._log(LOG_WARNING, f"Interface {link.name} is down; this node stays alone until it is up.")
        self._link = link
        self._find_peers(link)
        return self._open_sockets(link)

    def _find_peers(self, link: Interface) -> None:
        s = self.settings
        self._peers = {
            nodeid: Peer.at(f"node {nodeid}", sockaddr(address, s.port, link.number))
            for nodeid, address in s.members.items()
            if nodeid != s.nodeid
        }
        self._raw_addresses.clear()
        self._raw_addresses.update((nodeid, peer.raw) for nodeid, peer in self._peers.items())

    def reconfigure(self, members: Mapping[int, str], *, block_unlisted_ips: bool) -> None:
        """See Transport."""
        before = self.settings.members
        self.settings = replace(
            self.settings, members=dict(members), block_unlisted_ips=block_unlisted_ips
        )
        for sources in self._sources.values():
            sources.names.clear()  # who was accepted may not be any more
        if self._sealing is not None:
            self._sealing.reconfigure(self.settings)
        if self._link is not None:
            self._find_peers(self._link)
        for nodeid in sorted(set(members) - set(before)):
            self._log(LOG_NOTICE, f"Node {nodeid} at {members[nodeid]} has been added to the nodelist.")
        for nodeid in sorted(set(before) - set(members)):
            self._log(LOG_NOTICE, f"Node {nodeid} at {before[nodeid]} has been removed from the nodelist.")

    def _socket(self) -> socket.socket:
        made = datagram_socket(self._family)
        self._sockets.append(made)
        return made

    def _bind(self, made: socket.socket, address: SockAddr, purpose: str) -> None:
        try:
            made.bind(address)
        except OSError as error:
            text = bind_failed(error, address, purpose)
            if error.errno in MAY_PASS:
                raise _NotYetError(text, ExitCode.FAILURE) from None
            raise NetError(text, ExitCode.FAILURE) from None

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        self._sources.clear()

    def close(self) -> None:
        """Close the sockets; frames not yet received are gone."""
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers.clear()
        if self._own_wakeup is not None:
            self._own_wakeup.stop()
            self._own_wakeup.close()
            self._own_wakeup = None
        self._own_frames.clear()
        self._on_ready = None
        self._close_sockets()

    # Receiving

    def _drain(
        self, receiver: socket.socket, accepts: Callable[[tuple[str, int]], bool] | None = None
    ) -> list[Received]:
        """Read until nothing is left or much was read; `accepts` judges senders, counting what it refuses."""
        source = self._source(receiver, accepts)
        frames, size, trouble = receive(
            source.fd,
            source.buffer,
            source.names,
            source.judge,
            frames_max=RECEIVE_FRAMES_MAX,
            bytes_max=RECEIVE_BYTES_MAX,
        )
        if trouble:
            self._receive_failed(trouble)
        stats = self.stats
        stats.received_frames += len(frames)
        stats.received_bytes += size
        if self._loss is not None:
            frames = self._survivors(frames, self._loss)
        return frames if self._sealing is None else self._sealing.open(frames, self._send_as_is)

    def _source(
        self, receiver: socket.socket, accepts: Callable[[tuple[str, int]], bool] | None
    ) -> Source:
        source = self._sources.get(receiver)
        if source is None:
            names: dict[bytes, str] = {}
            source = Source(receiver.fileno(), self._buffer, names, partial(self._judge, names, accepts))
            self._sources[receiver] = source
        return source

    def plain(self) -> Plain | None:
        """See Transport."""
        return None

    def _judge(
        self,
        names: dict[bytes, str],
        accepts: Callable[[tuple[str, int]], bool] | None,
        packed: bytes,
        size: int,
    ) -> str | None:
        """The name of a sender that is not known yet, or of one whose frame is too long."""
        sender = from_raw(packed)
        if size > RECEIVE_SIZE_MAX:
            self._oversized(sender[0])
            return None
        if accepts is not None and not accepts(sender):
            return None
        if len(names) >= SENDERS_KNOWN_MAX:
            names.clear()
        names[packed] = sender[0]
        return sender[0]

    def _survivors(self, frames: list[Received], test_loss: loss.TestLoss) -> list[Received]:
        kept = [received for received in frames if not test_loss.loses()]
        self.stats.test_dropped += len(frames) - len(kept)
        return kept

    def _oversized(self, sender: str) -> None:
        self.stats.rejected_oversized += 1
        self._reports.report(
            "oversized",
            sender,
            LOG_ERR,
            f"Received too big message from {sender}: more than {RECEIVE_SIZE_MAX} bytes."
            " No node of a cluster sends that; check what else uses this port. Dropping packet.",
        )

    def _receive_failed(self, number: int) -> None:
        self.stats.receive_errors += 1
        self._reports.report(
            "receive",
            str(number),
            LOG_WARNING,
            f"Receiving failed: {os.strerror(number)} ({number}). Check the network of this node.",
        )

    # Sending

    def _for_all(self, frames: Sequence[bytes]) -> list[bytes]:
        """The datagrams of a broadcast."""
        return list(frames) if self._sealing is None else self._sealing.seal(frames)

    def _send(self, frames: list[bytes], peer: Peer) -> None:
        if not self._sockets:
            return  # closed: the ring says its last words after us
        stats, fd, start = self.stats, self._sender.fileno(), 0
        in_runs = len(frames) > 1 and self._refusers.takes_runs(peer.raw, self._clock)
        while start < len(frames):
            end, size, trouble, count = send(fd, frames, start, peer.raw, in_runs)
            if end > start:
                stats.sent_bytes += size
                stats.sent_frames += end - start
                stats.continuous_send_failures = 0
            if not trouble:
                return
            if count > 1 and trouble in REFUSALS:
                self._refusers.refused(peer.raw, self._clock())
                in_runs = False
                start = end
            else:
                self._send_failed(trouble, peer, count)
                start = end + count

    def _send_failed(self, number: int, peer: Peer, count: int) -> None:
        stats = self.stats
        if number in NO_ROOM:
            stats.send_dropped += count
        else:
            stats.send_errors += count
        self._reports.report(
            f"send {number}",
            peer.name,
            LOG_WARNING,
            f"Cannot send to {peer.name} at {show(peer.address)}: {os.strerror(number)} ({number})."
            f" {send_hint(number, self.settings)}",
        )
        stats.continuous_send_failures += count
        if stats.continuous_send_failures > SEND_FAILURES_WARNED:
            self._reports.report("send failures", "", LOG_WARNING, FIREWALL)

    def failed(self, nodeid: int, number: int) -> None:
        """See Transport."""
        self._send_failed(number, self._peers[nodeid], 1)

    def unicast(self, nodeid: int, frames: Sequence[bytes]) -> None:
        """Send to one node; frames to ourselves come back from receive() on the next turn."""
        peer = self._peers.get(nodeid)
        if peer is not None:
            sealing = self._sealing
            self._send(list(frames) if sealing is None else sealing.seal(frames, nodeid), peer)
        elif nodeid == self.settings.nodeid:
            self._queue_own(frames)
        else:
            self._unknown_node(nodeid, len(frames))

    def broadcast(self, frames: Sequence[bytes]) -> None:
        """Send to all other nodes."""
        raise NotImplementedError

    def broadcast_and_pass(self, frames: Sequence[bytes], nodeid: int, token: bytes) -> None:
        """Send `frames` to all other nodes, then the token to one."""
        self.broadcast(frames)
        self.unicast(nodeid, (token,))

    def _send_as_is(self, nodeid: int, datagram: bytes) -> None:
        peer = self._peers.get(nodeid)
        if peer is None:
            self._unknown_node(nodeid, 1)
        else:
            self._send([datagram], peer)

    def _unknown_node(self, nodeid: int, count: int) -> None:
        self.stats.unknown_nodes += count
        self._reports.report(
            "unknown node",
            str(nodeid),
            LOG_WARNING,
            f"Node {nodeid} is in the ring but not in the nodelist of this node, so it cannot be sent"
            " the token: give all nodes the same nodelist.",
        )

    # Frames to ourselves

    def _queue_own(self, frames: Sequence[bytes]) -> None:
        room = OWN_FRAMES_MAX - len(self._own_frames)
        if len(frames) > room:
            self.stats.send_dropped += len(frames) - room
            self._reports.report(
                "own frames",
                "",
                LOG_WARNING,
                f"More than {OWN_FRAMES_MAX} frames to this node itself are waiting; some are dropped.",
            )
        self._own_frames += [(frame, self.settings.local_address) for frame in frames[:room]]
        if self._on_ready is not None:
            self._wake_up_for_own_frames()

    def _wake_up_for_own_frames(self) -> None:
        # A timer, since loop.run_callback() would run the token of a ring of one round and round
        # for milliseconds before sockets are looked at again.
        if self._own_wakeup is None:
            self._own_wakeup = gevent.get_hub().loop.timer(0.0)
        if not self._own_wakeup.active:
            self._own_wakeup.start(self._own_frames_ready)

    def _own_frames_ready(self) -> None:
        if self._on_ready is not None and self._own_frames:
            self._on_ready()

    def _take_own(self) -> list[Received]:
        taken, self._own_frames = self._own_frames, []
        return taken

    # Watching the interface

    def check(self) -> LinkChange:
        """See whether the local address is still there; when it came back, renew what depends on it."""
        s = self.settings
        try:
            link = find_interface(s.local_address, s.interface_name, s.interface_index)
        except OSError as error:
            text = f"Cannot list the network interfaces: {error.strerror} ({error.errno})."
            self._reports.report("interfaces", "", LOG_WARNING, text)
            return LinkChange.NONE
        if link is None or not link.up:
            return self._link_down()
        if link == self._link:
            return LinkChange.NONE
        try:
            self._link_is_back(link)
        except OSError as error:
            text = f"Cannot use interface {link.name} again: {error.strerror} ({error.errno})."
            self._reports.report("rejoin", link.name, LOG_ERR, text)
            return self._link_down()
        self._link = link
        self._log(LOG_NOTICE, f"The network interface [{s.local_address}] is now up.")
        return LinkChange.UP

    def _link_down(self) -> LinkChange:
        if self._link is None or not self._link.up:
            return LinkChange.NONE
        self._link = None
        self._log(LOG_NOTICE, "The network interface is down.")
        return LinkChange.DOWN
