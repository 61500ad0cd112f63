"""From readings to what happened: rates, and who came and went and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .top_state import Client, Node, Reading

EVENTS_MAX: Final = 100
"""Events that are kept."""
DEPARTURES_MAX: Final = 1000
"""Nodes of which it is remembered why they left."""
RESENT = "messages sent again"


@dataclass(frozen=True)
class Happening:
    """Something that happened; clock: seconds of the day's clock."""

    clock: float
    text: str
    grave: bool = False


@dataclass(frozen=True)
class Rates:
    """Between two readings.  rotation: milliseconds for the token to come round, None when it did not."""

    seconds: float
    rotation: float | None
    sent: float
    received: float
    retransmitted: float
    dropped: float


@dataclass(frozen=True)
class Departure:
    """Why a node is not there any more, and since when."""

    clock: float
    reason: str


class Story:
    """Takes readings in and remembers what they mean together."""

    def __init__(self) -> None:
        self.now: Reading | None = None
        self.before: Reading | None = None
        self._earlier: Reading | None = None
        """The one before that."""
        self._period: tuple[Reading, Reading] | None = None
        """The readings between which rates are counted."""
        self._looks: tuple[Reading, Reading] | None = None
        """The same for clients, which may be read less often."""
        self._resent = 0
        """Of the last happening, if it is about messages sent again."""
        self.happenings: deque[Happening] = deque(maxlen=EVENTS_MAX)
        self.departures: dict[int, Departure] = {}

    def take(self, reading: Reading, *, periodic: bool = True) -> None:
        """The next reading; periodic: rates are counted from the last such one to this one."""
        self._earlier, self.before, self.now = self.before, self.now, reading
        if periodic:
            self._period = (self._period[1] if self._period else reading, reading)
        if self._looks is None or reading.clients_moment > self._looks[1].clients_moment:
            self._looks = (self._looks[1] if self._looks else reading, reading)
        if self.before is None:
            self.happenings.append(Happening(reading.clock, _opening(reading)))
            return
        self._compare(self.before, reading)

    def lost(self, clock: float, why: str) -> None:
        """The executive is gone; what was counted before means nothing to the next one."""
        self.now = self.before = self._earlier = self._period = self._looks = None
        self.happenings.append(Happening(clock, f"the executive is gone: {why}", grave=True))

    def rates(self) -> Rates | None:
        """Of the last interval; None before its end."""
        if self._period is None or self._period[0] is self._period[1]:
            return None
        old, new = self._period
        seconds = max(new.moment - old.moment, 1e-6)
        rounds = _growth(old, new, "orf_token_rx")
        return Rates(
            seconds=seconds,
            rotation=1000 * seconds / rounds if rounds else None,
            sent=_growth(old, new, "mcast_tx") / seconds,
            received=_growth(old, new, "mcast_rx") / seconds,
            retransmitted=_growth(old, new, "mcast_retx") / seconds,
            dropped=_growth(old, new, "rx_msg_dropped") / seconds,
        )

    def busiest(self) -> list[tuple[Client, float]]:
        """Programs with their requests a second, the busiest first.

        What a process has open to one service counts as one.
        """
        if self._looks is None:
            return []
        old, new = self._looks
        earlier = {_key(client): client.requests for client in _together(old)}
        seconds = max(new.clients_moment - old.clients_moment, 1e-6)
        rated = [
            (client, max(0, client.requests - earlier.get(_key(client), client.requests)) / seconds)
            for client in _together(new)
        ]
        return sorted(rated, key=lambda pair: (-pair[1], pair[0].service, pair[0].pid))

    def _delta(self, name: str) -> int:
        assert self.now is not None
        assert self.before is not None
        return _growth(self.before, self.now, name)

    def _compare(self, old: Reading, new: Reading) -> None:
        was = {node.nodeid: node for node in old.nodes}
        for node in new.nodes:
            self._compare_node(was.get(node.nodeid), node, new)
        if old.quorate != new.quorate:
            text = "quorum regained" if new.quorate else "quorum LOST: activity is blocked"
            self.happenings.append(Happening(new.clock, text, grave=not new.quorate))
        if old.votes and new.votes and old.votes.expected_votes != new.votes.expected_votes:
            text = f"expected votes {old.votes.expected_votes} -> {new.votes.expected_votes}"
            self.happenings.append(Happening(new.clock, text))
        self._note_resent(self._delta("mcast_retx"), new.clock)

    def _note_resent(self, number: int, clock: float) -> None:
        if not number:
            return
        last = self.happenings[-1].text if self.happenings else ""
        if last.endswith(RESENT):
            # One line for a storm, not one for each reading.
            self.happenings.pop()
        else:
            self._resent = 0
        self._resent += number
        self.happenings.append(Happening(clock, f"{self._resent} {RESENT}"))

    def _compare_node(self, old: Node | None, node: Node, reading: Reading) -> None:
        there = old is not None and old.status == "joined"
        if node.status == "joined":
            again = there and old is not None and node.joins > old.joins
            if again or not there:
                self.departures.pop(node.nodeid, None)
                text = f"{node.label} {'restarted' if again else 'joined'}"
                self.happenings.append(Happening(reading.clock, text))
        elif there:
            reason = self._why()
            if len(self.departures) < DEPARTURES_MAX:
                self.departures[node.nodeid] = Departure(reading.clock, reason)
            self.happenings.append(Happening(reading.clock, f"{node.label} left: {reason}", grave=True))

    def _why(self) -> str:
        """What totem's counters say about a node that left since the last reading."""
        # The counters run ahead of the membership: a reading may fall in between.
        old, new = self._earlier or self.before, self.now
        assert old is not None
        assert new is not None
        # Who leaves in order is struck off at once; for who is gone without a word the others wait in vain.
        if not _growth(old, new, "consensus_timeouts"):
            return "in order"
        if _growth(old, new, "operational_token_lost"):
            return "the token was lost, and it did not answer"
        return "it did not answer"


def _opening(reading: Reading) -> str:
    present = ", ".join(node.label for node in reading.members)
    missing = ", ".join(node.label for node in reading.nodes if node.status != "joined")
    text = f"watching; in the ring: {present or 'nobody'}"
    return f"{text}; missing: {missing}" if missing else text


def _growth(old: Reading, new: Reading, name: str) -> int:
    # Less than before: the counters were cleared.
    return max(0, new.counters[name] - old.counters[name])


def _together(reading: Reading) -> Iterable[Client]:
    """The connections of one process to one service as one."""
    found: dict[tuple[str, int], Client] = {}
    for client in reading.clients:
        other = found.get(_key(client))
        found[_key(client)] = client if other is None else Client(
            client.service,
            client.pid,
            client.program,
            client.requests + other.requests,
            client.events + other.events,
            client.queued + other.queued,
            client.refused + other.refused,
        )
    return found.values()


def _key(client: Client) -> tuple[str, int]:
    return client.service, client.pid
