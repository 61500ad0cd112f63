"""The transitional configuration comes before the regular one, and holds who goes along (EVS, section 2.2).

Its members are those that come from the same regular configuration directly to the same next one.
"""

from __future__ import annotations

import itertools

from aisexec.sim.checkers.index import Passage, RingKey, index, name
from aisexec.sim.history import History, Regular, Transitional, Violation

PROPERTY = "transitional configuration"


def check(history: History) -> None:
    """Order first, then content."""
    if history.corrupted:
        return
    _check_order(history)
    indexed = index(history)
    before: dict[tuple[RingKey, int], Passage] = {}
    for passages in indexed.passages.values():
        for passage in passages:
            if passage.follower_key is not None:
                before[passage.follower_key, passage.life[0]] = passage
    for passages in indexed.passages.values():
        for passage, follower in itertools.pairwise(passages):
            _check_content(before, passage, follower)


def _check_order(history: History) -> None:
    last: dict[object, Transitional] = {}
    for record in history.records:
        if isinstance(record, Transitional):
            if record.life in last:
                raise Violation(PROPERTY, f"{name(record.life)}: two without a regular one", (record,))
            last[record.life] = record
        elif isinstance(record, Regular):
            announced = last.pop(record.life, None)
            if announced is None or announced.ring != record.ring:
                raise Violation(
                    PROPERTY,
                    f"{name(record.life)} installs ring {record.ring} at {record.at:.6f} and"
                    f" {'none' if announced is None else f'that of {announced.ring}'} came before it",
                    (record,),
                )


def _check_content(
    before: dict[tuple[RingKey, int], Passage], passage: Passage, follower: Passage
) -> None:
    announced = passage.transitional
    assert announced is not None
    who = f"{name(passage.life)} goes from ring {passage.ring} to {follower.ring}"
    members = set(announced.members)
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
    for nodeid in follower.members:
        assert passage.follower_key is not None
        other = before.get((passage.follower_key, nodeid))
        if other is None or nodeid == passage.life[0]:
            continue  # it never installed that ring
        together = other.ring == passage.ring
        if together != (nodeid in members):
            raise Violation(
                PROPERTY,
                f"{who} with {sorted(members)}, and node {nodeid} comes from {other.ring}",
                (announced,),
            )
