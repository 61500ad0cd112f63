"""Why the membership changed and how long it took, told in one line when services are in step again.

The protocol notes what it learns on the way: who said goodbye, who did not answer, who gave whom up, when
the token was here last.  Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import RingId


class Trigger(Enum):
    """What ended a ring, or began the search for the first one."""

    TOKEN_LOST = "the token was lost"
    LEAVE = "node {node} said that it leaves"
    JOIN = "node {node} asked for a new ring"
    FOREIGN = "node {node} of another ring was heard"
    NOT_RECEIVING = "this node failed to receive"
    INTERFACE = "the network interface came up"
    FORCED = "an operator asked for a new ring"


class Reason(Enum):
    """Why a node is not in the new ring, the surest first."""

    KILLED = "killed by order of {by}"
    LEFT = "left cleanly"
    GAVE_US_UP = "it had given this node up: partitioned, or it does not hear us"
    SILENT = "no answer to our JOINs{within}: killed, stopped or cut off"
    QUARREL = "was heard, but agreed on no ring with us{within}: partly cut off"
    EXCLUDED = "left out, as not everybody hears everybody"
    GIVEN_UP = "given up by {by}, which had no answer from it"
    UNKNOWN = "the others agreed on a ring without it"


class Departure(NamedTuple):
    """What is known of a node that is missing."""

    reason: Reason
    detail: str
    """The reason in words."""


class ChangeStory:
    """One node's notes of the change that goes on; they begin anew when services are in step."""

    def __init__(self, now: float = 0.0) -> None:
        self._before: tuple[int, ...] = ()
        """Members when services were in step last."""
        self._members: tuple[int, ...] = ()
        self._gone: dict[int, float] = {}
        """When nodes left that are not back, the oldest first."""
        self._trigger: Trigger | None = None
        self._trigger_node = 0
        self._suspect = 0
        self._suspect_leaves = False
        self._began = self._last_token = self._agreed = self._installed = now
        self._attempts = 0
        self._paused = 0.0
        self._forced = False
        self._departures: dict[int, Departure] = {}
        self._missed: set[int] = set()

    # What the protocol notes.

    def disturbed_by(self, nodeid: int, *, leaves: bool = False) -> None:
        """The ring may be given up because of what this node has just sent."""
        self._suspect, self._suspect_leaves = nodeid, leaves

    def ring_lost(self, trigger: Trigger, last_token: float, patience: float, now: float) -> None:
        """From OPERATIONAL to GATHER.

        last_token: when the token was here.  If that is longer ago than `patience`, whoever noticed it
        first, services have stood still since.
        """
        if trigger is Trigger.JOIN and self._suspect_leaves:
            trigger = Trigger.LEAVE
        if self._forced:
            trigger = Trigger.FORCED
        self._forced = False
        if self._trigger is None:
            self._trigger, self._trigger_node = trigger, self._suspect
            self._began = now
            self._last_token = last_token if now - last_token > patience and self._before else now
        self._suspect, self._suspect_leaves = 0, False

    def forced(self) -> None:
        """An operator wants the ring to be given up, now."""
        self._forced = True

    def paused(self, seconds: float) -> None:
        """This process did not run."""
        self._paused = max(self._paused, seconds)

    def attempt_failed(self) -> None:
        """A ring that was being formed came to nothing."""
        self._attempts += 1

    def said_goodbye(self, nodeid: int) -> None:
        """LEAVE."""
        self._note(nodeid, Reason.LEFT, Reason.LEFT.value)

    def killed(self, nodeid: int, by: str) -> None:
        """It was ordered to end at once."""
        self._note(nodeid, Reason.KILLED, Reason.KILLED.value.format(by=by))

    def gave_us_up(self, nodeid: int) -> None:
        """We are in the failed list of its JOIN."""
        self._note(nodeid, Reason.GAVE_US_UP, Reason.GAVE_US_UP.value)

    def given_up(self, by: int, nodes: Iterable[int]) -> None:
        """A member of our ring names nodes failed."""
        text = Reason.GIVEN_UP.value.format(by=f"node {by}")
        for nodeid in nodes:
            self._note(nodeid, Reason.GIVEN_UP, text)

    def no_consensus(self, nodes: Iterable[int], heard: Collection[int], waited: float) -> None:
        """These did not agree within `waited` seconds; of `heard` there was word meanwhile."""
        for nodeid in nodes:
            reason = Reason.QUARREL if nodeid in heard else Reason.SILENT
            self._note(nodeid, reason, reason.value.format(within=f" within {waited:.2f} s"))

    def left_out(self, nodes: Iterable[int], silent: Collection[int]) -> None:
        """They were not chosen where links are broken; `silent` ones were not heard at all."""
        for nodeid in nodes:
            reason = Reason.SILENT if nodeid in silent else Reason.EXCLUDED
            self._note(nodeid, reason, reason.value.format(within=""))

    def agreed(self, now: float) -> None:
        """From GATHER to COMMIT."""
        self._agreed = now

    def installed(self, members: tuple[int, ...], left: Iterable[int], now: float) -> None:
        """A ring is up; if it does not last until services are in step there will be another."""
        self._installed = now
        self._members = members
        self._missed.update(left)

    def _note(self, nodeid: int, reason: Reason, detail: str) -> None:
        known = self._departures.get(nodeid)
        if known is None and len(self._departures) >= PROCESSOR_COUNT_MAX:
            return
        if known is None or _RANK[reason] < _RANK[known.reason]:
            self._departures[nodeid] = Departure(reason, detail)

    # The line.

    def in_service(self, ring_id: RingId, now: float) -> str:
        """Services are in step: tell the change, and begin anew."""
        before, members = set(self._before), set(self._members)
        left = sorted(before - members)
        joined = sorted(members - before)
        returned = sorted(self._missed & before & members)
        parts = [f"Membership change complete: ring {ring_id} of nodes {_list(self._members)}"]
        if joined:
            parts.append("joined: " + self._joined(joined, now))
        if left:
            parts.append("left: " + self._left(left) + self._at_once(left))
        if returned:
            parts.append(f"away for a moment: {_list(returned)}")
        if before and not (joined or left or returned):
            parts.append("the same as before")
        parts.append(self._duration(now))
        text = "; ".join(parts)
        self._remember(left, now)
        self._begin_anew()
        return text

    def _joined(self, nodes: list[int], now: float) -> str:
        back = [f"{n} (back after {now - self._gone[n]:.2f} s)" for n in nodes if n in self._gone]
        new = [str(n) for n in nodes if n not in self._gone]
        return ", ".join([*([" ".join(new)] if new else []), *back])

    def _left(self, nodes: list[int]) -> str:
        reasons: dict[str, list[int]] = {}
        for nodeid in nodes:
            reasons.setdefault(self._departure(nodeid).detail, []).append(nodeid)
        return ", ".join(f"{_list(those)} ({why})" for why, those in reasons.items())

    def _departure(self, nodeid: int) -> Departure:
        return self._departures.get(nodeid, Departure(Reason.UNKNOWN, Reason.UNKNOWN.value))

    def _at_once(self, left: list[int]) -> str:
        """Nodes seldom die together."""
        lost = [n for n in left if self._departure(n).reason not in (Reason.LEFT, Reason.KILLED)]
        if len(lost) < 2:
            return ""
        if len(self._members) == 1:
            return ", all at once: perhaps it is this node that is cut off"
        return ", at once: perhaps the network is partitioned"

    def _duration(self, now: float) -> str:
        if self._trigger is None:
            why = "the start"
        else:
            why = self._trigger.value.format(node=self._trigger_node or "?")
        phases = [
            ("token missing", self._began - self._last_token),
            ("agreement", self._agreed - self._began),
            ("new ring", self._installed - self._agreed),
            ("services", now - self._installed),
        ]
        told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in phases if seconds >= 0.0005)
        text = f"{now - self._last_token:.3f} s without service since {why}"
        if told:
            text += f" ({told})"
        if self._attempts:
            text += f", {self._attempts} attempt{'s' * (self._attempts > 1)} failed"
        if self._paused:
            text += f"; this process had not been scheduled for {self._paused:.3f} s"
        return text

    def _remember(self, left: list[int], now: float) -> None:
        for nodeid in self._members:
            self._gone.pop(nodeid, None)
        for nodeid in left:
            self._gone.pop(nodeid, None)
            if len(self._gone) >= PROCESSOR_COUNT_MAX:
                del self._gone[next(iter(self._gone))]
            self._gone[nodeid] = now

    def _begin_anew(self) -> None:
        self._before = self._members
        self._trigger = None
        self._trigger_node = 0
        self._attempts = 0
        self._paused = 0.0
        self._departures.clear()
        self._missed.clear()


_RANK = {reason: rank for rank, reason in enumerate(Reason)}


def _list(nodes: Iterable[int]) -> str:
    return " ".join(map(str, nodes))
