"""The loop: feeds the pure executive with bytes and time, and carries its effects out.

One turn drains everything that is ready, runs the executive once over it and carries out the
effects in their order.  No rule of the protocol or of a service lives here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import gevent
import gevent.event

from aisexec._timing import Timing
from aisexec._turn import Turn
from aisexec.batching import pause
from aisexec.counters import flatten
from aisexec.effects import (
    FOR_CLIENTS,
    CloseClient,
    Event,
    Events,
    ExecutiveEffect,
    LoggingKeysChanged,
    ReadConfiguration,
    Reconfigured,
    ReopenLogs,
    Respond,
    Shutdown,
    StoreExpectedVotes,
    TotemKeysChanged,
)
from aisexec.executive import Executive
from aisexec.exit_codes import ExitCode
from aisexec.garbage import Garbage
from aisexec.icmap import Icmap
from aisexec.net.base import LinkChange, Received, Transport
from aisexec.reconfiguring import Configuration, NoConfiguration, Reconfiguring
from aisexec.service_context import Buffers
from aisexec.slow_readers import SlowReaders
from aisexec.statistics import Statistics, derived
from aisexec.totem._reception import holds_token
from aisexec.totem.types import (
    LOG_ERR,
    LOG_NOTICE,
    LOG_WARNING,
    Broadcast,
    Broadcasts,
    InterfaceCheck,
    Log,
    RingId,
    StoreRingId,
    Unicast,
)
from ipc._event_batch import EventBatch
from ipc.ringset import Credentials
from ipc.server import Server
from ipc.server_connection import Connection

LogLine = Callable[[str, int, str], None]
"""subsystem, priority, text"""

FRAMES_AT_ONCE = 64
"""Frames received before effects are carried out."""

TOKEN_PATIENCE = 0.005
"""Seconds without a token after which clients are no longer left waiting for it."""

LAST_WORDS_TIME = 1.0
"""Seconds that the token gets at shutdown to fetch what services have to say before the node leaves."""

DRAIN_TIME = 0.25
"""Seconds that clients get at shutdown to read the events they have been sent."""


class Storage(Protocol):
    """Stable storage of the ring id."""

    def store(self, seq: int) -> str | None:
        """None, or why it could not be written."""


class Watcher(Protocol):
    """A watcher of the gevent loop, as a timer."""

    def start(self, callback: Callable[[], object]) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class Driver:
    """One node's executive, alive."""

    def __init__(
        self,
        make_executive: Callable[[Buffers], Executive],
        transport: Transport,
        storage: Storage,
        log: LogLine,
        *,
        on_membership: Callable[[str], object] = lambda text: None,
        sysv: bool = False,
        garbage: Garbage | None = None,
        configuration: Configuration | None = None,
        reopen_logs: Callable[[], bool] = lambda: True,
        store_expected_votes: Callable[[int], str | None] = lambda votes: None,
    ) -> None:
        """on_membership: told in one line whenever services are in step on a new ring.

        reopen_logs: opens the log files anew; False when one could not be opened.
        store_expected_votes: None, or why they could not be written.
        """
        self._executive = executive = make_executive(self)
        self._transport = transport
        self._storage = storage
        self._log = log
        self._loop = gevent.get_hub().loop
        self._server = Server(
            self._loop,
            executive.served,
            self,
            log=lambda priority, text: log("MAIN", priority, text),
            sysv=sysv,
            failed=self.failed,
        )
        self._statistics = Statistics(self.counters, self._server.connections, executive.totem)
        executive.statistics.source = self._statistics
        self._on_membership = on_membership
        self._reconfiguring = Reconfiguring(executive, configuration or NoConfiguration(), self._carry_out)
        self._reopen_logs = reopen_logs
        self._store_expected_votes = store_expected_votes
        self._garbage = garbage = garbage or Garbage()
        self._timing = Timing(lambda: garbage.seconds)
        self._slow_readers = SlowReaders()
        self._stopwatches: list[Watcher] = []
        self._told_ring: RingId | None = None
        self._timer: Watcher | None = None
        self._timer_at = float("inf")
        self._flow_level = 0
        self._something_happened = True
        """More than messages and tokens has gone through since it was looked at last."""
        self._polling = self._polled = self._poll_later = False
        self._visited_at = 0.0
        self._impatience = self._loop.timer(TOKEN_PATIENCE, TOKEN_PATIENCE)
        self._carrying = False
        self._started = False
        self._leaving = self._stopping = False
        self._now = time.monotonic
        self._light = Turn(self, executive, transport, self._server, self._timing)
        executive.totem.token_leaves = self._light.token_leaves
        self.exit_code = 0
        self.finished = gevent.event.Event()

    @property
    def map(self) -> Icmap:
        """The executive's configuration map."""
        return self._executive.map

    # Life.

    def start(self) -> None:
        """Open network and client sockets and look for the others.

        Raises NetError, or OSError with a text that says which IPC name is taken.
        """
        self._transport.start(self._light.ready)
        if self._stopping:  # told to end while waiting for a port or an address
            self._transport.close()
            return
        self._started = True
        try:
            self._server.start()
        except OSError:
            self._transport.close()
            raise
        self._watch_loop()
        self._executive.start(self._now())
        self._carry_out()

    def _watch_loop(self) -> None:
        # First of all after the sockets were looked at, and last before they are looked at again.
        wakes, sleeps = self._loop.check(ref=False, priority=2), self._loop.prepare(ref=False, priority=-2)
        wakes.start(self._timing.wakes)
        sleeps.start(self._timing.sleeps)
        self._stopwatches += wakes, sleeps

    def shut_down(self, reason: str, exit_code: int = 0, *, leave: bool = True) -> None:
        """Leave the ring, close the clients, end."""
        if self._stopping or self._leaving:
            return
        self.exit_code = exit_code
        self._log("MAIN", LOG_NOTICE, reason)
        if not self._started:
            self._stopping = True
            self.finished.set()
            return
        if leave:
            self._leaving = True
            if self._executive.say_goodbye(self._now()):
                self._carry_out()
                self._wait_for_last_words(self._now() + LAST_WORDS_TIME)
                return
        self._end(leave)

    def _wait_for_last_words(self, deadline: float) -> None:
        """Of the services; a ring that has no token just now does not keep us."""
        if self._executive.has_unsent and self._now() < deadline:
            self._loop.timer(0.01).start(lambda: self._wait_for_last_words(deadline))
            return
        self._end(leave=True)

    def _end(self, leave: bool) -> None:
        self._stopping = True
        if leave:
            self._executive.leave(self._now())
            self._carry_out()
        self._transport.close()
        self._give_clients_time(self._now() + DRAIN_TIME)

    def _give_clients_time(self, deadline: float) -> None:
        if not self._server.idle() and self._now() < deadline:
            self._loop.timer(0.01).start(lambda: self._give_clients_time(deadline))
            return
        self._server.stop()
        self._reconfiguring.stop()
        for watcher in (self._timer, self._impatience, *self._stopwatches):
            if watcher is not None:
                watcher.stop()
        self.finished.set()

    def failed(self, error: Exception) -> None:
        """A mistake of ours in the middle of messages: what is known here may not be what the others know.

        The loop would not call a watcher again whose callback has failed, and a node that is deaf but holds
        its place is worse than one that is gone.
        """
        gevent.get_hub().handle_error(self, type(error), error, error.__traceback__)
        self.shut_down(
            "Internal error, see above: this node ends, and the others go on without it. Please report it.",
            ExitCode.FATAL_ERROR,
            leave=False,
        )

    # What happens.

    def _network_ready(self) -> None:
        """Frames before timers: a token that has arrived is not lost, however late we run.

        After a pause the loop runs expired timers first; that must not hide the pause from the ring.
        """
        if self._stopping:
            return
        self._receive()
        self._rest()

    def _rest(self) -> None:
        """What there is to do when frames have been received."""
        self._turn()
        self._server.resume()
        if self._poll_later:
            self._poll_later = False
            self._server.poll()
        self._watch_clients()

    def _receive(self) -> None:
        """A token among many frames is passed on before the frames behind it are looked at."""
        self._handle(self._transport.receive())

    def _handle(self, received: list[Received]) -> None:
        frames: Sequence[Received] = received
        if received:
            self._timing.loop.frames_per_receive.add(len(received))
            if holds_token(received):
                self._timing.token_came(self._now())
                self._wait_for_readers()
                if self._server.waits_for_poll:
                    self._poll_clients()
        if len(frames) > FRAMES_AT_ONCE:
            frames = self._executive.without_stale(frames, self._now())
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            if start:
                self._carry_out()
                if self._stopping:
                    return
            self._executive.receive(frames[start : start + FRAMES_AT_ONCE], self._now())

    def _token_leaves(self) -> None:
        """In the middle of receiving: everybody waits for the token, our own clients can wait a little."""
        if not self._carrying and (frames := self._executive.take_frames()):
            self._carry_out_batch(frames)

    def _wait_for_readers(self) -> None:
        wait = self._slow_readers.pause(self._server.queued_bytes)
        if wait:
            time.sleep(wait)  # not the loop's, see _go_on_taking

    def _poll_clients(self) -> None:
        """What they want to say goes out with the token that has just come."""
        self._polled = True
        executive, totem = self._executive, self._executive.totem
        if totem.frames_waiting() >= executive.visit:
            self._poll_later = True  # there is enough, and everybody waits for the token
            return
        self._go_on_taking(0)

    def _go_on_taking(self, taken: int) -> None:
        """`taken` of the clients' requests are here; there may be more of them, or soon."""
        executive, totem = self._executive, self._executive.totem
        self._polling = True
        try:
            taken += self._take_requests()
            last, self._visited_at = self._visited_at, self._now()
            since = self._visited_at - last
            wait = pause(taken, since, totem.frames_waiting(), executive.visit, len(totem.members))
            if wait:
                time.sleep(wait)  # not the loop's: nothing else is to be done before the token has gone
                self._take_requests()
        finally:
            self._polling = False

    def _take_requests(self) -> int:
        """As many as there are, until they fill the visit."""
        executive, server = self._executive, self._server
        taken = server.poll()
        while server.has_more and executive.totem.frames_waiting() < executive.visit:
            more = server.poll()
            if not more:
                break
            taken += more
        return taken

    def _watch_clients(self) -> None:
        """While the token goes round nothing can be sent before it is here, and it is here soon."""
        polls = self._executive.totem.circulating
        if polls != self._server.waits_for_poll:
            self._server.wait_for_poll(polls)
            if polls:
                self._polled = True
                self._impatience.start(self._token_stays_away)
            else:
                self._impatience.stop()

    def _token_stays_away(self) -> None:
        polled, self._polled = self._polled, False
        if not polled:
            self._impatience.stop()
            self._server.wait_for_poll(False)

    def _timer_due(self) -> None:
        self._timer_at = float("inf")
        try:
            self._network_ready()
        except Exception as error:
            self.failed(error)

    def _turn(self) -> None:
        if self._stopping:
            return
        now = self._now()
        due = self._executive.next_timer()
        if due is not None and due <= now:
            self._receive()
            self._executive.handle_timer(now)
        self._carry_out()

    def admit(self, service: str, creds: Credentials) -> int:
        """Handler of ipc.server."""
        errno = self._executive.client_admit(service, creds.pid, creds.uid, creds.gid)
        self._carry_out()
        return errno

    def opened(self, conn: Connection) -> None:
        """Handler of ipc.server."""
        creds = conn.creds
        self._executive.client_opened(conn.id, conn.service, creds.pid, creds.uid, creds.gid)
        self._carry_out()

    def requests(self, conn: Connection, messages: list[bytes], deadline: float) -> int:
        """Handler of ipc.server: what is left has to wait for room in the send queue."""
        client, last = conn.id, len(messages)
        taken, now = 0, self._now()
        while some := self._executive.client_requests(client, messages, taken, now):
            taken += some
            if taken >= last:
                break
            now = self._now()
            if now >= deadline:
                break
        return taken

    def turn_over(self) -> None:
        """Handler of ipc.server."""
        if not self._polling:
            self._turn()
            self._watch_clients()

    def closed(self, conn: Connection) -> None:
        """Handler of ipc.server."""
        self._statistics.closing = conn
        self._executive.client_closed(conn.id, self._now())
        self._statistics.closing = None
        self._carry_out()

    # Effects.

    def _carry_out(self) -> None:
        """In order; what an effect brings about is carried out behind it, not inside."""
        if self._carrying:
            return
        self._carrying = self._server.flush_follows = True
        try:
            while effects := self._executive.take_effects():
                self._carry_out_batch(effects)
        finally:
            self._carrying = self._server.flush_follows = False
        level = self._executive.flow_level()
        if level != self._flow_level:
            self._flow_level = level
            for service in self._executive.served:
                self._server.set_flow_level(service, level)
        self._server.flush()
        due = self._executive.next_timer()
        if due is not None and due < self._timer_at:
            self._arm_timer(due)
        if self._something_happened:
            self._something_happened = False
            self._tell_membership()
        if self._timing.turn_over():
            self._garbage.token_passed()

    def _tell_membership(self) -> None:
        executive = self._executive
        ring_id = executive.totem.ring_id
        if ring_id != self._told_ring and executive.ready and not executive.sync.running:
            self._told_ring = ring_id
            members = " ".join(map(str, executive.totem.members))
            self._on_membership(f"ring {ring_id}, members {members}")

    def _carry_out_batch(self, effects: Sequence[ExecutiveEffect]) -> None:
        """Frames for all that follow each other in one go, the token behind them with them, clients last."""
        broadcast: list[bytes] = []
        told: list[ExecutiveEffect] = []
        for effect in effects:
            if isinstance(effect, Broadcasts):
                broadcast = broadcast + effect.frames if broadcast else effect.frames
            elif isinstance(effect, Broadcast):
                broadcast = [*broadcast, effect.frame]
            elif isinstance(effect, Unicast):
                if broadcast:
                    self._transport.broadcast_and_pass(broadcast, *effect)
                    broadcast = []
                else:
                    self._transport.unicast(effect.nodeid, (effect.frame,))
                self._timing.token_passed(self._executive.totem.backlog)
            elif isinstance(effect, FOR_CLIENTS):
                told.append(effect)
            else:
                if broadcast:
                    self._transport.broadcast(broadcast)
                    broadcast = []
                self._something_happened = True
                self._carry_out_one(effect)
        if broadcast:
            self._transport.broadcast(broadcast)
        for effect in told:  # behind the token, which everybody waits for
            self._carry_out_one(effect)

    def _carry_out_one(self, effect: ExecutiveEffect) -> None:
        match effect:
            case Event(client, parts):
                conn = self._server.connections.get(client)
                if conn is not None:
                    conn.event(*parts)
            case Events(clients, parts):
                connections = self._server.connections
                for client in clients:
                    conn = connections.get(client)
                    if conn is not None:
                        conn.event(*parts)
            case EventBatch():
                self._send_batch(effect)
            case Respond(client, message):
                conn = self._server.connections.get(client)
                if conn is not None:
                    conn.respond(message)
            case Log(subsystem, priority, text):
                self._log(subsystem, priority, text)
            case StoreRingId(seq):
                problem = self._storage.store(seq)
                if problem is not None:
                    self._log("TOTEM", LOG_ERR, problem)
            case InterfaceCheck():
                change = self._transport.check()
                if change is LinkChange.UP:
                    self._executive.interface_up(self._now())
                elif change is LinkChange.DOWN:
                    self._executive.interface_down()
            case CloseClient(client, reason):
                conn = self._server.connections.get(client)
                if conn is not None:
                    conn.close(reason)
            case StoreExpectedVotes(votes):
                problem = self._store_expected_votes(votes)
                if problem is not None:
                    self._log("VOTEQ", LOG_WARNING, problem)
            case ReadConfiguration() | Reconfigured() | TotemKeysChanged() | LoggingKeysChanged():
                self._reconfiguring.carry_out(effect)
            case ReopenLogs(client, done, failed):
                self._carry_out_one(Respond(client, done if self._reopen_logs() else failed))
            case Shutdown(reason, exit_code, leave):
                self._loop.run_callback(lambda: self.shut_down(reason, exit_code, leave=leave))

    def _send_batch(self, batch: EventBatch) -> None:
        connections = self._server.connections
        for clients, first, last in batch.runs():
            for client in clients:
                conn = connections.get(client)
                if conn is not None:
                    conn.events(batch, first, last)

    def _arm_timer(self, due: float) -> None:
        """One loop timer; it is only moved when a deadline comes earlier than it would fire."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._timer_at = due
        self._timer = timer = self._loop.timer(max(0.0, due - self._now()))
        timer.start(self._timer_due)

    def counters(self) -> Iterator[tuple[str, int]]:
        """All statistics, as keys and numbers."""
        yield from flatten("stats.srp", self._executive.totem.stats)
        yield from flatten("stats.srp", self._timing.token)
        yield from ((f"stats.srp.{name}", number) for name, number in self._timing.token_means())
        yield from derived(
            self._executive.totem, self._now(), self._transport.stats.continuous_send_failures
        )
        yield from flatten("stats.loop", self._timing.loop)
        yield "stats.loop.waits_for_readers", self._slow_readers.pauses
        yield from flatten("stats.gc", self._garbage.stats)
        yield from flatten("stats.net", self._transport.stats)
        yield "stats.ipcs.global.active", self._server.active_count
        yield from flatten("stats.ipcs.global", self._server.stats)
        yield from self._executive.counters()

    # Zero-copy buffers, for the services.

    def open_buffer(self, client: int, path: str, size: int) -> None:
        """Buffers of aisexec.executive."""
        self._server.connections[client].open_buffer(path, size)

    def read_buffer(self, client: int, cookie: int, offset: int, size: int) -> bytes:
        """Buffers of aisexec.executive."""
        return self._server.connections[client].read_buffer(cookie, offset, size)

    def release_buffer(self, client: int, cookie: int) -> None:
        """Buffers of aisexec.executive."""
        self._server.connections[client].release_buffer(cookie)
