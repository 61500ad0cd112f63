"""The log of a node: waiting for lines, and the memberships that it tells of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.harness.wait import wait_until

NEW_RING = re.compile(r"A new membership \((\d+\.[0-9a-f]+)\) was formed")
MEMBERS = re.compile(r"\[QUORUM\] Members\[\d+\]:((?: \d+)*)")


class Membership(NamedTuple):
    """A ring as one node logged it."""

    ring_id: str
    members: tuple[int, ...]


class LogFile:
    """A log file that grows; positions are offsets in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """The position where the next line will be."""
        return self.path.stat().st_size if self.path.exists() else 0

    def text(self, since: int = 0) -> str:
        """What was logged from `since` on; empty when there is no file yet."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def wait_for(self, pattern: str, timeout: float, since: int = 0) -> re.Match[str]:
        """The first line part that matches; AssertionError with the log's end after `timeout`."""
        expression = re.compile(pattern, re.MULTILINE)

        def explain() -> str:
            return f"{pattern!r} in {self.path}, which ends\n{self.text(since)[-4000:]}"

        match = wait_until(lambda: expression.search(self.text(since)), timeout, explain)
        assert match is not None
        return match

    def memberships(self, since: int = 0) -> list[Membership]:
        """All rings logged, each with the members that quorum reported for it first."""
        result: list[Membership] = []
        ring_id: str | None = None
        for line in self.text(since).splitlines():
            if ring := NEW_RING.search(line):
                ring_id = ring[1]
            elif (members := MEMBERS.search(line)) and ring_id is not None:
                result.append(Membership(ring_id, tuple(map(int, members[1].split()))))
                ring_id = None
        return result

    def present_membership(self, since: int = 0) -> Membership | None:
        """The last ring, None when there is none yet or its services are not synchronised yet."""
        rings = NEW_RING.findall(self.text(since))
        memberships = self.memberships(since)
        if not rings or not memberships or memberships[-1].ring_id != rings[-1]:
            return None
        return memberships[-1]
