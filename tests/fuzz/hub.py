"""A loop for the IPC server that turns only when it is told to."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable

ROUNDS_MAX = 50


class Watch:
    """A watcher of descriptor or time; without a descriptor it is a timer."""

    def __init__(self, loop: ManualLoop, fd: int | None) -> None:
        self._loop = loop
        self.fd = fd
        self.callback: Callable[[], object] | None = None

    def start(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self._loop.watches.append(self)

    def stop(self) -> None:
        if self in self._loop.watches:
            self._loop.watches.remove(self)

    def close(self) -> None:
        self.stop()


class ManualLoop:
    """ipc.server.Loop, deterministic."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self._soon: deque[Callable[[], object]] = deque()

    def io(self, fd: int, events: int) -> Watch:
        return Watch(self, fd)

    def timer(self, after: float) -> Watch:
        return Watch(self, None)

    def run_callback(self, func: Callable[[], object]) -> object:
        self._soon.append(func)
        return None

    def turn(self) -> None:
        """What is ready, until nothing is or it goes on for long."""
        for _ in range(ROUNDS_MAX):
            if not self._once():
                return

    def _once(self) -> bool:
        soon = list(self._soon)
        self._soon.clear()
        for callback in soon:
            callback()
        poll = select.poll()
        readers = {watch.fd: watch for watch in self.watches if watch.fd is not None}
        for fd in readers:
            poll.register(fd, select.POLLIN)
        ready = poll.poll(0)
        for fd, _ in ready:
            callback_of = readers[fd].callback
            if callback_of is not None and readers[fd] in self.watches:
                callback_of()
        return bool(soon or ready)

    def expire(self) -> None:
        """All timers that run now are due."""
        for watch in [watch for watch in self.watches if watch.fd is None]:
            watch.stop()
            if watch.callback is not None:
                watch.callback()
