"""Partial connectivity: noticing it, and leaving those alone with whom no ring can be formed.

Totem assumes that who hears one hears all.  With a link that works in one direction only, or nodes
that share a neighbour but do not hear each other, membership never ends (corosync issues 750, 760,
659): rings form and are torn down by whoever is left out.  What is here is idle until the protocol
has failed in that way more than once; nothing on the wire or in time differs until then.

`Connectivity` keeps the evidence, and the list of excluded nodes with their back-off.  How the
members are chosen is in survey.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from aisexec.totem.broken_links import BrokenLinks, Findings, compare
from aisexec.totem.limits import (
    BACKOFF_LEVEL_MAX,
    LOST_ATTEMPTS_MAX,
    PROCESSOR_COUNT_MAX,
    QUARRELS_MAX,
    SHORT_RINGS_MAX,
    SURVEYS_MAX,
    UNANSWERED_MAX,
    UNHEARD_MAX,
)
from aisexec.totem.settings import Settings
from aisexec.totem.stats import Stats
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING
from aisexec.totem.wire import Join

EVIDENCE_ATTEMPTS = 6
"""Older evidence than this many failed attempts take does not count."""

SURVEY_ATTEMPTS = 20
"""The time in which SURVEYS_MAX surveys are too many, in attempts."""

CALM_ATTEMPTS = 8
"""A ring that lives as long as this many failed attempts ends all suspicion."""

EARLY_SHARE = 8
"""News that a broken direction works again shorten a back-off to this part of it."""

LISTEN_JOINS = 10
"""JOINs of one sender that may be lost in a row without taking it for one we do not hear."""


class Tally:
    """Occurrences by node; says when there were `limit` of them within a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: dict[int, list[float]] = {}

    def note(self, nodeid: int, now: float, window: float) -> bool:
        """One more; is the limit reached?"""
        if nodeid not in self._times and len(self._times) >= PROCESSOR_COUNT_MAX:
            return False
        times = [at for at in self._times.get(nodeid, ()) if at >= now - window]
        self._times[nodeid] = times = [*times, now][-self._limit :]
        return len(times) == self._limit

    def clear(self) -> None:
        """Forget them all."""
        self._times.clear()


@dataclass(slots=True)
class Exclusion:
    """Why and for how long a node outside our ring is not listened to."""

    level: int
    since: float
    opens_at: float
    early_at: float
    hears_us: bool
    """It said that it hears us."""
    last_heard: float
    unanswered: int
    """Surveys in a row in which it was heard and did not take part."""


@dataclass(slots=True)
class Survey:
    """One attempt to find out who hears whom; see survey.py."""

    began: float
    deadline: float = 0.0
    changed: float = 0.0
    """When we last learnt something about who hears whom."""
    choosing: bool = False
    waiting_for_rep: bool = False
    expected: set[int] = field(default_factory=set)
    """Who ought to be heard: the ring that was."""
    gone: set[int] = field(default_factory=set)
    """Left in good order."""
    alive: dict[int, float] = field(default_factory=dict)
    """Whoever was heard directly, first time."""
    known: set[int] = field(default_factory=set)
    """Whoever was named in a JOIN."""
    rows: dict[int, set[int]] = field(default_factory=dict)
    """For each node that sends JOINs: whom it hears, as far as it said."""
    last_join: dict[int, float] = field(default_factory=dict)
    told: dict[int, float] = field(default_factory=dict)
    """When a node first said whom it hears and gave nobody up: only that tells of links."""
    disagreed: dict[int, int] = field(default_factory=dict)
    """Rounds in which a chosen node was of another opinion."""


