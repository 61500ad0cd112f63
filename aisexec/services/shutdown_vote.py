"""Asking the programs that track cfg whether the node may shut down (corosync_cfg_try_shutdown)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aisexec.services.base import Context
from aisexec.services.timers import Alarm
from aisexec.totem.types import LOG_DEBUG, LOG_NOTICE
from ipc.cfg_layouts import (
    TEST_SHUTDOWN_EVENT,
    CfgEvent,
    ShutdownEvent,
    ShutdownFlag,
)
from ipc.errors import CsError

DEFAULT_TIMEOUT = 5000
"""Milliseconds, unless the map's cfg.shutdown_timeout says otherwise."""


@dataclass(slots=True)
class Vote:
    """One that is under way."""

    requester: int
    flags: int
    answer: Callable[[CsError], None]
    asked: set[int]
    """Clients whose say is wanted; those that have gone since stay, their silence is a yes."""
    replies: dict[int, bool] = field(default_factory=dict)
    alarm: Alarm | None = None

    @property
    def noes(self) -> int:
        return sum(not yes for yes in self.replies.values())


class ShutdownVote:
    """Who tracks, and the vote that is under way, if any."""

    def __init__(self, context: Context, announce: Callable[[], None]) -> None:
        """announce: tells all nodes that this one shuts down, and so shuts it down."""
        self._context = context
        self._announce = announce
        self._trackers: list[int] = []
        """Clients, the youngest first: in this order they are asked."""
        self._requesters: set[int] = set()
        """Clients that have ever asked for a shutdown."""
        self._vote: Vote | None = None

    def track(self, client: int) -> None:
        """This client wants to be asked, even in the vote that is under way."""
        if client in self._trackers:
            return
        self._trackers.insert(0, client)
        if self._vote is not None:
            self._vote.asked.add(client)
            self._vote.replies.pop(client, None)
            self._ask([client], self._vote.flags, CsError.OK)

    def gone(self, client: int) -> None:
        """It has disconnected or does not track any more."""
        vote = self._vote
        if vote is not None and vote.requester == client:
            self._cancel(vote)
        if client in self._trackers:
            self._trackers.remove(client)
            if self._vote is not None:
                self._vote.replies[client] = True
                self._decide(self._vote)

    def forget(self, client: int) -> None:
        """It has disconnected."""
        self.gone(client)
        self._requesters.discard(client)

    def request(self, client: int, flags: int, answer: Callable[[CsError], None]) -> None:
        """Ask for a shutdown; `answer` is called at once or when the votes are in."""
        if flags == ShutdownFlag.IMMEDIATE:
            self._announce()
            answer(CsError.OK)
            return
        if self._vote is not None:
            answer(CsError.EXIST)
            return
        self._requesters.add(client)
        asked = [tracker for tracker in self._trackers if tracker != client]
        if not asked:
            answer(CsError.OK)
            self._announce()
            return
        self._vote = vote = Vote(client, flags, answer, set(asked))
        timeout = self._context.map.number("cfg.shutdown_timeout", DEFAULT_TIMEOUT) / 1000
        vote.alarm = self._context.call_later(timeout, lambda: self._too_late(vote))
        self._ask(asked, flags, CsError.OK)

    def reply(self, client: int, yes: bool) -> CsError:
        """What a client says; the status of the call."""
        vote = self._vote
        if vote is None:
            return CsError.ACCESS
        # As in corosync the word of a program that was not asked counts, too: it may track on one
        # connection and answer on another.  Unlike there each has one word, its last.
        vote.replies[client] = yes
        self._decide(vote)
        return CsError.OK

    def _decide(self, vote: Vote) -> None:
        """Once there are as many replies as clients asked."""
        if len(vote.replies) < len(vote.asked):
            return
        self._end(vote, refused=vote.noes > 0)

    def _too_late(self, vote: Vote) -> None:
        if self._vote is not vote:
            return
        silent = len(vote.asked) - len(vote.replies)
        self._context.log(
            LOG_NOTICE,
            f"{silent} of the {len(vote.asked)} programs that were asked whether to shut down have not said",
        )
        self._end(vote, refused=True)
        # Stock tells only those of the trackers that have asked for a shutdown themselves.
        told = [tracker for tracker in self._trackers if tracker in self._requesters]
        self._ask(told, vote.flags, CsError.TIMEOUT)

    def _end(self, vote: Vote, *, refused: bool) -> None:
        self._cancel(vote)
        self._context.log(
            LOG_DEBUG,
            f"shutdown decision is: (yes count: {len(vote.replies) - vote.noes}, no count: {vote.noes})"
            f" flags={vote.flags:x}",
        )
        if refused and vote.flags != ShutdownFlag.REGARDLESS:
            vote.answer(CsError.BUSY)
            return
        vote.answer(CsError.OK)
        self._announce()

    def _cancel(self, vote: Vote) -> None:
        self._vote = None
        if vote.alarm is not None:
            vote.alarm.cancel()

    def _ask(self, clients: list[int], flags: int, error: CsError) -> None:
        size = TEST_SHUTDOWN_EVENT.size
        event = TEST_SHUTDOWN_EVENT.pack(ShutdownEvent(CfgEvent.TEST_SHUTDOWN, size, error, flags))
        self._context.event_to_all(clients, event)
