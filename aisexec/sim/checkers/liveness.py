"""After healing all nodes come together, in bounded time (paper: termination of the membership protocol)."""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import History, Violation

PROPERTY = "liveness"


def check(history: History) -> None:
    """One synchronised ring of all that are up, with everything delivered."""
    if history.corrupted:
        return
    if history.settled_at is None or history.settled_at > history.must_settle_by:
        raise Violation(
            PROPERTY,
            f"healed at {history.healed_at:.3f}, but nodes {', '.join(map(str, history.alive))} are not in"
            f" step by {history.must_settle_by:.3f}",
        )
    passages = index(history).passages
    for life, mine in passages.items():
        if life not in index(history).ended and set(mine[-1].members) != set(history.alive):
            raise Violation(
                PROPERTY, f"{name(life)} is in a ring of {mine[-1].members}, {history.alive} are up"
            )
