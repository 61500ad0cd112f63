"""When a visit of the token waits for more of what clients are about to say.

A token that goes round with a few small messages at each visit costs nearly as much processor time as
one with many, and on a busy machine it is the clients' time that it takes: they say even less until
the next visit.  So a member whose clients send a stream, but not enough to fill the visit, keeps the
token for a moment.  It is Nagle's idea, but nobody waits for a single message: a question now and then
is no stream.
"""

from __future__ import annotations

from typing import Final

STREAM_MIN: Final = 8
STREAM_RATE: Final = 30_000.0
"""Requests taken at a visit, and how many a second since the last visit, from which on it is a stream."""

PAUSE_MAX: Final = 0.0003
"""Seconds that one visit waits at most."""

PAUSES_OF_A_ROTATION_MAX: Final = 0.0009
"""Seconds that all members together wait at most, so that a large ring does not become slow."""


def pause(taken: int, since: float, frames_waiting: int, visit: int, members: int) -> float:
    """Seconds to wait before the token's visit goes on, 0.0 for not at all.

    taken: requests that clients had for this visit; since: seconds from the last one; frames_waiting:
    frames made of them and of what was left; visit: frames that one visit takes; members: of the ring.
    """
    if taken < STREAM_MIN or taken < STREAM_RATE * since or frames_waiting >= visit:
        return 0.0
    return min(PAUSE_MAX, PAUSES_OF_A_ROTATION_MAX / max(1, members))
