"""The types that corosync.spec names: check functions for configobj's Validator.

Each takes the text of a value and returns what it means, or raises BadValueError.  Numbers follow
corosync's parser (strtoll in base 10): leading blanks, a sign and leading zeros are fine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from configobj.validate import ValidateError

PRIORITIES = {
    "emerg": 0,
    "alert": 1,
    "crit": 2,
    "err": 3,
    "error": 3,
    "warning": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}
"""Names of syslog priorities as logging{} writes them, any case."""

NICE_MAX = 2**31 - 1

_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,40})", re.ASCII)

_RANGES = {
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1),
}


class BadValueError(ValidateError):  # type: ignore[misc]
    """`what` completes the sentence "the value ..."; `write` says what to write."""

    def __init__(self, what: str, write: str) -> None:
        super().__init__(what)
        self.what = what
        self.write = write


Check = Callable[..., object]


def _whole_number(kind: str) -> Check:
    lowest, highest = _RANGES[kind]

    def check(value: str, min: str = "", max: str = "", **_: str) -> int:
        low, high = int(min or lowest), int(max or highest)
        allowed = f"write {low}" if low == high else f"write a number from {low} to {high}"
        match = _NUMBER.fullmatch(value)
        if match is None:
            raise BadValueError("is not a whole number", allowed)
        number = int(match[1])
        if not low <= number <= high:
            raise BadValueError("is out of range", allowed)
        return number

    return check


def _choice(value: str, *options: str, **_: str) -> str:
    if value not in options:
        raise BadValueError("is not known here", "write " + one_of(options))
    return value


def _priority(value: str, **_: str) -> int:
    number = PRIORITIES.get(value.lower()) if isinstance(value, str) else value
    if number is None:
        raise BadValueError("is not a priority", "write " + one_of(PRIORITIES))
    return number


def _nice(value: str, **_: str) -> str | int:
    if value in ("max", "min"):
        return value
    match = _NUMBER.fullmatch(value)
    if match is None or abs(int(match[1])) > NICE_MAX:
        raise BadValueError("is not a priority of a process", "write max, min or a nice value")
    return int(match[1])


def _text(value: str, **_: str) -> str:
    return value


def _texts(value: list[str], **_: str) -> list[str]:
    return value


def one_of(options: Iterable[str]) -> str:
    """`a, b or c`."""
    names = list(options)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


CHECKS: dict[str, Check] = {
    **{kind: _whole_number(kind) for kind in _RANGES},
    "choice": _choice,
    "priority": _priority,
    "nice": _nice,
    "text": _text,
    "texts": _texts,
}

REPEATED = frozenset({"texts"})
"""Kinds whose key may be written several times, every value counts."""
