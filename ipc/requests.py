"""Whose requests are handled when: each client in its turn, a bounded amount and time a turn.

What is handed in and finds no room stays with its client, and whoever got nothing comes first when
there is room again.  So a client that floods waits for itself and not for the others, and what it
has not been rid of stays in its own ring, where it finds no more room (TRY_AGAIN).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ipc._ring import RingError
from ipc.layouts import REQUEST_HEADER
from ipc.limits import (
    READ_BYTES_MAX,
    READ_BYTES_WITHOUT_ROOM,
    REFUSALS_PER_TURN,
    REQUESTS_PER_TURN,
    TURN_TIME,
)
from ipc.server_connection import DISCONNECTED, Connection
from ipc.stats import CutOff, ServerStats


class Taker(Protocol):
    """The part of `ipc.server.Handler` that is needed here."""

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int: ...


class Requests:
    """`watch` is told when a connection's `stopped` has changed: its socket need not be read then.

    `failed` is told what the taker has raised.
    """

    def __init__(
        self,
        taker: Taker,
        watch: Callable[[Connection], None],
        failed: Callable[[Exception], None],
        stats: ServerStats,
    ) -> None:
        self._taker = taker
        self._watch = watch
        self._failed = failed
        self._stats = stats
        self._queue: deque[Connection] = deque()
        self._stopped: dict[int, Connection] = {}
        self._room = True
        self._deadline = 0.0
        self.taken = 0
        """Since start."""
        self.per_turn = REQUESTS_PER_TURN
        self.handled = 0
        """How many were handed in since this was last set to 0."""

    @property
    def stopped(self) -> bool:
        """Some clients wait for room."""
        return bool(self._stopped)

    @property
    def waiting(self) -> bool:
        """Some clients have more, for the next turn."""
        return bool(self._queue)

    def start_turn(self) -> None:
        """The time of the turn runs from here."""
        self._deadline = monotonic() + TURN_TIME

    def ready(self, conn: Connection) -> None:
        """There is something on its socket."""
        if not conn.queued and not conn.stopped:
            conn.queued = True
            self._queue.append(conn)

    def serve(self) -> None:
        """Each client that is ready once, as far as the time goes."""
        queue = self._queue
        for _ in range(len(queue)):
            if not queue:  # the handler has stopped the server
                break
            conn = queue.popleft()
            conn.queued = False
            if conn.doomed is None:
                self._serve(conn)
            if queue and monotonic() >= self._deadline:
                self._stats.turns_cut += 1
                break

    def serve_last(self, conn: Connection) -> None:
        """The client has hung up: what it sent before counts, as much as one turn takes."""
        if not conn.stopped:
            self._serve(conn)

    def resume(self) -> None:
        """There may be room again."""
        waiting = list(self._stopped.values())
        served: dict[int, Connection] = {}
        self._room = True
        refusals = 0
        for conn in waiting:
            if refusals >= REFUSALS_PER_TURN or monotonic() >= self._deadline:
                break
            if conn.doomed is not None:
                continue
            conn.stopped = False
            if self._serve(conn):
                served[conn.id] = conn
            else:
                refusals += 1
            if not conn.stopped:
                self._watch(conn)
        # Who got nothing keeps its place, before those who were not asked; the others come last.
        order = [conn for conn in waiting if conn.id not in served] + list(served.values())
        self._stopped = {conn.id: conn for conn in order if conn.stopped and conn.doomed is None}
        self._room = not self._stopped

    def forget(self, conn: Connection) -> None:
        """It is closed."""
        if self._stopped.pop(conn.id, None) is not None:
            self._room = not self._stopped
        if conn.queued:
            self._queue.remove(conn)

    # ------------------------------------------------------------- one client

    def _serve(self, conn: Connection) -> int:
        """Hand in what the client has, no more than one turn's share; how many were taken."""
        messages, conn.held = conn.held, []
        if not messages:
            messages = self._read(conn)
        try:
            taken = self._hand_in(conn, messages) if messages else 0
        except Exception as error:
            # It would wait for an answer for ever, and what came behind is lost.  The others go on: raised
            # through here it would end the watching of all clients.
            conn.close("internal error while its request was handled", CutOff.FAULT)
            self._failed(error)
            self.handled += 1  # the turn is over for what was handed in before
            return 0
        self.handled += taken
        self.taken += taken
        if conn.doomed is not None:
            return taken
        if taken < len(messages):
            conn.held = messages[taken:]
            if taken and monotonic() >= self._deadline:
                self.ready(conn)
                return taken
        self._stop_or_go_on(conn, taken)
        return taken

    def _hand_in(self, conn: Connection, messages: list[bytes]) -> int:
        if min(map(len, messages)) >= REQUEST_HEADER.size:
            return self._taker.requests(conn, messages, self._deadline)
        short = next(n for n, message in enumerate(messages) if len(message) < REQUEST_HEADER.size)
        taken = self._taker.requests(conn, messages[:short], self._deadline) if short else 0
        if taken == short:
            conn.close(f"request of {len(messages[short])} bytes")
        return taken

    def _stop_or_go_on(self, conn: Connection, taken: int) -> None:
        if conn.held or (conn.unread and not taken):
            self._room = False
            self._stats.put_off += 1
            conn.stats.overload += 1
            conn.stopped = True
            self._stopped[conn.id] = conn
            self._watch(conn)
        elif conn.unread:
            self.ready(conn)

    def _read(self, conn: Connection) -> list[bytes]:
        """As many requests as there are bytes: a chunk is always written before its byte."""
        try:
            if not conn.unread:
                conn.unread = len(conn.sock.recv(self.per_turn))
                if conn.unread == 0:
                    conn.close(DISCONNECTED)
                    return []
            messages = self._take(conn)
        except BlockingIOError:
            return []
        except RingError as error:
            conn.unread = 0
            conn.close(f"{error.strerror} in its request ring", CutOff.RINGS)
            return []
        except OSError as error:
            conn.close(f"{DISCONNECTED} ({error.strerror})")
            return []
        conn.stats.requests += len(messages)
        if conn.waiting():
            conn.retry()
        return messages

    def _take(self, conn: Connection) -> list[bytes]:
        ring = conn.rings.request
        if not self._room:
            # Questions are short, and answered at any time; what is long would only wait in memory.
            messages = ring.read_many(conn.unread, READ_BYTES_WITHOUT_ROOM)
        elif not (messages := ring.read_many(conn.unread, READ_BYTES_MAX)):
            messages = ring.read_many(1)
        conn.unread -= len(messages)
        if conn.unread and ring.pending() == 0:
            conn.unread = 0
            conn.stats.recv_retries += 1
        return messages
