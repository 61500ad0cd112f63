"""The command `aisexec-sim`: simulated clusters from seeds, judged, traced, drawn and repeated.

The only file of the simulator that reads a clock, files or signals: for progress, speed, and to put
a bound on a run that hangs.  Nothing of it reaches the simulated cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import FrameType
from typing import TextIO

from aisexec.sim.faults import PROFILES
from aisexec.sim.history import History
from aisexec.sim.mutations import MUTATIONS
from aisexec.sim.options import (
    FAILED,
    INTERRUPTED,
    OK,
    PATIENCE,
    USAGE,
    USUAL_PROFILE,
    UsageError,
    build_parser,
    package_version,
    seed_range,
)
from aisexec.sim.outcome import Job, Outcome, Totals
from aisexec.sim.picture import svg
from aisexec.sim.picture_page import html
from aisexec.sim.plan import Plan, parse
from aisexec.sim.run import Result, Simulation, run
from aisexec.sim.shrink import TRIES_MAX, Shrinker, failure, told
from aisexec.sim.trace import trace

CHUNK = 4
"""The most seeds that a process is given at a time."""

PROGRESS_TERMINAL, PROGRESS_LOG = 0.5, 30.0
"""Seconds between two lines of progress."""

SHRUNKEN_MAX = 3
"""Failing seeds whose plans are shrunken."""

SHRINK_SECONDS = 300.0
"""Real time after which a plan is not made smaller any more."""


class OverdueError(RuntimeError):
    """A run took too much processor time."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command `aisexec-sim`."""
    arguments = build_parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return Command(arguments).run()
    except UsageError as error:
        print(f"aisexec-sim: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("aisexec-sim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# Runs.


def judged(plan: Plan, mutation: str, *, traced: bool = False, patience: float = PATIENCE) -> Result:
    """Run a plan; whatever goes wrong is in the result."""

    def overdue(number: int, frame: FrameType | None) -> None:
        raise OverdueError(f"more than {patience:g} s of processor time")

    signal.signal(signal.SIGPROF, overdue)
    signal.setitimer(signal.ITIMER_PROF, patience)
    try:
        return run(plan, trace=traced, mutation=mutation)
    except Exception:  # in a checker, or overdue outside the judged code
        return Result(plan, History(), crash=traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def outcome_of(job: Job, plan: Plan, patience: float, *, traced: bool = False) -> tuple[Outcome, Result]:
    """Run and measure."""
    begin = time.process_time()
    result = judged(plan, job.mutation, traced=traced, patience=patience)
    seconds = time.process_time() - begin
    outcome = Outcome(
        job, result.what, failure(result), len(plan.nodes), result.events, result.virtual, seconds
    )
    return outcome, result


def work(jobs: Sequence[Job], patience: float) -> list[Outcome]:
    """What a process is given at a time."""
    return [outcome_of(job, job.plan(), patience)[0] for job in jobs]


def _begin_worker() -> None:
    """Without a parent there is nobody to work for."""
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(FAILED)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _interrupts_put_off() -> Iterator[None]:
    """Ctrl-C is ours alone: processes begun meanwhile inherit that they do not hear it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def spread(
    jobs: Iterator[Job], processes: int, patience: float, chunk: int = CHUNK
) -> Generator[Outcome, None, None]:
    """Run jobs, in one process or many; what is under way when the iterator is closed is still ended."""
    if processes == 1:
        for job in jobs:
            yield from work([job], patience)
        return
    # A fresh interpreter, so that nothing of this one is inherited half-done.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker)
    waiting: set[Future[list[Outcome]]] = set()
    try:
        while True:
            while len(waiting) < processes + 1 and (some := list(islice(jobs, chunk))):
                with _interrupts_put_off():
                    waiting.add(pool.submit(work, some, patience))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    except BrokenProcessPool:
        raise UsageError("a process was killed from outside; out of memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


class Progress:
    """One line on a terminal, or one every now and then in a log."""

    def __init__(self, totals: Totals, stream: TextIO) -> None:
        self._totals = totals
        self._stream = stream
        self._terminal = stream.isatty()
        self._begin = time.monotonic()
        self._next = self._begin + (0 if self._terminal else PROGRESS_LOG)

    def step(self) -> None:
        """Called after each run."""
        now = time.monotonic()
        self._totals.elapsed = now - self._begin
        if now < self._next:
            return
        self._next = now + (PROGRESS_TERMINAL if self._terminal else PROGRESS_LOG)
        end = "\r" if self._terminal else "\n"
        self._stream.write(self._totals.text() + ("\033[K" if self._terminal else "") + end)
        self._stream.flush()

    def end(self) -> None:
        """No more."""
        self._totals.elapsed = time.monotonic() - self._begin
        if self._terminal:
            self._stream.write("\r\033[K")
            self._stream.flush()


class Command:
    """One call of the command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.totals = Totals()
        self.reports: list[dict[str, object]] = []
        self._check()

    def _check(self) -> None:
        """What can be wrong is found before the work begins."""
        a = self.arguments
        if a.profile not in (*PROFILES, "all"):
            raise UsageError(f"there is no profile {a.profile}; there are all, {', '.join(PROFILES)}")
        if a.plan is not None and (a.nodes or a.profile != USUAL_PROFILE):
            raise UsageError("--plan says all that --nodes and --profile would; leave them out")
        if a.mutation and a.mutation not in MUTATIONS:
            raise UsageError(f"there is no mutation {a.mutation}; see --list-mutations")
        if a.picture and Path(a.picture).suffix not in (".svg", ".html"):
            raise UsageError(f"--picture {a.picture}: the name has to end in .svg or .html")
        for file in (a.trace, a.picture):
            if file and file != "-" and not Path(file).absolute().parent.is_dir():
                raise UsageError(f"{file}: there is no such directory")
        if not Path(a.output).is_dir():
            raise UsageError(f"--output {a.output}: there is no such directory")

    def run(self) -> int:
        """Returns the exit status."""
        a = self.arguments
        if a.list_profiles:
            self._list(PROFILES)
        elif a.list_mutations:
            self._list({name: mutation.text for name, mutation in MUTATIONS.items()})
        elif a.print_plan:
            sys.stdout.write("".join(plan.text() for _, plan in self._plans()))
        elif a.seeds is not None:
            return self._many()
        else:
            return self._one()
        return OK

    @staticmethod
    def _list(entries: dict[str, str]) -> None:
        width = max(map(len, entries), default=0)
        for name, text in entries.items():
            print(f"{name:<{width}}  {text}")

    # What to run.

    def _jobs(self) -> Iterator[Job]:
        a = self.arguments
        seeds: Sequence[int] = seed_range(a.seeds) if a.seeds is not None else [a.seed]
        for seed in seeds:
            yield Job(seed, self._profile(seed), a.nodes, a.mutation)

    def _profile(self, seed: int) -> str:
        name: str = self.arguments.profile
        return list(PROFILES)[seed % len(PROFILES)] if name == "all" else name

    def _plans(self) -> Iterator[tuple[Job, Plan]]:
        a = self.arguments
        if a.plan is not None:
            plan = self._plan_from_file()
            yield Job(plan.seed, a.profile, a.nodes, a.mutation, a.plan), plan
        elif a.seed is None and a.seeds is None:
            raise UsageError("say what to run: --seed, --seeds or --plan; --help tells more")
        else:
            yield from ((job, job.plan()) for job in self._jobs())

    def _plan_from_file(self) -> Plan:
        name = self.arguments.plan
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            plan = parse(parse(text).text())  # times as they would be written down
            Simulation(plan, trace=False)  # to see whether all of it can be meant
        except OSError as error:
            raise UsageError(f"{name}: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
        return plan

    # One run.

    def _one(self) -> int:
        a, totals = self.arguments, self.totals
        job, plan = next(self._plans())
        totals.wanted = 1
        begin = time.monotonic()
        outcome, result = outcome_of(job, plan, a.patience, traced=bool(a.trace or a.picture))
        totals.elapsed = time.monotonic() - begin
        totals.add(outcome)
        self._look(result)
        speed = outcome.virtual / max(totals.elapsed, 1e-6)
        self._say(
            f"seed {job.seed}, {len(plan.nodes)} nodes, {len(plan.steps)} steps: {outcome.events} events, "
            f"{outcome.virtual:.2f} virtual seconds in {totals.elapsed:.2f} s ({speed:.0f} times real time): "
            + ("FAILED" if outcome.what else "nothing wrong was found")
        )
        if outcome.what:
            self._report(outcome, plan, shrink=a.shrink)
        self._json()
        return totals.exit_code

    # Many runs.

    def _many(self) -> int:
        a, totals = self.arguments, self.totals
        totals.wanted = len(seed_range(a.seeds))
        self._run_all()
        totals.failed.sort(key=lambda outcome: outcome.job.seed)
        try:
            for number, outcome in enumerate(totals.failed):
                plan = outcome.job.plan()
                if number == 0 and (a.trace or a.picture):
                    self._look(judged(plan, a.mutation, traced=True, patience=a.patience))
                self._report(outcome, plan, shrink=a.shrink and number < SHRUNKEN_MAX)
        except KeyboardInterrupt:
            totals.interrupted = True
        self._say(("interrupted: " if totals.interrupted else "") + totals.text())
        self._json()
        return totals.exit_code

    def _run_all(self) -> None:
        a, totals = self.arguments, self.totals
        progress = Progress(totals, sys.stderr)
        chunk = max(1, min(CHUNK, totals.wanted // (4 * a.jobs)))
        try:
            with closing(spread(self._jobs_in_time(), a.jobs, a.patience, chunk)) as outcomes:
                for outcome in outcomes:
                    totals.add(outcome)
                    progress.step()
                    if a.failures and len(totals.failed) >= a.failures:
                        break
        except KeyboardInterrupt:
            totals.interrupted = True
        finally:
            progress.end()

    def _jobs_in_time(self) -> Iterator[Job]:
        limit = self.arguments.seconds
        begin = time.monotonic()
        for job in self._jobs():
            if limit is not None and time.monotonic() - begin > limit:
                return
            yield job

    # What is shown.

    def _say(self, text: str) -> None:
        """For people; in the way of nobody who reads JSON or a trace from standard output."""
        quiet = self.arguments.json or self.arguments.trace == "-"
        print(text, file=sys.stderr if quiet else sys.stdout, flush=True)

    def _json(self) -> None:
        if not self.arguments.json:
            return
        summary = {"version": package_version(), **self.totals.summary(), "failures": self.reports}
        print(json.dumps(summary, indent=2))

    def _look(self, result: Result) -> None:
        a = self.arguments
        if a.trace:
            _write(a.trace, trace(result, width=a.width))
        if a.picture:
            _write(a.picture, html(result) if a.picture.endswith(".html") else svg(result))

    def _report(self, outcome: Outcome, plan: Plan, *, shrink: bool) -> None:
        repeat = _shell(outcome.job.command())
        report: dict[str, object] = {
            "seed": outcome.job.seed,
            "profile": outcome.job.profile,
            "nodes": outcome.nodes,
            "property": outcome.failure,
            "what": outcome.what,
            "command": repeat,
        }
        self.reports.append(report)
        self._say(f"seed {outcome.job.seed} FAILED: {outcome.what}\n  repeat it: {repeat}")
        if shrink:
            file, text = self._shrunken(outcome, plan)
            again = outcome.job._replace(file=str(file))
            look = _shell([*again.command(), "--trace", "-"])
            report.update(plan=str(file), shrunken=text, look=look)
            self._say(f"  shrunken {text}: {file}\n  look at it: {look}")

    def _shrunken(self, outcome: Outcome, plan: Plan) -> tuple[Path, str]:
        """Where the plan is, and how much smaller it became."""
        a = self.arguments
        deadline = time.monotonic() + SHRINK_SECONDS
        interrupted = False

        def still_fails(smaller: Plan) -> bool:
            if time.monotonic() > deadline:
                raise TimeoutError
            return failure(judged(smaller, a.mutation, patience=a.patience)) == outcome.failure

        shrinker = Shrinker(plan, still_fails, tries_max=TRIES_MAX)
        try:
            shrinker.shrink()
        except TimeoutError:
            pass
        except KeyboardInterrupt:
            interrupted = True
        file = Path(a.output, outcome.job.plan_name())
        told_by = (f"aisexec {package_version()}: {outcome.what}", _shell(outcome.job.command()))
        head = "".join(f"# {' '.join(line.split())}\n" for line in told_by)
        _write(str(file), head + shrinker.plan.text())
        if interrupted:
            raise KeyboardInterrupt
        return file, told(plan, shrinker)


def _shell(words: Sequence[str]) -> str:
    """A command line that calls this command as it was called."""
    module = Path(sys.argv[0]).name == "__main__.py"
    return shlex.join([*(["python", "-m", "aisexec.sim"] if module else ["aisexec-sim"]), *words])


def _write(name: str, text: str) -> None:
    """UTF-8 whatever the locale says, so that files are alike everywhere. Raises UsageError."""
    data = text.encode("utf-8", "backslashreplace")
    if name == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        Path(name).write_bytes(data)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
