"""The grammar of corosync.conf alone, for speed: any bytes give a tree and a bounded list of errors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aisexec.config.grammar import Section, parse
from aisexec.config.limits import KEY_PATH_MAX, LINE_LENGTH_MAX, SECTION_DEPTH_MAX, SYNTAX_ERRORS_MAX
from tests.fuzz.records import Step, join, steps
from tests.fuzz.targets import config_files

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SECONDS = 2.0


def fuzz(data: bytes) -> None:
    """Twice as many errors as lines, and depth, names and values within their limits."""
    root, problems = parse(data, "file")
    assert len(problems.found) <= SYNTAX_ERRORS_MAX + SECTION_DEPTH_MAX + data.count(b"{") + 2
    for problem in problems.found:
        assert "\n" not in str(problem).encode("utf-8", "backslashreplace").decode()
    _check(root, 0)


def _check(section: Section, depth: int) -> None:
    assert depth <= SECTION_DEPTH_MAX + 1
    for item in section.items:
        assert 0 < len(item.key) <= KEY_PATH_MAX
        assert len(item.text) <= LINE_LENGTH_MAX
        assert item.text == item.text.strip(" \t")
    for child in section.sections:
        assert child.name
        _check(child, depth + 1)


def seeds() -> Sequence[bytes]:
    """The main files of config_files."""
    return [next(steps(seed)).data for seed in config_files.seeds()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A line of the file."""
    return b"".join(step.data for step in steps(config_files.mutate(join([Step(0, 0, data)]), rng)))


def inputs() -> SearchStrategy[bytes]:
    """Lines of braces, colons and blanks."""
    from hypothesis import strategies as st

    from tests.fuzz.strategies import damaged

    marks = [bytes([byte]) for byte in b"{}:# \t\r\n\n\0\xffa"]
    piece = st.sampled_from((*marks, b"totem"))
    lines = st.lists(piece, max_size=40).map(b"".join)
    return st.one_of(lines, st.binary(max_size=100), damaged(seeds(), mutate))
