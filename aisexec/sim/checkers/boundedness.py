"""Nothing grows beyond its named limit, and a cluster at rest keeps nothing (the limits modules)."""

from __future__ import annotations

from aisexec.sim.checkers.groups import memberships
from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import History, Life, Sizes, Violation

PROPERTY = "boundedness"

EMPTY_AT_REST = (
    "send queue",
    "retransmission queue",
    "misses",
    "own frames",
    "assembly",
    "assemblies",
    "failed",
)
"""What has to be empty when everything sent was delivered."""

KEPT_AT_REST = 64
"""Messages that an idle ring may keep because the token has not yet shown them to be everywhere."""


def check(history: History) -> None:
    """All looks at all nodes, and the last one more closely: what is left after a cycle would add up."""
    last: dict[Life, Sizes] = {}
    for record in index(history).sizes:
        last[record.life] = record
        for what, size in record.sizes.items():
            if size > history.limits[what]:
                raise Violation(
                    PROPERTY,
                    f"{what} of {name(record.life)} is {size} at {record.at:.3f},"
                    f" limit {history.limits[what]}",
                    (record,),
                )
    if history.settled_at is None or history.corrupted:
        return
    most = dict.fromkeys(EMPTY_AT_REST, 0)
    most |= {"sort queue": KEPT_AT_REST, "recovery sort queue": 0, "processors": len(history.alive)}
    most["processes"] = sum(m.ended is None for m in memberships(history))
    for record in last.values():
        if record.at == history.ended_at:
            _check_rest(record, most)


def _check_rest(record: Sizes, most: dict[str, int]) -> None:
    for what, size in most.items():
        if record.sizes.get(what, 0) > size:
            raise Violation(
                PROPERTY,
                f"{what} of {name(record.life)} is {record.sizes[what]} at rest at {record.at:.3f}, {size} at"
                " most expected",
                (record,),
            )
