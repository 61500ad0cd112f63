"""All counters of the executive as keys and numbers, named as in corosync's map where it has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from ipc._histogram import Histogram

Item = tuple[str, int]


def flatten(prefix: str, stats: Any) -> Iterator[Item]:
    """Numbers of a dataclass of statistics, in its order.

    Counters by kind get a key for each kind, histograms one for each power of two: name_below_N counts
    what lay between N/2 and N.
    """
    assert is_dataclass(stats)
    for field in fields(stats):
        value = getattr(stats, field.name)
        if isinstance(value, Counter):
            yield from ((f"{prefix}.{field.name}.{_word(kind)}", n) for kind, n in sorted(value.items()))
        elif isinstance(value, Histogram):
            yield from ((f"{prefix}.{field.name}_below_{limit}", n) for limit, n in value.items())
        elif isinstance(value, int):
            yield f"{prefix}.{field.name}", value
        elif isinstance(value, tuple):  # what is so at present
            yield from ((f"{prefix}.{field.name}.{'_'.join(map(str, entry))}", 1) for entry in value)


def _word(kind: object) -> str:
    """Keys have no blanks."""
    return str(kind).replace(" ", "_").lower()
