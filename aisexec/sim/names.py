"""Short names for the messages of a run: who sent it, and its number among the sender's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aisexec.messages import EXEC_HEADER, exec_id
from aisexec.services.cpg_joinlist import MCAST, PARTIAL_MCAST, SERVICE
from aisexec.sim.history import History, ProgramSent, Submitted

RANGES_SHOWN = 6
"""Runs of consecutive messages that are spelt out."""

OWN_WORDS = b"message "
"""What the workload's own messages begin with."""

_OF_PROGRAMS = frozenset((exec_id(SERVICE, MCAST), exec_id(SERVICE, PARTIAL_MCAST)))


def of_services(message: bytes) -> bool:
    """Is it what services say to each other, rather than a message of the workload?"""
    if message.startswith(OWN_WORDS) or len(message) < EXEC_HEADER.size:
        return False
    return EXEC_HEADER.unpack(message[: EXEC_HEADER.size]).id not in _OF_PROGRAMS


class Names:
    """Messages of Totem are called node.number, those of programs pid#number."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._of_services: dict[int, bool] = {}
        self._serials: dict[tuple[int, int], int] = {}
        self._counts: dict[int, int] = {}
        self._program_serials: dict[tuple[int, int], int] = {}
        self._program_counts: dict[int, int] = {}
        for record in history.records:
            if isinstance(record, Submitted):
                if not self._service(record.message):
                    self._count(self._serials, self._counts, record.life[0], record.message)
            elif isinstance(record, ProgramSent):
                self._count(self._program_serials, self._program_counts, record.pid, record.message)

    def _service(self, message: int) -> bool:
        known = self._of_services.get(message)
        if known is None:
            messages = self._history.messages
            known = message < len(messages) and of_services(messages[message])
            self._of_services[message] = known
        return known

    @staticmethod
    def _count(
        serials: dict[tuple[int, int], int], counts: dict[int, int], sender: int, message: int
    ) -> None:
        if (sender, message) not in serials:
            counts[sender] = serials[sender, message] = counts.get(sender, 0) + 1

    def totem(self, messages: Sequence[tuple[int, int]]) -> str:
        """(sender, message) pairs in the order of delivery: "5 delivered: 1.4..1.7, 3.2; 2 of services"."""
        own = [pair for pair in messages if not self._service(pair[1])]
        others = len(messages) - len(own)
        if not own:
            return f"{others} of services delivered"
        words = _ranges(((s, self._serials.get((s, m)), m) for s, m in own), ".")
        return f"{len(own)} delivered: {words}" + (f"; {others} of services" if others else "")

    def program(self, messages: Iterable[tuple[int, int]]) -> str:
        """(pid, message) pairs: "1004#4..1004#15"."""
        return _ranges(((s, self._program_serials.get((s, m)), m) for s, m in messages), "#")


def _ranges(messages: Iterable[tuple[int, int | None, int]], mark: str) -> str:
    """Senders in the order in which they come first; what nobody sent is named by its identity."""
    runs: dict[int, list[list[int]]] = {}
    unknown: list[str] = []
    for sender, serial, message in messages:
        if serial is None:
            unknown.append(f"{sender}{mark}?{message}")
            continue
        mine = runs.setdefault(sender, [])
        if mine and mine[-1][1] + 1 == serial:
            mine[-1][1] = serial
        else:
            mine.append([serial, serial])
    words = [
        f"{sender}{mark}{first}" + (f"..{sender}{mark}{last}" if last > first else "")
        for sender, mine in runs.items()
        for first, last in mine
    ]
    words = unknown + words
    more = len(words) - RANGES_SHOWN
    return ", ".join(words[:RANGES_SHOWN]) + (f" and {more} more runs" if more > 0 else "")
