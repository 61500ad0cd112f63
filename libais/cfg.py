"""Cluster configuration: node and link state, reload, logs, orderly shutdown (libcfg, corosync/cfg.h).

The names are those of the C library without their prefix: corosync_cfg_local_get is
`Handle.local_get`.  Failures are exceptions of `libais.errors`, one class per cs_error_t.

An application that may object to a shutdown of this node:

    def asked(handle, request):
        handle.replyto_shutdown(cfg.ShutdownReply.NO if busy else cfg.ShutdownReply.YES)

    with cfg.Handle(shutdown=asked) as handle:
        handle.trackstart()
        handle.dispatch(cfg.Dispatch.BLOCKING)

A handle may be used by several threads or greenlets.  After a fork the child has to open its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ipc.cfg_layouts import (
    AF_INET,
    AF_INET6,
    KILL_NODE_REQUEST,
    LOCAL_GET_RESPONSE,
    NAME_SIZE,
    NODE_REQUEST,
    NODE_STATUS_REQUEST,
    NODE_STATUS_VERSION,
    NODE_STATUS_VERSION_RESPONSE,
    REPLY_TO_SHUTDOWN_REQUEST,
    SERVICE_NAME,
    TEST_SHUTDOWN_EVENT,
    TRACK_START_REQUEST,
    TRY_SHUTDOWN_REQUEST,
    CfgEvent,
    CfgRequest,
    KillNodeRequest,
    Name,
    NodeRequest,
    NodeStatusRequest,
    ReplyToShutdownRequest,
    ShutdownFlag,
    ShutdownReply,
    TrackStartRequest,
    TryShutdownRequest,
    pack_request,
    unpack_node_addrs,
    unpack_node_status,
    unpack_ring_status,
)
from ipc.errors import CsError
from ipc.waiting import Waiter
from libais._handle import ServiceHandle
from libais._types import Dispatch
from libais.errors import InvalidParamError, LibraryError, NameTooLongError, NotSupportedError

__all__ = [
    "Address",
    "Dispatch",
    "Handle",
    "LinkStatus",
    "NodeStatus",
    "RingStatus",
    "Shutdown",
    "ShutdownFlag",
    "ShutdownReply",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NODEID_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Somebody wants this node to leave.

    flags: REGARDLESS when the answer does not matter, else REQUEST.
    timed_out: True tells that the vote is over because too few answered in time; nothing to reply to.
    The executive tells this only to a handle that has asked for a shutdown itself.
    """

    flags: ShutdownFlag
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class RingStatus:
    """State of a link of this node.

    name: "<link id> <address>".  status: "OK" with udp and udpu; with knet one character for each node
    by node id: `n` this one, `d` not configured, `?` unknown, else a digit, 1 enabled + 2 connected.
    """

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link to a node.  mtu in bytes; addresses as text, empty where unknown."""

    link: int
    enabled: bool
    connected: bool
    dynconnected: bool
    mtu: int
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as the transport sees it; `links` are eight, most of them not enabled."""

    nodeid: int
    reachable: bool
    remote: bool
    external: bool
    onwire_min: int
    onwire_max: int
    onwire_version: int
    links: tuple[LinkStatus, ...]


ShutdownCallback = Callable[["Handle", Shutdown], object]


