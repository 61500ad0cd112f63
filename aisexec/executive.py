"""The executive without its input and output: Totem, synchronisation and the services put together.

Fed with frames, requests of clients and time; leaves effects behind in the order in which they have
to be carried out.  The driver runs it on real sockets, the simulator on imagined ones.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from aisexec.effects import (
    FOR_CLIENTS,
    FRAMES,
    CloseClient,
    ExecutiveEffect,
    LoggingKeysChanged,
    ReadConfiguration,
    Reconfigured,
    Respond,
    TotemKeysChanged,
)
from aisexec.icmap import Change, Icmap, TrackEvent, i32, u8
from aisexec.limits import (
    ADMISSION_VISITS,
    LOG_INTERVAL,
    QUEUE_CRITICAL_PERCENT,
    QUEUE_RELAXED_PERCENT,
    SERVICES_COUNT_MAX,
)
from aisexec.messages import EXEC_HEADER, GROUP_SERVICES, GROUP_SYNC, exec_id
from aisexec.ratelimit import RateLimit
from aisexec.service_context import Buffers, ServiceContext
from aisexec.services import runtime_keys
from aisexec.services._intake import Intake
from aisexec.services.base import AnomalyError, Client, Message, Request, Service
from aisexec.services.cfg import Cfg
from aisexec.services.cmap import Cmap
from aisexec.services.configuration_keys import take_over
from aisexec.services.cpg import Cpg
from aisexec.services.cpg_joinlist import MCAST
from aisexec.services.machine import Machine, NoMachine
from aisexec.services.mon import Mon
from aisexec.services.options import ExecutiveOptions as ExecutiveOptions
from aisexec.services.options import Findings, Reconfiguration
from aisexec.services.pload import Pload
from aisexec.services.quorum import Quorum
from aisexec.services.reload import Reload
from aisexec.services.timers import Alarm, Alarms
from aisexec.services.votequorum import VoteQuorum
from aisexec.services.wd import Wd
from aisexec.sync import Sync
from aisexec.totem.settings import Settings
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX, Totem
from aisexec.totem.types import (
    LOG_ERR,
    LOG_NOTICE,
    LOG_WARNING,
    Configuration,
    Effect,
    Log,
)
from ipc._event_batch import EventBatch
from ipc.cpg_layouts import BadMessageError
from ipc.errors import CsError
from ipc.layout import ShortBufferError
from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, ResponseHeader


class Executive:
    """One node, pure."""

    def __init__(
        self,
        settings: Settings,
        nodeid: int,
        ring_seq: int,
        options: ExecutiveOptions,
        buffers: Buffers,
        machine: Machine | None = None,
    ) -> None:
        """machine: None runs nowhere, as in the simulator."""
        self.nodeid = nodeid
        self.machine = machine or NoMachine()
        self.now = 0.0
        self.buffers = buffers
        self.map = Icmap()
        runtime_keys.begin(self.map, options)
        self.options = options
        self.link_up = True
        """The network interface is there."""
        self._readings: dict[int, Callable[[Findings], None]] = {}
        self._reading = 0
        self.visit = settings.max_messages
        """Frames that one visit of the token takes."""
        self._admission = ADMISSION_VISITS * settings.max_messages
        self._intake = Intake(GROUP_SERVICES, self._admission, EXECUTIVE_OVERHEAD)
        self._effects: list[ExecutiveEffect] = []
        self._clients: dict[int, tuple[Client, Service]] = {}
        self._complaints = RateLimit(LOG_INTERVAL)
        self._alarms = Alarms()
        self.totem = Totem(settings, nodeid, ring_seq, self)
        self.next_timer: Callable[[], float | None] = self.totem.next_timer
        """When handle_timer() is wanted."""
        self.services = self._make_services(options)
        self.statistics = cast("Cmap", self.services[Cmap.id]).stats
        """As programs see them; the driver becomes their source."""
        self._multicasts = cast("Cpg", self.services[Cpg.id]).multicasts
        self.totem.pour_into(self._multicasts)
        self._by_socket = {s.socket: s for s in self.services.values() if s.socket is not None}
        self._requests: dict[int, Mapping[int, Request]] = {n: s.requests() for n, s in self.services.items()}
        self._messages: dict[int, Mapping[int, Message]] = {n: s.messages() for n, s in self.services.items()}
        self.sync = Sync(self, list(self.services.values()))
        self.map.track("totem.", self._totem_key_changed, prefix=True)
        self.map.track("logging.", self._logging_key_changed, prefix=True)
        self._traffic = runtime_keys.Traffic()
        taken = {CPG_MCAST_ID: lambda: self._multicasts.taken}
        self._traffic.publish(self.map, self.services.values(), fast=taken)
        self._member_keys = runtime_keys.Members(self.map, lambda: self.options)
        runtime_keys.triggers(self.map, self._force_gather)
        self.ready = False
        """The first synchronisation is through: clients are served."""
        self._critical = False

    def _make_services(self, options: ExecutiveOptions) -> dict[int, Service]:
        quorum = Quorum(ServiceContext(self, Quorum.subsystem), provider=options.votequorum)
        reload = Reload(ServiceContext(self, Reload.subsystem))
        services: list[Service] = [
            Cmap(ServiceContext(self, Cmap.subsystem)),
            Cfg(ServiceContext(self, Cfg.subsystem), reload),
            reload,
            Cpg(ServiceContext(self, Cpg.subsystem)),
            quorum,
            Pload(ServiceContext(self, Pload.subsystem)),
            Mon(ServiceContext(self, Mon.subsystem), self.machine),
            Wd(ServiceContext(self, Wd.subsystem), self.machine),
        ]
        if options.votequorum:
            context = ServiceContext(self, VoteQuorum.subsystem)
            services.append(VoteQuorum(context, quorum, options.quorum))
        return {service.id: service for service in services}

    @property
    def served(self) -> list[str]:
        """Names of the sockets that clients connect to."""
        return list(self._by_socket)

    # ------------------------------------------------------------- doors

    def start(self, now: float) -> None:
        """The network is up."""
        self.now = now
        for service in self.services.values():
            service.start()
        self.totem.start(now)

    def receive(self, frames: Sequence[tuple[bytes, str]], now: float) -> None:
        """Frames from the network and their senders' names, in order."""
        self.now = now
        self.totem.receive(frames, now)

    def without_stale(
        self, frames: Sequence[tuple[bytes, str]], now: float
    ) -> Sequence[tuple[bytes, str]]:
        """Of many frames those worth receiving, before they are received in parts."""
        self.now = now
        return self.totem.without_stale(frames, now)

    def handle_timer(self, now: float) -> None:
        """Run what is due."""
        self.now = now
        self.totem.handle_timer(now)
        if (due := self._alarms.next()) is not None and due <= now:
            self._alarms.run(now)
            self._ask_for_token()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """A service's timer.  As long as there is none, the driver asks the ring alone for its next one."""
        self.next_timer = self._next_timer
        return self._alarms.start(self.now + delay, callback)

    def _next_timer(self) -> float | None:
        due, alarm = self.totem.next_timer(), self._alarms.next()
        if alarm is None:
            self.next_timer = self.totem.next_timer
            return due
        return alarm if due is None else min(due, alarm)

    def interface_up(self, now: float) -> None:
        """The network interface came back: look for the others at once."""
        self.now = now
        self.link_up = True
        self.totem.interface_up(now)

    def interface_down(self) -> None:
        """The network interface has gone."""
        self.link_up = False

    def say_goodbye(self, now: float) -> bool:
        """Before leave(): have services send their last words; are there any?"""
        self.now = now
        spoken = [service.leaving() for service in self.services.values()]
        self._ask_for_token()
        return any(spoken)

    @property
    def has_unsent(self) -> bool:
        """Messages wait for the token."""
        return self.totem.packer.staged or self.totem.frames_waiting() > 0

    def leave(self, now: float) -> None:
        """Say goodbye to the ring."""
        self.now = now
        self.totem.leave(now)

    def take_effects(self) -> list[ExecutiveEffect]:
        """Everything to be carried out, in order."""
        self._multicasts.batch = None
        made = self.totem.take_effects()
        if not self._effects:
            return cast("list[ExecutiveEffect]", made)
        effects, self._effects = self._effects, []
        effects += made
        return effects

    def take_frames(self) -> list[Effect]:
        """What the ring has made since, if it is frames, and nothing else waits but for clients."""
        if any(not isinstance(effect, FOR_CLIENTS) for effect in self._effects):
            return []
        if any(not isinstance(effect, FRAMES) for effect in self.totem.effects):
            return []
        return self.totem.take_effects()

    def emit(self, effect: ExecutiveEffect) -> None:
        """Append an effect behind those that the ring has made so far."""
        self._collect()
        self._multicasts.batch = None  # what comes next is behind this effect
        self._effects.append(effect)

    def open_batch(self) -> EventBatch:
        """Append an empty batch of events."""
        batch = EventBatch()
        if self.totem.core.effects:
            self._collect()
        self._effects.append(batch)
        return batch

    def _collect(self) -> None:
        made = self.totem.take_effects()
        if made:
            self._effects.extend(made)

    # ------------------------------------------------------------- configuration at run time

    def read_configuration(self, done: Callable[[Findings], None]) -> None:
        """For services: see services.base.Context."""
        self._reading += 1
        self._readings[self._reading] = done
        self.emit(ReadConfiguration(self._reading))

    def configuration_read(self, serial: int, findings: Findings, now: float) -> None:
        """What came of effect ReadConfiguration."""
        self.now = now
        self._readings.pop(serial)(findings)
        self._ask_for_token()

    def reconfigure(self, new: Reconfiguration) -> None:
        """For services: see services.base.Context."""
        old, self.options = self.options, replace(new.options, votequorum=self.options.votequorum)
        try:
            self.map.set("config.totemconfig_reload_in_progress", u8(1))
            self.map.set("config.reload_in_progress", u8(1))
            take_over(self.map, new.keys)
            self._take_settings(new.settings)
            for service in self.services.values():
                service.reconfigured(old, self.options)
            self.map.set("config.reload_status", i32(CsError.OK))
        except Exception:
            self.map.set("config.reload_status", i32(CsError.LIBRARY))
            raise
        finally:
            # As long as they are set, changes of keys are passed over, also those that programs make.
            try:
                self.map.set("config.totemconfig_reload_in_progress", u8(0))
            finally:
                self.map.set("config.reload_in_progress", u8(0))
        self.emit(Reconfigured(new.world))

    def change_settings(self, settings: Settings, now: float) -> None:
        """Keys of totem. in the map were changed by a program."""
        self.now = now
        self._take_settings(settings)

    def _take_settings(self, settings: Settings) -> None:
        self.totem.reconfigure(settings, self.now)
        self.visit = settings.max_messages
        self._admission = ADMISSION_VISITS * settings.max_messages
        self._intake = Intake(GROUP_SERVICES, self._admission, EXECUTIVE_OVERHEAD)

    def _force_gather(self) -> None:
        self.emit(Log("MAIN", LOG_ERR, "Forcing into GATHER state"))
        self.totem.force_gather(self.now)

    def _totem_key_changed(self, change: Change) -> None:
        if not self.map.number("config.reload_in_progress"):
            self.emit(TotemKeysChanged())

    def _logging_key_changed(self, change: Change) -> None:
        if not self.map.number("config.reload_in_progress"):
            self.emit(LoggingKeysChanged())

    # ------------------------------------------------------------- clients

    def client_admit(self, service: str, pid: int, uid: int, gid: int) -> int:
        """0, or the errno a client is refused with."""
        if not self.ready:
            return errno.EAGAIN
        if service not in self._by_socket:
            return errno.ENOSYS
        if uid == 0 or gid == 0 or runtime_keys.is_admitted(self.map, uid, gid):
            return 0
        key = f"denied {uid}:{gid}"
        if self._complaints.allow(key, self.now) is not None:
            self.emit(
                Log(
                    "MAIN",
                    LOG_ERR,
                    f"Denied connection attempt from {uid}:{gid} (process {pid}, service {service})."
                    f" To allow it, add `uidgid {{ uid: {uid} }}` to corosync.conf or a file in uidgid.d and"
                    f" reload; until the next start `corosync-cmapctl -s uidgid.uid.{uid} u8 1` does.",
                )
            )
        return errno.EACCES

    def client_opened(self, client_id: int, service: str, pid: int, uid: int, gid: int) -> None:
        """A client was let in."""
        client = Client(client_id, pid, uid, gid)
        engine = self._by_socket[service]
        self._clients[client_id] = (client, engine)
        engine.connected(client)
        self.statistics.connection_changed(client_id, TrackEvent.ADD)

    def client_closed(self, client_id: int, now: float) -> None:
        """A client has gone."""
        self.now = now
        client, engine = self._clients.pop(client_id)
        engine.disconnected(client)
        self.statistics.connection_changed(client_id, TrackEvent.DELETE)
        self._ask_for_token()

    def client_requests(self, client_id: int, messages: list[bytes], first: int, now: float) -> int:
        """A client's requests from `messages[first]` on, in order; how many were taken.

        Ordinary multicasts are taken together, any other request alone.  0: there is no room for the
        next one.
        """
        self.now = now
        known = self._clients.get(client_id)
        if known is None:
            return len(messages) - first
        client, engine = known
        head = engine.multicast_head(client)
        if head and (taken := self.take_multicasts(head, messages, first)):
            return taken
        if not self.has_room_for(engine.socket or "", messages[first]):
            return 0
        self.client_request(client_id, messages[first], now)
        return 1

    def take_multicasts(self, head: bytes, messages: list[bytes], first: int) -> int:
        """The ordinary ones in front, as far as there is room by the rules of `has_room_for`."""
        if self.sync.running:
            return 0
        taken = self._intake.take(self.totem, head, messages, first)
        self._traffic.sent[CPG_MCAST_ID] += taken
        return taken

    def has_room_for(self, service: str, message: bytes) -> bool:
        """May this request be handed in now?  Otherwise it waits in the client's ring, nothing is lost.

        Clients are stopped long before the send queue is full: what they have in their rings is taken
        in turn, but what is in the send queue stands in the way of everybody who comes later.
        One that would never fit has to come in, to be refused.
        """
        request = self._request(self._by_socket[service], message)
        if request is None or not request.flow_control or len(message) >= EXECUTIVE_MESSAGE_MAX:
            return True
        totem = self.totem
        return (
            not self.sync.running
            and totem.frames_waiting() < self._admission
            and totem.room_for(len(message) + EXECUTIVE_OVERHEAD)
        )

    def client_request(self, client_id: int, message: bytes, now: float) -> None:
        """One request, header included."""
        self.now = now
        known = self._clients.get(client_id)
        if known is None:
            return
        client, engine = known
        request = self._request(engine, message)
        if request is None:
            self._refuse(client_id, CsError.INVALID_PARAM)
        elif len(message) >= EXECUTIVE_MESSAGE_MAX:
            if request.answered:
                self._refuse(client_id, CsError.INVALID_PARAM)
            else:
                self._close(client_id, f"request of {len(message)} bytes, limit {EXECUTIVE_MESSAGE_MAX}")
        elif (size := REQUEST_HEADER.unpack(message).size) != len(message):
            self._close(client_id, f"request of {len(message)} bytes whose header says {size}")
        elif len(message) < request.size:
            self._close(client_id, f"request of {len(message)} bytes, {request.size} needed")
        elif request.flow_control and not self.has_room_for(engine.socket or "", message):
            if request.answered:
                self._refuse(client_id, CsError.TRY_AGAIN)
        else:
            request.handler(client, message)

    def _request(self, engine: Service, message: bytes) -> Request | None:
        if len(message) < REQUEST_HEADER.size:
            return None
        return self._requests[engine.id].get(REQUEST_HEADER.unpack(message).id)

    def _close(self, client_id: int, reason: str) -> None:
        self.emit(CloseClient(client_id, reason))

    def _refuse(self, client_id: int, error: CsError) -> None:
        self.emit(Respond(client_id, RESPONSE_HEADER.pack(ResponseHeader(0, RESPONSE_HEADER.size, error))))

    def flow_level(self) -> int:
        """For the clients of all services: 0 go, 2 stop multicasts (spec ipc.md 3.6)."""
        fill = self.totem.queue_fill()
        if fill >= QUEUE_CRITICAL_PERCENT:
            self._critical = True
        elif fill < QUEUE_RELAXED_PERCENT:
            self._critical = False
        return 2 if self._critical or self.sync.running else 0

    def counters(self) -> Iterator[tuple[str, int]]:
        """Statistics of the services, as keys and numbers."""
        for service in self.services.values():
            for name, number in service.counters().items():
                yield f"stats.{service.subsystem.lower()}.{name}", number

    # ------------------------------------------------------------- Totem's upper layer

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        """A message in total order."""
        if group == GROUP_SERVICES:
            self._executive_message(nodeid, message)
        elif group == GROUP_SYNC:
            self.sync.deliver(nodeid, message)

    def configuration(self, change: Configuration) -> None:
        """A configuration change in total order."""
        self._member_keys.changed(change.left, change.joined)
        self.sync.configuration(change)

    def token_passed(self) -> None:
        """The token went by."""
        self.sync.token_passed()
        for service in self.services.values():
            service.token_passed()
        self._ask_for_token()

    def _ask_for_token(self) -> None:
        if any(service.wants_token for service in self.services.values()):
            self.totem.call_when_token_passed()

    def _executive_message(self, nodeid: int, message: bytes) -> None:
        if len(message) < EXEC_HEADER.size:
            self.anomaly(nodeid, f"executive message of {len(message)} bytes")
            return
        ident = EXEC_HEADER.unpack(message).id
        service, function = ident >> 16, ident & 0xFFFF
        if not 0 <= service < SERVICES_COUNT_MAX or service not in self.services:
            return  # a service that this node does not have
        entry = self._messages[service].get(function)
        if entry is None or len(message) < entry.size:
            self.anomaly(nodeid, f"message {function} of service {service} with {len(message)} bytes")
            return
        self._traffic.received[ident] += 1
        try:
            entry.handler(nodeid, message)
        except (AnomalyError, BadMessageError, ShortBufferError) as error:
            self.anomaly(nodeid, f"message {function} of service {service}: {error}")

    def multicast(self, parts: Sequence[bytes], *, safe: bool) -> bool:
        """For services: see services.base.Context."""
        if not self.totem.submit(GROUP_SERVICES, parts, safe=safe):
            return False
        self._traffic.sent[EXEC_HEADER.unpack(parts[0]).id] += 1
        return True

    # ------------------------------------------------------------- surroundings of Sync

    def multicast_sync(self, message: bytes) -> bool:
        """To group "sync"."""
        return self.totem.submit(GROUP_SYNC, [message])

    def call_when_token_passed(self) -> None:
        """token_passed() is wanted."""
        self.totem.call_when_token_passed()

    def synchronisation_done(self) -> None:
        """All services are in step: serve the clients."""
        self.totem.synchronised()
        self.ready = True
        for service in self.services.values():
            service.synchronised()
        self._ask_for_token()
        self.emit(Log("MAIN", LOG_NOTICE, "Completed service synchronization, ready to provide service."))
        self.emit(Log("TOTEM", LOG_NOTICE, self.totem.explain_change()))

    def anomaly(self, nodeid: int, text: str) -> None:
        """A node sent something that cannot be used: logged once per node and interval."""
        if self._complaints.allow(f"node {nodeid}", self.now) is not None:
            self.emit(Log("MAIN", LOG_WARNING, f"Dropped from node {nodeid}: {text}"))


CPG_MCAST_ID = exec_id(Cpg.id, MCAST)

EXECUTIVE_OVERHEAD = 256
"""Bytes that an executive message may be longer than the request it comes from."""

