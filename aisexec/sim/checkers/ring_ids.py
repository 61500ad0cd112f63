"""Ring ids are never used again, also not by a node that was started anew (Totem: stable storage).

The number of a ring is on the disk before the ring is installed, and each node's rings have growing
numbers over all its lives.  A node that has lost its state directory begins anew; that the rings it then
represents may have ids it used before cannot be helped, but all members of one such ring still mean the
same, see aisexec.sim.checkers.index.Ring.
"""

from __future__ import annotations

from aisexec.sim.checkers.index import index, name
from aisexec.sim.history import Ended, History, Regular, Started, Stored, Violation

PROPERTY = "ring ids"


class _Disk:
    """What a node's state directory holds, and the number of the ring it installed last."""

    def __init__(self) -> None:
        self.stored: Stored | None = None
        self.installed: Regular | None = None


def check(history: History) -> None:
    """Numbers in each node's lives."""
    if history.corrupted:
        return
    disks: dict[int, _Disk] = {}
    for record in index(history).numbers:
        nodeid = record.life[0]
        disk = disks.setdefault(nodeid, _Disk())
        if isinstance(record, Ended):
            if record.how == "lost":
                disks[nodeid] = _Disk()
        elif isinstance(record, Started):
            _check_start(record, disk)
        elif isinstance(record, Stored):
            _check_stored(record, disk)
            disk.stored = record
        else:
            _check_installed(record, disk)
            disk.installed = record


def _check_start(record: Started, disk: _Disk) -> None:
    before = disk.stored.ring_seq if disk.stored is not None else 0
    if record.ring_seq != before:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} starts at {record.at:.6f} with sequence number {record.ring_seq:x}, on its"
            f" disk is {before:x}",
            (record,) if disk.stored is None else (disk.stored, record),
        )


def _check_stored(record: Stored, disk: _Disk) -> None:
    if disk.stored is not None and record.ring_seq <= disk.stored.ring_seq:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} stores sequence number {record.ring_seq:x} at {record.at:.6f} after"
            f" {disk.stored.ring_seq:x} at {disk.stored.at:.6f}",
            (disk.stored, record),
        )


def _check_installed(record: Regular, disk: _Disk) -> None:
    seq, before = record.ring.seq, disk.installed
    if before is not None and seq <= before.ring.seq:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} installs ring {record.ring} at {record.at:.6f}, after ring {before.ring}"
            f" at {before.at:.6f}",
            (before, record),
        )
    if disk.stored is None or disk.stored.ring_seq < seq:
        raise Violation(
            PROPERTY,
            f"{name(record.life)} installs ring {record.ring} at {record.at:.6f} before its number is on the"
            " disk",
            (record,),
        )
