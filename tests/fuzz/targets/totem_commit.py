"""Frames heard by nodes in state COMMIT."""

from __future__ import annotations

from tests.fuzz import ring
from tests.fuzz.ring import inputs, mutate, seeds

__all__ = ["SECONDS", "fuzz", "inputs", "mutate", "seeds"]

SECONDS = 10.0


def fuzz(data: bytes) -> None:
    """See tests.fuzz.ring."""
    ring.attack(ring.commit, data)
