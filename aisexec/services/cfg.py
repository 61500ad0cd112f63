"""cfg: links, reload, killing and shutting down nodes (spec ipc.md 5.2, totem.md 13.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import ClassVar

from aisexec.limits import CFG_OUTBOX_MAX, LOG_INTERVAL
from aisexec.messages import (
    CFG_KILL_NODE,
    CFG_RELOAD_CONFIG,
    EXEC_HEADER,
    CfgKillNode,
    Name,
)
from aisexec.ratelimit import RateLimit
from aisexec.services.base import Client, Context, Message, Request, Service
from aisexec.services.reload import Reload
from aisexec.services.shutdown_vote import ShutdownVote
from aisexec.totem.types import LOG_DEBUG, LOG_NOTICE
from ipc.cfg_layouts import (
    AF_INET,
    AF_INET6,
    CALLS,
    KILL_NODE_REQUEST,
    LOCAL_GET_RESPONSE,
    NODE_REQUEST,
    NODE_STATUS_REQUEST,
    NODE_STATUS_VERSION,
    REPLY_TO_SHUTDOWN_REQUEST,
    TRY_SHUTDOWN_REQUEST,
    CfgRequest,
    CfgResponse,
    Interface,
    LinkStatus,
    LocalGetResponse,
    NodeStatus,
    NodeStatusHead,
    pack_node_addrs,
    pack_node_status,
    pack_node_status_error,
    pack_response,
    pack_ring_status,
)
from ipc.errors import CsError

RING_REENABLE, KILL_NODE, SHUTDOWN, RELOAD_CONFIG, CRYPTO_RECONFIG = range(5)
EXIT_KILLED = 255
"""corosync ends with -1 then."""


class Cfg(Service):
    """The service and its engine."""

    id: ClassVar[int] = 1
    name: ClassVar[str] = "corosync configuration service"
    subsystem: ClassVar[str] = "CFG"
    socket: ClassVar[str | None] = "cfg"

    def __init__(self, context: Context, reload: Reload) -> None:
        super().__init__(context)
        self._reload = reload
        self._vote = ShutdownVote(context, self._announce_shutdown)
        self._orders = RateLimit(LOG_INTERVAL)
        self._outbox: list[bytes] = []

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        handlers: dict[CfgRequest, Callable[[Client, bytes], None]] = {
            CfgRequest.RING_STATUS_GET: self._ring_status_get,
            CfgRequest.RING_REENABLE: self._ring_reenable,
            CfgRequest.KILL_NODE: self._kill_node_asked,
            CfgRequest.TRY_SHUTDOWN: self._try_shutdown,
            CfgRequest.REPLY_TO_SHUTDOWN: self._reply_to_shutdown,
            CfgRequest.GET_NODE_ADDRS: self._get_node_addrs,
            CfgRequest.LOCAL_GET: self._local_get,
            CfgRequest.RELOAD_CONFIG: self._reload_config,
            CfgRequest.REOPEN_LOG_FILES: self._reopen_log_files,
            CfgRequest.NODE_STATUS_GET: self._node_status_get,
            CfgRequest.TRACK_START: self._track_start,
            CfgRequest.TRACK_STOP: self._track_stop,
        }
        return {
            request: Request(handler, CALLS[request].request.size, CALLS[request].flow_control)
            for request, handler in handlers.items()
        }

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        size = EXEC_HEADER.size
        return {
            RING_REENABLE: Message(self._nothing, size),
            KILL_NODE: Message(self._kill_node, CFG_KILL_NODE.size),
            SHUTDOWN: Message(self._shutdown, size),
            RELOAD_CONFIG: Message(self._reload_ordered, CFG_RELOAD_CONFIG.size),
            CRYPTO_RECONFIG: Message(self._nothing, size),
        }

    def disconnected(self, client: Client) -> None:
        """Its silence means yes to a shutdown."""
        self._vote.forget(client.id)

    def _respond(self, client: Client, response: CfgResponse, error: CsError = CsError.OK) -> None:
        self.context.respond(client.id, pack_response(response, error))

    # ------------------------------------------------------------- links and nodes

    def _ring_status_get(self, client: Client, request: bytes) -> None:
        address = self.context.options.addresses.get(self.context.nodeid)
        links = () if address is None else (Interface(f"0 {address}".encode(), b"OK"),)
        self.context.respond(client.id, pack_ring_status(links))

    def _ring_reenable(self, client: Client, request: bytes) -> None:
        self._respond(client, CfgResponse.RING_REENABLE, CsError.NOT_SUPPORTED)

    def _node_status_get(self, client: Client, request: bytes) -> None:
        asked = NODE_STATUS_REQUEST.unpack(request)
        if asked.version != NODE_STATUS_VERSION:
            self.context.respond(client.id, pack_node_status_error(CsError.NOT_SUPPORTED))
            return
        context, nodeid = self.context, asked.nodeid
        reachable = int(context.reaches(nodeid))
        address = context.options.addresses.get(nodeid)
        links: tuple[LinkStatus, ...] = ()
        if address is not None:
            up = int(context.link_up)
            links = (LinkStatus(up, reachable, mtu=context.mtu, src_ipaddr=address.encode()),)
        head = NodeStatusHead(NODE_STATUS_VERSION, nodeid, reachable)
        context.respond(client.id, pack_node_status(NodeStatus(head, links)))

    def _get_node_addrs(self, client: Client, request: bytes) -> None:
        nodeid = NODE_REQUEST.unpack(request).nodeid or self.context.nodeid
        text = self.context.options.addresses.get(nodeid)
        if text is None:
            answer = pack_node_addrs(0, (), CsError.NOT_EXIST)
        else:
            address = ipaddress.ip_address(text)
            answer = pack_node_addrs(AF_INET if address.version == 4 else AF_INET6, (address.packed,))
        self.context.respond(client.id, answer)

    def _local_get(self, client: Client, request: bytes) -> None:
        size = LOCAL_GET_RESPONSE.size
        response = LocalGetResponse(CfgResponse.LOCAL_GET, size, CsError.OK, self.context.nodeid)
        self.context.respond(client.id, LOCAL_GET_RESPONSE.pack(response))

    # ------------------------------------------------------------- killing

    def _kill_node_asked(self, client: Client, request: bytes) -> None:
        asked = KILL_NODE_REQUEST.unpack(request)
        if asked.nodeid not in self.context.members:
            self._respond(client, CfgResponse.KILL_NODE, CsError.NOT_EXIST)
            return
        reason = Name(min(asked.reason.length, len(asked.reason.value)), asked.reason.value)
        order = CfgKillNode(self.header(KILL_NODE, CFG_KILL_NODE.size), asked.nodeid, reason)
        self._send(CFG_KILL_NODE.pack(order))
        self._respond(client, CfgResponse.KILL_NODE)

    def _kill_node(self, nodeid: int, message: bytes) -> None:
        order = CFG_KILL_NODE.unpack(message)
        if order.nodeid == self.context.nodeid:
            reason = order.reason.value[: order.reason.length].split(b"\0")[0].decode("utf-8", "replace")
            self.context.log(LOG_NOTICE, f"Killed by node {nodeid} : {reason}")
            self.context.shut_down(f"killed by node {nodeid}", EXIT_KILLED, leave=False)
        else:
            self.context.expect_end(order.nodeid, f"node {nodeid}")

    # ------------------------------------------------------------- shutting down

    def _track_start(self, client: Client, request: bytes) -> None:
        self._vote.track(client.id)
        self._respond(client, CfgResponse.TRACK_START)

    def _track_stop(self, client: Client, request: bytes) -> None:
        self._vote.gone(client.id)
        self._respond(client, CfgResponse.TRACK_STOP)

    def _try_shutdown(self, client: Client, request: bytes) -> None:
        def answer(error: CsError) -> None:
            self._respond(client, CfgResponse.TRY_SHUTDOWN, error)

        self._vote.request(client.id, TRY_SHUTDOWN_REQUEST.unpack(request).flags, answer)

    def _reply_to_shutdown(self, client: Client, request: bytes) -> None:
        yes = bool(REPLY_TO_SHUTDOWN_REQUEST.unpack(request).response)
        self._respond(client, CfgResponse.REPLY_TO_SHUTDOWN, self._vote.reply(client.id, yes))

    def _announce_shutdown(self) -> None:
        self._send(EXEC_HEADER.pack(self.header(SHUTDOWN, EXEC_HEADER.size)))

    def _shutdown(self, nodeid: int, message: bytes) -> None:
        if self._orders.allow(("shutdown", nodeid), self.context.now) is not None:
            self.context.log(LOG_NOTICE, f"Node {nodeid} was shut down by sysadmin")
        if nodeid == self.context.nodeid:
            self.context.shut_down("shut down by sysadmin", 0, leave=True)

    # ------------------------------------------------------------- configuration and log

    def _reload_config(self, client: Client, request: bytes) -> None:
        self._reload.request(lambda error: self._respond(client, CfgResponse.RELOAD_CONFIG, error))

    def _reload_ordered(self, nodeid: int, message: bytes) -> None:
        self._reload.ordered(nodeid, CFG_RELOAD_CONFIG.unpack(message).source.conn)

    def _reopen_log_files(self, client: Client, request: bytes) -> None:
        self.context.log(LOG_DEBUG, "Reopening logging files")
        done = pack_response(CfgResponse.REOPEN_LOG_FILES, CsError.OK)
        failed = pack_response(CfgResponse.REOPEN_LOG_FILES, CsError.LIBRARY)
        self.context.reopen_logs(client.id, done, failed)

    # ------------------------------------------------------------- sending

    def _send(self, message: bytes) -> None:
        """The request was let in because there is room, but a vote may end at any time."""
        if (self._outbox or not self.context.multicast([message])) and len(self._outbox) < CFG_OUTBOX_MAX:
            self._outbox.append(message)

    @property
    def wants_token(self) -> bool:
        """Messages wait for room."""
        return bool(self._outbox)

    def token_passed(self) -> None:
        """There may be room."""
        while self._outbox and self.context.multicast(self._outbox[:1]):
            self._outbox.pop(0)

    def _nothing(self, nodeid: int, message: bytes) -> None:
        """knet and old versions only."""
