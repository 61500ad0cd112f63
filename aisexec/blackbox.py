"""When the flight recorder is read out: on request, at SIGUSR2, when something fails that should not."""

from __future__ import annotations

import faulthandler
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

import gevent
from gevent.event import AsyncResult

from aisexec.config.model import Logging
from aisexec.icmap import Change, Icmap
from aisexec.log import Logger
from aisexec.ratelimit import RateLimit
from aisexec.recorder import FlightRecorder, rescue
from aisexec.totem.types import LOG_CRIT, LOG_ERR, LOG_NOTICE, LOG_WARNING

DUMP_KEY: Final = "runtime.blackbox.dump_flight_data"
STATE_KEY: Final = "runtime.blackbox.dump_state"
"""As in corosync any change triggers, and the value stays: write another one the next time."""

FAILURE_INTERVAL: Final = 60.0
"""Seconds between two dumps for the same failure, and between two reports of it."""

ASKED_INTERVAL: Final = 1.0
"""Seconds between two dumps that programs ask for, or two of the state, in the long run ..."""

ASKED_AT_ONCE: Final = 5
"""... and how many there may be at once; what is asked for beyond that comes together."""

WRITING_WAIT: Final = 0.01
"""Seconds to wait for a dump: corosync-blackbox(8) of corosync looks for it when the key is set."""

TRACEBACK_LINES_MAX: Final = 60
"""Lines of a traceback in the log; the innermost ones."""


class Blackbox:
    """The recorder of a running executive; a context manager that keeps what led to an unexpected end."""

    def __init__(self, config: Logging, logger: Logger) -> None:
        self._config = config
        self._logger = logger
        self._failures = RateLimit(FAILURE_INTERVAL)
        self._recorder: FlightRecorder | None = None
        self._missing = "logging.blackbox is off"
        self._writing = threading.Lock()
        self._in_thread = False
        self._once_more = False
        self._asked = Paced(self._dump_beside)

    def __enter__(self) -> Blackbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Errors of ours have said what is wrong, and what to do about it.
        if error is not None and not hasattr(error, "exit_code"):
            self.failed(error)
        self.close()

    def open(self, state_dir: str) -> None:
        """Keep what an executive that crashed has left, and begin to record.

        Call it with the lock of the state directory held, after the last fork.
        """
        try:
            found = rescue(state_dir)
        except OSError as error:
            found = f"Cannot keep the flight recording of the executive before this one: {error}"
        if found is not None:
            self._log(LOG_WARNING, found)
        if self._config.blackbox:
            try:
                self._recorder = FlightRecorder(state_dir, self._config.blackbox_size)
            except OSError as error:
                self._missing = f"{error.strerror} ({error.filename or '/dev/shm'})"
                self._log(LOG_WARNING, f"There will be no flight recording: {self._missing}")
        self._logger.record_with(self._recorder)
        if self._recorder is not None:
            faulthandler.enable(self._recorder.crash_descriptor, all_threads=True)
        # What fails in a callback of the loop, which goes on: gevent writes it to stderr, where nobody
        # reads it when we run in the background.
        setattr(gevent.get_hub(), "print_exception", self._loop_failed)  # noqa: B010 - no plain method

    @property
    def records(self) -> int:
        """Records so far."""
        return 0 if self._recorder is None else self._recorder.records

    def watch(self, map_: Icmap, dump_state: Callable[[], object]) -> None:
        """Serve the two keys of corosync-blackbox(8)."""
        paced_state = Paced(dump_state)

        def flight_data(change: Change) -> None:
            self._asked.call()

        def state(change: Change) -> None:
            paced_state.call()

        map_.track(DUMP_KEY, flight_data)
        map_.track(STATE_KEY, state)

    def dump(self) -> None:
        """Write all records to the state directory; the log says where, or why not."""
        if self._recorder is None:
            self._log(LOG_WARNING, f"There is no flight recording: {self._missing}")
            return
        self._tell(self._write(self._recorder))

    def _write(self, recorder: FlightRecorder) -> str | OSError:
        """The path, or what is wrong; also called in a thread."""
        try:
            with self._writing:
                return recorder.dump()
        except OSError as error:
            return error

    def _tell(self, written: str | OSError) -> None:
        if isinstance(written, OSError):
            self._log(LOG_ERR, f"Can't store blackbox file: {written.strerror} ({written.filename})")
        else:
            self._log(LOG_NOTICE, f"Flight data is in {written}: corosync-blackbox --file {written}")

    def _dump_beside(self) -> None:
        """As dump(), in a thread: a large recording, or a slow disk, does not hold up the token."""
        recorder = self._recorder
        if recorder is None:
            self.dump()
            return
        if self._in_thread:
            self._once_more = True
            return
        self._in_thread = True
        over = threading.Event()

        def write() -> str | OSError:
            try:
                return self._write(recorder)
            finally:
                over.set()

        gevent.get_hub().threadpool.spawn(write).rawlink(self._have_written)
        over.wait(WRITING_WAIT)

    def _have_written(self, result: AsyncResult[str | OSError]) -> None:
        self._in_thread = False
        if result.value is not None:
            self._tell(result.value)
        if self._once_more:
            self._once_more = False
            self._asked.call()

    def failed(self, error: BaseException) -> None:
        """An exception that nobody expects: log all of it, and keep what led to it."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
        silent = self._failures.allow((type(error).__name__, place), time.monotonic())
        if silent is None:
            return
        more = f" (and {silent} times since the last report)" if silent else ""
        self._log(LOG_CRIT, f"Internal error {type(error).__name__} at {place}: {error}{more}")
        lines = "".join(traceback.format_exception(error)).splitlines()
        for line in lines[-TRACEBACK_LINES_MAX:]:
            self._log(LOG_CRIT, line)
        self.dump()

    def close(self) -> None:
        """Nothing is left in shared memory; may be called twice.  Before the lock is released."""
        if self._recorder is not None:
            faulthandler.disable()
            self._logger.record_with(None)
            self._recorder.close()
            self._recorder = None

    def _loop_failed(
        self,
        context: object,
        kind: type[BaseException],
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.failed(error if error is not None else kind())

    def _log(self, priority: int, line: str) -> None:
        self._logger.log("MAIN", priority, line)


class Paced:
    """Calls something when asked to, ASKED_AT_ONCE times and then once per ASKED_INTERVAL."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._free_at = float("-inf")
        """When all that has been asked for until now is paid off."""
        self._timer: Any = None

    def call(self) -> None:
        """Now, or as soon as it may be; once for all that ask until then."""
        if self._timer is not None:
            return
        wait = self._free_at - (ASKED_AT_ONCE - 1) * ASKED_INTERVAL - time.monotonic()
        if wait <= 0:
            self._run()
        else:
            self._timer = gevent.get_hub().loop.timer(wait)
            self._timer.start(self._run)

    def _run(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        self._free_at = max(self._free_at, time.monotonic()) + ASKED_INTERVAL
        self._action()
