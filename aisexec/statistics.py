"""Where the statistics map of cmap gets its numbers from, and the numbers that nobody else works out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from aisexec.services.stats_map import CONNECTION_KEYS, Connection
from aisexec.totem.ring import CONTINUOUS_GATHER_WARNING
from aisexec.totem.stack import Totem
from ipc.server_connection import Connection as ServerConnection


class Statistics:
    """Source of aisexec.services.stats_map."""

    def __init__(
        self,
        counters: Callable[[], Iterator[tuple[str, int]]],
        connections: Mapping[int, ServerConnection],
        totem: Totem,
    ) -> None:
        """connections: of the IPC server, by id."""
        self.counters = counters
        self._connections = connections
        self._totem = totem
        self.closing: ServerConnection | None = None
        """It has gone, and its trackers are being told."""

    def connections(self) -> Iterator[Connection]:
        """See Source."""
        return map(_figures, self._connections.values())

    def connection(self, client: int) -> Connection | None:
        """See Source."""
        if self.closing is not None and self.closing.id == client:
            return _figures(self.closing)
        found = self._connections.get(client)
        return None if found is None else _figures(found)

    def pauses(self) -> Sequence[tuple[int, float]]:
        """See Source."""
        epoch = time.time() - time.monotonic()
        return [
            (round((epoch + at) * 1000), duration * 1000) for at, duration in self._totem.stats.pauses
        ]

    def forget_pauses(self) -> None:
        """See Source."""
        self._totem.stats.pauses.clear()


def _figures(connection: ServerConnection) -> Connection:
    figures = {name: getattr(connection.stats, name) for name in CONNECTION_KEYS}
    return Connection(connection.service, connection.creds.pid, connection.id, figures)


def derived(totem: Totem, now: float, send_failures: int) -> Iterator[tuple[str, int]]:
    """What corosync makes of its counters every 1.5 seconds."""
    firewall = totem.stats.continuous_gather > CONTINUOUS_GATHER_WARNING
    yield "stats.srp.continuous_sendmsg_failures", send_failures
    yield "stats.srp.firewall_enabled_or_nic_failure", int(firewall)
    yield "stats.srp.time_since_token_last_received", round((now - totem.token_received_at) * 1000)
    yield "stats.pg.msg_queue_avail", totem.slots_free()
    yield "stats.pg.msg_reserved", totem.frames_waiting()
