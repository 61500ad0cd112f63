"""Comparison of 32-bit sequence numbers that wrap (spec section 2.2).

Numbers are compared as they are, unless one lies in the upper half: then both are shifted down by
`WINDOW`, so that 0xffffffff ranks before 0 (the start values rely on it) and numbers just after a
wrap rank above those just before it.
"""

from typing import Final

MASK: Final = 0xFFFFFFFF
HALF: Final = 0x80000000
WINDOW: Final = 0x10000

BEFORE_FIRST: Final = MASK
"""The number before 0: aru of a ring's first token, token_seq before any token was accepted."""


def lt(a: int, b: int) -> bool:
    """a comes before b."""
    if a > HALF or b > HALF:
        return (a - WINDOW) & MASK < (b - WINDOW) & MASK
    return a < b


def lte(a: int, b: int) -> bool:
    """a comes before b or equals it."""
    if a > HALF or b > HALF:
        return (a - WINDOW) & MASK <= (b - WINDOW) & MASK
    return a <= b


def earlier(a: int, b: int) -> int:
    """The one that comes first."""
    return a if lte(a, b) else b


def later(a: int, b: int) -> int:
    """The one that comes last."""
    return b if lte(a, b) else a


def following(a: int) -> int:
    """The next number."""
    return (a + 1) & MASK


def distance(a: int, b: int) -> int:
    """How many steps lead from a to b, 0 when b is not after a."""
    return (b - a) & MASK if lt(a, b) else 0
