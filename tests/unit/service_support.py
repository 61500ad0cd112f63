"""A service's surroundings for tests: keeps what the service does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aisexec.icmap import Icmap
from aisexec.services.options import ExecutiveOptions, Findings, Reconfiguration
from aisexec.services.timers import Alarm, Alarms
from ipc._event_batch import EventBatch
from ipc.layout import Buffer


class StageContext:
    """aisexec.services.base.Context that records; `room` is how many messages may still be sent."""

    def __init__(self, nodeid: int = 1) -> None:
        self.nodeid = nodeid
        self.map = Icmap()
        self.now = 0.0
        self.room = 1000
        self.sent: list[bytes] = []
        self.answers: list[tuple[int, bytes]] = []
        self.events: list[tuple[int, bytes]] = []
        self.batches: list[EventBatch] = []
        self.closed: list[tuple[int, str]] = []
        self.lines: list[str] = []
        self.shutdowns: list[tuple[str, int, bool]] = []
        self.alarms = Alarms()
        self.options = ExecutiveOptions()
        self.members: tuple[int, ...] = (nodeid,)
        self.companions = frozenset({nodeid})
        self.reached: set[int] = {nodeid}
        self.mtu = 1410
        self.link_up = True
        self.readings: list[Callable[[Findings], None]] = []
        self.reconfigurations: list[Reconfiguration] = []
        self.reopened: list[tuple[int, bytes, bytes]] = []
        self.stored_votes: list[int] = []
        self.token_wanted = False
        self.condemned: list[tuple[int, str]] = []

    def multicast(self, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(b"".join(parts))
        return True

    def reaches(self, nodeid: int) -> bool:
        return nodeid in self.reached

    def read_configuration(self, done: Callable[[Findings], None]) -> None:
        self.readings.append(done)

    def reconfigure(self, reconfiguration: Reconfiguration) -> None:
        self.reconfigurations.append(reconfiguration)

    def reopen_logs(self, client: int, done: bytes, failed: bytes) -> None:
        self.reopened.append((client, done, failed))

    def respond(self, client: int, message: bytes) -> None:
        self.answers.append((client, message))

    def event(self, client: int, *parts: Buffer) -> None:
        self.events.append((client, b"".join(parts)))

    def event_to_all(self, clients: Sequence[int], *parts: Buffer) -> None:
        for client in clients:
            self.event(client, *parts)

    def open_batch(self) -> EventBatch:
        batch = EventBatch()
        self.batches.append(batch)
        return batch

    def close(self, client: int, reason: str) -> None:
        self.closed.append((client, reason))

    def log(self, priority: int, text: str) -> None:
        self.lines.append(text)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        return self.alarms.start(self.now + delay, callback)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.alarms.run(self.now)

    def want_token(self) -> None:
        self.token_wanted = True

    def store_expected_votes(self, votes: int) -> None:
        self.stored_votes.append(votes)

    def expect_end(self, nodeid: int, by: str) -> None:
        self.condemned.append((nodeid, by))

    def shut_down(self, reason: str, exit_code: int, *, leave: bool) -> None:
        self.shutdowns.append((reason, exit_code, leave))

    def open_buffer(self, client: int, path: str, size: int) -> None:
        raise FileNotFoundError(path)

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        raise KeyError(cookie)

    def release_buffer(self, client: int, cookie: int) -> None:
        raise KeyError(cookie)
