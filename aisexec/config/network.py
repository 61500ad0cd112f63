"""Addresses, port and group of the transports udp and udpu (spec of totemconfig.c and totemip.c)."""

from __future__ import annotations

import ipaddress
import os
from typing import Literal, NamedTuple, cast

from aisexec.config.machine import IFF_UP, IPAddress, LocalAddress, Machine
from aisexec.config.model import Network
from aisexec.config.nodes import ResolvedNode, choose, ip_version
from aisexec.config.problems import Problems, Where
from aisexec.config.schema import Values

DEFAULT_PORT = 5405
BROADCAST = "255.255.255.255"


class Match(NamedTuple):
    """An interface found for an address: exact, or only its network."""

    found: LocalAddress
    exact: bool


def match_interface(wanted: IPAddress, addresses: tuple[LocalAddress, ...]) -> Match | None:
    """The interface with that address; else the first one whose network contains it."""
    nearest: Match | None = None
    for candidate in addresses:
        if candidate.address.version != wanted.version:
            continue
        if candidate.address == wanted:
            return Match(candidate, True)
        network = ipaddress.ip_network((candidate.address, candidate.prefix), strict=False)
        if nearest is None and wanted in network:
            nearest = Match(candidate, False)
    return nearest


def cluster_mcast_address(cluster_name: str, family: int, link: int = 0) -> str:
    """The multicast group made from the cluster's name (get_cluster_mcast_addr).

    The bytes of the name are C chars, which are signed here.
    """
    cluster_id = 0
    for byte in os.fsencode(cluster_name):
        cluster_id = (cluster_id << 1) + (byte - 256 if byte > 127 else byte)
    cluster_id = ((cluster_id & 0xFFFF) + link) & 0xFFFF
    if family == 6:
        return str(ipaddress.ip_address(f"ff15::{cluster_id:x}"))
    return f"239.192.{cluster_id >> 8}.{cluster_id % 255}"


def link_number(interface: Values) -> int:
    """linknumber, or ringnumber as it was called before 3.0."""
    for key in ("linknumber", "ringnumber"):
        if interface.given(key):
            return int(interface.value(key))
    return 0


class Interface:
    """What the interface sections of link 0 say together; the last one to say something wins."""

    def __init__(self, root: Values) -> None:
        self.totem = root.one("totem")
        self.sections = [s for s in self.totem.all("interface") if link_number(s) == 0]
        self.where = self.sections[0].where if self.sections else self.totem.where

    def get(self, key: str) -> tuple[object, Where]:
        """Value (None when not written) and place."""
        for section in reversed(self.sections):
            if section.given(key):
                return section.value(key), section.where_of(key)
        return None, self.where


def derive_network(
    root: Values, nodes: list[ResolvedNode], local: ResolvedNode, machine: Machine, problems: Problems
) -> Network:
    """Settings of the transport; what cannot be used is reported and replaced by a default."""
    totem = root.one("totem")
    transport = cast(Literal["udp", "udpu"], totem.value("transport"))
    interface = Interface(root)
    port = interface.get("mcastport")[0]
    ttl, where = interface.get("ttl")
    if ttl is not None and ttl != 1 and transport != "udp":
        problems.error(
            where, "can only set ttl on multicast transport types for interface 0", "remove ttl"
        )
    broadcast = interface.get("broadcast")[0] == "yes"
    _check_port_below(transport, port, interface, problems)
    group = _group(totem, interface, local, broadcast, machine, problems) if transport == "udp" else ""
    match = match_interface(local.address, tuple(machine.addresses))
    if match is None or not match.exact:
        _address_missing(local, match, problems)
    elif not match.found.flags & IFF_UP:
        problems.warning(local.where, f"interface {match.found.name} with address {local.address} is down")
    name = match.found.name if match is not None and match.exact else None
    return Network(
        transport=transport,
        nodeid=local.nodeid,
        local_address=str(local.address),
        port=DEFAULT_PORT if not port else int(cast(int, port)),
        ttl=1 if ttl is None else int(cast(int, ttl)),
        mcast_address=group,
        broadcast=broadcast and transport == "udp",
        members={node.nodeid: str(node.address) for node in nodes},
        block_unlisted_ips=totem.value("block_unlisted_ips") == "yes",
        interface_name=name,
        interface_index=machine.interface_index(name) if name else None,
    )


def _check_port_below(transport: str, port: object, interface: Interface, problems: Problems) -> None:
    if transport == "udp" and port == 1:
        problems.error(
            interface.get("mcastport")[1], "mcastport 1: udp sends from the port below it", "write 5405"
        )


def _group(
    totem: Values,
    interface: Interface,
    local: ResolvedNode,
    broadcast: bool,
    machine: Machine,
    problems: Problems,
) -> str:
    written, where = interface.get("mcastaddr")
    if broadcast:
        if local.address.version == 6:
            problems.error(
                interface.get("broadcast")[1], "IPv6 has no broadcast", "remove broadcast: a group is used"
            )
        if written is not None:
            problems.warning(where, "mcastaddr is not used together with broadcast", "remove one of them")
        return BROADCAST
    if written is None:
        name = totem.value("cluster_name")
        if name is None:
            problems.error(
                interface.where,
                "no multicast address specified for interface 0",
                "write 'cluster_name: NAME' in section totem (the group is made from it), or mcastaddr",
            )
            return ""
        return cluster_mcast_address(name, local.address.version)
    return _written_group(str(written), where, ip_version(totem), local, machine, problems)


def _written_group(
    written: str,
    where: Where,
    version: str,
    local: ResolvedNode,
    machine: Machine,
    problems: Problems,
) -> str:
    group = choose(machine.resolve(written), version)
    if group is None:
        problems.error(
            where,
            f"failed to parse mcast address {written!r}",
            f"write a multicast address of ip_version {version}",
        )
        return ""
    if group.version != local.address.version:
        problems.error(
            where,
            "multicast address family does not match bind address family for interface 0"
            f" ({group}, {local.address})",
            "write both in the same family",
        )
    elif not group.is_multicast:
        problems.error(
            where,
            f"mcastaddr {group} is not a correct multicast address for interface 0",
            "write one from 239.192.0.0/14, or remove the key: it is made from cluster_name",
        )
    return str(group)


def _address_missing(local: ResolvedNode, match: Match | None, problems: Problems) -> None:
    what = f"address {local.address} of this node is not on any interface of this machine"
    if match is not None:
        what += f" ({match.found.name} has {match.found.address} in the same network)"
    problems.warning(local.where, what, "bring the interface up or correct ring0_addr")
