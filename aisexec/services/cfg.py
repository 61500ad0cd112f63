"""cfg on the ring: operators' orders to nodes (spec totem.md 13.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from aisexec.limits import LOG_INTERVAL
from aisexec.messages import CFG_KILL_NODE, EXEC_HEADER
from aisexec.ratelimit import RateLimit
from aisexec.services.base import Context, Message, Service
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING

RING_REENABLE, KILL_NODE, SHUTDOWN, RELOAD_CONFIG, CRYPTO_RECONFIG = range(5)
EXIT_KILLED = 255
"""corosync ends with -1 then."""


class Cfg(Service):
    """What reaches us from other nodes; the service is not served to clients yet."""

    id: ClassVar[int] = 1
    name: ClassVar[str] = "corosync configuration service"
    subsystem: ClassVar[str] = "CFG"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._orders = RateLimit(LOG_INTERVAL)

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        size = EXEC_HEADER.size
        return {
            RING_REENABLE: Message(self._nothing, size),
            KILL_NODE: Message(self._kill_node, CFG_KILL_NODE.size),
            SHUTDOWN: Message(self._shutdown, size),
            RELOAD_CONFIG: Message(self._reload, size),
            CRYPTO_RECONFIG: Message(self._nothing, size),
        }

    def _kill_node(self, nodeid: int, message: bytes) -> None:
        order = CFG_KILL_NODE.unpack(message)
        if order.nodeid == self.context.nodeid:
            reason = order.reason.value[: order.reason.length].split(b"\0")[0].decode("utf-8", "replace")
            self.context.log(LOG_NOTICE, f"Killed by node {nodeid} : {reason}")
            self.context.shut_down(f"killed by node {nodeid}", EXIT_KILLED, leave=False)

    def _shutdown(self, nodeid: int, message: bytes) -> None:
        if self._orders.allow(("shutdown", nodeid), self.context.now) is not None:
            self.context.log(LOG_NOTICE, f"Node {nodeid} was shut down by sysadmin")
        if nodeid == self.context.nodeid:
            self.context.shut_down("shut down by sysadmin", 0, leave=True)

    def _reload(self, nodeid: int, message: bytes) -> None:
        if self._orders.allow(("reload", nodeid), self.context.now) is None:
            return
        self.context.log(
            LOG_WARNING,
            f"Node {nodeid} asks all nodes to reload their configuration; this version applies a changed"
            " corosync.conf only when it is restarted",
        )

    def _nothing(self, nodeid: int, message: bytes) -> None:
        """knet and old versions only."""
