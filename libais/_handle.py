"""What the handles of all services have in common: calls with errors as exceptions, and events."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

from ipc.client import LIMIT_NORMAL, Connection, connect
from ipc.errors import CsError
from ipc.layout import Buffer, Layout, ShortBufferError
from ipc.layouts import RESPONSE_HEADER
from ipc.waiting import Waiter, default_waiter
from libais._types import Dispatch
from libais.errors import (
    BadHandleError,
    LibraryError,
    MessageError,
    TryAgainError,
    from_code,
    from_os_error,
)
from libais.limits import EVENTS_PER_TURN, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN

E = TypeVar("E")
T = TypeVar("T")


class Retry:
    """Pauses between attempts, doubling, until `seconds` are over."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = RETRY_PAUSE_MIN

    def next_pause(self) -> float | None:
        """Seconds to sleep before the next attempt; None when time is up."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return None
        pause = min(self._pause, left)
        self._pause = min(self._pause * 2, RETRY_PAUSE_MAX)
        return pause


class ServiceHandle(Generic[E]):
    """A connection to one service whose events are of type E.

    retry_for: seconds for which a call that the executive answers with TRY_AGAIN is repeated before
    TryAgainError is raised; 0 raises at once, as the C library returns.
    """

    _prefix: ClassVar[str]
    """What the names of the C library's functions begin with."""

    def __init__(
        self, service: str, *, retry_for: float, connect_timeout: float | None, waiter: Waiter | None
    ) -> None:
        self.retry_for = retry_for
        self._async_waiting = False
        self._connection = self._connect(service, connect_timeout, waiter)
        self._waiter = self._connection.waiter
        # Held during callbacks, so that threads see events in their order; recursive, so that a
        # callback may dispatch.
        self._dispatch_lock = self._waiter.recursive_lock()

    def _connect(self, service: str, timeout: float | None, waiter: Waiter | None) -> Connection:
        retry = Retry(self.retry_for)
        while True:
            try:
                return connect(service, timeout=timeout, waiter=waiter)
            except OSError as error:
                failure = from_os_error(error, f"{service}_initialize")
            pause = retry.next_pause() if isinstance(failure, TryAgainError) else None
            if pause is None:
                raise failure
            (waiter or default_waiter()).sleep(pause)

    # --- for the services ----------------------------------------------------------------------

    def _decode(self, message: bytes) -> E | None:
        """An event message as object; None when it is only a part of one."""
        raise NotImplementedError

    def _call_back(self, event: E) -> None:
        """Hand an event to the program's callback."""
        raise NotImplementedError

    def _request(
        self,
        what: str,
        parts: Sequence[Buffer] | Buffer,
        *,
        limit: int = LIMIT_NORMAL,
        retry_for: float | None = None,
        vague: bool = False,
    ) -> bytes:
        """The response to a request, when its error is OK; else the exception for it.

        vague: the stock executive leaves the error of this response uninitialised, so only TRY_AGAIN,
        with which it refuses to look at a request, is believed.
        """
        seconds = self.retry_for if retry_for is None else retry_for
        retry = Retry(seconds) if seconds > 0 else None
        while True:
            try:
                return self._request_once(what, parts, limit, vague)
            except TryAgainError:
                pause = retry.next_pause() if retry else None
                if pause is None:
                    raise
                self._waiter.sleep(pause)

    def _request_once(
        self, what: str, parts: Sequence[Buffer] | Buffer, limit: int, vague: bool
    ) -> bytes:
        try:
            response = self._connection.call(parts, limit=limit)
        except OSError as error:
            raise from_os_error(error, what) from None
        code = self._unpack(what, RESPONSE_HEADER, response).error
        if code == CsError.TRY_AGAIN or (code != CsError.OK and not vague):
            raise from_code(code, what)
        return response

    def _unpack(self, what: str, layout: Layout[T], response: bytes) -> T:
        try:
            return layout.unpack(response)
        except ShortBufferError as error:
            raise LibraryError(f"{what}: the executive's answer is too short: {error}") from None

    # --- events --------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Descriptor that is readable while events wait: for select and poll, never to be read.

        Raises BadHandleError.
        """
        try:
            return self._connection.fileno()
        except OSError as error:
            raise from_os_error(error, "fd_get") from None

    def fd_get(self) -> int:
        """The same as `fileno`, by its name in C."""
        return self.fileno()

    def dispatch(self, kind: Dispatch = Dispatch.ALL) -> int:
        """Call the callbacks for waiting events; returns how many events were handled.

        kind: ALL handles what is there and returns; ONE waits for one event; BLOCKING goes on until
        the handle is closed; ONE_NONBLOCKING handles one event and raises TryAgainError when there is
        none.  A long message counts once, when it is complete.
        Raises LibraryError when the executive is gone, BadHandleError, MessageError, and whatever a
        callback raises (its event counts as handled).
        """
        self._check_open("dispatch")
        blocking = kind in (Dispatch.ONE, Dispatch.BLOCKING)
        single = kind in (Dispatch.ONE, Dispatch.ONE_NONBLOCKING)
        handled = 0
        try:
            while not self.closed:
                with self._dispatch_lock:
                    event = self._take()
                    if event is not None:
                        self._call_back(event)
                if event is None:
                    if self._wait(None if blocking else 0.0):
                        continue
                    if kind == Dispatch.ONE_NONBLOCKING:
                        raise TryAgainError("dispatch: no event is waiting")
                    return handled
                handled += 1
                if single:
                    return handled
                if handled % EVENTS_PER_TURN == 0:
                    self._pause()
        except BadHandleError:
            if not self._connection.closed_here:
                raise
        finally:
            self._acknowledge()
        return handled

    def events(self, timeout: float | None = None) -> Iterator[E]:
        """The events as they come, instead of callbacks.

        Ends when none came for `timeout` seconds (None: never, 0: takes what is there) or when the
        handle is closed.  Raises LibraryError when the executive is gone.
        """
        self._check_open("events")
        return self._events(timeout)

    def _events(self, timeout: float | None) -> Iterator[E]:
        handled = 0
        try:
            while not self.closed:
                with self._dispatch_lock:
                    event = self._take()
                if event is not None:
                    yield event
                    handled += 1
                    if handled % EVENTS_PER_TURN == 0:
                        self._pause()
                elif not self._wait(timeout):
                    return
        except BadHandleError:
            if not self._connection.closed_here:
                raise
        finally:
            self._acknowledge()

    async def aevents(self, timeout: float | None = None) -> AsyncIterator[E]:
        """`events` for asyncio: `async for event in handle.aevents()`.  One task at a time.

        The loop runs on while nothing is there.
        """
        self._check_open("aevents")
        handled = 0
        try:
            while not self.closed:
                with self._dispatch_lock:
                    event = self._take()
                if event is not None:
                    yield event
                    handled += 1
                    if handled % EVENTS_PER_TURN == 0:
                        self._acknowledge()
                        await asyncio.sleep(0)
                elif not self._wait(0.0) and not await self._readable(timeout):
                    return
        except BadHandleError:
            if not self._connection.closed_here:
                raise
        finally:
            self._acknowledge()

    async def _readable(self, timeout: float | None) -> bool:
        if self._async_waiting:
            raise RuntimeError("another task already waits for the events of this handle")
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._async_waiting = True
        try:
            # Pinned: the loop must not keep watching a number that may belong to another file.
            with self._connection.pinned() as descriptor:
                loop.add_reader(descriptor, _set_ready, ready)
                try:
                    await asyncio.wait_for(ready, timeout)
                finally:
                    loop.remove_reader(descriptor)
        except TimeoutError:
            return False
        except OSError as error:
            raise from_os_error(error, "aevents") from None
        finally:
            self._async_waiting = False
        return True

    def _take(self) -> E | None:
        while True:
            try:
                message = self._connection.take_event()
            except OSError as error:
                raise from_os_error(error, "dispatch") from None
            if message is None:
                return None
            try:
                event = self._decode(message)
            except ValueError as error:
                raise MessageError(f"dispatch: {error}") from None
            if event is not None:
                return event

    def _wait(self, timeout: float | None) -> bool:
        try:
            return self._connection.wait_event(timeout)
        except OSError as error:
            raise from_os_error(error, "dispatch") from None

    def _pause(self) -> None:
        self._acknowledge()
        self._waiter.give_way()

    def _acknowledge(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.acknowledge()

    # --- life ----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True after close() or finalize()."""
        return self._connection.closed

    @property
    def executive_pid(self) -> int:
        """Process id of the executive that this handle is, or was, connected to."""
        return self._connection.server_pid

    def _check_open(self, what: str) -> None:
        try:
            self._connection.check_usable()
        except OSError as error:
            raise from_os_error(error, what) from None

    def close(self) -> None:
        """Disconnect without asking the executive; never fails, twice is harmless.

        Threads waiting in this handle's `dispatch` or `events` come back.
        """
        self._connection.close()

    def finalize(self) -> None:
        """The same as `close`, but BadHandleError when done twice.  As cmap_finalize(3)."""
        self._check_open(f"{self._prefix}_finalize")
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        # At the interpreter's end half of what close() needs is gone, and the kernel closes anyway.
        if connection is not None and not connection.closed and not sys.is_finalizing():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
            connection.close()

    def __repr__(self) -> str:
        connection = self._connection
        state = "closed" if connection.closed else f"executive pid {connection.server_pid}"
        return f"<{type(self).__module__}.{type(self).__name__} {state}>"


class ContextHandle(ServiceHandle[E]):
    """A handle with which the program keeps something of its own, in the attribute `context`."""

    context: object

    def context_get(self) -> object:
        """What `context_set` stored.  As cmap_context_get(3)."""
        self._check_open(f"{self._prefix}_context_get")
        return self.context

    def context_set(self, context: object) -> None:
        """Keep `context` with the handle.  As cmap_context_set(3)."""
        self._check_open(f"{self._prefix}_context_set")
        self.context = context


def _set_ready(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
