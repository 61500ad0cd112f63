"""Nothing grows beyond its named limit, and a cluster at rest keeps nothing (the limits modules)."""

from __future__ import annotations

from aisexec.sim.checkers.index import name
from aisexec.sim.history import History, Sizes, Violation

PROPERTY = "boundedness"

EMPTY_AT_REST = ("send queue", "retransmission queue", "misses", "own frames", "assembly", "assemblies")
"""What has to be empty when everything sent was delivered."""

KEPT_AT_REST = 64
"""Messages that an idle ring may keep because the token has not yet shown them to be everywhere."""


def check(history: History) -> None:
    """All looks at all nodes, and the last one more closely."""
    last: dict[object, Sizes] = {}
    for record in history.records:
        if not isinstance(record, Sizes):
            continue
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
    for record in last.values():
        if record.at == history.ended_at:
            _check_rest(record)


def _check_rest(record: Sizes) -> None:
    most = dict.fromkeys(EMPTY_AT_REST, 0) | {"sort queue": KEPT_AT_REST, "failed": 0}
    for what, size in most.items():
        if record.sizes[what] > size:
            raise Violation(
                PROPERTY,
                f"{what} of {name(record.life)} is {record.sizes[what]} at rest, {size} at most expected",
                (record,),
            )
