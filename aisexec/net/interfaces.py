"""Which network interface carries an address, asked from the kernel with getifaddrs(3)."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Final, NamedTuple

IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_ADDRESS_PLACE: Final[dict[int, tuple[int, int]]] = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}
"""Offset and size of the address within a sockaddr, by family."""


class Interface(NamedTuple):
    """An interface that carries the address asked for."""

    name: str
    number: int
    """What the kernel calls ifindex."""
    up: bool


class InterfaceAddress(NamedTuple):
    """One address of one interface."""

    name: str
    flags: int
    address: _Address
    prefix: int
    """Length of the network part, in bits."""


class _IfAddrs(ctypes.Structure):
    pass


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("destination", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.freeifaddrs.argtypes = [ctypes.POINTER(_IfAddrs)]
_libc.freeifaddrs.restype = None


def _packed(sockaddr: int) -> bytes | None:
    place = _ADDRESS_PLACE.get(ctypes.c_ushort.from_address(sockaddr).value)
    return ctypes.string_at(sockaddr + place[0], place[1]) if place else None


def interface_addresses() -> list[InterfaceAddress]:
    """All IPv4 and IPv6 addresses of this machine.  Raises OSError."""
    head = ctypes.POINTER(_IfAddrs)()
    if _libc.getifaddrs(ctypes.byref(head)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        return list(_walk(head))
    finally:
        _libc.freeifaddrs(head)


def _walk(node: ctypes._Pointer[_IfAddrs]) -> Iterator[InterfaceAddress]:
    while node:
        entry = node.contents
        packed = _packed(entry.address) if entry.address else None
        if packed is not None:
            mask = _packed(entry.netmask) if entry.netmask else None
            prefix = int.from_bytes(mask).bit_count() if mask else 8 * len(packed)
            name = os.fsdecode(entry.name).partition(":")[0]  # eth0:1 is a label of eth0
            yield InterfaceAddress(name, entry.flags, ipaddress.ip_address(packed), prefix)
        node = entry.next


def _carries(candidate: InterfaceAddress, address: _Address) -> bool:
    if candidate.address == address:
        return True
    # The whole network of a loopback interface is local: 127.0.0.2 works though only 127.0.0.1 is listed.
    return bool(candidate.flags & IFF_LOOPBACK) and address in ipaddress.ip_network(
        (candidate.address, candidate.prefix), strict=False
    )


def find_interface(
    address: str, name: str | None = None, index: int | None = None
) -> Interface | None:
    """The interface that carries `address`; one that is up wins.  `name` and `index` narrow the search.

    Raises OSError when the kernel cannot be asked.
    """
    wanted = ipaddress.ip_address(address)
    found: Interface | None = None
    for candidate in interface_addresses():
        if not _carries(candidate, wanted) or (name is not None and candidate.name != name):
            continue
        try:
            number = socket.if_nametoindex(candidate.name)
        except OSError:
            continue  # gone since the list was made
        if index is not None and number != index:
            continue
        interface = Interface(candidate.name, number, bool(candidate.flags & IFF_UP))
        if interface.up:
            return interface
        found = found or interface
    return found
