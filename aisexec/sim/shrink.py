"""Makes a failing plan as small as it will go (Zeller's delta debugging, ddmin).

A smaller plan counts only if it fails in the same way: the same property is violated, or the judged code
raises the same kind of exception.  Steps go first, then whole nodes, then what the network is like, then
the numbers; over and over until nothing more goes or the tries are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import chain

from aisexec.sim.plan import NetworkProfile, Plan, Step, parameters
from aisexec.sim.run import Result

TRIES_MAX = 600
"""Runs that making one plan smaller may take."""

FEWER = ("COUNT", "SIZE")
"""Arguments that become whole numbers, down to 1."""

SHORTER = ("SECONDS", "DELAY", "TURN")
"""Arguments that become shorter times."""

MOMENT = 0.001
"""Seconds; no time is made shorter than this."""

TIME_DIGITS = (0, 1, 2, 3)
"""Digits behind the point that times are rounded to, if the failure stays."""


def failure(result: Result) -> str:
    """What two runs have in common that fail in the same way; empty when nothing is wrong."""
    if result.crash:
        return "crash " + result.crash.strip().splitlines()[-1].partition(":")[0]
    return result.violation.property if result.violation is not None else ""


class Shrinker:
    """Holds the smallest plan found so far in `plan`, also when it is interrupted."""

    def __init__(
        self, plan: Plan, still_fails: Callable[[Plan], bool], *, tries_max: int = TRIES_MAX
    ) -> None:
        """still_fails: is the plan run, does it fail as the first one did? It is not asked about `plan`."""
        self.plan = plan
        self.tries = 0
        self._still_fails = still_fails
        self._tries_max = tries_max
        self._known = {plan.text()}

    @property
    def exhausted(self) -> bool:
        """All tries are used up; it might have become smaller."""
        return self.tries >= self._tries_max

    def shrink(self) -> Plan:
        """The smallest plan that could be found."""
        while not self.exhausted:
            before = self.plan
            self._fewer_steps()
            self._first_that_fails(_without_a_node)
            self._first_that_fails(_simpler_surroundings)
            self._first_that_fails(_smaller_arguments)
            self._first_that_fails(_rounder_times)
            if self.plan == before:
                break
        return self.plan

    def _accept(self, plan: Plan) -> bool:
        """Try a plan and keep it if it fails. None is tried twice."""
        text = plan.text()
        if text in self._known or self.exhausted:
            return False
        self._known.add(text)
        self.tries += 1
        if not self._still_fails(plan):
            return False
        self.plan = plan
        return True

    def _fewer_steps(self) -> None:
        """ddmin: leave out a half, a quarter ... down to single steps."""
        parts = 2
        while len(self.plan.steps) > 1 and not self.exhausted:
            steps = self.plan.steps
            size = -(-len(steps) // parts)
            for start in range(0, len(steps), size):
                if self._accept(self.plan.with_steps(steps[:start] + steps[start + size :])):
                    parts = max(parts - 1, 2)
                    break
            else:
                if size == 1:
                    break
                parts = min(2 * parts, len(steps))

    def _first_that_fails(self, smaller: Callable[[Plan], Iterable[Plan]]) -> None:
        """Take the first smaller plan that still fails, and look again from there."""
        while any(self._accept(plan) for plan in smaller(self.plan)) and not self.exhausted:
            pass


def _without_a_node(plan: Plan) -> Iterator[Plan]:
    """The last ones first: the smallest number is the representative of most rings."""
    if len(plan.nodes) < 2:
        return
    for node in reversed(plan.nodes):
        steps = (_forget(step, node) for step in plan.steps)
        kept = tuple(other for other in plan.nodes if other != node)
        yield replace(plan, nodes=kept, steps=tuple(step for step in steps if step is not None))


def _forget(step: Step, node: int) -> Step | None:
    """The step without a node; None when it was about that node."""
    word = str(node)
    names = parameters(step.verb)
    for name, argument in zip(names, step.arguments, strict=False):
        if name in ("NODE", "FROM", "TO") and argument == word:
            return None
    if step.verb != "partition":
        return step
    sides = [[n for n in side.split(",") if n != word] for side in step.arguments[0].split("/")]
    text = "/".join(",".join(side) for side in sides if side)
    return step._replace(arguments=(text, *step.arguments[1:])) if "/" in text else None


def _simpler_surroundings(plan: Plan) -> Iterator[Plan]:
    """A good network, the usual timeouts, faults that are healed soon."""
    if plan.network != NetworkProfile():
        yield replace(plan, network=NetworkProfile())
    for name in (field.name for field in fields(NetworkProfile)):
        usual: dict[str, float] = {name: getattr(NetworkProfile(), name)}
        yield replace(plan, network=replace(plan.network, **usual))
    if plan.timeouts:
        yield replace(plan, timeouts={})
    for name in sorted(plan.timeouts):
        yield replace(plan, timeouts={k: v for k, v in plan.timeouts.items() if k != name})
    last = max((step.at for step in plan.steps), default=0.0)
    for heal in (0.0, last, plan.heal / 2):
        if heal < plan.heal:
            yield replace(plan, heal=round(heal, 4))


def _smaller_arguments(plan: Plan) -> Iterator[Plan]:
    """One number of one step at a time, the boldest change first."""
    for place, step in enumerate(plan.steps):
        names = parameters(step.verb)
        for at, (name, word) in enumerate(zip(names, step.arguments, strict=False)):
            for smaller in _smaller(name, word):
                arguments = (*step.arguments[:at], smaller, *step.arguments[at + 1 :])
                yield _with_step(plan, place, step._replace(arguments=arguments))


def _smaller(name: str, word: str) -> Iterator[str]:
    if name in FEWER:
        number = int(word)
        less = {1, 10, number // 2, number - 1 if number <= 10 else 1}
        yield from (str(n) for n in sorted(less) if 0 < n < number)
    elif name in SHORTER:
        seconds = float(word)
        for shorter in (0.1, 0.5, 1.0, seconds / 2):
            if MOMENT <= shorter < seconds:
                yield f"{shorter:.4g}"
    elif name == "PROBABILITY" and float(word) < 1:
        yield "1"  # the same each time


def _rounder_times(plan: Plan) -> Iterator[Plan]:
    """All at once, then one by one; and nothing has to wait for the first step."""
    first = min((step.at for step in plan.steps), default=0.0)
    if first > 0:
        sooner = plan.with_steps(step._replace(at=round(step.at - first, 4)) for step in plan.steps)
        yield replace(sooner, heal=round(max(0.0, plan.heal - first), 4))
    for digits in TIME_DIGITS:
        yield replace(plan, steps=_sorted(step._replace(at=round(step.at, digits)) for step in plan.steps))
    for place, step in enumerate(plan.steps):
        for digits in TIME_DIGITS:
            rounded = round(step.at, digits)
            if rounded == step.at:
                break
            yield _with_step(plan, place, step._replace(at=rounded))


def _with_step(plan: Plan, place: int, step: Step) -> Plan:
    return plan.with_steps(_sorted(chain(plan.steps[:place], (step,), plan.steps[place + 1 :])))


def _sorted(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda step: step.at))


def told(before: Plan, shrinker: Shrinker) -> str:
    """What was reached, in one line."""
    after = shrinker.plan
    text = (
        f"from {_count(before.steps, 'step')} and {_count(before.nodes, 'node')} to "
        f"{_count(after.steps, 'step')} and {_count(after.nodes, 'node')} in {_count(shrinker.tries, 'run')}"
    )
    return text + (", all that are allowed" if shrinker.exhausted else "")


def _count(things: Sequence[object] | int, name: str) -> str:
    count = things if isinstance(things, int) else len(things)
    return f"{count} {name}" + ("" if count == 1 else "s")
