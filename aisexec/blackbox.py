"""When the flight recorder is read out: on request, at SIGUSR2, when something fails that should not."""

from __future__ import annotations

import faulthandler
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final

import gevent

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
        def flight_data(change: Change) -> None:
            self.dump()

        def state(change: Change) -> None:
            dump_state()

        map_.track(DUMP_KEY, flight_data)
        map_.track(STATE_KEY, state)

    def dump(self) -> None:
        """Write all records to the state directory; the log says where, or why not."""
        if self._recorder is None:
            self._log(LOG_WARNING, f"There is no flight recording: {self._missing}")
            return
        try:
            path = self._recorder.dump()
        except OSError as error:
            self._log(LOG_ERR, f"Can't store blackbox file: {error.strerror} ({error.filename})")
        else:
            self._log(LOG_NOTICE, f"Flight data is in {path}: corosync-blackbox --file {path}")

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
