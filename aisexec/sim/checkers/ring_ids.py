"""Ring ids are never used again, also not by a node that was started anew (paper: stable storage, 4.2).

A node that has lost its state directory cannot know which ids it gave to rings of its own before; of
these nothing can be promised.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import Ended, History, Life, Regular, Started, Stored, Violation
from aisexec.totem.types import RingId

PROPERTY = "ring ids"


def check(history: History) -> None:
    """Sequence numbers grow in each node's lives, and no ring is installed twice."""
    if history.corrupted:
        return
    forgetful = {record.life[0] for record in index(history).ended.values() if record.how == "lost"}
    highest: dict[int, int] = {}
    stored: dict[int, int] = {}
    installed: dict[tuple[int, RingId], Life] = {}
    for record in history.records:
        if isinstance(record, Ended) and record.how == "lost":
            highest.pop(record.life[0], None)
            stored.pop(record.life[0], None)
        elif isinstance(record, Started):
            _check_start(record, stored)
        elif isinstance(record, Stored):
            stored[record.life[0]] = record.ring_seq
        elif isinstance(record, Regular):
            _check_installed(record, highest, stored)
            before = installed.setdefault((record.life[0], record.ring), record.life)
            if before != record.life and record.ring.rep not in forgetful:
                raise Violation(
                    PROPERTY, f"{name(before)} and {name(record.life)} install ring {record.ring}", (record,)
                )


def _check_start(record: Started, stored: dict[int, int]) -> None:
    if record.ring_seq < stored.get(record.life[0], 0):
        raise Violation(
            PROPERTY,
            f"{name(record.life)} starts with sequence number {record.ring_seq:x}, it had stored"
            f" {stored[record.life[0]]:x}",
            (record,),
        )


def _check_installed(record: Regular, highest: dict[int, int], stored: dict[int, int]) -> None:
    nodeid, seq = record.life[0], record.ring.seq
    if seq <= highest.get(nodeid, -1):
        raise Violation(
            PROPERTY,
            f"{name(record.life)} installs ring {record.ring} at {record.at:.6f}, after one with"
            f" sequence number {highest[nodeid]:x}",
            (record,),
        )
    highest[nodeid] = seq
    if stored.get(nodeid, 0) < seq:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} installs ring {record.ring} before its number is on the disk",
            (record,),
        )
