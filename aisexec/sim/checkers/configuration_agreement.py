"""A ring id stands for one membership, and only members install it (EVS, configuration changes)."""

from __future__ import annotations

import itertools

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import History, Regular, Violation
from aisexec.totem.types import RingId

PROPERTY = "configuration agreement"


def check(history: History) -> None:
    """Members, and what is said of who joined."""
    if history.corrupted:
        return
    forgetful = {ended.life[0] for ended in index(history).ended.values() if ended.how == "lost"}
    first: dict[RingId, Regular] = {}
    for record in history.records:
        if not isinstance(record, Regular):
            continue
        if record.ring.rep in forgetful:
            continue  # without its disk it cannot know which ids it has used, see ring_ids
        other = first.setdefault(record.ring, record)
        if other.members != record.members:
            raise Violation(
                PROPERTY,
                f"ring {record.ring} is {record.members} for {name(record.life)} and {other.members}"
                f" for {name(other.life)}",
                (other, record),
            )
        if record.life[0] not in record.members or record.ring.rep not in record.members:
            raise Violation(
                PROPERTY, f"{name(record.life)} installs {record.ring} of {record.members}", (record,)
            )
        if tuple(sorted(set(record.members))) != record.members:
            raise Violation(PROPERTY, f"ring {record.ring} has members {record.members}", (record,))
    _check_changes(history)


def _check_changes(history: History) -> None:
    for passages in index(history).passages.values():
        for passage, follower in itertools.pairwise(passages):
            announced = passage.transitional
            assert announced is not None
            if not set(announced.members) <= set(follower.members):
                raise Violation(
                    PROPERTY, f"{name(passage.life)}: {announced.members} go to {follower.members}"
                )
    for record in history.records:
        if isinstance(record, Regular) and (record.left or not set(record.joined) <= set(record.members)):
            raise Violation(
                PROPERTY,
                f"{name(record.life)} installs {record.ring} of {record.members}:"
                f" joined {record.joined}, left {record.left}",
                (record,),
            )
