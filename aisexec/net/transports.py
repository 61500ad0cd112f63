"""Choosing the transport that the configuration names."""

from __future__ import annotations

import time
from collections.abc import Callable

from aisexec.net.base import Log, NetworkSettings, Transport
from aisexec.net.udp import UdpTransport
from aisexec.net.udpu import UdpuTransport


def create_transport(
    settings: NetworkSettings, log: Log, clock: Callable[[], float] = time.monotonic
) -> Transport:
    """The transport, not yet started.  Raises NetError on settings that cannot work."""
    if settings.transport == "udp":
        return UdpTransport(settings, log, clock)
    return UdpuTransport(settings, log, clock)
