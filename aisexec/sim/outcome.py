"""What is to be run, what came of it, and all of that added up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from aisexec.sim.faults import make_plan
from aisexec.sim.options import FAILED, INTERRUPTED, OK, USUAL_PROFILE
from aisexec.sim.plan import Plan


class Job(NamedTuple):
    """What a run is made from."""

    seed: int
    profile: str
    nodes: int | None
    mutation: str
    file: str = ""
    """Of its plan; empty when the seed says it all."""

    def plan(self) -> Plan:
        """The plan of the seed."""
        return make_plan(self.seed, nodes=self.nodes, profile=self.profile)

    def command(self) -> list[str]:
        """The words that repeat it."""
        words = ["--plan", self.file] if self.file else ["--seed", str(self.seed)]
        if self.profile != USUAL_PROFILE and not self.file:
            words += ["--profile", self.profile]
        if self.nodes and not self.file:
            words += ["--nodes", str(self.nodes)]
        return words + self.with_mutation()

    def with_mutation(self) -> list[str]:
        """The words that put its deliberate fault in."""
        return ["--mutation", self.mutation] if self.mutation else []

    def plan_name(self) -> str:
        """Of a file for its shrunken plan."""
        if self.file and self.file != "-":
            return self.file.rpartition("/")[2].removesuffix(".plan") + ".shrunken.plan"
        profile = self.profile if self.profile != USUAL_PROFILE else ""
        return "-".join(filter(None, ("aisexec-sim", profile, self.mutation, str(self.seed)))) + ".plan"


class Outcome(NamedTuple):
    """What came of one run."""

    job: Job
    what: str
    """Empty when nothing is wrong."""
    failure: str
    """The property that is violated, or the kind of crash."""
    nodes: int
    events: int
    virtual: float
    seconds: float
    """Processor time, judging included."""


@dataclass
class Totals:
    """What was done so far."""

    wanted: int = 0
    done: int = 0
    events: int = 0
    virtual: float = 0.0
    elapsed: float = 0.0
    failed: list[Outcome] = field(default_factory=list)
    interrupted: bool = False

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self.done += 1
        self.events += outcome.events
        self.virtual += outcome.virtual
        if outcome.what:
            self.failed.append(outcome)

    @property
    def exit_code(self) -> int:
        """See `aisexec-sim --help`."""
        return FAILED if self.failed else INTERRUPTED if self.interrupted else OK

    @property
    def _seconds(self) -> float:
        return max(self.elapsed, 1e-6)

    def text(self) -> str:
        """In one line."""
        seconds = self._seconds
        return (
            f"{self.done} of {self.wanted} runs, {len(self.failed)} failed, {self.elapsed:.1f} s, "
            f"{self.done / seconds:.1f} seeds/s, {self.virtual / seconds:.0f} virtual seconds per real second"
        )

    def summary(self) -> dict[str, object]:
        """The same for machines."""
        seconds = self._seconds
        return {
            "wanted": self.wanted,
            "runs": self.done,
            "failed": len(self.failed),
            "interrupted": self.interrupted,
            "seconds": round(self.elapsed, 3),
            "seeds_per_second": round(self.done / seconds, 2),
            "virtual_seconds": round(self.virtual, 3),
            "virtual_seconds_per_second": round(self.virtual / seconds, 1),
            "events": self.events,
        }
