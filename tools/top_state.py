"""What aisexec-top shows: read from the executive's maps and its quorum services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from libais import cmap, quorum, votequorum
from libais.errors import CsException, LibraryError, NotExistError, NotSupportedError

from .connections import Connections

T = TypeVar("T")

NO_RING: Final = quorum.RingId(0, 0)
CLIENTS_MAX: Final = 1000
"""Connections looked at in one reading; the rest is only counted."""
READING_SHARE: Final = 0.1
"""Of the time: what takes long to read in a large cluster is read less often, so watching costs little."""
SERVICES: Final = ("cmap", "cfg", "cpg", "quorum", "pload", "votequorum", "mon", "wd")
COUNTERS: Final = (
    "orf_token_rx",
    "mtt_rx_token",
    "avg_token_workload",
    "avg_backlog_calc",
    "mcast_tx",
    "mcast_rx",
    "mcast_retx",
    "rx_msg_dropped",
    "gather_entered",
    "operational_token_lost",
    "gather_token_lost",
    "commit_token_lost",
    "recovery_token_lost",
    "consensus_timeouts",
    "time_since_token_last_received",
    "firewall_enabled_or_nic_failure",
)
"""Keys of stats.srp that are read."""


@dataclass(frozen=True)
class Node:
    """A node that is or was in the ring, or is configured.

    status: "joined", "left", or "never seen".  addresses: one a link.  joins: how often it came.
    """

    nodeid: int
    name: str
    status: str
    addresses: tuple[str, ...] = ()
    joins: int = 0
    votes: int | None = None
    local: bool = False

    @property
    def label(self) -> str:
        """Its name, or its id where it has none."""
        return self.name or f"node {self.nodeid}"


@dataclass(frozen=True)
class Client:
    """A connection of a program."""

    service: str
    pid: int
    program: str
    requests: int = 0
    events: int = 0
    queued: int = 0
    refused: int = 0
    """Requests that had to be sent again, because the executive was busy."""


@dataclass(frozen=True)
class Reading:
    """One look at the executive.  moment: seconds of a clock that is never set; clock: of the day."""

    moment: float
    clock: float
    nodes: tuple[Node, ...] = ()
    quorate: bool = False
    provider: str = ""
    ring_id: quorum.RingId = NO_RING
    votes: votequorum.Info | None = None
    cluster: str = ""
    transport: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    clients: tuple[Client, ...] = ()
    clients_moment: float = 0.0
    """When they were read, by the same clock as `moment`."""
    connections: int = 0
    closed_connections: int = 0
    send_queue_free: int = 0

    @property
    def members(self) -> tuple[Node, ...]:
        """The nodes of the ring."""
        return tuple(node for node in self.nodes if node.status == "joined")


class Paced(Generic[T]):
    """Something that is read again when it has changed, or when reading it does not take too much time."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._value: T | None = None
        self._due = 0.0
        self.moment = 0.0
        """When it was read."""

    def get(self, *, changed: bool = False) -> T:
        """The value, perhaps a little old."""
        now = time.monotonic()
        if self._value is None or changed or now >= self._due:
            self._value = self._read()
            self.moment = time.monotonic()
            self._due = now + (self.moment - now) / READING_SHARE
        return self._value


