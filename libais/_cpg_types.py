"""What CPG tells its user: processes, and the events of a group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from ipc.cpg_layouts import Reason
from libais._types import RingId


class FlowControlState(IntEnum):
    """cpg_flow_control_state_t."""

    DISABLED = 0
    ENABLED = 1


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """A member of a group: node id, process id, and in joined and left lists the reason."""

    nodeid: int
    pid: int
    reason: Reason = Reason.UNDEFINED


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message sent to `group` by process `pid` on node `nodeid`."""

    group: str
    nodeid: int
    pid: int
    message: bytes


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """The members of `group` from here on, and who left or joined and why."""

    group: str
    members: tuple[Process, ...]
    left: tuple[Process, ...]
    joined: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class TotemChange:
    """The nodes of totem's new configuration, by node id."""

    ring_id: RingId
    members: tuple[int, ...]


Event = Deliver | ConfigChange | TotemChange


class GroupEntry(NamedTuple):
    """One entry of an iteration; nodeid and pid are 0 when only names were asked for."""

    group: str
    nodeid: int
    pid: int
