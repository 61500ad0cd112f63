"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL = 0.02
"""Seconds between two looks."""


def wait_until(
    condition: Callable[[], T], timeout: float, what: str | Callable[[], str], poll: float = POLL
) -> T:
    """The first true value of `condition`; AssertionError with `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout:g} s: {text}")
        time.sleep(poll)