class Reader(Connections):
    """Connections to an executive, and readings from it; a context manager.

    Raises CsException when there is no executive, and whenever it goes.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.map = stack.enter_context(cmap.Handle())
            self.statistics = stack.enter_context(cmap.Handle(cmap.Map.STATS))
            self.quorum = stack.enter_context(quorum.Handle(model=quorum.QuorumModel.V1))
            self.votequorum = self._open_votequorum(stack)
            self.quorum.trackstart()
            self._stack = stack.pop_all()
        self._ring_id = NO_RING
        self._quorate = False
        self._changed = True
        self._nodes = Paced(self._read_nodes)
        self._clients = Paced(self._read_clients)

    def _open_votequorum(self, stack: ExitStack) -> votequorum.Handle | None:
        if self.quorum.quorum_type == quorum.QuorumType.FREE:
            return None
        try:
            return stack.enter_context(votequorum.Handle())
        except (LibraryError, NotSupportedError):
            return None

    def news(self, timeout: float) -> Iterator[quorum.Event]:
        """Changes of membership and quorum; ends when none came for `timeout` seconds."""
        for event in self.quorum.events(timeout):
            self._changed = True
            self._ring_id = event.ring_id
            if isinstance(event, quorum.QuorumChange):
                self._quorate = event.quorate
            yield event

    def read(self) -> Reading:
        """Everything, now."""
        for _ in self.news(0):
            pass
        nodes = self._nodes.get(changed=self._changed)
        self._changed = False
        clients = self._clients.get()
        return Reading(
            moment=time.monotonic(),
            clock=time.time(),
            nodes=nodes,
            quorate=self._quorate,
            provider=str(_value(self.map, "quorum.provider", "")),
            ring_id=self._ring_id,
            votes=self._votes(0),
            cluster=str(_value(self.map, "totem.cluster_name", "")),
            transport=str(_value(self.map, "totem.transport", "knet")),
            counters={name: _number(self.statistics, f"stats.srp.{name}") for name in COUNTERS},
            clients=clients,
            clients_moment=self._clients.moment,
            connections=_number(self.statistics, "stats.ipcs.global.active"),
            closed_connections=_number(self.statistics, "stats.ipcs.global.closed"),
            send_queue_free=_number(self.statistics, "stats.pg.msg_queue_avail"),
        )

    def _votes(self, nodeid: int) -> votequorum.Info | None:
        if self.votequorum is None:
            return None
        try:
            return self.votequorum.getinfo(nodeid)
        except NotExistError:
            return None

    def _read_nodes(self) -> tuple[Node, ...]:
        return tuple(self._each_node())

    def _each_node(self) -> Iterator[Node]:
        configured = _by_number(self.map, "nodelist.node.")
        seen = _by_number(self.map, "runtime.members.")
        names = {entry.get("nodeid"): str(entry.get("name", "")) for entry in configured.values()}
        local = configured.get(_number(self.map, "nodelist.local_node_pos", -1), {}).get("nodeid")
        ids = {nodeid for nodeid in names if isinstance(nodeid, int)} | set(seen)
        for nodeid in sorted(ids):
            state = seen.get(nodeid, {})
            votes = self._votes(nodeid) if state else None
            joins = state.get("join_count", 0)
            yield Node(
                nodeid=nodeid,
                name=names.get(nodeid, ""),
                status=str(state.get("status", "never seen")),
                addresses=tuple(_addresses(str(state.get("ip", "")))),
                joins=joins if isinstance(joins, int) else 0,
                votes=votes.votes if votes else None,
                local=nodeid == local,
            )

    def _read_clients(self) -> tuple[Client, ...]:
        heads: dict[str, None] = {}
        with self.statistics.iteration("stats.ipcs.service") as entries:
            for entry in entries:
                heads[entry.key.rpartition(".")[0]] = None
                if len(heads) > CLIENTS_MAX:
                    break
        return tuple(client for head in list(heads)[:CLIENTS_MAX] if (client := self._client(head)))

    def _client(self, head: str) -> Client | None:
        _, _, service, pid, *_ = head.split(".")
        try:
            return Client(
                service=_service_name(service.removeprefix("service")),
                pid=int(pid),
                program=self.statistics.get_string(f"{head}.procname"),
                requests=_number(self.statistics, f"{head}.requests"),
                events=_number(self.statistics, f"{head}.dispatched"),
                queued=_number(self.statistics, f"{head}.queued"),
                refused=_number(self.statistics, f"{head}.overload"),
            )
        except NotExistError:
            # It disconnected meanwhile.
            return None


def _service_name(number: str) -> str:
    return SERVICES[int(number)] if number.isdecimal() and int(number) < len(SERVICES) else number


def _value(handle: cmap.Handle, key: str, default: int | str) -> object:
    try:
        return handle.get(key).plain
    except NotExistError:
        return default


def _number(handle: cmap.Handle, key: str, default: int = 0) -> int:
    value = _value(handle, key, default)
    return int(value) if isinstance(value, int | float) else default


def _by_number(handle: cmap.Handle, prefix: str) -> dict[int, dict[str, object]]:
    """Keys like PREFIX.<number>.<name> as {number: {name: value}}."""
    found: dict[int, dict[str, object]] = {}
    for entry in list(handle.iteration(prefix)):
        number, _, name = entry.key[len(prefix) :].partition(".")
        if number.isdecimal():
            try:
                found.setdefault(int(number), {})[name] = handle.get(entry.key).plain
            except CsException as error:
                if not isinstance(error, NotExistError):
                    raise
    return found


def _addresses(text: str) -> Iterable[str]:
    """Of "r(0) ip(10.0.0.1) r(1) ip(10.0.1.1) "."""
    for word in text.split():
        if word.startswith("ip(") and word.endswith(")"):
            yield word[3:-1]
