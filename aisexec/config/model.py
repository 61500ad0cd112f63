"""The effective configuration: everything decided, derived and resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from aisexec.totem.settings import Settings


class Derived(NamedTuple):
    """A number the protocol runs with and where it comes from, for people to read."""

    key: str
    value: int
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the nodelist.  `address` is numeric text."""

    nodeid: int
    address: str
    name: str
    votes: int = 1


@dataclass(frozen=True, slots=True)
class Security:
    """How frames are sealed; field by field `aisexec.net.base.Security`."""

    algorithm: str
    key: bytes = field(repr=False)
    key_source: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """What the transport needs; field by field `aisexec.net.base.NetworkSettings`."""

    transport: Literal["udp", "udpu"]
    nodeid: int
    local_address: str
    port: int = 5405
    ttl: int = 1
    mcast_address: str = ""
    broadcast: bool = False
    members: dict[int, str] = field(default_factory=dict)
    block_unlisted_ips: bool = True
    interface_name: str | None = None
    interface_index: int | None = None
    security: Security | None = None


@dataclass(frozen=True, slots=True)
class QuorumDevice:
    """Section quorum.device; times in milliseconds."""

    model: str
    votes: int
    timeout: int
    sync_timeout: int
    master_wins: bool


@dataclass(frozen=True, slots=True)
class Quorum:
    """Section quorum as votequorum starts with it; `provider` is empty without one."""

    provider: str = ""
    votes: int = 1
    expected_votes: int = 1
    node_votes: dict[int, int] = field(default_factory=dict)
    """Votes of every node by nodeid."""
    two_node: bool = False
    wait_for_all: bool = False
    wait_for_all_follows_two_node: bool = False
    """It is not written down."""
    last_man_standing: bool = False
    last_man_standing_window: int = 10000
    """Milliseconds."""
    auto_tie_breaker: Literal["none", "lowest", "highest", "list"] = "none"
    configured_tie_breaker: Literal["none", "lowest", "highest", "list"] = "none"
    """As written: with an odd number of votes and no wait_for_all it is not in force."""
    auto_tie_breaker_nodes: tuple[int, ...] = ()
    allow_downscale: bool = False
    expected_votes_tracking: bool = False
    device: QuorumDevice | None = None


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where the lines of a subsystem go.  Priorities are syslog's, 8 is trace."""

    to_stderr: bool = True
    to_syslog: bool = True
    to_logfile: bool = False
    logfile: str | None = None
    logfile_priority: int = 6
    """Least important priority that the file and standard error take."""
    syslog_priority: int = 6


@dataclass(frozen=True, slots=True)
class Logging:
    """Section logging."""

    default: Destinations = field(default_factory=Destinations)
    subsystems: dict[str, Destinations] = field(default_factory=dict)
    """By upper case name, for subsystems that differ from the default."""
    syslog_facility: str = "daemon"
    timestamp: Literal["off", "on", "hires"] = "hires"
    fileline: bool = False
    function_name: bool = False
    blackbox: bool = True
    blackbox_size: int = 1024 * 1024
    """Bytes of the flight recorder's ring."""


@dataclass(frozen=True, slots=True)
class System:
    """Section system."""

    state_dir: str = "/var/lib/corosync"
    sched_rr: bool = True
    priority: int | None = None
    """Nice value to set when there is no real-time scheduling; None leaves it."""
    move_to_root_cgroup: Literal["yes", "no", "auto"] = "auto"
    qb_ipc_type: Literal["native", "shm", "socket"] = "native"
    ipc_semaphores: Literal["posix", "sysv"] = "posix"


@dataclass(frozen=True, slots=True)
class Effective:
    """The whole configuration, ready to run with."""

    totem: Settings
    network: Network
    quorum: Quorum
    logging: Logging
    system: System
    uids: frozenset[int]
    gids: frozenset[int]
    cluster_name: str
    config_version: int
    nodes: tuple[Node, ...]
    """In the order of the nodelist."""
    derived: tuple[Derived, ...] = ()
    """Every timeout and constant with its source."""
    warnings: tuple[str, ...] = ()
