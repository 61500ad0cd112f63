"""Plays the scripts, compares what they print, and shows that together they cover the state table."""

from __future__ import annotations

import difflib
import functools
import itertools
from pathlib import Path

import pytest

from aisexec.totem.core import Gathering, State
from aisexec.totem.ring import TABLE, Input
from tests.golden.coverage import IMPOSSIBLE, PATHS, Coverage
from tests.golden.script import play, scripts
from tests.golden.verbs import VERBS

LINES_MAX = 200
"""A script is a story to be read."""


@functools.cache
def played(path: Path) -> tuple[str, Coverage]:
    """Every script is played once."""
    coverage = Coverage()
    return play(path, coverage), coverage


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    before = path.read_text()
    after, _ = played(path)
    if before != after:
        names = f"{path.name} (reviewed)", f"{path.name} (now)"
        diff = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
        how = f"If that is right: python -m tests.golden --rewrite tests/golden/{path.name}"
        pytest.fail("\n".join(["the output has changed:", *diff, "", how]), pytrace=False)


def test_scripts_are_short_and_begin_with_their_story() -> None:
    for path in scripts():
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# "), path.name
        assert len(lines) <= LINES_MAX, f"{path.name} has {len(lines)} lines"


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    everything = Coverage()
    for path in scripts():
        _, coverage = played(path)
        everything.pairs |= coverage.pairs
        everything.paths |= coverage.paths
    return everything


def test_every_state_meets_every_input(coverage: Coverage) -> None:
    everything = set(itertools.product(State, Input))
    missing = everything - coverage.pairs - IMPOSSIBLE.keys()
    assert not missing, sorted(f"{what.name} in {state.name}" for state, what in missing)
    wrong = coverage.pairs & IMPOSSIBLE.keys()
    assert not wrong, f"called impossible, but occurred: {wrong}"
    assert not TABLE & IMPOSSIBLE.keys(), "what is handled must be possible"


def test_every_way_between_states_is_gone(coverage: Coverage) -> None:
    def text(path: tuple[State, State, Gathering | None]) -> str:
        before, after, reason = path
        return f"{before.name} to {after.name}" + (f", reason {reason.name}" if reason else "")

    missing = PATHS - coverage.paths
    assert not missing, sorted(map(text, missing))
    unknown = coverage.paths - PATHS
    assert not unknown, sorted(map(text, unknown))
    assert {reason for _, _, reason in PATHS} == {None, *Gathering}


def test_every_verb_is_used_and_described() -> None:
    readme = (Path(__file__).parent / "README.md").read_text()
    used = {line.split()[0] for path in scripts() for line in path.read_text().splitlines() if line.strip()}
    assert VERBS.keys() <= used
    assert [name for name in VERBS if f"`{name}" not in readme] == []
