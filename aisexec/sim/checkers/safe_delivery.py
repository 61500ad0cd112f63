"""Safe delivery: who delivers a safe message knows that all members have it (EVS, specification 7).

"If p delivers m, sent as safe, in a regular configuration, then every member of it delivers m, unless
it fails; if p delivers m in a transitional configuration, every member of that one does."  The second
half is part of virtual synchrony.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import Message, Passage, index, name, show
from aisexec.sim.history import History, Violation

PROPERTY = "safe delivery"


def check(history: History) -> None:
    """Ring by ring, safe messages only."""
    if history.corrupted:
        return
    indexed = index(history)
    safe = {number for number, sent in indexed.unique.items() if sent.safe}
    if not safe:
        return
    for passages in indexed.rings.values():
        wanted: dict[Message, Passage] = {}
        for passage in passages:
            for message in passage.regular:
                if message[1] in safe:
                    wanted.setdefault(message, passage)
        if not wanted:
            continue
        for passage in passages:
            if passage.follower is None:
                continue  # it failed here, or is here to this day and may be a rotation behind
            missing = wanted.keys() - set(passage.delivered)
            if missing:
                message = min(missing)
                raise Violation(
                    PROPERTY,
                    f"{name(wanted[message].life)} delivers {show(history, message)} as safe in ring"
                    f" {passage.ring}, of which {name(passage.life)} is a member; it goes on to"
                    f" {passage.follower} without it",
                )
