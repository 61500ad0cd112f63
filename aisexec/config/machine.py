"""What a configuration is checked against besides itself: this machine, handed in as data."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from aisexec.config.keyfile import KeyFileError, read_key

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

IFF_UP = 0x1

KEY_VARIABLES = ("COROSYNC_TOTEM_AUTHKEY_FILE", "OPENAIS_TOTEM_AUTHKEY_FILE")
"""Environment variables that name the key file where the configuration does not."""

CRYPTO_PACKAGES = {"openssl": ("cryptography", "cryptography"), "pycryptodome": ("pycryptodome", "Crypto")}
"""Python package of each crypto_model, and the name it is imported by."""


class LocalAddress(Protocol):
    """One address of one interface (`aisexec.net.interfaces.InterfaceAddress` is one)."""

    @property
    def name(self) -> str:
        """Name of the interface."""

    @property
    def flags(self) -> int:
        """IFF_ flags of the interface."""

    @property
    def address(self) -> IPAddress:
        """The address itself."""

    @property
    def prefix(self) -> int:
        """Length of its network part in bits."""


def _no_addresses(_name: str) -> list[IPAddress]:
    return []


def _no_name(_address: IPAddress) -> str | None:
    return None


def _no_index(_name: str) -> int | None:
    return None


def _no_problem(_path: str) -> str:
    return ""


def _no_key(path: str) -> bytes:
    raise KeyFileError(f"could not open key file {path}: this machine is imagined", "")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine a configuration is meant for.  The defaults know nothing beyond the arguments."""

    hostname: str = ""
    addresses: Sequence[LocalAddress] = ()
    resolve: Callable[[str], list[IPAddress]] = _no_addresses
    """Addresses of a host name or of a numeric text, in the resolver's order; empty when unknown."""
    reverse: Callable[[IPAddress], str | None] = _no_name
    """Host name of an address."""
    interface_index: Callable[[str], int | None] = _no_index
    directory_problem: Callable[[str], str] = _no_problem
    """Why a directory cannot be entered; empty when it can."""
    authkey_file: str | None = None
    """The key file that the environment names."""
    read_key: Callable[[str], bytes] = _no_key
    """The content of a key file; raises KeyFileError."""
    crypto_models: frozenset[str] = frozenset(CRYPTO_PACKAGES)
    """Libraries for encryption that are installed."""


def this_machine(addresses: Sequence[LocalAddress], environ: Mapping[str, str] = os.environ) -> Machine:
    """The machine we run on, with its interface addresses."""
    return Machine(
        os.uname().nodename,
        addresses,
        resolve,
        reverse,
        interface_index,
        directory_problem,
        next((environ[name] for name in KEY_VARIABLES if environ.get(name)), None),
        read_key,
        frozenset(model for model, (_, module) in CRYPTO_PACKAGES.items() if find_spec(module) is not None),
    )


def resolve(name: str) -> list[IPAddress]:
    """getaddrinfo(3), both families; may take as long as the resolver does."""
    numeric = numeric_address(name)
    if numeric is not None:
        return [numeric]
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except (OSError, UnicodeError):
        return []
    texts = (entry[4][0] for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6))
    return [address for text in texts if (address := numeric_address(str(text))) is not None]


def numeric_address(text: str) -> IPAddress | None:
    """The address a text spells, without its zone (%eth0); None for anything else."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def reverse(address: IPAddress) -> str | None:
    """getnameinfo(3) with a name required."""
    try:
        return socket.getnameinfo((str(address), 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):
        return None


def interface_index(name: str) -> int | None:
    """if_nametoindex(3)."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def directory_problem(path: str) -> str:
    """Why corosync's chdir() into it would fail."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    os.close(descriptor)
    return "" if os.access(path, os.X_OK) else "Permission denied"
