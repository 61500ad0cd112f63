"""Socket addresses from numeric text."""

from __future__ import annotations

import ipaddress
import socket
import struct

SockAddr = tuple[str, int] | tuple[str, int, int, int]


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6.  Raises ValueError when the text is no numeric address."""
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6


def canonical(address: str) -> str:
    """The spelling in which the kernel hands the address back."""
    family = family_of(address)
    return socket.inet_ntop(family, socket.inet_pton(family, address))


def sockaddr(address: str, port: int, interface_index: int) -> SockAddr:
    """What bind() and sendto() take; link-local IPv6 addresses need the interface."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return (str(parsed), port)
    # Link-local unicast, and multicast of interface or link scope (second nibble 1 or 2).
    scoped = parsed.is_link_local or (parsed.is_multicast and parsed.packed[1] & 0x0F in (1, 2))
    return (str(parsed), port, 0, interface_index if scoped else 0)


def show(address: SockAddr) -> str:
    """For logs."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_FAMILY = struct.Struct("=H")
_PORT = struct.Struct("!H")
_FLOW = struct.Struct("!I")
_SCOPE = struct.Struct("=I")


def raw(address: SockAddr) -> bytes:
    """`struct sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7))."""
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    host = socket.inet_pton(family, address[0])
    head = _FAMILY.pack(family) + _PORT.pack(address[1])
    if len(address) == 4:
        return head + _FLOW.pack(address[2]) + host + _SCOPE.pack(address[3])
    return head + host + bytes(8)


def from_raw(packed: bytes) -> tuple[str, int]:
    """Host and port of a `struct sockaddr`."""
    (family,) = _FAMILY.unpack_from(packed)
    (port,) = _PORT.unpack_from(packed, 2)
    host = packed[8:24] if family == socket.AF_INET6 else packed[4:8]
    return socket.inet_ntop(family, host), port