class Connectivity:
    """Evidence and exclusions of one node."""

    def __init__(self, me: int, settings: Settings, stats: Stats) -> None:
        self._me = me
        self.settings = settings
        self._stats = stats
        self.suspected = False
        """Links are broken as far as we know: memberships are formed by survey."""
        self.survey: Survey | None = None
        """The one that goes on, in GATHER."""
        self._concluded: Survey | None = None
        self.excluded: dict[int, Exclusion] = {}
        self.silent: set[int] = set()
        """Not heard by us in the last survey: the next one need not wait for them."""
        self._heard: dict[int, float] = {}
        self._quarrels = Tally(QUARRELS_MAX)
        self._short_rings = Tally(SHORT_RINGS_MAX)
        self._lost_attempts = Tally(LOST_ATTEMPTS_MAX)
        self._unheard = Tally(UNHEARD_MAX)
        self._given_up: frozenset[int] = frozenset()
        self._members: frozenset[int] = frozenset()
        self._surveys = Tally(SURVEYS_MAX)
        self._pauses = 0
        self._paused_until = float("-inf")
        self._left_out: frozenset[int] = frozenset()
        self._installed_at = float("-inf")
        self._surveyed_at = float("-inf")
        self._announced_at = float("-inf")
        self._links = BrokenLinks(stats)

    # Times, all from corosync.conf's.

    @property
    def attempt(self) -> float:
        """Seconds one failed attempt takes: the token lost, then no consensus."""
        return self.settings.token + self.settings.consensus

    @property
    def pace(self) -> float:
        """Seconds between two JOINs in a survey; not slower where `join` is very long."""
        return min(self.settings.join, self.settings.consensus / 24)

    @property
    def listening(self) -> float:
        """Seconds without news after which all that can be heard has been heard."""
        spread = self.pace + self.settings.send_join
        return min(LISTEN_JOINS * spread, self.settings.consensus / 2)

    @property
    def patience(self) -> float:
        """Seconds to wait for who ought to be there: those who do not survey wait a little longer."""
        return 0.9 * self.settings.consensus

    def backoff(self, level: int) -> float:
        """Seconds an excluded node is left alone: doubled each time, up to a limit."""
        return self.attempt * 2.0 ** min(level, BACKOFF_LEVEL_MAX)

    @property
    def rejoin_bound(self) -> float:
        """Seconds after which, all links whole, an excluded node is tried again."""
        return self.backoff(BACKOFF_LEVEL_MAX) + 2 * self.attempt

    # Evidence.

    def heard(self, nodeid: int, now: float) -> None:
        """A frame straight from this node: JOIN, merge detect, or an mcast of another ring."""
        self._heard.pop(nodeid, None)
        if len(self._heard) >= PROCESSOR_COUNT_MAX:
            del self._heard[next(iter(self._heard))]  # heard longest ago
        self._heard[nodeid] = now
        self.silent.discard(nodeid)
        entry = self.excluded.get(nodeid)
        if entry is not None:
            entry.last_heard = now
        if self.survey is not None and len(self.survey.alive) < PROCESSOR_COUNT_MAX:
            self.survey.alive.setdefault(nodeid, now)

    def quarrelled(self, disagreeing: Iterable[int], now: float) -> None:
        """Consensus timed out; a node that talks all the time and does not agree is strange."""
        recently = now - self.settings.consensus / 2
        for nodeid in disagreeing:
            if self._heard.get(nodeid, float("-inf")) > recently:
                self._weigh(self._quarrels, nodeid, now)

    def heard_since(self, when: float) -> frozenset[int]:
        """Who has sent a JOIN, merge detect or mcast of another ring."""
        return frozenset(n for n, at in self._heard.items() if at > when)

    def attempt_lost(self, now: float) -> None:
        """The token did not make it round a ring that all had agreed on."""
        self._weigh(self._lost_attempts, self._me, now)

    def disturbed(self, nodeid: int, now: float) -> None:
        """The ring is about to be given up because of this node."""
        if nodeid in self._left_out:
            self._weigh(self._short_rings, nodeid, now)

    def _weigh(self, tally: Tally, nodeid: int, now: float) -> None:
        if tally.note(nodeid, now, EVIDENCE_ATTEMPTS * self.attempt) and now >= self._paused_until:
            self.suspected = True

    def ring_ends(self, now: float) -> None:
        """From OPERATIONAL to GATHER: a ring that has lived long disproves what was suspected before."""
        if now - self._installed_at < CALM_ATTEMPTS * self.attempt:
            return
        self._quarrels.clear()
        self._short_rings.clear()
        self._lost_attempts.clear()
        self._unheard.clear()
        long_ago = now - 2 * self.backoff(BACKOFF_LEVEL_MAX)
        self._expire(long_ago)
        if self._surveyed_at < long_ago:
            self._links.forget()
        if not self.excluded and not self._links.any_broken:
            self.suspected = False
            self._pauses = 0

    def _expire(self, long_ago: float) -> None:
        """Who has not been heard for so long is gone."""
        for nodeid, entry in list(self.excluded.items()):
            if entry.last_heard < long_ago:
                del self.excluded[nodeid]

    # Who is listened to while a ring is up.

    def shuts_out(self, nodeid: int, now: float) -> bool:
        """Is this frame of another ring to be ignored?  Counted if so."""
        entry = self.excluded.get(nodeid)
        if entry is None or now >= entry.opens_at:
            return False
        self._stats.excluded_ignored += 1
        return True

    def shuts_out_join(self, join: Join, now: float) -> bool:
        """Is this JOIN to be ignored?

        It is an attempt of its sender, whose back-off began about when ours did: half is enough.
        """
        entry = self.excluded.get(join.system_from)
        if entry is None or now >= (entry.since + entry.opens_at) / 2:
            return False
        wants_us = self._me in join.proc and self._me not in join.failed
        if wants_us and not entry.hears_us and now >= entry.early_at:
            return False
        if join.leave:
            del self.excluded[join.system_from]  # what comes after a restart is worth another try
        self._stats.excluded_ignored += 1
        return True

    def may_announce(self, i_am_rep: bool, now: float) -> bool:
        """Shall this merge detect be sent?

        While nodes are excluded it would only disturb them; a few let everybody, not only the
        representative, be heard when a link works again.
        """
        if not self.excluded:
            return i_am_rep
        probe = now - self._announced_at >= self.attempt
        if not probe and not (i_am_rep and any(now >= e.opens_at for e in self.excluded.values())):
            return False
        self._announced_at = now
        return True

    # Surveys.

    def survey_begins(self, known: Collection[int], now: float) -> bool:
        """In GATHER; False when there is nothing to suspect or a survey goes on already."""
        if not self.suspected or self.survey is not None:
            return False
        if self._surveys.note(self._me, now, SURVEY_ATTEMPTS * self.attempt):
            self._pause(now)
            return False
        deaf = {n for n, entry in self.excluded.items() if not entry.hears_us}
        self.silent |= deaf
        expected = set(known) - self.silent - {self._me}
        recently = now - self.listening
        alive = {n: at for n, at in self._heard.items() if at >= recently}
        self.survey = Survey(now, now + self.listening, now, expected=expected, alive=alive)
        self._concluded = None
        self._stats.surveys += 1
        return True

    def _pause(self, now: float) -> None:
        """Surveys lead to nothing: somebody who does not take part disturbs each ring, as stock has to.

        Then it is better to do as stock does, and to try again later.
        """
        self.suspected = False
        self.excluded.clear()
        self._stats.excluded = 0
        self._paused_until = now + self.backoff(self._pauses + 1)
        self._pauses += 1

    def agreed(self, failed: Iterable[int]) -> None:
        """GATHER is over: a ring without these is being formed."""
        self._concluded, self.survey = self.survey, None
        self._given_up = frozenset(failed)

    # Results.

    def installed(self, members: Collection[int], now: float, leavers: Collection[int]) -> None:
        """A ring is up: whoever was heard and is not in it is excluded if links are suspected."""
        self._installed_at = now
        recently = now - self.attempt
        for nodeid in members:
            self.excluded.pop(nodeid, None)
        self._stats.excluded = len(self.excluded)
        for nodeid in self._given_up.difference(self._members, leavers):
            # Others name it again, so it is alive, and we have yet to hear it.
            if self._heard.get(nodeid, float("-inf")) < recently:
                self._weigh(self._unheard, nodeid, now)
        self._members = frozenset(members)
        outside = {n for n, at in self._heard.items() if at > recently} - set(members) - set(leavers)
        self._left_out = frozenset(outside)
        self._heard = {n: at for n, at in self._heard.items() if at > recently}

    def settle(self, members: Collection[int], now: float) -> tuple[int, str] | None:
        """The ring of a survey is up: exclude the others; priority and text for the log."""
        survey, self._concluded = self._concluded, None
        if survey is None:
            return None
        self._surveyed_at = now
        findings = self._findings(survey, now)
        self._exclude_others(survey, members, now)
        if not findings.broken and not self.excluded:
            if self._links.forget():
                return LOG_NOTICE, f"All nodes hear each other again: {_list(members)}."
            return None
        named = self._links.report(findings, now)
        if named is None:
            return None
        outside = set(self.excluded).union(*findings.broken).difference(members)
        again = min((entry.opens_at for entry in self.excluded.values()), default=now) - now
        later = f", trying again in {again:.0f} s" if again > 0 else ""
        return LOG_WARNING, (
            f"The network is only partly connected: {named}. A ring needs nodes that all hear each other:"
            f" going on with {_list(members)}, without {_list(outside) or 'losing anybody'}{later}."
            " Check the switch ports, firewall rules and cables of the nodes named."
        )

    def _findings(self, survey: Survey, now: float) -> Findings:
        settled = now - self.listening
        rows = {n: survey.rows[n] for n, at in survey.told.items() if n in survey.rows and at <= settled}
        rows[self._me] = set(survey.alive) | {self._me}
        # One that is heard and does not answer our JOINs may be in its own back-off, once.
        deaf = [
            (self._me, nodeid)
            for nodeid, since in survey.alive.items()
            if nodeid not in survey.rows
            and since <= settled
            and self._unanswered(nodeid) + 1 >= UNANSWERED_MAX
        ]
        return compare(rows, deaf)

    def _unanswered(self, nodeid: int) -> int:
        entry = self.excluded.get(nodeid)
        return 0 if entry is None else entry.unanswered

    def _exclude_others(self, survey: Survey, members: Collection[int], now: float) -> None:
        known = set(survey.alive)
        for row in survey.rows.values():
            known |= row
        known -= survey.gone
        known -= set(members)
        known.discard(self._me)
        self.silent = (known | survey.expected) - set(survey.alive) - set(members)
        # Who is only known from others cannot disturb us, and is news when it is heard.
        for nodeid in sorted(known.intersection(survey.alive)):
            self._exclude(nodeid, survey, now)
        self._stats.excluded = len(self.excluded)

    def _exclude(self, nodeid: int, survey: Survey, now: float) -> None:
        entry = self.excluded.get(nodeid)
        level = 0
        hears_us = self._me in survey.rows.get(nodeid, ())
        if entry is not None:
            level = entry.level
            if now >= (entry.since + entry.opens_at) / 2 or hears_us > entry.hears_us:
                level = min(level + 1, BACKOFF_LEVEL_MAX)
            elif nodeid not in survey.rows:
                return  # not asked, as its time has not come
        elif len(self.excluded) >= PROCESSOR_COUNT_MAX:
            del self.excluded[min(self.excluded, key=lambda n: self.excluded[n].last_heard)]
        wait = self.backoff(level)
        early = now + max(self.backoff(0), wait / EARLY_SHARE)
        unanswered = self._unanswered(nodeid) + 1 if nodeid not in survey.rows else 0
        self.excluded[nodeid] = Exclusion(level, now, now + wait, early, hears_us, now, unanswered)
        self._stats.exclusions += 1


def _list(nodes: Iterable[int]) -> str:
    return " ".join(map(str, sorted(nodes)))
