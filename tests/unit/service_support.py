"""A service's surroundings for tests: keeps what the service does."""

from __future__ import annotations

from collections.abc import Sequence

from ipc._event_batch import EventBatch
from ipc.layout import Buffer


class StageContext:
    """aisexec.services.base.Context that records; `room` is how many messages may still be sent."""

    def __init__(self, nodeid: int = 1) -> None:
        self.nodeid = nodeid
        self.now = 0.0
        self.room = 1000
        self.sent: list[bytes] = []
        self.answers: list[tuple[int, bytes]] = []
        self.events: list[tuple[int, bytes]] = []
        self.batches: list[EventBatch] = []
        self.closed: list[tuple[int, str]] = []
        self.lines: list[str] = []
        self.shutdowns: list[tuple[str, int, bool]] = []

    def multicast(self, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(b"".join(parts))
        return True

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

    def shut_down(self, reason: str, exit_code: int, *, leave: bool) -> None:
        self.shutdowns.append((reason, exit_code, leave))

    def open_buffer(self, client: int, path: str, size: int) -> None:
        raise FileNotFoundError(path)

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        raise KeyError(cookie)

    def release_buffer(self, client: int, cookie: int) -> None:
        raise KeyError(cookie)
