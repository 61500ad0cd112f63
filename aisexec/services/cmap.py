"""cmap on the ring: every node tells the others its configuration version (spec totem.md 13.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from aisexec.messages import CMAP_ITEM, CMAP_MCAST, CmapItem, CmapMcast, Name
from aisexec.services.base import AnomalyError, Context, Message, Service
from aisexec.totem.types import LOG_ERR, RingId
from ipc.layout import ShortBufferError

MCAST = 0
REASON_SYNC = 0
TYPE_ABSENT, TYPE_U64 = 0, 8
CONFIG_VERSION = b"totem.config_version"
ITEMS_MAX = 32
EXIT_CONFIG_VERSION = 0
"""An orderly end, as corosync has it: a supervisor must not start the node again and again."""


class Cmap(Service):
    """The part that stock nodes need of us; the map itself is not served to clients yet."""

    id: ClassVar[int] = 0
    name: ClassVar[str] = "corosync configuration map access"
    subsystem: ClassVar[str] = "CMAP"
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context, config_version: int) -> None:
        super().__init__(context)
        self._own = config_version
        self._highest = config_version
        self._first_sync_with_others = True
        self._others_came_along = False
        self.versions: dict[int, int] = {}

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {MCAST: Message(self._mcast, CMAP_MCAST.size)}

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """Start to collect."""
        self._highest = self._own
        self.versions = {n: version for n, version in self.versions.items() if n in members}
        self._others_came_along = bool(trans)

    def sync_process(self) -> bool:
        """Send our version, absent when the configuration has none."""
        value = self._own.to_bytes(8, "little") if self._own else b""
        item = CmapItem(
            Name(len(CONFIG_VERSION), CONFIG_VERSION), TYPE_U64 if value else TYPE_ABSENT, len(value)
        )
        body = CMAP_ITEM.pack(item) + value
        header = self.header(MCAST, CMAP_MCAST.size + len(body))
        head = CMAP_MCAST.pack(CmapMcast(header, REASON_SYNC, 1, 0, 0))
        return self.context.multicast([head + body])

    def sync_activate(self) -> None:
        """A node that joins with an old configuration must not take part."""
        if not self._others_came_along or not self._first_sync_with_others:
            return
        self._first_sync_with_others = False
        if self._own and self._highest != self._own:
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
        self.versions[nodeid] = version
        if nodeid != self.context.nodeid:
            self._highest = max(self._highest, version)
