"""What an operator should check when the kernel refuses to send or bind."""

from __future__ import annotations

import errno
from typing import Final

from aisexec.net.addresses import SockAddr, show
from aisexec.net.base import NetworkSettings

NO_ROOM: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
"""The frame is lost because a queue is full, nothing is wrong otherwise."""

MAY_PASS: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})
"""Binding may work in a moment: the predecessor is still ending, the address is being configured."""

_LOCAL_TROUBLE: Final = frozenset(
    {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.ENODEV, errno.ENXIO}
)


def send_hint(number: int, settings: NetworkSettings) -> str:
    """What to check when sending failed with this errno."""
    local, port = settings.local_address, settings.port
    if number in NO_ROOM:
        return "The frame is dropped: traffic is faster than the network, or net.core.wmem_max is too small."
    if number in (errno.EPERM, errno.EACCES):
        return f"A firewall rule or route of this node forbids it: allow outgoing UDP to port {port}."
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return f"There is no route from {local}: check that the interface is up (ip address, ip route)."
    if number in _LOCAL_TROUBLE:
        return f"Check that {local} is still on an interface that is up (ip address)."
    if number == errno.EMSGSIZE:
        return "The frame is longer than the interface takes: lower totem.netmtu."
    return "Check the network of this node."


def bind_failed(error: OSError, address: SockAddr, purpose: str) -> str:
    """Says why a socket cannot be bound and what to do."""
    text = f"Cannot bind UDP {show(address)} ({purpose}): {error.strerror} ({error.errno})."
    port = address[1]
    if error.errno == errno.EADDRINUSE:
        return (
            f"{text} Another program has the port (ss -ulpn 'sport = :{port}' shows it; is corosync"
            " running?): stop it or choose another mcastport."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{text} The address is not usable: check {address[0]} in the output of ip address."
    if error.errno == errno.EACCES:
        return f"{text} Ports below 1024 need root: choose a higher mcastport."
    return text


def no_such_address(settings: NetworkSettings) -> str:
    """The local address is on no interface."""
    where = f"interface {settings.interface_name}" if settings.interface_name else "any interface"
    return (
        f"Address {settings.local_address} of node {settings.nodeid} is not on {where} of this machine:"
        " check ring0_addr of this node in the nodelist (or bindnetaddr) against the output of ip address."
    )


FIREWALL: Final = (
    "Totem is unable to form a cluster because of an operating system or network fault (reason: number of"
    " multicast sendmsg failures is above threshold). The most common cause of this message is that the"
    " local firewall is configured improperly."
)
