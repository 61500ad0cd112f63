"""The executive as one service sees it: see aisexec.services.base.Context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aisexec.effects import (
    CloseClient,
    Event,
    Events,
    ExecutiveEffect,
    ReopenLogs,
    Respond,
    Shutdown,
    StoreExpectedVotes,
)
from aisexec.icmap import Icmap
from aisexec.services.options import ExecutiveOptions, Findings, Reconfiguration
from aisexec.services.timers import Alarm
from aisexec.sync import Sync
from aisexec.totem.stack import Totem
from aisexec.totem.types import Log
from ipc._event_batch import EventBatch
from ipc.layout import Buffer


class Buffers(Protocol):
    """Zero-copy buffers of clients; see services.base.Context."""

    def open_buffer(self, client: int, path: str, size: int) -> None: ...
    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes: ...
    def release_buffer(self, client: int, cookie: int) -> None: ...


class Node(Protocol):
    """What a context uses of its executive."""

    nodeid: int
    now: float
    map: Icmap
    options: ExecutiveOptions
    link_up: bool
    totem: Totem
    sync: Sync
    buffers: Buffers

    def emit(self, effect: ExecutiveEffect) -> None: ...
    def open_batch(self) -> EventBatch: ...
    def multicast(self, parts: Sequence[bytes], *, safe: bool) -> bool: ...
    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm: ...
    def call_when_token_passed(self) -> None: ...
    def read_configuration(self, done: Callable[[Findings], None]) -> None: ...
    def reconfigure(self, reconfiguration: Reconfiguration) -> None: ...


class ServiceContext:
    """The executive as one service sees it."""

    def __init__(self, executive: Node, subsystem: str) -> None:
        self._executive = executive
        self._subsystem = subsystem
        self.nodeid = executive.nodeid
        self.map = executive.map

    @property
    def now(self) -> float:
        return self._executive.now

    @property
    def options(self) -> ExecutiveOptions:
        return self._executive.options

    @property
    def members(self) -> Sequence[int]:
        return self._executive.totem.members

    @property
    def companions(self) -> frozenset[int]:
        return self._executive.sync.companions

    @property
    def mtu(self) -> int:
        return self._executive.totem.mtu

    @property
    def link_up(self) -> bool:
        return self._executive.link_up

    def reaches(self, nodeid: int) -> bool:
        return self._executive.totem.hears(nodeid)

    def read_configuration(self, done: Callable[[Findings], None]) -> None:
        self._executive.read_configuration(done)

    def reconfigure(self, reconfiguration: Reconfiguration) -> None:
        self._executive.reconfigure(reconfiguration)

    def reopen_logs(self, client: int, done: bytes, failed: bytes) -> None:
        self._executive.emit(ReopenLogs(client, done, failed))

    def multicast(self, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        return self._executive.multicast(parts, safe=safe)

    def respond(self, client: int, message: bytes) -> None:
        self._executive.emit(Respond(client, message))

    def event(self, client: int, *parts: Buffer) -> None:
        self._executive.emit(Event(client, parts))

    def event_to_all(self, clients: Sequence[int], *parts: Buffer) -> None:
        if clients:
            self._executive.emit(Events(tuple(clients), parts))

    def open_batch(self) -> EventBatch:
        return self._executive.open_batch()

    def close(self, client: int, reason: str) -> None:
        self._executive.emit(CloseClient(client, reason))

    def log(self, priority: int, text: str) -> None:
        self._executive.emit(Log(self._subsystem, priority, text))

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        return self._executive.call_later(delay, callback)

    def want_token(self) -> None:
        self._executive.call_when_token_passed()

    def store_expected_votes(self, votes: int) -> None:
        self._executive.emit(StoreExpectedVotes(votes))

    def expect_end(self, nodeid: int, by: str) -> None:
        self._executive.totem.expect_end(nodeid, by)

    def shut_down(self, reason: str, exit_code: int, *, leave: bool) -> None:
        self._executive.emit(Shutdown(reason, exit_code, leave))

    def open_buffer(self, client: int, path: str, size: int) -> None:
        self._executive.buffers.open_buffer(client, path, size)

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        return self._executive.buffers.read_buffer(client, cookie, offset, size)

    def release_buffer(self, client: int, cookie: int) -> None:
        self._executive.buffers.release_buffer(client, cookie)
