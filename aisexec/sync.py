"""Bringing the services of merged nodes to one state, one service after the other (spec section 12).

After each regular configuration every member multicasts the list of its services.  All members then
run the union of the lists in order: a member that lacks a service only sends its barrier.  A barrier
says that a member has sent all it has to say for the present service; when all barriers are in, that
service is activated everywhere at the same place in the total order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from aisexec.limits import SERVICES_COUNT_MAX, SYNC_SERVICES_MAX
from aisexec.messages import (
    BARRIER,
    COMPANION,
    EXEC_HEADER,
    SERVICE_BUILD,
    Barrier,
    ExecHeader,
    ServiceBuild,
    SyncMessage,
)
from aisexec.services.base import Service
from aisexec.totem.types import Configuration, RingId


class State(Enum):
    """Where a synchronisation stands."""

    IDLE = "idle"
    BUILDING = "waiting for the members' service lists"
    PROCESSING = "processing a service"


class Surroundings(Protocol):
    """What synchronisation needs of the executive."""

    def multicast_sync(self, message: bytes) -> bool:
        """Send to group "sync"; False when there is no room."""

    def call_when_token_passed(self) -> None:
        """Sync.token_passed() is wanted after the next token."""

    def synchronisation_done(self) -> None:
        """All services are in step."""

    def anomaly(self, nodeid: int, text: str) -> None:
        """A member sent something that cannot be used."""


class Sync:
    """One node's part in it."""

    def __init__(self, surroundings: Surroundings, services: Sequence[Service]) -> None:
        self._out = surroundings
        self._own = {service.id: service for service in sorted(services, key=lambda s: s.id) if service.syncs}
        assert all(0 <= number < SERVICES_COUNT_MAX for number in self._own)
        self.running = True
        self.companions: frozenset[int] = frozenset()
        """Members of the last service lists that are executives of our kind, not corosync."""
        self._state = State.IDLE
        self._ring_id: RingId | None = None
        self._members: tuple[int, ...] = ()
        # By service: who came along from the ring in which it was last brought in step.
        self._trans: dict[int, tuple[int, ...]] = dict.fromkeys(self._own, ())
        self._in_step = set(self._own)
        self._ever_in_step: set[int] = set()
        self._received: set[int] = set()
        self._order: list[int] = []
        self._index = 0
        self._unsent: Callable[[], bool] | None = None

    # Configurations.

    def configuration(self, change: Configuration) -> None:
        """In total order, transitional and regular."""
        if change.transitional:
            self.running = True
            self._abort()
            self._came_along(change.members)
        else:
            self._abort()
            self._begin(change)

    def _came_along(self, members: tuple[int, ...]) -> None:
        """Who was away since a service was last in step has missed something, even if back by now.

        corosync only looks at the last change, and so does not notice when that one's
        synchronisation was cut short.
        """
        for number, before in self._trans.items():
            known = members if number in self._in_step else before
            self._trans[number] = tuple(n for n in members if n in known)

    def _begin(self, change: Configuration) -> None:
        self.running = True
        self._ring_id = change.ring_id
        self._members = change.members
        self._received = set()
        self.companions = frozenset()
        self._order = list(self._own)
        self._state = State.BUILDING
        self._in_step -= self._ever_in_step
        self._send(self._send_service_build)
        for number, service in self._own.items():
            trans = [n for n in self._trans[number] if n in change.members]
            service.sync_init(trans, self._members, change.ring_id)

    def _abort(self) -> None:
        if self._state is State.PROCESSING and self._index < len(self._order):
            service = self._own.get(self._order[self._index])
            if service is not None:
                service.sync_abort()
        self._state = State.IDLE
        self._ring_id = None
        self._unsent = None

    # Messages.

    def deliver(self, nodeid: int, message: bytes) -> None:
        """A message of group "sync", in total order."""
        if len(message) < EXEC_HEADER.size:
            self._out.anomaly(nodeid, f"sync message of {len(message)} bytes")
            return
        kind = EXEC_HEADER.unpack(message).id
        if kind == SyncMessage.SERVICE_BUILD and len(message) >= SERVICE_BUILD.size:
            self._service_build(nodeid, SERVICE_BUILD.unpack(message))
        elif kind == SyncMessage.BARRIER and len(message) >= BARRIER.size:
            self._barrier(nodeid, BARRIER.unpack(message))
        else:
            self._out.anomaly(nodeid, f"sync message {kind} of {len(message)} bytes")

    def _service_build(self, nodeid: int, build: ServiceBuild) -> None:
        if self._state is not State.BUILDING or build.ring_id != self._ring_id:
            return
        if not 0 <= build.service_list_entries <= SYNC_SERVICES_MAX:
            self._out.anomaly(nodeid, f"service list of {build.service_list_entries} entries")
            return
        for number in build.service_list[: build.service_list_entries]:
            if not 0 <= number < SERVICES_COUNT_MAX:
                self._out.anomaly(nodeid, f"service {number} in a service list, limit {SERVICES_COUNT_MAX}")
            elif number not in self._order:
                self._order.append(number)
        if build.service_list[-len(COMPANION) :] == COMPANION:
            self.companions |= {nodeid}
        if self._all_received(nodeid):
            self._order.sort()
            self._start(0)

    def _barrier(self, nodeid: int, barrier: Barrier) -> None:
        if self._state is not State.PROCESSING or barrier.ring_id != self._ring_id:
            return
        if not self._all_received(nodeid):
            return
        service = self._own.get(self._order[self._index])
        if service is not None:
            service.sync_activate()
            self._in_step.add(service.id)
            self._ever_in_step.add(service.id)
        if self._index + 1 < len(self._order):
            self._start(self._index + 1)
            return
        self._state = State.IDLE
        self.running = False
        self._out.synchronisation_done()

    def _all_received(self, nodeid: int) -> bool:
        if nodeid in self._members:
            self._received.add(nodeid)
        return len(self._received) == len(self._members)

    # Steps.

    def _start(self, index: int) -> None:
        self._state = State.PROCESSING
        self._index = index
        self._received = set()
        self._send(self._process)

    def token_passed(self) -> None:
        """A step at a time, so that the token is never held up by a service."""
        step, self._unsent = self._unsent, None
        if step is not None and not step():
            self._send(step)

    def _send(self, step: Callable[[], bool]) -> None:
        """Try `step` after the next token, and again until it succeeds."""
        if step == self._send_service_build and step():
            return
        self._unsent = step
        self._out.call_when_token_passed()

    def _send_service_build(self) -> bool:
        assert self._ring_id is not None
        numbers = tuple(self._own)
        header = ExecHeader(SyncMessage.SERVICE_BUILD, SERVICE_BUILD.size)
        unused = (0,) * (SYNC_SERVICES_MAX - len(numbers) - len(COMPANION))
        build = ServiceBuild(header, self._ring_id, len(numbers), (*numbers, *unused, *COMPANION))
        return self._out.multicast_sync(SERVICE_BUILD.pack(build))

    def _process(self) -> bool:
        assert self._ring_id is not None
        service = self._own.get(self._order[self._index])
        if service is not None and not service.sync_process():
            return False
        self._unsent = None
        if not self._send_barrier():
            self._send(self._send_barrier)
        return True

    def _send_barrier(self) -> bool:
        assert self._ring_id is not None
        header = ExecHeader(SyncMessage.BARRIER, BARRIER.size)
        return self._out.multicast_sync(BARRIER.pack(Barrier(header, self._ring_id)))
