"""Of two partitions at most one has quorum, and all members of a ring are of one opinion.

Simulated nodes have one vote each, all of which are expected, so two quorate views have a member in common
whenever they were held.  With wait_for_all, which half of the plans have on, that holds as well, but
members may differ, as those of corosync do: one that had quorum, and comes from a ring of its own whose
synchronisation was cut short, says so in its last word on the old ring.  The others then need not wait any
longer, while itself, which has counted meanwhile, waits for all.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import History, Verdict, Violation

PROPERTY = "quorum"


def check(history: History) -> None:
    """View by view; there are few different ones."""
    if history.corrupted:
        return
    quorate: dict[frozenset[int], Verdict] = {}
    for verdict in index(history).verdicts:
        if verdict.quorate:
            quorate.setdefault(frozenset(verdict.members), verdict)
    views = list(quorate.items())
    for place, (members, verdict) in enumerate(views):
        for others, other in views[:place]:
            if not members & others:
                raise Violation(
                    PROPERTY,
                    f"nodes {sorted(members)} have quorum in ring {verdict.ring}, and"
                    f" nodes {sorted(others)} in ring {other.ring}",
                    (other, verdict),
                )
    _agree(history)


def _agree(history: History) -> None:
    for passages in index(history).rings.values():
        first: Verdict | None = None
        for passage in passages:
            verdict = passage.verdict
            if verdict is None:
                continue
            if set(verdict.members) != set(passage.members):
                text = f"{name(verdict.life)} counts {verdict.members} in ring {verdict.ring}"
                raise Violation(PROPERTY, f"{text} of {passage.members}", (verdict,))
            first = first or verdict
            if verdict.quorate != first.quorate and not verdict.waits:
                raise Violation(
                    PROPERTY,
                    f"in ring {verdict.ring} {name(verdict.life)} says quorate={verdict.quorate},"
                    f" {name(first.life)} quorate={first.quorate}",
                    (first, verdict),
                )
