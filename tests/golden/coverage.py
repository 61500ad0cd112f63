"""Which parts of the state table the scripts went through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from aisexec.totem import ring
from aisexec.totem.core import Core, Gathering, State
from aisexec.totem.ring import Input
from aisexec.totem.timers import Timer

Pair = tuple[State, Input]
Path = tuple[State, State, Gathering | None]
"""A change of state; those to GATHER by their reason."""

_ENTERING = re.compile(r"entering (\w+) state(?: from (\d+)\()?")
_REASONS = {reason.value[0]: reason for reason in Gathering}

_BY_COMMIT = "enter_commit() stops it, and only GATHER starts it"
_BY_GATHER = "enter_gather() stops it, and only a token that is used starts it"

IMPOSSIBLE: dict[Pair, str] = {
    (State.OPERATIONAL, Input.JOIN_TIMEOUT): _BY_COMMIT,
    (State.COMMIT, Input.JOIN_TIMEOUT): _BY_COMMIT,
    (State.RECOVERY, Input.JOIN_TIMEOUT): _BY_COMMIT,
    (State.OPERATIONAL, Input.SEND_JOIN_TIMEOUT): _BY_COMMIT,
    (State.COMMIT, Input.SEND_JOIN_TIMEOUT): _BY_COMMIT,
    (State.RECOVERY, Input.SEND_JOIN_TIMEOUT): _BY_COMMIT,
    (State.OPERATIONAL, Input.CONSENSUS_TIMEOUT): _BY_COMMIT,
    (State.COMMIT, Input.CONSENSUS_TIMEOUT): _BY_COMMIT,
    (State.RECOVERY, Input.CONSENSUS_TIMEOUT): _BY_COMMIT,
    (State.GATHER, Input.TOKEN_RETRANSMIT_TIMEOUT): _BY_GATHER,
    (State.GATHER, Input.HOLD_TIMEOUT): _BY_GATHER,
    (State.COMMIT, Input.HOLD_TIMEOUT): _BY_GATHER,
    (State.GATHER, Input.MERGE_TIMEOUT): _BY_GATHER,
    (State.COMMIT, Input.MERGE_TIMEOUT): _BY_GATHER,
}
"""Pairs that cannot occur, and why.  That the timer is not armed is checked after every command."""

TIMERS: dict[Timer, Input] = {
    Timer.TOKEN: Input.TOKEN_TIMEOUT,
    Timer.HEARTBEAT: Input.TOKEN_TIMEOUT,
    Timer.TOKEN_RETRANSMIT: Input.TOKEN_RETRANSMIT_TIMEOUT,
    Timer.HOLD: Input.HOLD_TIMEOUT,
    Timer.JOIN: Input.JOIN_TIMEOUT,
    Timer.SEND_JOIN: Input.SEND_JOIN_TIMEOUT,
    Timer.CONSENSUS: Input.CONSENSUS_TIMEOUT,
    Timer.MERGE: Input.MERGE_TIMEOUT,
}

PATHS: frozenset[Path] = frozenset(
    [
        (State.GATHER, State.COMMIT, None),
        (State.COMMIT, State.RECOVERY, None),
        (State.RECOVERY, State.OPERATIONAL, None),
        (State.OPERATIONAL, State.GATHER, Gathering.INTERFACE_CHANGE),
        (State.GATHER, State.GATHER, Gathering.INTERFACE_CHANGE),
        (State.COMMIT, State.GATHER, Gathering.INTERFACE_CHANGE),
        (State.RECOVERY, State.GATHER, Gathering.INTERFACE_CHANGE),
        (State.OPERATIONAL, State.GATHER, Gathering.TOKEN_LOST_OPERATIONAL),
        (State.GATHER, State.GATHER, Gathering.CONSENSUS_EXPIRED),
        (State.COMMIT, State.GATHER, Gathering.TOKEN_LOST_COMMIT),
        (State.RECOVERY, State.GATHER, Gathering.TOKEN_LOST_RECOVERY),
        (State.OPERATIONAL, State.GATHER, Gathering.FAILED_TO_RECEIVE),
        (State.RECOVERY, State.GATHER, Gathering.FAILED_TO_RECEIVE),
        (State.OPERATIONAL, State.GATHER, Gathering.FOREIGN_MESSAGE_OPERATIONAL),
        (State.GATHER, State.GATHER, Gathering.FOREIGN_MESSAGE_GATHER),
        (State.OPERATIONAL, State.GATHER, Gathering.MERGE_OPERATIONAL),
        (State.GATHER, State.GATHER, Gathering.MERGE_GATHER),
        (State.OPERATIONAL, State.GATHER, Gathering.MERGE_JOIN),
        (State.GATHER, State.GATHER, Gathering.MERGE_JOIN),
        (State.COMMIT, State.GATHER, Gathering.MERGE_JOIN),
        (State.RECOVERY, State.GATHER, Gathering.MERGE_JOIN),
        (State.OPERATIONAL, State.GATHER, Gathering.JOIN_OPERATIONAL),
        (State.COMMIT, State.GATHER, Gathering.JOIN_COMMIT),
        (State.RECOVERY, State.GATHER, Gathering.JOIN_RECOVERY),
        # A JOIN that teaches something makes one gather for two reasons, one after the other.
        (State.GATHER, State.GATHER, Gathering.JOIN_COMMIT),
        (State.GATHER, State.GATHER, Gathering.JOIN_RECOVERY),
        (State.GATHER, State.GATHER, Gathering.CONSENSUS_TIMEOUT),
    ]
)
"""Every way from one state to another, by its reason."""


class Coverage:
    """What has happened so far, in all scripts that share it."""

    def __init__(self) -> None:
        self.pairs: set[Pair] = set()
        self.paths: set[Path] = set()
        self._states: dict[int, State] = {}

    def begin(self, nodeid: int) -> None:
        """A process starts: OPERATIONAL without members."""
        self._states[nodeid] = State.OPERATIONAL

    def log(self, nodeid: int, text: str) -> None:
        """A log line of a node; those about states are counted."""
        if (match := _ENTERING.match(text)) is None:
            return
        name, number = match.groups()
        before, after = self._states[nodeid], State(name)
        self.paths.add((before, after, None if number is None else _REASONS[int(number)]))
        self._states[nodeid] = after

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Notes every input the ring dispatches, handled or dropped."""
        dispatch = ring.dispatch

        def noted(core: Core, what: Input) -> bool:
            self.pairs.add((core.state, what))
            return dispatch(core, what)

        with patch.object(ring, "dispatch", noted):
            yield


def impossible_timers(core: Core) -> list[str]:
    """Armed timers that IMPOSSIBLE says cannot be armed in this state."""
    return [
        f"{timer.value} timer armed in {core.state.name}, but: {IMPOSSIBLE[core.state, what]}"
        for timer, what in TIMERS.items()
        if (core.state, what) in IMPOSSIBLE and core.timers.running(timer)
    ]
