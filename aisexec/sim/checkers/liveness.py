"""After healing all nodes come together, in bounded time (Totem: termination of the membership protocol)."""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import History, Violation

PROPERTY = "liveness"


def check(history: History) -> None:
    """One synchronised ring of all that are up; that everything was delivered, self_delivery looks at."""
    if history.corrupted:
        return
    last = {life: mine[-1] for life, mine in index(history).passages.items()}
    up = [passage for life, passage in last.items() if life not in index(history).ended]
    if history.settled_at is None or history.settled_at > history.must_settle_by:
        rings = ", ".join(f"{name(p.life)} is in ring {p.ring} of {p.members}" for p in up)
        raise Violation(
            PROPERTY,
            f"healed at {history.healed_at:.3f}, but nodes {', '.join(map(str, history.alive))} are not in"
            f" step by {history.must_settle_by:.3f}: {rings}",
        )
    if sorted(passage.life[0] for passage in up) != sorted(history.alive):
        raise Violation(PROPERTY, f"{[p.life for p in up]} have not ended, and {history.alive} are up")
    for passage in up:
        where = f"{name(passage.life)} is in ring {passage.ring} of {passage.members}"
        evidence = () if passage.installed is None else (passage.installed,)
        if set(passage.members) != set(history.alive):
            raise Violation(PROPERTY, f"at the end {where}, {history.alive} are up", evidence)
        if passage.synchronised_at is None:
            raise Violation(PROPERTY, f"at the end {where} and not synchronised", evidence)
        if passage.at > history.settled_at:
            raise Violation(
                PROPERTY,
                f"all are in step at {history.settled_at:.6f} and do not stay so: {where} since"
                f" {passage.at:.6f}",
                evidence,
            )
