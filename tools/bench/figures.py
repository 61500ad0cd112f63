"""Reading a run's result: rates, latencies, and whether the ring kept its promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .wire import Mode, Report, Senders

NANOSECONDS = 1e9


class BenchError(Exception):
    """It could not be measured; the text says why and what to do."""


@dataclass(frozen=True)
class MemberReport:
    """What the member `pid` on node `node` saw."""

    node: int
    pid: int
    seen: Report

    @property
    def rate(self) -> float:
        """Messages a second, from the end of the warm-up to the last delivery."""
        seen = self.seen
        return seen.window_messages * NANOSECONDS / seen.window_time if seen.window_time else 0.0


@dataclass(frozen=True)
class Result:
    """A run, as all its members saw it."""

    mode: Mode
    senders: Senders
    size: int
    members: tuple[MemberReport, ...]

    @property
    def messages(self) -> int:
        """Delivered to each member in the whole run, warm-up and end included."""
        return max(member.seen.messages for member in self.members)

    @property
    def rate(self) -> float:
        """Messages a second at the slowest member."""
        return min(member.rate for member in self.members)

    @property
    def megabytes(self) -> float:
        """Millions of bytes of messages a second at the slowest member."""
        return self.rate * self.size / 1e6

    @property
    def client_cpu(self) -> float:
        """CPU seconds of all members."""
        return sum(member.seen.cpu for member in self.members) / NANOSECONDS

    @property
    def behind(self) -> int:
        """Messages that a rate asked for and that were not sent."""
        return sum(member.seen.behind for member in self.members)

    def member(self, node: int) -> MemberReport:
        """The one on this node; KeyError."""
        for member in self.members:
            if member.node == node:
                return member
        raise KeyError(node)

    def latency(self, node: int) -> dict[str, float]:
        """Microseconds from a send to its delivery at `node`, by percentile."""
        seen = self.member(node).seen
        return {name: getattr(seen, name) / 1000 for name in ("p50", "p90", "p99", "p999", "longest")}

    def same_clock(self, node: int) -> list[int]:
        """The other nodes whose latencies mean something next to those of `node`."""
        boot = self.member(node).seen.boot
        return [m.node for m in self.members if m.node != node and m.seen.boot == boot]

    def problems(self) -> list[str]:
        """Every promise of the ring that was not kept; empty when all is well."""
        found = []
        for member in self.members:
            for name in ("lost", "duplicated", "corrupt"):
                if count := getattr(member.seen, name):
                    found.append(f"node {member.node}: {count} messages {name}")
            if not member.seen.window_messages:
                found.append(f"node {member.node}: fewer than two messages after the warm-up")
        if len({(member.seen.messages, member.seen.digest) for member in self.members}) > 1:
            found.append("the members did not deliver the same messages in the same order")
        return found


def parse_result(event: Mapping[str, Any]) -> Result:
    """Of the client's line `result`; BenchError when it is not one."""
    try:
        members = tuple(
            MemberReport(
                member["node"], member["pid"], Report(*(int(member[name]) for name in Report._fields))
            )
            for member in event["members"]
        )
        mode, senders = Mode[event["mode"].upper()], Senders[event["senders"].upper()]
        return Result(mode, senders, int(event["size"]), members)
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"the client's result is not understood ({error!r}): {event}") from None


def percentile(samples: Sequence[int], thousandths: int) -> int:
    """The smallest sample that so many of a thousand do not exceed (nearest rank); 0 without samples."""
    if not samples:
        return 0
    ordered = sorted(samples)
    return ordered[max(0, (len(ordered) * thousandths + 999) // 1000 - 1)]


@dataclass(frozen=True)
class Spread:
    """One figure, of several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle."""
        return median(self.values)

    @property
    def least(self) -> float:
        """Of all rounds."""
        return min(self.values)

    @property
    def most(self) -> float:
        """Of all rounds."""
        return max(self.values)


def ratio(one: Spread, other: Spread) -> float | None:
    """Median of `one` to that of `other`; None when there is nothing to divide by."""
    return one.median / other.median if other.median else None
