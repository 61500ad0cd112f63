"""Fuzzing with atheris, guided by coverage of our own code.

    python -m tests.fuzz.run [--seconds N] [targets...]

Each target runs for N seconds in a process of its own, one after the other, on a corpus that begins
with the target's seeds and is kept in .fuzz/ from run to run.  An input that hurts is put into
tests/fuzz/regressions/<target>/, where `make test` finds it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.target import REGRESSIONS, load, names

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".fuzz"
RSS_MB: Final = 1024
"""Resident memory at which a target has grown too much; libFuzzer's own tables included."""
INPUT_MAX: Final = 8192
"""Bytes of an input: a few datagrams."""
CRASHES_MAX: Final = 5
"""Crashes after which a target is left alone."""
PACKAGES: Final = ["aisexec", "ipc", "libais", "tests.twins"]
"""Compiled modules cannot be looked into; what is new to their plain twins is new to them."""
OWN_MUTATIONS: Final = 0.6
"""Share of mutations that know the layouts."""
FOUND: Final = 77
"""Exit status of libFuzzer when an input has raised."""


class Outcome(NamedTuple):
    """What one process said: executions, crashing input, and libFuzzer's figures."""

    executions: int
    seconds: float
    coverage: int
    features: int
    rss_first: int
    rss_peak: int
    crash: Path | None
    trouble: str


def main() -> int:
    """Exit status: the number of targets that got hurt."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target, default 60")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where corpora are kept, default .fuzz")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(names()))
    options = parser.parse_args()
    targets = options.targets or names()
    if unknown := set(targets) - set(names()):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; known are {', '.join(names())}")
    if options.child:
        _child(targets[0], options.seconds, options.keep)
    hurt = sum(not _fuzz(name, options.seconds, options.keep) for name in targets)
    print(f"{len(targets) - hurt} of {len(targets)} targets unhurt", flush=True)
    return min(hurt, 100)


def _fuzz(name: str, seconds: int, keep: Path) -> bool:
    """Until the time is over; a crash takes none of the time of what comes after it."""
    corpus = keep / name
    corpus.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    executions, crashes, elapsed = 0, 0, 0.0
    while True:
        left = round(end - time.monotonic())
        outcome = _one_process(name, max(1, left), keep)
        executions += outcome.executions
        elapsed += outcome.seconds
        if outcome.trouble:
            crashes += 1
            kept = _keep(name, outcome.crash)
            print(f"{name}: {outcome.trouble}\n    input: {kept}", flush=True)
        if not outcome.trouble or crashes >= CRASHES_MAX or left <= 1:
            break
    print(
        f"{name:22} {elapsed:6.0f} s {executions:9} executions {executions / max(elapsed, 0.1):7.0f}/s"
        f"  coverage {outcome.coverage} features {outcome.features}"
        f"  rss {outcome.rss_first} to {outcome.rss_peak} MB  crashes {crashes}",
        flush=True,
    )
    return crashes == 0


def _keep(name: str, crash: Path | None) -> Path | None:
    if crash is None or not crash.exists():
        return None
    data = crash.read_bytes()
    place = REGRESSIONS / name
    place.mkdir(parents=True, exist_ok=True)
    kept = place / hashlib.sha256(data).hexdigest()[:16]
    kept.write_bytes(data)
    crash.unlink()
    return kept


def _one_process(name: str, seconds: int, keep: Path) -> Outcome:
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", "--seconds", str(seconds)]
    command += ["--keep", str(keep), name]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    with (keep / f"{name}.log").open("a") as log:
        log.write(output)
    return _judge(output, done.returncode, time.monotonic() - started)


def _judge(output: str, status: int, seconds: float) -> Outcome:
    def last(pattern: str, index: int = -1) -> int:
        found = re.findall(pattern, output)
        return int(found[index]) if found else 0

    executions = last(r"stat::number_of_executed_units:\s*(\d+)") or last(r"^#(\d+)\s")
    crash = re.findall(r"Test unit written to (\S+)", output)
    trouble = ""
    if status != 0:
        trouble = _cause(output) or f"ended with status {status}"
    return Outcome(
        executions,
        seconds,
        last(r" cov: (\d+)"),
        last(r" ft: (\d+)"),
        last(r" rss: (\d+)Mb", 0),
        max(last(r"stat::peak_rss_mb:\s*(\d+)"), last(r" rss: (\d+)Mb")),
        Path(crash[-1]) if crash else None,
        trouble,
    )


def _cause(output: str) -> str:
    """The last line of the exception, or what libFuzzer says of a hang or of growth."""
    raised = re.findall(r"^([A-Za-z_.]+(?:Error|Exception|Interrupt|Failure)(?:: .*)?)$", output, re.M)
    if raised:
        return str(raised[-1])[:400]
    said = re.search(r"ERROR: libFuzzer: .*", output)
    return said[0] if said else ""


def _child(name: str, seconds: int, keep: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        target = load(name)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < OWN_MUTATIONS:
            return target.mutate(data, rng)[:size]
        return bytes(atheris.Mutate(data, min(size, 2 * len(data) + 16)))

    with tempfile.TemporaryDirectory(prefix="aisexec-fuzz-") as seeds:
        for number, seed in enumerate(target.seeds()):
            Path(seeds, str(number)).write_bytes(seed)
        arguments = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={RSS_MB}",
            f"-timeout={round(target.SECONDS)}",
            f"-max_len={INPUT_MAX}",
            f"-artifact_prefix={keep}/{name}-",
            "-print_final_stats=1",
            "-use_value_profile=0",
            str(keep / name),
            seeds,
        ]
        atheris.Setup(arguments, target.fuzz, custom_mutator=mutate, internal_libfuzzer=True)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
