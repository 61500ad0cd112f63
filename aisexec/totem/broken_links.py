"""Which direction between which nodes does not work, for statistics and for the operator.

A link that is broken is named by its direction: who speaks, and who does not hear it. What is known
of it comes from the JOINs of a survey (survey.py), in which each node names those it hears itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from aisexec.totem.limits import (
    BROKEN_PAIR_LOG_INTERVAL,
    BROKEN_PAIRS_FOUND_MAX,
    BROKEN_PAIRS_LOGGED,
    BROKEN_PAIRS_MAX,
)
from aisexec.totem.stats import Stats

Direction = tuple[int, int]
"""Who speaks, and who does not hear it."""


class Findings(NamedTuple):
    """What one survey says about links."""

    broken: list[Direction]
    works: frozenset[Direction]
    """Directions of which it is known that they work: the others were not looked at."""


def compare(rows: Mapping[int, Collection[int]], deaf_to: Iterable[Direction]) -> Findings:
    """From whom each node hears.

    `deaf_to` are directions known from elsewhere: a node that speaks and never answers. A node that
    nobody hears does not exist as far as anybody knows, so nothing is said about it.
    """
    talking = set(rows).union(*rows.values())
    works = frozenset((speaker, listener) for listener, row in rows.items() for speaker in row)
    silent = {(speaker, listener) for listener in rows for speaker in talking if speaker != listener}
    broken = sorted((silent - works).union(deaf_to))
    return Findings(broken[:BROKEN_PAIRS_FOUND_MAX], works)


class BrokenLinks:
    """Keeps what was found and what was said about it."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._logged: dict[Direction, float] = {}
        self._before: frozenset[Direction] = frozenset()
        """Found by the last survey: what one survey finds may be a node that was slow."""

    def report(self, findings: Findings, now: float) -> str | None:
        """Statistics; the text that names what was not named lately, or None."""
        found = [way for way in findings.broken if way in self._before]
        self._before = frozenset(findings.broken)
        new = [
            way for way in found if now - self._logged.get(way, float("-inf")) >= BROKEN_PAIR_LOG_INTERVAL
        ]
        self._stats.broken_pairs_seen += sum(way not in self._stats.broken_pairs for way in found)
        self._stats.broken_pairs = tuple(found[:BROKEN_PAIRS_MAX])
        if not new:
            return None
        for way in list(self._logged):
            if way not in found:
                del self._logged[way]  # to be named again when it breaks again, with the others
        self._logged.update((way, now) for way in new)
        return _text(new, found, findings.works)

    @property
    def any_broken(self) -> bool:
        """The last survey found something."""
        return bool(self._before)

    def forget(self) -> bool:
        """All links work, or what was known is too old; True when something was called broken."""
        was = bool(self._stats.broken_pairs)
        self._stats.broken_pairs = ()
        self._before = frozenset()
        self._logged.clear()
        return was


def _text(new: list[Direction], broken: Collection[Direction], works: Collection[Direction]) -> str:
    sentences: list[str] = []
    said: set[Direction] = set()
    for way in new:
        if way in said:
            continue
        speaker, listener = way
        back = (listener, speaker)
        said |= {way, back}
        if back in broken:
            sentences.append(f"nodes {speaker} and {listener} do not hear each other")
        elif back in works:
            sentences.append(f"node {listener} does not hear node {speaker}, only the other way round")
        else:
            sentences.append(f"node {listener} does not hear node {speaker}")
    text = "; ".join(sentences[:BROKEN_PAIRS_LOGGED])
    if len(sentences) > BROKEN_PAIRS_LOGGED:
        text += f"; and {len(sentences) - BROKEN_PAIRS_LOGGED} more"
    return text
