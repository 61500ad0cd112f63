"""How a client waits: blocking its thread, or letting gevent's hub run meanwhile.

There is no descriptor for responses, only a semaphore, so a greenlet has to look again and again.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from ipc._ring import Ring

# A round trip takes 40 us; so many turns of the hub are tried before sleeping.
EAGER_TURNS: Final = 16
PAUSE_MIN: Final = 0.0002
PAUSE_MAX: Final = 0.005


def original(module: ModuleType, name: str) -> Any:
    """`module.name` as it was before gevent's monkey patching."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module.__name__, name)
    return getattr(module, name)


def poll_now(fd: int, events: int) -> int:
    """The poll(2) flags of `fd` at this moment; never waits, never switches greenlets."""
    poller = original(select, "poll")()
    poller.register(fd, events)
    ready = poller.poll(0)
    return int(ready[0][1]) if ready else 0


class Waiter(Protocol):
    """What differs between a thread and a greenlet.  Times are seconds."""

    def lock(self) -> AbstractContextManager[Any]:
        """A new lock."""

    def recursive_lock(self) -> AbstractContextManager[Any]:
        """A new lock that its holder may take again."""

    def sleep(self, seconds: float) -> None: ...

    def give_way(self) -> None:
        """Called now and then in a long run of work: let others have a turn."""

    def poll(self, fd: int, events: int, timeout: float | None) -> int:
        """poll(2) flags of `fd`; 0 when nothing happened within `timeout` (None: wait for ever)."""

    def response(self, ring: Ring, seconds: float) -> bytes | None:
        """The next chunk of a ring, waiting for it at most about `seconds`."""


class ThreadWaiter:
    """Blocks the calling thread."""

    def lock(self) -> AbstractContextManager[Any]:
        return threading.Lock()

    def recursive_lock(self) -> AbstractContextManager[Any]:
        return threading.RLock()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def give_way(self) -> None:
        pass

    def poll(self, fd: int, events: int, timeout: float | None) -> int:
        poller = original(select, "poll")()
        poller.register(fd, events)
        ready = poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
        return int(ready[0][1]) if ready else 0

    def response(self, ring: Ring, seconds: float) -> bytes | None:
        return ring.read(int(seconds * 1000))


class GeventWaiter:
    """Lets other greenlets run; needs no monkey patching."""

    def lock(self) -> AbstractContextManager[Any]:
        from gevent.lock import BoundedSemaphore

        return BoundedSemaphore(1)

    def recursive_lock(self) -> AbstractContextManager[Any]:
        from gevent.lock import RLock

        return RLock()

    def sleep(self, seconds: float) -> None:
        import gevent

        gevent.sleep(seconds)

    def give_way(self) -> None:
        self.sleep(0)

    def poll(self, fd: int, events: int, timeout: float | None) -> int:
        from gevent.socket import wait_read, wait_write

        flags = poll_now(fd, events)
        if flags or (timeout is not None and timeout <= 0):
            return flags
        wait = wait_write if events & select.POLLOUT else wait_read
        try:
            wait(fd, timeout, _TimedOut())
        except _TimedOut:
            return 0
        return poll_now(fd, events)

    def response(self, ring: Ring, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        pause = PAUSE_MIN
        turns = 0
        while (data := ring.read()) is None:
            if time.monotonic() >= deadline:
                return None
            turns += 1
            if turns <= EAGER_TURNS:
                self.sleep(0)
            else:
                self.sleep(pause)
                pause = min(pause * 1.5, PAUSE_MAX)
        return data


class _TimedOut(Exception):
    pass


def default_waiter() -> Waiter:
    """A GeventWaiter when gevent has patched the socket module, else a ThreadWaiter."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        return GeventWaiter()
    return ThreadWaiter()
