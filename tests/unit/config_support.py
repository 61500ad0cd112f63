"""A machine and files for the tests of the configuration."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import NamedTuple

from aisexec.config import Effective, Loaded, Machine, effective, load
from aisexec.config.machine import IPAddress, numeric_address


class Address(NamedTuple):
    """An address of an interface of the imagined machine."""

    name: str
    address: IPAddress
    prefix: int
    flags: int = 1


def address(name: str, text: str, flags: int = 1) -> Address:
    parsed = ipaddress.ip_interface(text)
    return Address(name, parsed.ip, parsed.network.prefixlen, flags)


LO = address("lo", "127.0.0.1/8")
ETH0 = address("eth0", "192.0.2.1/24")
ETH1 = address("eth1", "2001:db8::1/64")

HOSTS = {
    "node1": ["192.0.2.1"],
    "node2": ["192.0.2.2"],
    "node3": ["192.0.2.3"],
    "both": ["192.0.2.9", "2001:db8::9"],
    "six": ["2001:db8::7"],
    "looped": ["127.0.1.1"],
}


def machine(
    hostname: str = "unrelated",
    addresses: tuple[Address, ...] = (LO, ETH0, ETH1),
    reverse: dict[str, str] | None = None,
) -> Machine:
    def resolve(name: str) -> list[IPAddress]:
        numeric = numeric_address(name)
        return [numeric] if numeric is not None else [ipaddress.ip_address(t) for t in HOSTS.get(name, [])]

    return Machine(
        hostname,
        addresses,
        resolve,
        lambda a: (reverse or {}).get(str(a)),
        {"lo": 1, "eth0": 2, "eth1": 3}.get,
    )


def nodelist(*nodes: str) -> str:
    """A nodelist; a node is its lines divided by blanks: "nodeid:1 ring0_addr:192.0.2.1"."""
    sections = "".join("node {\n" + "\n".join(node.split()) + "\n}\n" for node in nodes)
    return f"nodelist {{\n{sections}}}\n"


def addresses_list(count: int) -> str:
    return nodelist(*(f"nodeid:{i} ring0_addr:192.0.2.{i}" for i in range(1, count + 1)))


def configure(
    tmp_path: Path, totem: str = "transport: udpu", rest: str | None = None, nodes: int = 2
) -> Loaded:
    path = tmp_path / "corosync.conf"
    rest = addresses_list(nodes) if rest is None else rest
    path.write_text(f"totem {{\nversion: 2\n{totem}\n}}\n{rest}\n", encoding="utf-8")
    return load(str(path), {})


def derived(loaded: Loaded, on: Machine | None = None) -> Effective:
    config = effective(loaded, on or machine())
    assert config is not None, [str(problem) for problem in loaded.errors]
    return config


OPEN = "neither encrypted nor authenticated"
"""In the warning that every configuration without encryption gets."""


def all_messages(loaded: Loaded, on: Machine | None = None) -> list[str]:
    """Errors and warnings as printed, without the path of the file."""
    effective(loaded, on or machine())
    return [str(p).removeprefix(loaded.path + ":") for p in loaded.problems.found]


def messages(loaded: Loaded, on: Machine | None = None) -> list[str]:
    """The same, without the warning about a network open to anybody."""
    return [message for message in all_messages(loaded, on) if OPEN not in message]
