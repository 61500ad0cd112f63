"""pload: a load test of corosync's own that ends the executive on every node (spec totem.md 13.6).

It starts when pload.start says that its consequences are understood.  corosync takes part whenever another
node wants it; here each node has to consent, so that one message from the network cannot end them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from aisexec.icmap import Change, ValueType
from aisexec.limits import LOG_INTERVAL
from aisexec.messages import EXEC_HEADER, PLOAD_START, PloadStart
from aisexec.ratelimit import RateLimit
from aisexec.services.base import AnomalyError, Context, Message, Service
from aisexec.totem.limits import MESSAGE_SIZE_MAX
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING

START, MCAST = 0, 1
PREFIX: Final = "pload."
CONSENT: Final = "i_totally_understand_pload_will_crash_my_cluster_and_kill_corosync_on_exit"
COUNT: Final = 1_500_000
SIZE: Final = 300

EXIT_PLOAD: Final = 99

PER_VISIT: Final = 256
"""Messages handed to the ring at one visit of the token."""


class Pload(Service):
    """The test, idle unless started."""

    id: ClassVar[int] = 4
    name: ClassVar[str] = "corosync profile loading service"
    subsystem: ClassVar[str] = "PLOAD"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._complaints = RateLimit(LOG_INTERVAL)
        self._wanted = 0
        self._size = 0
        self._sent = 0
        self._delivered = 0
        self._began = 0.0

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {
            START: Message(self._start, PLOAD_START.size),
            MCAST: Message(self._mcast, EXEC_HEADER.size),
        }

    def start(self) -> None:
        """Wait for the key."""
        self.context.map.track(PREFIX, self._changed, prefix=True)

    @property
    def wants_token(self) -> bool:
        """There is more to send."""
        return self._sent < self._wanted

    def token_passed(self) -> None:
        """Send as much as there is room for."""
        if not self.wants_token:
            return
        message = self.header(MCAST, EXEC_HEADER.size + self._size)
        parts = [EXEC_HEADER.pack(message), bytes(max(0, self._size - EXEC_HEADER.size))]
        for _ in range(min(PER_VISIT, self._wanted - self._sent)):
            if not self.context.multicast(parts):
                return
            self._sent += 1

    def _changed(self, change: Change) -> None:
        if self._wanted or not self._consents():
            return
        size = max(0, self.context.map.number(PREFIX + "size", SIZE))
        if size > MESSAGE_SIZE_MAX:
            size = MESSAGE_SIZE_MAX
            self.context.log(LOG_WARNING, f"pload size limited to {size}")
        count = self.context.map.number(PREFIX + "count", COUNT)
        self.context.log(LOG_WARNING, "Starting pload!")
        order = PloadStart(self.header(START, PLOAD_START.size), count & 0xFFFFFFFF, size)
        self.context.multicast([PLOAD_START.pack(order)])

    def _consents(self) -> bool:
        value = self.context.map.get(PREFIX + "start")
        return value is not None and value.type is ValueType.STRING and value.text == CONSENT

    def _start(self, nodeid: int, message: bytes) -> None:
        order = PLOAD_START.unpack(message)
        if order.msg_size > MESSAGE_SIZE_MAX or not order.msg_count:
            raise AnomalyError(f"pload of {order.msg_count} messages of {order.msg_size} bytes")
        if self._wanted:
            return
        if not self._consents():
            if self._complaints.allow(nodeid, self.context.now) is not None:
                self.context.log(
                    LOG_WARNING,
                    f"Node {nodeid} starts pload. This node does not take part: {PREFIX}start does not"
                    " allow it.",
                )
            return
        self._wanted, self._size = order.msg_count, order.msg_size
        self.context.call_later(0, self.token_passed)

    def _mcast(self, nodeid: int, message: bytes) -> None:
        if not self._wanted:
            return
        if not self._delivered:
            self._began = self.context.now
        self._delivered += 1
        if self._delivered != self._wanted:
            return
        seconds = max(self.context.now - self._began, 1e-9)
        rate = self._delivered / seconds
        self.context.log(
            LOG_NOTICE,
            f"{self._delivered:5} Writes {self._size} bytes per write {seconds:7.3f} seconds runtime,"
            f" {rate:9.3f} TP/S, {rate * self._size / 2**20:9.3f} MB/S.",
        )
        self.context.log(LOG_WARNING, "Stopping corosync the hard way")
        self.context.shut_down("pload has ended", EXIT_PLOAD, leave=False)
