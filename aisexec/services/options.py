"""What the services need of the configuration, and what a configuration read at run time brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aisexec.icmap import Value
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem.settings import Settings


@dataclass(frozen=True, slots=True)
class ExecutiveOptions:
    """What the services need of the configuration."""

    votequorum: bool = False
    """quorum.provider is corosync_votequorum."""
    quorum: QuorumOptions = field(default_factory=QuorumOptions)
    config_version: int = 0
    uids: frozenset[int] = field(default_factory=frozenset)
    gids: frozenset[int] = field(default_factory=frozenset)
    addresses: Mapping[int, str] = field(default_factory=dict)
    """Numeric address of every node of the nodelist by nodeid, in the nodelist's order."""
    keys: Mapping[str, Value] = field(default_factory=dict)
    """The configuration that the executive starts with, as keys of the map."""


@dataclass(frozen=True, slots=True)
class Reconfiguration:
    """A configuration file that was read and found good while the executive runs."""

    settings: Settings
    options: ExecutiveOptions
    keys: Mapping[str, Value] = field(default_factory=dict)
    """What the file says, as keys of the map."""
    world: object = None
    """What concerns files, sockets and the log: handed back to the driver when it takes effect."""


class Findings(NamedTuple):
    """What came of reading the configuration file: a reconfiguration, or else what is wrong."""

    errors: tuple[str, ...]
    """file:line: what is wrong, what to write instead."""
    reconfiguration: Reconfiguration | None
