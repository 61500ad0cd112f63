"""Hypothesis strategies made from declared layouts: structures with hostile fields, and near misses."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ipc.layout import Layout
from tests.fuzz.hostile import HOSTILE, Leaf, bounds, leaves
from tests.fuzz.records import Mutation, Step, join


def integer(code: str) -> SearchStrategy[int]:
    """Often an edge, sometimes anything, of a field of that width."""
    return st.sampled_from(HOSTILE[code]) | st.integers(*bounds(code)) | st.integers(0, 9)


def _leaf(leaf: Leaf) -> SearchStrategy[bytes]:
    if leaf.code == "s":
        return st.binary(max_size=leaf.size).map(lambda value: value.ljust(leaf.size, b"\0"))
    return integer(leaf.code).map(lambda value: struct.pack("<" + leaf.code, value))


def structure(layout: Layout[Any]) -> SearchStrategy[bytes]:
    """Bytes of a structure."""
    parts = [(leaf.offset, _leaf(leaf)) for leaf in leaves(layout)]

    def place(values: tuple[bytes, ...]) -> bytes:
        data = bytearray(layout.size)
        for (offset, _), value in zip(parts, values, strict=True):
            data[offset : offset + len(value)] = value
        return bytes(data)

    return st.tuples(*(strategy for _, strategy in parts)).map(place)


def followed(head: SearchStrategy[bytes], tail: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """One after the other."""
    return st.tuples(head, tail).map(b"".join)


def damaged(seeds: Sequence[bytes], mutate: Mutation) -> SearchStrategy[bytes]:
    """Good inputs after a few of a target's own mutations."""

    def spoil(seed: bytes, key: int, times: int) -> bytes:
        rng = random.Random(key)
        for _ in range(times):
            seed = mutate(seed, rng)
        return seed

    return st.builds(spoil, st.sampled_from(seeds), st.integers(0, 1 << 30), st.integers(1, 6))


def step_lists(step: SearchStrategy[Step], most: int = 8) -> SearchStrategy[bytes]:
    """Inputs of several steps."""
    return st.lists(step, max_size=most).map(join)


def step(
    what: SearchStrategy[int], data: SearchStrategy[bytes], where: SearchStrategy[int] | None = None
) -> SearchStrategy[Step]:
    """One step."""
    return st.builds(Step, what, where if where is not None else st.integers(0, 255), data)


def cut(data: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Sometimes only the beginning."""

    def shorten(whole: bytes, keep: int) -> bytes:
        return whole[:keep] if keep < len(whole) else whole

    return st.builds(shorten, data, st.one_of(st.just(1 << 20), st.just(1 << 20), st.integers(0, 200)))


def mixed(*sorts: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """Any of these, or plain noise."""
    return st.one_of(*sorts, st.binary(max_size=300))

