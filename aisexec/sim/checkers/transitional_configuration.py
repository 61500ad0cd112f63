"""The transitional configuration comes before the regular one, and holds who goes along (EVS, section 2).

Its members are those that come from the same regular configuration directly to the same next one.
"""

from __future__ import annotations

import itertools

from aisexec.sim.checkers.index import Passage, Ring, index, name
from aisexec.sim.history import History, Life, Violation

PROPERTY = "transitional configuration"


def check(history: History) -> None:
    """Order first, then content."""
    if history.corrupted:
        return
    _check_order(history)
    passages = index(history).passages.values()
    before: dict[tuple[Ring, int], Passage] = {}
    for mine in passages:
        for passage in mine:
            if passage.follower is not None:
                before[passage.follower, passage.life[0]] = passage
    for mine in passages:
        for passage, follower in itertools.pairwise(mine):
            _check_content(before, passage, follower)


def _check_order(history: History) -> None:
    counts: dict[Life, int] = {}
    for life, passages in index(history).passages.items():
        counts[life] = sum(passage.transitional is not None for passage in passages)
        for passage, follower in itertools.pairwise(passages):
            announced, installed = passage.transitional, follower.installed
            assert installed is not None
            if announced is None or announced.ring != installed.ring:
                raise Violation(
                    PROPERTY,
                    f"{name(life)} installs ring {installed.ring} at {installed.at:.6f} and"
                    f" {'none' if announced is None else f'that of {announced.ring}'} came before it",
                    (installed,) if announced is None else (announced, installed),
                )
    for record in index(history).transitionals:
        counts[record.life] -= 1
        if counts[record.life] < 0:
            raise Violation(
                PROPERTY, f"{name(record.life)} gets two without a regular one between them", (record,)
            )


def _check_content(before: dict[tuple[Ring, int], Passage], passage: Passage, follower: Passage) -> None:
    announced = passage.transitional
    if announced is None:
        return
    who = f"{name(passage.life)} goes from ring {passage.ring} to {follower.ring} at {follower.at:.6f}"
    members = set(announced.members)
    if len(members) < len(announced.members):
        raise Violation(PROPERTY, f"{who} with somebody twice: {announced.members}", (announced,))
    if passage.ring is None:
        if members - {passage.life[0]}:
            raise Violation(PROPERTY, f"{who}, its first, with {sorted(members)}", (announced,))
        return
    if not members <= set(passage.members) & set(follower.members) or passage.life[0] not in members:
        raise Violation(
            PROPERTY,
            f"{who} with {sorted(members)}; the rings have {passage.members} and {follower.members}",
            (announced,),
        )
    assert follower.ring is not None
    for nodeid in follower.members:
        other = before.get((follower.ring, nodeid))
        if other is None:
            continue  # it never installed that ring
        if (other.ring == passage.ring) != (nodeid in members):
            raise Violation(
                PROPERTY,
                f"{who} with {sorted(members)}, and node {nodeid} comes from ring {other.ring}",
                (announced, *([other.transitional] if other.transitional is not None else [])),
            )
        mate = other.transitional
        if nodeid in members and mate is not None and set(mate.members) != members:
            raise Violation(
                PROPERTY,
                f"{who} with {sorted(members)}, and node {nodeid}, one of them, with {sorted(mate.members)}",
                (announced, mate),
            )