class Handle(ServiceHandle[Shutdown]):
    """A connection to the configuration service.  corosync_cfg_initialize.

    shutdown: callback of `dispatch`, called with the handle and a `Shutdown` once `trackstart` was
    called; `events` and `aevents` need none.
    retry_for: seconds for which every call repeats what the executive answers with TRY_AGAIN.
    connect_timeout: seconds to wait for the executive's answer, None for ever.
    waiter: `ipc.waiting.GeventWaiter()` makes it cooperative where gevent did not patch the standard
    library; normally left out.

    Raises LibraryError when no executive runs, TryAgainError when it is not ready yet, AccessError.
    """

    _prefix = "corosync_cfg"

    def __init__(
        self,
        shutdown: ShutdownCallback | None = None,
        *,
        retry_for: float = 0.0,
        connect_timeout: float | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        super().__init__(SERVICE_NAME, retry_for=retry_for, connect_timeout=connect_timeout, waiter=waiter)
        self.shutdown = shutdown

    # --- state ---------------------------------------------------------------------------------

    def local_get(self) -> int:
        """The node id of this node.  corosync_cfg_local_get."""
        what = "corosync_cfg_local_get"
        response = self._request(what, pack_request(CfgRequest.LOCAL_GET))
        return self._unpack(what, LOCAL_GET_RESPONSE, response).local_nodeid

    def ring_status_get(self) -> tuple[RingStatus, ...]:
        """State of the links of this node.  corosync_cfg_ring_status_get."""
        what = "corosync_cfg_ring_status_get"
        response = self._request(what, pack_request(CfgRequest.RING_STATUS_GET))
        try:
            interfaces = unpack_ring_status(response)
        except ValueError as error:
            raise LibraryError(f"{what}: {error}") from None
        return tuple(RingStatus(_text(each.name), _text(each.status)) for each in interfaces)

    def node_status_get(self, nodeid: int) -> NodeStatus:
        """State of a node, by the transport.  corosync_cfg_node_status_get, version 1.

        Raises InvalidParamError for a node id that cannot be; with knet FailedOperationError for a node
        that is not configured (udp and udpu answer with nothing reachable).
        """
        what = f"corosync_cfg_node_status_get of node {nodeid}"
        request = NodeStatusRequest(
            CfgRequest.NODE_STATUS_GET, NODE_STATUS_REQUEST.size, _node(what, nodeid), NODE_STATUS_VERSION
        )
        response = self._request(what, NODE_STATUS_REQUEST.pack(request))
        version = self._unpack(what, NODE_STATUS_VERSION_RESPONSE, response).version
        if version != NODE_STATUS_VERSION:
            raise NotSupportedError(f"{what}: version {version} came, {NODE_STATUS_VERSION} was asked for")
        try:
            head, links = unpack_node_status(response)
        except ValueError as error:
            raise LibraryError(f"{what}: {error}") from None
        return NodeStatus(
            nodeid=head.nodeid,
            reachable=bool(head.reachable),
            remote=bool(head.remote),
            external=bool(head.external),
            onwire_min=head.onwire_min,
            onwire_max=head.onwire_max,
            onwire_version=head.onwire_ver,
            links=tuple(
                LinkStatus(
                    link=number,
                    enabled=bool(link.enabled),
                    connected=bool(link.connected),
                    dynconnected=bool(link.dynconnected),
                    mtu=link.mtu,
                    source=_text(link.src_ipaddr),
                    destination=_text(link.dst_ipaddr),
                )
                for number, link in enumerate(links)
            ),
        )

    def get_node_addrs(self, nodeid: int = 0) -> tuple[Address, ...]:
        """The addresses of a node that is or was in the ring, one a link; 0 is this node.

        corosync_cfg_get_node_addrs.  A link without an address is left out.
        Raises NotExistError for an unknown node.
        """
        what = f"corosync_cfg_get_node_addrs of node {nodeid}"
        request = NodeRequest(CfgRequest.GET_NODE_ADDRS, NODE_REQUEST.size, _node(what, nodeid))
        response = self._request(what, NODE_REQUEST.pack(request))
        try:
            family, addresses = unpack_node_addrs(response)
        except ValueError as error:
            raise LibraryError(f"{what}: {error}") from None
        if family == AF_INET:
            return tuple(ipaddress.IPv4Address(raw[:4]) for raw in addresses if any(raw[:4]))
        if family == AF_INET6:
            return tuple(ipaddress.IPv6Address(raw) for raw in addresses if any(raw))
        return ()

    # --- what is done --------------------------------------------------------------------------

    def reload_config(self) -> None:
        """Have every node read its corosync.conf again; done when this node has.  corosync_cfg_reload_config.

        Raises InvalidParamError and others when the file is wrong: nothing was changed, the log says why.
        """
        self._request("corosync_cfg_reload_config", pack_request(CfgRequest.RELOAD_CONFIG))

    def reopen_log_files(self) -> None:
        """Have this node close and open its log files, for logrotate(8).  corosync_cfg_reopen_log_files."""
        self._request("corosync_cfg_reopen_log_files", pack_request(CfgRequest.REOPEN_LOG_FILES))

    def kill_node(self, nodeid: int, reason: str | bytes) -> None:
        """End the executive of a node of the ring, which logs the reason.  corosync_cfg_kill_node.

        Raises NotExistError when it is not in the ring, NameTooLongError for a reason above 255 bytes.
        """
        what = f"corosync_cfg_kill_node {nodeid}"
        text = reason if isinstance(reason, bytes) else reason.encode("utf-8", "surrogateescape")
        if len(text) >= NAME_SIZE:
            raise NameTooLongError(
                f"{what}: reason of {len(text)} bytes, at most {NAME_SIZE - 1} are possible"
            )
        request = KillNodeRequest(
            CfgRequest.KILL_NODE, KILL_NODE_REQUEST.size, _node(what, nodeid), Name(len(text) + 1, text)
        )
        self._request(what, KILL_NODE_REQUEST.pack(request))

    def ring_reenable(self) -> None:
        """Obsolete: raises NotSupportedError, as the executive answers since version 3."""
        self._request("corosync_cfg_ring_reenable", pack_request(CfgRequest.RING_REENABLE))

    # --- shutdown ------------------------------------------------------------------------------

    def try_shutdown(self, flags: ShutdownFlag = ShutdownFlag.REQUEST) -> None:
        """End the executive of this node, leaving the ring in order.  corosync_cfg_try_shutdown.

        flags: REQUEST asks all tracking applications, and one NO prevents it; REGARDLESS asks them but
        goes on whatever they say; IMMEDIATE asks nobody.
        Returns when it is decided, after cfg.shutdown_timeout at the latest.
        Raises BusyError when an application objected or did not answer in time, ExistError when another
        shutdown is being decided.
        """
        request = TryShutdownRequest(CfgRequest.TRY_SHUTDOWN, TRY_SHUTDOWN_REQUEST.size, flags)
        self._request("corosync_cfg_try_shutdown", TRY_SHUTDOWN_REQUEST.pack(request))

    def replyto_shutdown(self, response: ShutdownReply) -> None:
        """Answer a `Shutdown`.  corosync_cfg_replyto_shutdown.

        Unlike C, which drops the executive's answer, it raises AccessError when nothing is being decided.
        """
        request = ReplyToShutdownRequest(
            CfgRequest.REPLY_TO_SHUTDOWN, REPLY_TO_SHUTDOWN_REQUEST.size, response
        )
        self._request("corosync_cfg_replyto_shutdown", REPLY_TO_SHUTDOWN_REQUEST.pack(request))

    def trackstart(self, flags: int = 0) -> None:
        """Be asked before this node is shut down; silence prevents a REQUEST.  corosync_cfg_trackstart.

        flags: 0 to 255, without a meaning so far.  Twice is the same as once; who starts while a question
        is open is asked too.
        """
        if not 0 <= flags <= 255:
            raise InvalidParamError(f"corosync_cfg_trackstart: flags {flags} are no byte")
        request = TrackStartRequest(CfgRequest.TRACK_START, TRACK_START_REQUEST.size, flags)
        self._request("corosync_cfg_trackstart", TRACK_START_REQUEST.pack(request))

    def trackstop(self) -> None:
        """No longer be asked; an open question counts as answered with YES.  corosync_cfg_trackstop."""
        self._request("corosync_cfg_trackstop", pack_request(CfgRequest.TRACK_STOP))

    def _decode(self, message: bytes) -> Shutdown | None:
        event = TEST_SHUTDOWN_EVENT.unpack(message)
        if event.id != CfgEvent.TEST_SHUTDOWN:
            raise ValueError(f"unknown event {event.id}")
        return Shutdown(ShutdownFlag(event.flags), timed_out=event.error == CsError.TIMEOUT)

    def _call_back(self, event: Shutdown) -> None:
        if self.shutdown is not None:
            self.shutdown(self, event)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _node(what: str, nodeid: int) -> int:
    if not 0 <= nodeid <= NODEID_MAX:
        raise InvalidParamError(f"{what}: a node id has 32 bits")
    return nodeid
