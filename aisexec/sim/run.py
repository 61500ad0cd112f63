"""One run: faults first, then everything healed, then judgement (phases after TigerBeetle's VOPR)."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

from aisexec.executive import ExecutiveOptions
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.sim.history import History, Violation
from aisexec.sim.network import Network, TooManyEventsError
from aisexec.sim.plan import Plan
from aisexec.sim.sizes import limits
from aisexec.sim.steps import Conductor
from aisexec.totem.settings import Settings

Checker = Callable[[History], None]

EVENTS_MAX = 2_000_000
"""Frames, timers and steps of one run of up to 16 nodes; one that needs more does not come to rest.

Larger rings get more, as all talk to all while they gather."""

SETTLE_ROUNDS = 12
"""Ring formations (token and consensus timeout each) that healing may take."""

STAY = 3.0
"""Token timeouts that a settled cluster has to stay as it is."""

SAMPLES = 6
"""Looks at how full the nodes are, in each of the two phases."""

DEFAULTS: dict[str, Any] = {
    "token": 1.0,
    "token_retransmit": 0.238,
    "hold": 0.18,
    "join": 0.05,
    "consensus": 1.2,
    "merge": 0.2,
}
"""Of Settings, where the simulator's differ from corosync.conf's."""


@dataclass
class Result:
    """What came of a run."""

    plan: Plan
    history: History
    violation: Violation | None = None
    crash: str = ""
    """The traceback of an exception out of the judged code."""
    events: int = 0
    """Frames, timers and steps handled."""
    virtual: float = 0.0
    """Virtual seconds."""

    @property
    def failed(self) -> bool:
        """Something is wrong."""
        return self.violation is not None or bool(self.crash)

    @property
    def what(self) -> str:
        """In one line, empty when all is well."""
        if self.crash:
            return "crash: " + self.crash.strip().splitlines()[-1]
        return str(self.violation) if self.violation is not None else ""


def settings_of(plan: Plan) -> Settings:
    """Raises ValueError for a name that Settings does not know."""
    kinds = {f.name: f.type for f in fields(Settings)}
    values = dict(DEFAULTS)
    for name, value in plan.timeouts.items():
        if name not in kinds:
            raise ValueError(f"there is no timeout {name}; there are {', '.join(kinds)}")
        values[name] = value if kinds[name] == "float" else int(value)
    return Settings(**values)


def run(
    plan: Plan,
    *,
    trace: bool = False,
    mutation: str = "",
    checkers: Sequence[Checker] | None = None,
    events_max: int = EVENTS_MAX,
) -> Result:
    """Run a plan and judge it. trace: keep marks for readers. mutation: a name of aisexec.sim.mutations.

    checkers: all when None. Raises PlanError or ValueError for a plan that means nothing.
    """
    if checkers is None:
        checkers = importlib.import_module("aisexec.sim.checkers").ALL
    simulation = Simulation(plan, trace=trace, events_max=events_max)
    with _mutated(mutation):
        result = simulation.run()
    if not result.failed:
        for check in checkers:
            try:
                check(result.history)
            except Violation as violation:
                result.violation = violation
                break
    return result


def _mutated(name: str) -> AbstractContextManager[None]:
    if not name:
        return nullcontext()
    mutations = importlib.import_module("aisexec.sim.mutations").MUTATIONS
    context: AbstractContextManager[None] = mutations[name].apply()
    return context


class Simulation:
    """A plan and the cluster it is carried out on."""

    def __init__(self, plan: Plan, *, trace: bool, events_max: int = EVENTS_MAX) -> None:
        settings = settings_of(plan)
        votes = QuorumOptions(expected_votes=len(plan.nodes), wait_for_all=plan.seed % 2 == 1)
        options = ExecutiveOptions(votequorum=True, quorum=votes)
        self.plan = plan
        self.settings = settings
        self.events_max = int(events_max * max(1.0, (len(plan.nodes) / 16) ** 2))
        self.network = Network(plan.nodes, plan.seed, settings, plan.network, options, traced=trace)
        self.conductor = Conductor(self.network, plan)
        self.conductor.schedule()

    def run(self) -> Result:
        """Both phases; checkers have yet to look at the result."""
        network, history = self.network, self.network.history
        history.limits = limits(self.settings)
        history.healed_at = self.plan.heal
        result = Result(self.plan, history)
        try:
            self._phases()
        except TooManyEventsError as error:
            result.violation = Violation("boundedness", str(error))
        except Exception:
            result.crash = traceback.format_exc()
        result.events = network.events
        result.virtual = history.ended_at = network.now
        history.alive = self._alive()
        return result

    def _phases(self) -> None:
        network, history = self.network, self.network.history
        self._let(self.plan.heal)
        self.conductor.heal()
        round_time = self.settings.token + self.settings.consensus
        history.must_settle_by = self._last_step() + SETTLE_ROUNDS * round_time
        if self._settle(history.must_settle_by):
            history.settled_at = network.now
            # Coming together is judged with the loss of an ordinary day, staying together is not: with
            # enough of it any token is lost for good now and then.
            network.profile = replace(network.profile, loss=0.0)
            network.sample()
            self._let(network.now + STAY * self.settings.token)
            if not self._settle(network.now + round_time):
                history.settled_at = None
        network.sample()

    def _last_step(self) -> float:
        """Work may come a little behind the last fault."""
        return max([self.plan.heal, *(step.at for step in self.plan.steps)])

    def _let(self, until: float) -> None:
        begin = self.network.now
        for i in range(1, SAMPLES + 1):
            self.network.run(begin + (until - begin) * i / SAMPLES, self.events_max)
            self.network.sample()

    def _alive(self) -> tuple[int, ...]:
        return tuple(sorted(n for n, node in self.network.nodes.items() if node.up))

    def _settle(self, deadline: float) -> bool:
        """Until all that are up are in step; looked at every now and then."""
        network = self.network
        # Of what was lost before the healing, a token may be missed later.
        quiet = max(self._last_step(), self.plan.heal + self.settings.token)
        network.run(min(deadline, quiet), self.events_max)
        pause = self.settings.token / 4
        while not self.settled():
            if network.now >= deadline:
                return False
            network.run(min(deadline, network.now + pause), self.events_max)
        return True

    def settled(self) -> bool:
        """All nodes that are up form one synchronised ring and have delivered the same."""
        members = self._alive()
        nodes = [self.network.nodes[n] for n in members]
        return all(node.in_step(members) for node in nodes) and len({n.position() for n in nodes}) <= 1
