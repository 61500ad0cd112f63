"""Simple availability manager: a process is restarted when it dies or falls silent (sam_overview(3)).

The names are those of the C library without their prefix: sam_data_store is `Handle.data_store`.
Failures are exceptions of `libais.errors`, one class per cs_error_t.

    handle = sam.Handle(2.0, sam.RecoveryPolicy.RESTART)
    instance = handle.register()      # forks; the rest is run by the child, again after each failure
    handle.start()
    while True:
        work()
        handle.hc_send()

`register` leaves the calling process as supervisor: it waits, starts its child again by the policy, and
ends with the child's exit status.  Register early, before there are threads, connections and greenlets:
what a fork cannot copy is lost to the child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import Enum, IntFlag, auto
from typing import ClassVar, Final

from ipc.waiting import original
from libais._sam_executive import Keys, Quorum, State
from libais._sam_pipe import Command, Pipes, pack_number, pair
from libais._sam_supervisor import End, Watch
from libais.errors import BadHandleError, CsException, InvalidParamError, LibraryError
from libais.limits import SAM_DATA_MAX

__all__ = ["Handle", "HealthCallback", "RecoveryPolicy"]

HealthCallback = Callable[[], object]

# As the C library has it: so many signs of life in an interval, the callback with each fourth.
BEATS_PER_INTERVAL: Final = 4


class RecoveryPolicy(IntFlag):
    """What is done about a failure (sam_recovery_policy_t): QUIT or RESTART, and any of the others.

    QUIT: end.  RESTART: run it again, from where `register` returns.
    QUORUM: `start` waits until this node is quorate, and losing quorum is a failure.
    CMAP: keys resources.process.<pid>.* show the state, which the executive's watchdog can watch.
    """

    QUIT = 1
    RESTART = 2
    QUORUM = 8
    QUORUM_QUIT = QUORUM | QUIT
    QUORUM_RESTART = QUORUM | RESTART
    CMAP = 16
    CONFDB = CMAP


class _Status(Enum):
    INITIALIZED = auto()
    REGISTERED = auto()
    STARTED = auto()
    FINALIZED = auto()


class Handle:
    """The supervision of this process.  sam_initialize(3).  There is one in the life of a process.

    interval: seconds without a sign of life that are a failure, once started; 0 for ever, then only the
    end of the process is one.
    policy: see RecoveryPolicy.
    Raises InvalidParamError (policy), BadHandleError (the second one), and with QUORUM LibraryError and
    others when the executive does not answer.
    """

    _made: ClassVar[bool] = False

    def __init__(self, interval: float, policy: RecoveryPolicy = RecoveryPolicy.RESTART) -> None:
        if Handle._made:
            raise BadHandleError("sam_initialize: this process has been initialized before")
        kind = policy & ~(RecoveryPolicy.QUORUM | RecoveryPolicy.CMAP)
        if kind not in (RecoveryPolicy.QUIT, RecoveryPolicy.RESTART):
            raise InvalidParamError(f"sam_initialize: policy {policy!r} is neither QUIT nor RESTART")
        if not 0 <= interval * 1000 < 2**31:
            raise InvalidParamError(f"sam_initialize: interval of {interval} s, 0 to 2147483 are possible")
        self._quorum = Quorum() if policy & RecoveryPolicy.QUORUM else None
        Handle._made = True
        self.interval = interval
        self.policy = policy
        self._restart = kind == RecoveryPolicy.RESTART
        self._status = _Status.INITIALIZED
        self._warn_signal: int = signal.SIGTERM
        self._data = b""
        # Set in the supervised process.
        self._pipes: Pipes | None = None
        self._lock = threading.Lock()
        self._health = _Health(self)

    # --- becoming two --------------------------------------------------------------------------

    def register(self) -> int:
        """Go on as a child of this process, which supervises it from now on.  sam_register(3).

        Returns in the child only: 1 in the first one, one more in each that replaces another.  The calling
        process ends, with `os._exit` and the status of the last child, when that one ends while not
        watched, or has failed and the policy is QUIT.
        Raises BadHandleError when done already, LibraryError (fork, executive), and what setting keys may
        raise; then this process goes on as it was.
        """
        self._check("sam_register", _Status.INITIALIZED)
        keys = self._open_keys()
        instance = 0
        while True:
            instance += 1
            if keys is not None:
                try:
                    keys.set_state(State.STOPPED)
                except CsException:
                    if instance == 1:
                        raise
            # Else both would write what is there.
            sys.stdout.flush()
            sys.stderr.flush()
            if self._supervise(keys):
                return instance

    def _open_keys(self) -> Keys | None:
        if not self.policy & RecoveryPolicy.CMAP:
            return None
        return Keys(os.getpid(), "restart" if self._restart else "quit", self._period)

    @property
    def _period(self) -> int:
        return round(self.interval * 1000)

    def _supervise(self, keys: Keys | None) -> bool:
        """Fork; True in the child, False in the supervisor when there has to be another child."""
        try:
            mine, its = pair()
            pid = _fork()
        except OSError as error:
            raise LibraryError(f"sam_register: {error.strerror}") from None
        if pid == 0:
            its.close()
            self._become_child(mine)
            return True
        mine.close()
        watch = Watch(pid, its, self._period, self._warn_signal, self._data, keys, self._quorum)
        end = watch.run()
        its.close()
        status = original(os, "waitpid")(pid, 0)[1]
        self._warn_signal, self._data = watch.warn_signal, watch.data
        if end == End.FAILED and self._restart:
            return False
        if keys is not None:
            if end == End.STOPPED:
                keys.remove()
            else:
                with contextlib.suppress(CsException):
                    keys.set_state(State.FAILED)
        # Not through the program's own clean-up, which is the child's affair.
        os._exit(status >> 8 & 0xFF)

    def _become_child(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._status = _Status.REGISTERED
        self._lock = threading.Lock()
        # The connection stays the supervisor's.
        self._quorum = None

    # --- in the child --------------------------------------------------------------------------

    def start(self) -> None:
        """From now on death and silence are failures.  sam_start(3).

        With QUORUM it waits until this node is quorate.
        Raises BadHandleError when not registered or started already, and what the supervisor meets at the
        executive: LibraryError and others.
        """
        self._check("sam_start", _Status.REGISTERED)
        self._ask("sam_start", Command.START)
        self._status = _Status.STARTED
        self._health.start()

    def stop(self) -> None:
        """Death and silence are no failures any more.  sam_stop(3).  Raises BadHandleError, LibraryError."""
        self._check("sam_stop", _Status.STARTED)
        self._ask("sam_stop", Command.STOP)
        self._status = _Status.REGISTERED
        self._health.stop()

    def hc_send(self) -> None:
        """A sign of life.  sam_hc_send(3).  Raises BadHandleError when not started, LibraryError."""
        self._check("sam_hc_send", _Status.STARTED)
        with self._lock:
            self._connected("sam_hc_send").tell("sam_hc_send", Command.BEAT)

    def hc_callback_register(self, callback: HealthCallback | None) -> None:
        """Have a thread send the signs of life, and ask `callback` in each interval.

        sam_hc_callback_register(3).  The callback returns None, 0 or False when all is well; anything else,
        or an exception, ends the signs of life.  None instead of a callback: the program sends them again.
        Only between `register` and `start`, or while stopped (BadHandleError); InvalidParamError with an
        interval of 0, and for None when there was no callback.
        """
        self._check("sam_hc_callback_register", _Status.REGISTERED)
        if self._period == 0:
            raise InvalidParamError("sam_hc_callback_register: there is no interval")
        if callback is None and self._health.callback is None:
            raise InvalidParamError("sam_hc_callback_register: there was no callback")
        self._health.callback = callback

    def mark_failed(self) -> None:
        """Have this process killed at once and not started again, whatever the policy.  sam_mark_failed(3).

        Key `state` becomes `failed`, for the executive's watchdog.  Does not wait for it.
        Raises BadHandleError when not registered, InvalidParamError without policy CMAP, LibraryError.
        """
        self._check("sam_mark_failed", _Status.REGISTERED, _Status.STARTED)
        if not self.policy & RecoveryPolicy.CMAP:
            raise InvalidParamError("sam_mark_failed: the policy is without CMAP")
        with self._lock:
            self._connected("sam_mark_failed").tell("sam_mark_failed", Command.MARK_FAILED)

    def warn_signal_set(self, number: int) -> None:
        """The signal that comes one interval before SIGKILL; SIGTERM unless set.  sam_warn_signal_set(3).

        Kept for the processes after this one.  Raises BadHandleError when finalized, InvalidParamError.
        """
        self._check("sam_warn_signal_set", *_NOT_FINALIZED)
        if not 0 <= number < signal.NSIG:
            raise InvalidParamError(f"sam_warn_signal_set: {number} is no signal")
        if self._pipes is not None:
            self._ask("sam_warn_signal_set", Command.WARN_SIGNAL_SET, pack_number(number))
        self._warn_signal = number

    # --- data for the next one -----------------------------------------------------------------

    def data_store(self, data: bytes | None) -> None:
        """Keep bytes for the process that replaces this one; None removes them.  sam_data_store(3).

        Raises BadHandleError when finalized, InvalidParamError above 64 MiB, LibraryError.
        """
        self._check("sam_data_store", *_NOT_FINALIZED)
        kept = data or b""
        if len(kept) > SAM_DATA_MAX:
            raise InvalidParamError(f"sam_data_store: {len(kept)} bytes, at most {SAM_DATA_MAX} are kept")
        if self._pipes is not None:
            self._ask("sam_data_store", Command.DATA_STORE, pack_number(len(kept)) + kept)
        self._data = kept

    def data_restore(self) -> bytes:
        """What was stored last, by this process or one before it; else empty.  sam_data_restore(3)."""
        self._check("sam_data_restore", *_NOT_FINALIZED)
        return self._data

    def data_getsize(self) -> int:
        """The number of bytes stored.  sam_data_getsize(3)."""
        self._check("sam_data_getsize", *_NOT_FINALIZED)
        return len(self._data)

    def finalize(self) -> None:
        """Stop, and no further calls; the end of the process is no failure.  sam_finalize(3)."""
        self._check("sam_finalize", *_NOT_FINALIZED)
        if self._status == _Status.STARTED:
            self.stop()
        self._status = _Status.FINALIZED

    # --- common --------------------------------------------------------------------------------

    def _check(self, what: str, *allowed: _Status) -> None:
        if self._status not in allowed:
            raise BadHandleError(f"{what}: not possible while {self._status.name.lower()}")

    def _connected(self, what: str) -> Pipes:
        if self._pipes is None:
            raise BadHandleError(f"{what}: not registered")
        return self._pipes

    def _ask(self, what: str, command: Command, data: bytes = b"") -> None:
        with self._lock:
            self._connected(what).ask(what, command, data)

    def __repr__(self) -> str:
        return f"<libais.sam.Handle {self.policy!r} {self._status.name.lower()}>"


def _fork() -> int:
    # What gevent puts in the place of os.fork has its hub wait for the child, which is not run any more.
    gevent_os = sys.modules.get("gevent.os")
    fork: Callable[[], int] = os.fork if gevent_os is None else gevent_os.fork_gevent
    return fork()


_NOT_FINALIZED: Final = (_Status.INITIALIZED, _Status.REGISTERED, _Status.STARTED)


class _Health:
    """Signs of life from a thread while the process is watched and has a callback."""

    def __init__(self, handle: Handle) -> None:
        self.callback: HealthCallback | None = None
        self._handle = handle
        self._ended = threading.Event()

    def start(self) -> None:
        if self.callback is None:
            return
        self._ended = threading.Event()
        threading.Thread(
            target=self._run, args=(self.callback, self._ended), name="sam health", daemon=True
        ).start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self, callback: HealthCallback, ended: threading.Event) -> None:
        beats = 0
        while not ended.wait(self._handle.interval / BEATS_PER_INTERVAL):
            try:
                self._handle.hc_send()
            except CsException:
                return
            beats += 1
            if beats % BEATS_PER_INTERVAL == 0 and callback():
                return
