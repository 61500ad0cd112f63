"""Writes corosync.conf for a node of a test cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Section = Mapping[str, object]


@dataclass
class Settings:
    """What the nodes of one cluster have in common.

    transport: udpu or udp.
    totem, quorum, system, logging: further keys of these sections.
    device: section quorum.device, when it has keys.
    votes: quorum_votes of nodes that do not have one.
    extra: text behind everything else.
    """

    transport: str = "udpu"
    totem: dict[str, object] = field(default_factory=lambda: {"token": 1000})
    quorum: dict[str, object] = field(default_factory=dict)
    device: dict[str, object] = field(default_factory=dict)
    votes: dict[int, int] = field(default_factory=dict)
    system: dict[str, object] = field(default_factory=dict)
    logging: dict[str, object] = field(default_factory=dict)
    extra: str = ""


def section(name: str, keys: Section, inner: str = "") -> str:
    """One section of the file; values that are True and False become yes and no, None is left out."""
    words = {True: "yes", False: "no"}
    plain = {
        key: words[value] if isinstance(value, bool) else value
        for key, value in keys.items()
        if value is not None
    }
    lines = [f"    {key}: {value}" for key, value in plain.items()]
    return "\n".join([f"{name} {{", *lines, *([inner] if inner else []), "}"]) + "\n"


def corosync_conf(settings: Settings, nodes: Mapping[int, str], log: Path, state_dir: Path) -> str:
    """The text of the file; `nodes` maps node ids to addresses."""
    totem = {"version": 2, "cluster_name": "lab", "transport": settings.transport, **settings.totem}

    def votes(nodeid: int) -> Section:
        return {"quorum_votes": settings.votes[nodeid]} if nodeid in settings.votes else {}

    device = section("device", settings.device) if settings.device else ""
    members = "".join(
        section("node", {"nodeid": nodeid, "name": f"node{nodeid}", "ring0_addr": address, **votes(nodeid)})
        for nodeid, address in nodes.items()
    )
    logging = {
        "to_stderr": True,
        "to_syslog": False,
        "to_logfile": True,
        "logfile": log,
        "timestamp": "hires",
        **settings.logging,
    }
    return (
        section("totem", totem)
        + section("nodelist", {}, members)
        + section("quorum", {"provider": "corosync_votequorum", **settings.quorum}, device)
        + section("system", {"state_dir": state_dir, **settings.system})
        + section("logging", logging)
        + settings.extra
    )
