"""The nodelist: which node is this machine, what are the addresses and nodeids of all."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from aisexec.config.limits import LINKS_MAX, NODES_MAX
from aisexec.config.machine import IPAddress, Machine, numeric_address
from aisexec.config.problems import Problems, Where
from aisexec.config.schema import Values

FAMILIES = {"ipv4": (4,), "ipv6": (6,), "ipv4-6": (4, 6), "ipv6-4": (6, 4)}
"""IP versions acceptable for each value of ip_version, the preferred one first."""


class ResolvedNode(NamedTuple):
    """A node whose address and nodeid are known; `position` counts from 0 in the nodelist."""

    position: int
    nodeid: int
    generated: bool
    address: IPAddress
    name: str
    votes: int
    where: Where


def ip_version(totem: Values) -> str:
    """How names are resolved: as written, else by transport."""
    written = totem.value("ip_version")
    if written is not None:
        return str(written)
    return "ipv4" if totem.value("transport") == "udp" else "ipv6-4"


def choose(addresses: list[IPAddress], version: str) -> IPAddress | None:
    """The first address of the family that ip_version prefers (totemip_parse)."""
    for family in FAMILIES[version]:
        for address in addresses:
            if address.version == family:
                return address
    return None


def generate_nodeid(address: IPAddress, clear_high_bit: bool) -> int | None:
    """An IPv4 address as a number; None for IPv6, which needs a configured nodeid."""
    if not isinstance(address, ipaddress.IPv4Address):
        return None
    return int(address) & 0x7FFFFFFF if clear_high_bit else int(address)


def find_local(nodes: list[Values], machine: Machine) -> int | None:
    """Position of the node that is this machine, found in corosync's order (corosync.conf(5), name).

    By host name; by host name less its domain, part after part; by the node's name less its domain;
    by a numeric address; by what the nodes' names resolve to; by the names of our addresses.
    """
    names = [_names(node) for node in nodes]
    candidate = machine.hostname
    while candidate:
        position = _by_name(names, candidate)
        if position is not None:
            return position
        shorter = candidate.rpartition(".")[0]
        if not shorter:
            break
        candidate = shorter
    position = _by_name([[name.partition(".")[0] for name in group] for group in names], candidate)
    if position is not None:
        return position
    local = {address.address for address in machine.addresses}
    position = next((i for i, group in enumerate(names) if any(_numeric_in(n, local) for n in group)), None)
    if position is None:
        position = _by_resolving(names, local, machine)
    return _by_reverse(names, machine) if position is None else position


def _names(node: Values) -> list[str]:
    return [text for key in ("name", "ring0_addr") if (text := node.value(key)) is not None]


def _by_name(names: list[list[str]], wanted: str) -> int | None:
    if not wanted:
        return None
    return next((i for i, group in enumerate(names) if wanted in group), None)


def _numeric_in(name: str, local: set[IPAddress]) -> bool:
    return numeric_address(name) in local


def _by_resolving(names: list[list[str]], local: set[IPAddress], machine: Machine) -> int | None:
    for i, group in enumerate(names):
        for name in group:
            if numeric_address(name) is None and not local.isdisjoint(machine.resolve(name)):
                return i
    return None


def _by_reverse(names: list[list[str]], machine: Machine) -> int | None:
    if all(numeric_address(name) is not None for group in names for name in group):
        return None  # nothing a host name could equal, so a slow resolver is not asked
    for address in machine.addresses:
        host = machine.reverse(address.address)
        if host is None:
            continue
        for candidate in (host, host.partition(".")[0]):
            position = _by_name(names, candidate)
            if position is not None:
                return position
    return None


def resolve_nodes(root: Values, machine: Machine, problems: Problems) -> list[ResolvedNode]:
    """Every node that has a usable address and nodeid; the others are reported."""
    totem = root.one("totem")
    version = ip_version(totem)
    clear = totem.value("clear_node_high_bit") == "yes"
    listed = root.one("nodelist").all("node")
    if len(listed) > NODES_MAX:
        problems.error(
            listed[NODES_MAX].where, f"{len(listed)} nodes", f"a ring has at most {NODES_MAX} members"
        )
    nodes: list[ResolvedNode] = []
    for position, node in enumerate(listed[:NODES_MAX]):
        resolved = _resolve_node(position, node, version, clear, machine, problems)
        if resolved is not None:
            nodes.append(resolved)
    _check_unique(nodes, problems)
    _check_families(nodes, problems)
    _check_loopback(nodes, problems)
    return nodes


def _resolve_node(
    position: int, node: Values, version: str, clear: bool, machine: Machine, problems: Problems
) -> ResolvedNode | None:
    _check_links(node, problems)
    written = node.value("ring0_addr")
    if not written:
        problems.error(
            node.where, "a node without ring0_addr cannot be reached", "write 'ring0_addr: ADDRESS'"
        )
        return None
    where = node.where_of("ring0_addr")
    addresses = machine.resolve(written)
    address = choose(addresses, version)
    if address is None:
        problems.error(where, *_unresolved(written, addresses, version))
        return None
    if address.is_multicast or address.is_unspecified:
        problems.error(where, f"{address} is not the address of a node", "write the node's own address")
        return None
    nodeid, generated = node.value("nodeid"), False
    if not nodeid:
        ipv4 = choose(addresses, "ipv4")
        made = generate_nodeid(ipv4, clear) if ipv4 is not None else None
        if made is None:
            problems.error(
                node.where_of("nodeid"),
                f"an IPV6 network requires that a node ID be specified for address {written!r}",
                "write 'nodeid: NUMBER' in this node section",
            )
            return None
        nodeid, generated = made, True
    if node.given("nodeid") and node.value("nodeid") == 0:
        problems.warning(node.where_of("nodeid"), "nodeid 0 is reserved", f"{nodeid} is used")
    return ResolvedNode(
        position, nodeid, generated, address, node.value("name") or "", node.value("quorum_votes"), where
    )


def _check_links(node: Values, problems: Problems) -> None:
    for link in range(1, LINKS_MAX):
        if node.value(f"ring{link}_addr") is not None:
            problems.error(
                node.where_of(f"ring{link}_addr"),
                f"ring{link}_addr: too many configured interfaces for non-Knet transport",
                "udp and udpu have one link: remove it",
            )


def _unresolved(written: str, addresses: list[IPAddress], version: str) -> tuple[str, str]:
    if not addresses:
        return (
            f"failed to parse node address {written!r}: it cannot be resolved",
            "write a numeric address, or enter the name in /etc/hosts on every node",
        )
    other = "ipv6" if version == "ipv4" else "ipv4"
    return (
        f"failed to parse node address {written!r}: it has no address of ip_version {version}",
        f"write 'ip_version: {other}' in section totem, or an address of the other family",
    )


def _check_unique(nodes: list[ResolvedNode], problems: Problems) -> None:
    by_id: dict[int, ResolvedNode] = {}
    by_address: dict[IPAddress, ResolvedNode] = {}
    for node in nodes:
        first = by_id.setdefault(node.nodeid, node)
        if first is not node:
            made = f" (autogenerated from {node.address})" if node.generated else ""
            problems.error(
                node.where,
                f"nodeid {node.nodeid}{made} appears twice, first for the node at {first.where}",
                "give every node a nodeid of its own",
            )
        first = by_address.setdefault(node.address, node)
        if first is not node:
            problems.error(
                node.where,
                f"address {node.address} appears twice, first for the node at {first.where}",
                "give every node an address of its own",
            )


def _check_families(nodes: list[ResolvedNode], problems: Problems) -> None:
    for node in nodes[1:]:
        if node.address.version != nodes[0].address.version:
            problems.error(
                node.where,
                "nodes for link 0 have different IP families"
                f" (compared {node.address} with {nodes[0].address})",
                "write addresses of one family, or set ip_version to ipv4 or ipv6",
            )


def _check_loopback(nodes: list[ResolvedNode], problems: Problems) -> None:
    """Debian's installer maps the host name to 127.0.1.1, which no other machine can reach."""
    looped = [node for node in nodes if node.address.is_loopback]
    if not looped or len(looped) == len(nodes):
        return
    for node in looped:
        problems.error(
            node.where,
            f"the node's address is {node.address}, which is this machine for every machine,"
            " while other nodes have real addresses",
            "write its network address, or correct its line in /etc/hosts",
        )
