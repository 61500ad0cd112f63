"""cmap: the configuration map and the statistics for programs, and the configuration's version for all.

Every node tells the others its totem.config_version, when rings meet and when it changes (spec
totem.md 13.1); what programs ask for is in cmap_requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from aisexec.icmap import Change, ValueType, u64
from aisexec.messages import CMAP_ITEM, CMAP_MCAST, CmapItem, CmapMcast, Name
from aisexec.services.base import AnomalyError, Client, Context, Message, Request, Service
from aisexec.services.cmap_requests import CmapRequests
from aisexec.services.stats_map import StatsMap
from aisexec.services.timers import Alarm
from aisexec.totem.types import LOG_ERR, RingId
from ipc.cmap_layouts import SERVICE_NAME
from ipc.layout import ShortBufferError

MCAST = 0
REASON_SYNC, REASON_NEW_CONFIG_VERSION = range(2)
TYPE_ABSENT, TYPE_U64 = 0, 8
CONFIG_VERSION = b"totem.config_version"
ITEMS_MAX = 32
RETRY = 0.1
"""Seconds after which there may be room in the send queue."""
EXIT_CONFIG_VERSION = 0
"""An orderly end, as corosync has it: a supervisor must not start the node again and again."""


class Cmap(Service):
    """The engine of one node."""

    id: ClassVar[int] = 0
    name: ClassVar[str] = "corosync configuration map access"
    subsystem: ClassVar[str] = "CMAP"
    socket: ClassVar[str | None] = SERVICE_NAME
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.stats = StatsMap(lambda: context.now, context.call_later)
        self._programs = CmapRequests(context, context.map, self.stats)
        self._highest = 0
        """What the others have told since the rings met."""
        self._first_sync_with_others = True
        self._others_came_along = False
        self._retry: Alarm | None = None
        context.map.track(CONFIG_VERSION.decode(), self._version_changed)

    def requests(self) -> Mapping[int, Request]:
        """All calls of libcmap."""
        return self._programs.handlers()

    def connected(self, client: Client) -> None:
        """A program has come."""
        self._programs.connected(client)

    def disconnected(self, client: Client) -> None:
        """It has gone."""
        self._programs.disconnected(client)

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {MCAST: Message(self._mcast, CMAP_MCAST.size)}

    # ------------------------------------------------------------- the configuration's version

    @property
    def _own(self) -> int:
        value = self.context.map.get(CONFIG_VERSION.decode())
        return value.number if value is not None and value.type is ValueType.U64 else 0

    def _version_changed(self, change: Change) -> None:
        self._tell_version()

    def _tell_version(self) -> None:
        """As soon as there is room; however often it changes until then, the last one is told."""
        if self._retry is not None and self._retry.pending:
            return
        if not self._send(REASON_NEW_CONFIG_VERSION):
            self._retry = self.context.call_later(RETRY, self._tell_version)

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """Start to collect."""
        self._highest = 0
        self._others_came_along = bool(trans)

    def sync_process(self) -> bool:
        """Send our version."""
        return self._send(REASON_SYNC)

    def _send(self, reason: int) -> bool:
        """It is absent when the configuration has none."""
        value = self._own.to_bytes(8, "little") if self._own else b""
        item = CmapItem(
            Name(len(CONFIG_VERSION), CONFIG_VERSION), TYPE_U64 if value else TYPE_ABSENT, len(value)
        )
        body = CMAP_ITEM.pack(item) + value
        header = self.header(MCAST, CMAP_MCAST.size + len(body))
        head = CMAP_MCAST.pack(CmapMcast(header, reason, 1, 0, 0))
        return self.context.multicast([head + body])

    def sync_activate(self) -> None:
        """A node that joins with an old configuration must not take part.

        Only others are heard: our own version may have changed since `sync_init()`.
        """
        if not self._others_came_along or not self._first_sync_with_others:
            return
        self._first_sync_with_others = False
        if self._own and self._highest > self._own:
            self.context.log(
                LOG_ERR,
                f"Received config version ({self._highest}) is different than my config version"
                f" ({self._own})! Exiting. Copy the cluster's corosync.conf to this node and start again.",
            )
            self.context.shut_down(
                "configuration version differs from the cluster's", EXIT_CONFIG_VERSION, leave=True
            )

    def _mcast(self, nodeid: int, message: bytes) -> None:
        count = min(CMAP_MCAST.unpack(message).no_items, ITEMS_MAX)
        offset = CMAP_MCAST.size
        for _ in range(count):
            try:
                item = CMAP_ITEM.unpack(message, offset)
            except ShortBufferError:
                return
            if item.value_len > len(message):
                raise AnomalyError(f"value of {item.value_len} bytes announced in {len(message)}")
            value = message[offset + CMAP_ITEM.size :][: item.value_len]
            if item.key_name.value[: item.key_name.length] == CONFIG_VERSION:
                self._learn(nodeid, item.value_type, value)
            offset += CMAP_ITEM.size + -(-item.value_len // 8) * 8

    def _learn(self, nodeid: int, value_type: int, value: bytes) -> None:
        version = int.from_bytes(value, "little") if value_type == TYPE_U64 and len(value) == 8 else 0
        self.context.map.set(f"runtime.members.{nodeid}.config_version", u64(version))
        if nodeid != self.context.nodeid:
            self._highest = max(self._highest, version)
