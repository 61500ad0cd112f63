"""A node's transport in a test: real sockets, frames collected as they arrive."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import gevent
from gevent.event import Event

from aisexec.net.base import NetworkSettings, Received
from aisexec.net.transports import create_transport
from aisexec.totem.types import LOG_WARNING

PATIENCE = 10.0
"""Seconds after which something that should happen is said not to."""

# Each test run and each cluster in it has ports of its own.
_ports = itertools.count(20000 + os.getpid() % 2000 * 20, 4)


def free_port() -> int:
    """A port that, like the one below it, nobody on this machine uses."""
    for port in _ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM
        ) as two:
            try:
                one.bind(("0.0.0.0", port))
                two.bind(("0.0.0.0", port - 1))
            except OSError:
                continue
            return port
    raise AssertionError


class Node:
    """One transport; `log` and `received` grow as things happen."""

    def __init__(self, settings: NetworkSettings, clock: Callable[[], float] | None = None) -> None:
        self.settings = settings
        self.log: list[tuple[int, str]] = []
        self.received: list[Received] = []
        self.turns = 0
        """Turns of the loop in which something was received."""
        self._changed = Event()
        arguments = () if clock is None else (clock,)
        self.transport = create_transport(settings, lambda *line: self.log.append(line), *arguments)

    def start(self) -> Node:
        self.transport.start(self._ready)
        return self

    def _ready(self) -> None:
        batch = self.transport.receive()
        self.turns += bool(batch)
        self.received += batch
        self._changed.set()

    @property
    def frames(self) -> list[bytes]:
        return [frame for frame, _ in self.received]

    @property
    def warnings(self) -> list[str]:
        return [text for priority, text in self.log if priority <= LOG_WARNING]

    @property
    def retries(self) -> list[str]:
        return [text for _, text in self.log if "Trying again" in text]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Let the hub run until the condition holds."""
        with gevent.Timeout(PATIENCE, AssertionError(f"waited in vain; received {self.received!r:.500}")):
            while not condition():
                self._changed.wait(0.05)
                self._changed.clear()

    def wait_frames(self, count: int) -> list[bytes]:
        self.wait(lambda: len(self.received) >= count)
        return self.frames


class Cluster:
    """Nodes 1..n on 127.0.0.(10+nodeid) with one port."""

    def __init__(self, base: NetworkSettings, size: int) -> None:
        members = {nodeid: f"127.0.0.{10 + nodeid}" for nodeid in range(1, size + 1)}
        self.nodes = {
            nodeid: Node(replace(base, nodeid=nodeid, local_address=address, members=members))
            for nodeid, address in members.items()
        }

    def start(self) -> Cluster:
        for node in self.nodes.values():
            node.start()
        return self

    def close(self) -> None:
        for node in self.nodes.values():
            node.transport.close()

    def __getitem__(self, nodeid: int) -> Node:
        return self.nodes[nodeid]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())


def frame(kind: int, payload: bytes = b"", nodeid: int = 1) -> bytes:
    """As much of a Totem frame as a transport looks at."""
    return b"\x70\xc0\x03" + bytes([kind, 0]) + nodeid.to_bytes(4, "little") + bytes(4) + payload
