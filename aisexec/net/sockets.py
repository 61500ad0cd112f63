"""Making UDP sockets: buffers, priority, multicast options.  Raw standard library sockets, non-blocking."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from aisexec.net.base import Log
from aisexec.totem.types import LOG_DEBUG, LOG_INFO, LOG_WARNING

TC_PRIO_INTERACTIVE: Final = 6

# linux/in.h, linux/in6.h, asm-generic/socket.h; the socket module does not name them.
IP_MULTICAST_ALL: Final = 49
IPV6_MULTICAST_ALL: Final = 29
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33

_INT = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")


def datagram_socket(family: socket.AddressFamily) -> socket.socket:
    """An unbound one.  Raises OSError."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def set_patience(made: socket.socket, seconds: float) -> None:
    """How long a call waits for a datagram if it does not say MSG_DONTWAIT; the kernel counts in ticks."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(0, round(1e6 * seconds)))
    os.set_blocking(made.fileno(), True)


def _ask_for_buffer(made: socket.socket, forced: int, plain: int, size: int) -> int:
    try:
        # Past rmem_max and wmem_max, which needs CAP_NET_ADMIN.
        made.setsockopt(socket.SOL_SOCKET, forced, size)
    except OSError:
        made.setsockopt(socket.SOL_SOCKET, plain, size)
    return made.getsockopt(socket.SOL_SOCKET, plain) // 2  # the kernel doubles what it grants


def set_receive_buffer(made: socket.socket, size: int, name: str, log: Log) -> None:
    """Ask for `size` bytes; a smaller grant is logged with what to do about it."""
    granted = _ask_for_buffer(made, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)
    log(LOG_DEBUG, f"Receive buffer of the {name} socket: {granted} bytes.")
    if granted < size:
        log(
            LOG_INFO,
            f"Receive buffer of the {name} socket is {granted} bytes instead of {size}: bursts may be lost."
            f" Raise it with sysctl net.core.rmem_max={size}.",
        )


def set_send_buffer(made: socket.socket, size: int, name: str, log: Log) -> None:
    """Ask for `size` bytes; a smaller grant is logged with what to do about it."""
    granted = _ask_for_buffer(made, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)
    log(LOG_DEBUG, f"Send buffer of the {name} socket: {granted} bytes.")
    if granted < size:
        log(
            LOG_INFO,
            f"Send buffer of the {name} socket is {granted} bytes instead of {size}: bursts may be lost."
            f" Raise it with sysctl net.core.wmem_max={size}.",
        )


def set_priority(made: socket.socket, log: Log) -> None:
    """Queue our frames ahead of bulk traffic.

    All frames leave through sockets with the same priority: a token that overtakes the messages
    sent before it would make every receiver ask for them again.
    """
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TC_PRIO_INTERACTIVE)
    except OSError as error:
        log(LOG_WARNING, f"Could not set traffic priority: {error.strerror} ({error.errno})")


def _mreqn(group: str, address: str, index: int) -> bytes:
    # struct ip_mreqn: the index decides, the address is for kernels without it.
    return socket.inet_aton(group) + socket.inet_aton(address) + _INT.pack(index)


def _mreq6(group: str, index: int) -> bytes:
    return socket.inet_pton(socket.AF_INET6, group) + _INT.pack(index)


def set_multicast_sender(made: socket.socket, address: str, index: int, ttl: int) -> None:
    """Send multicast out of one interface, `ttl` hops far, not back to this machine.  Raises OSError."""
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn("0.0.0.0", address, index))
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)


def join_group(made: socket.socket, group: str, address: str, index: int) -> None:
    """Receive the group on one interface and, unlike the kernel's default, on no other.  Raises OSError."""
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(group, address, index))
    else:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _mreq6(group, index))


def leave_group(made: socket.socket, group: str, address: str, index: int) -> None:
    """Undo join_group.  Raises OSError when the socket is not in the group."""
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, _mreqn(group, address, index))
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _mreq6(group, index))
