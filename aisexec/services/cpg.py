"""Closed process groups: ordered messages and membership for groups of processes (cpg_overview(3)).

Requests change nothing by themselves: they are multicast, and every node, ours included, changes its
table when the message is delivered.  Layouts and quirks: spec ipc.md 5.1, totem.md 13.3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from aisexec.limits import (
    CLIENT_EVENT_LIST_MAX,
    JOIN_EVENTS_MAX,
    LOG_INTERVAL,
    PENDING_LEAVES_MAX,
    PROCESSES_MAX,
)
from aisexec.messages import (
    CPG_DOWNLIST,
    CPG_JOINLIST_HEAD,
    CPG_MCAST,
    CPG_PARTIAL_MCAST,
    CPG_PROC,
    CpgMcast,
    CpgPartialMcast,
    CpgProc,
    GroupName,
    Source,
)
from aisexec.ratelimit import RateLimit
from aisexec.services._multicasts import Multicasts
from aisexec.services.base import AnomalyError, Client, Context, Message, Request, Service
from aisexec.services.cpg_client import CpgClient, Membership
from aisexec.services.cpg_fragments import Fragments
from aisexec.services.cpg_joinlist import (
    DOWNLIST,
    DOWNLIST_OLD,
    JOINLIST,
    MCAST,
    PARTIAL_MCAST,
    PROCJOIN,
    PROCLEAVE,
    SERVICE,
    OwnProcesses,
    exec_name,
    pack_downlist,
    read_joinlist,
)
from aisexec.services.cpg_processes import Process, ProcessTable, by_group
from aisexec.services.cpg_queries import CpgQueries
from aisexec.services.cpg_zero_copy import ZeroCopy
from aisexec.totem.types import LOG_DEBUG, LOG_WARNING, RingId
from ipc.cpg_layouts import (
    CALLS,
    DELIVER_MAX,
    JOIN_REQUEST,
    LEAVE_REQUEST,
    MCAST_REQUEST,
    PARTIAL_DELIVER_MAX,
    PARTIAL_MCAST_REQUEST,
    SERVICE_NAME,
    Address,
    BadMessageError,
    CpgRequest,
    CpgResponse,
    Guarantee,
    JoinFlag,
    PartialType,
    Reason,
    group_name,
    pack_confchg,
    pack_deliver,
    pack_partial_deliver,
    pack_response,
    pack_totem_confchg,
    payload,
)
from ipc.errors import CsError

Handler = Callable[[CpgClient, bytes], None]


class Cpg(Service):
    """The engine of one node."""

    id: ClassVar[int] = SERVICE
    name: ClassVar[str] = "corosync cluster closed process group service v1.01"
    subsystem: ClassVar[str] = "CPG"
    socket: ClassVar[str | None] = SERVICE_NAME
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.processes = ProcessTable()
        self._fragments = Fragments()
        self._queries = CpgQueries(context, self.processes)
        self._clients: dict[int, CpgClient] = {}
        self._groups: dict[bytes, list[CpgClient]] = {}
        # Programs that joined and have not got the totem configuration they asked for.
        self._unconfigured: list[CpgClient] = []
        # Leaves of dead programs that cannot be sent yet.
        self._pending_leaves: deque[bytes] = deque(maxlen=PENDING_LEAVES_MAX)
        self._cuts = RateLimit(LOG_INTERVAL)
        self.multicasts = Multicasts(context.open_batch, self._receivers)
        """Delivers ordinary multicasts."""
        self._joins_put_off = 0
        # Synchronisation.
        self._synchronising = False
        self._ring_id = RingId(0, 0)
        self._members: tuple[int, ...] = ()
        self._last_members: tuple[int, ...] = ()
        self.left_nodes: tuple[int, ...] = ()
        """Members of the last synchronised ring that have not come along to the present one."""
        self._joinlists: list[Process] = []
        self._own = OwnProcesses()
        self._downlist_sent = False

    def counters(self) -> Mapping[str, int]:
        """Statistics by name."""
        return {
            "processes": len(self.processes),
            "groups": self.processes.group_count,
            "joins_put_off": self._joins_put_off,
            "iterations_dropped": self._queries.iterations_dropped,
        }

    # ------------------------------------------------------------- clients

    def requests(self) -> Mapping[int, Request]:
        """All calls of libcpg."""
        queries = self._queries
        buffers = ZeroCopy(self.context, self._multicast)
        handlers: dict[CpgRequest, Handler] = {
            CpgRequest.JOIN: self._join,
            CpgRequest.LEAVE: self._leave,
            CpgRequest.MCAST: self._mcast,
            CpgRequest.MEMBERSHIP_GET: queries.membership_get,
            CpgRequest.LOCAL_GET: queries.local_get,
            CpgRequest.ITERATION_INITIALIZE: queries.iteration_initialize,
            CpgRequest.ITERATION_NEXT: queries.iteration_next,
            CpgRequest.ITERATION_FINALIZE: queries.iteration_finalize,
            CpgRequest.FINALIZE: self._finalize,
            CpgRequest.ZC_ALLOC: buffers.allocate,
            CpgRequest.ZC_FREE: buffers.free,
            CpgRequest.ZC_EXECUTE: buffers.execute,
            CpgRequest.PARTIAL_MCAST: self._partial_mcast,
        }
        return {
            number: Request(
                self._guarded(handler),
                CALLS[number].request.size,
                CALLS[number].flow_control,
                CALLS[number].response_id is not None,
            )
            for number, handler in handlers.items()
        }

    def _guarded(self, handler: Handler) -> Callable[[Client, bytes], None]:
        def handle(client: Client, message: bytes) -> None:
            self.multicasts.forget()
            try:
                handler(self._clients[client.id], message)
            except BadMessageError as error:
                self.context.close(client.id, f"bad request: {error}")

        return handle

    def connected(self, client: Client) -> None:
        """A program has connected."""
        self._clients[client.id] = CpgClient(client)

    def disconnected(self, client: Client) -> None:
        """A program is gone: to the others it left, unless it has said so itself."""
        self.multicasts.forget()
        cpg = self._clients.pop(client.id)
        self._queries.disconnected(cpg)
        self._unlist(cpg)
        if cpg in self._unconfigured:
            self._unconfigured.remove(cpg)
        if cpg.may_send():
            self._pending_leaves.append(self._proc(PROCLEAVE, cpg.group, cpg.pid, Reason.PROCDOWN))
            self._send_leaves()

    def _send_leaves(self) -> None:
        """Not while synchronising: nodes that learn of the process from our join list in the same
        synchronisation would see it leave first and then add it, for good."""
        while self.wants_token and self.context.multicast([self._pending_leaves[0]]):
            self._pending_leaves.popleft()

    def token_passed(self) -> None:
        """Try again to send what found the queue full."""
        self._send_leaves()

    @property
    def wants_token(self) -> bool:
        """Something waits for room in the send queue."""
        return bool(self._pending_leaves) and not self._synchronising

    def _unlist(self, cpg: CpgClient) -> None:
        listed = self._groups.get(cpg.group)
        if listed and cpg in listed:
            listed.remove(cpg)
            if not listed:
                del self._groups[cpg.group]

    def _answer(self, cpg: CpgClient, response: int, error: CsError) -> None:
        self.context.respond(cpg.client.id, pack_response(response, error))

    # ------------------------------------------------------------- joining and leaving

    def _join(self, cpg: CpgClient, message: bytes) -> None:
        request = JOIN_REQUEST.unpack(message)
        if request.group_length > len(request.group):
            self._answer(cpg, CpgResponse.JOIN, CsError.NAME_TOO_LONG)
            return
        group = group_name(request)
        error = self._may_join(cpg, group, request.pid)
        if error is CsError.OK and not self.context.multicast(
            [self._proc(PROCJOIN, group, request.pid, Reason.JOIN)]
        ):
            error = CsError.TRY_AGAIN
        if error is CsError.OK:
            cpg.move(Membership.JOIN_STARTED, group, request.pid)
            if request.flags & JoinFlag.DELIVER_INITIAL_TOTEM_CONF and not cpg.configured:
                cpg.configured = True
                self._unconfigured.append(cpg)
            self._groups.setdefault(group, []).append(cpg)
        self._answer(cpg, CpgResponse.JOIN, error)

    def _may_join(self, cpg: CpgClient, group: bytes, pid: int) -> CsError:
        here = self._groups.get(group, ())
        joining = 0
        for other in here:
            joining += other.state is Membership.JOIN_STARTED
            if other.pid == pid:
                return CsError.TRY_AGAIN if other.finalized else CsError.EXIST
        if Process(self.context.nodeid, pid, group) in self.processes:
            return CsError.TRY_AGAIN  # its leave is still under way
        if cpg.state is Membership.LEAVE_STARTED:
            return CsError.BUSY
        if cpg.state is not Membership.UNJOINED:
            return CsError.EXIST
        if len(self.processes) >= PROCESSES_MAX:
            return CsError.NO_RESOURCES
        # Each join is told to all members while the token waits, so a crowd has to come bit by bit.
        if joining * len(here) > JOIN_EVENTS_MAX:
            self._joins_put_off += 1
            return CsError.TRY_AGAIN
        return CsError.OK

    def _leave(self, cpg: CpgClient, message: bytes) -> None:
        LEAVE_REQUEST.unpack(message)
        error = CsError.NOT_EXIST
        if cpg.state is Membership.JOIN_STARTED:
            error = CsError.BUSY
        elif cpg.state is Membership.JOIN_COMPLETED:
            sent = self.context.multicast([self._proc(PROCLEAVE, cpg.group, cpg.pid, Reason.LEAVE)])
            error = CsError.OK if sent else CsError.TRY_AGAIN
            if sent:
                cpg.state = Membership.LEAVE_STARTED
        self._answer(cpg, CpgResponse.LEAVE, error)

    def _finalize(self, cpg: CpgClient, message: bytes) -> None:
        """No more events; the leave follows when the socket is closed."""
        cpg.finalized = True
        self._answer(cpg, CpgResponse.FINALIZE, CsError.OK)

    def _proc(self, function: int, group: bytes, pid: int, reason: Reason) -> bytes:
        header = self.header(function, CPG_PROC.size)
        return CPG_PROC.pack(CpgProc(header, GroupName(len(group), group), pid, reason))

    # ------------------------------------------------------------- sending

    def _mcast(self, cpg: CpgClient, message: bytes) -> None:
        """Never answered: the library has long returned."""
        request = MCAST_REQUEST.unpack(message)
        body = payload(message, MCAST_REQUEST.size, request.msglen)
        if len(body) > DELIVER_MAX:
            raise BadMessageError(f"multicast of {len(body)} bytes, receivers take {DELIVER_MAX}")
        if cpg.may_send():
            self._multicast(cpg, body, request.guarantee)

    def _multicast(self, cpg: CpgClient, body: bytes, guarantee: int) -> bool:
        head = self._mcast_head(cpg, CPG_MCAST.size + len(body), len(body))
        return self.context.multicast([head, body], safe=guarantee == Guarantee.SAFE)

    def _mcast_head(self, cpg: CpgClient, size: int, msglen: int) -> bytes:
        name = GroupName(len(cpg.group), cpg.group)
        source = Source(self.context.nodeid, cpg.client.id)
        return CPG_MCAST.pack(CpgMcast(self.header(MCAST, size), name, msglen, cpg.pid, source))

    def multicast_head(self, client: Client) -> bytes:
        """For requests that are taken together (aisexec.services._intake)."""
        cpg = self._clients[client.id]
        if not cpg.may_send():
            return b""
        if not cpg.head:
            cpg.head = self._mcast_head(cpg, 0, 0)
        return cpg.head

    def _partial_mcast(self, cpg: CpgClient, message: bytes) -> None:
        """A piece of a long message; a membership change between pieces makes the library start over."""
        request = PARTIAL_MCAST_REQUEST.unpack(message)
        body = payload(message, PARTIAL_MCAST_REQUEST.size, request.fraglen)
        error = CsError.OK
        if request.type == PartialType.FIRST:
            cpg.changes_at_first_fragment = cpg.changes
            cpg.message_size, cpg.fragments_size = request.msglen, 0
        if cpg.changes != cpg.changes_at_first_fragment:
            error = CsError.INTERRUPT
        elif not cpg.may_send():
            error = CsError.NOT_EXIST
        elif len(body) > PARTIAL_DELIVER_MAX:
            error = CsError.TOO_BIG
        else:
            self._check_fragment(cpg, request, len(body))
            if self._multicast_partial(cpg, request, body):
                cpg.fragments_size += len(body)
            else:
                error = CsError.TRY_AGAIN
        self._answer(cpg, CpgResponse.PARTIAL_MCAST, error)

    def _check_fragment(self, cpg: CpgClient, request: Any, size: int) -> None:
        """Receivers' libraries copy fragments into a buffer of the announced size without looking."""
        if request.type not in tuple(PartialType):
            raise BadMessageError(f"fragment of type {request.type}")
        if request.msglen != cpg.message_size or cpg.fragments_size + size > request.msglen:
            raise BadMessageError(
                f"fragment of {size} bytes behind {cpg.fragments_size} of a message of {cpg.message_size},"
                f" now {request.msglen}"
            )

    def _multicast_partial(self, cpg: CpgClient, request: Any, body: bytes) -> bool:
        head = CpgPartialMcast(
            header=self.header(PARTIAL_MCAST, CPG_PARTIAL_MCAST.size + len(body)),
            group=GroupName(len(cpg.group), cpg.group),
            msglen=request.msglen,
            fraglen=len(body),
            pid=cpg.pid,
            type=request.type,
            source=Source(self.context.nodeid, cpg.client.id),
        )
        safe = request.guarantee == Guarantee.SAFE
        return self.context.multicast([CPG_PARTIAL_MCAST.pack(head), body], safe=safe)

    # ------------------------------------------------------------- executive messages

    def messages(self) -> Mapping[int, Message]:
        """By function number."""
        return {
            PROCJOIN: Message(self._changing(self._procjoin), CPG_PROC.size),
            PROCLEAVE: Message(self._changing(self._procleave), CPG_PROC.size),
            JOINLIST: Message(self._joinlist, CPG_JOINLIST_HEAD.size),
            MCAST: Message(self._mcast_delivered, CPG_MCAST.size),
            DOWNLIST_OLD: Message(self._downlist, 0),
            DOWNLIST: Message(self._downlist, CPG_DOWNLIST.size),
            PARTIAL_MCAST: Message(self._partial_delivered, CPG_PARTIAL_MCAST.size),
        }

    def _changing(self, handler: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
        def handle(nodeid: int, message: bytes) -> None:
            self.multicasts.forget()
            handler(nodeid, message)

        return handle

    def _procjoin(self, nodeid: int, message: bytes) -> None:
        proc = CPG_PROC.unpack(message)
        process = Process(nodeid, proc.pid, exec_name(proc.group))
        if len(self.processes) >= PROCESSES_MAX:
            self._close_too_many(process)
            raise AnomalyError(f"more than {PROCESSES_MAX} processes in groups: {process} ignored")
        if self.processes.add(process):
            self._tell(process.group, joined=[Address(nodeid, proc.pid, Reason.JOIN)])

    def _close_too_many(self, process: Process) -> None:
        """Our program would wait for its join for ever: others took the last places before it."""
        for cpg in self._groups.get(process.group, ()):
            if process.nodeid == self.context.nodeid and cpg.pid == process.pid:
                self.context.close(cpg.client.id, f"more than {PROCESSES_MAX} processes in groups")

    def _procleave(self, nodeid: int, message: bytes) -> None:
        proc = CPG_PROC.unpack(message)
        process = Process(nodeid, proc.pid, exec_name(proc.group))
        if process in self.processes:
            self._tell(process.group, left=[Address(nodeid, proc.pid, proc.reason)])
            self.processes.remove([process])

    def _mcast_delivered(self, nodeid: int, message: bytes) -> None:
        mcast = CPG_MCAST.unpack(message)
        group = exec_name(mcast.group)
        receivers = self._receivers(nodeid, group)
        if receivers:
            if mcast.msglen > DELIVER_MAX:
                raise AnomalyError(f"multicast of {mcast.msglen} bytes, receivers take {DELIVER_MAX}")
            body = payload(message, CPG_MCAST.size, mcast.msglen)
            head = pack_deliver(group, nodeid, mcast.pid, len(body))
            self.context.event_to_all(receivers, head, body)

    def _partial_delivered(self, nodeid: int, message: bytes) -> None:
        mcast = CPG_PARTIAL_MCAST.unpack(message)
        group = exec_name(mcast.group)
        receivers = self._receivers(nodeid, group)
        sender = Process(nodeid, mcast.pid, group)
        if sender not in self.processes or not self._fragments.take(
            sender, mcast.msglen, mcast.fraglen, mcast.type
        ):
            return
        if receivers:
            if mcast.fraglen > PARTIAL_DELIVER_MAX:
                raise AnomalyError(f"fragment of {mcast.fraglen} bytes, receivers take {PARTIAL_DELIVER_MAX}")
            body = payload(message, CPG_PARTIAL_MCAST.size, mcast.fraglen)
            head = pack_partial_deliver(group, nodeid, mcast.pid, mcast.msglen, len(body), mcast.type)
            self.context.event_to_all(receivers, head, body)

    def _receivers(self, nodeid: int, group: bytes) -> Sequence[int]:
        """Our clients in the group; nobody, when the sending node has no known member in the group."""
        listed = self._groups.get(group)
        if not listed:
            return ()
        if not self.processes.has_member_on(group, nodeid):
            raise AnomalyError(f"message to group {group!r}, of which that node has no known member")
        return [cpg.client.id for cpg in listed if cpg.receives()]

    # ------------------------------------------------------------- telling clients

    def _tell(
        self, group: bytes, *, joined: Sequence[Address] = (), left: Sequence[Address] = ()
    ) -> None:
        """Send a configuration change to the group's local members; states follow it."""
        for address in left:
            self._fragments.forget(Process(address.nodeid, address.pid, group))
        if group in self._groups:
            self._tell_members(group, joined, left)
        self._send_first_totem_configurations()

    def _tell_members(self, group: bytes, joined: Sequence[Address], left: Sequence[Address]) -> None:
        listed = self._groups[group]
        here = self.context.nodeid
        arrived = {a.pid for a in joined if a.nodeid == here}
        for cpg in listed:
            if cpg.state is Membership.JOIN_STARTED and cpg.pid in arrived:
                cpg.state = Membership.JOIN_COMPLETED
        gone = {(a.nodeid, a.pid) for a in left}
        members = (p for p in self.processes.members(group) if (p.nodeid, p.pid) not in gone)
        shown = [Address(p.nodeid, p.pid) for p in islice(members, CLIENT_EVENT_LIST_MAX + 1)]
        event = pack_confchg(group, self._fit(shown), self._fit(left), self._fit(joined))
        receivers = [cpg for cpg in listed if cpg.receives()]
        for cpg in receivers:
            cpg.changes += 1
        self.context.event_to_all([cpg.client.id for cpg in receivers], event)
        departed = {pid for nodeid, pid in gone if nodeid == here}
        for cpg in list(listed) if departed else ():
            if cpg.state is Membership.LEAVE_STARTED and cpg.pid in departed:
                self._unlist(cpg)
                cpg.move(Membership.UNJOINED, b"", 0)

    def _fit(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """The client library copies a list to an array of fixed size without looking."""
        if len(addresses) > CLIENT_EVENT_LIST_MAX and self._cuts.allow("", self.context.now) is not None:
            self.context.log(
                LOG_WARNING,
                f"Group list of more than {CLIENT_EVENT_LIST_MAX} entries cut to libcpg's limit",
            )
        return addresses[:CLIENT_EVENT_LIST_MAX]

    def _send_first_totem_configurations(self) -> None:
        waiting, self._unconfigured = self._unconfigured, []
        for cpg in waiting:
            if not cpg.finalized:
                self.context.event(cpg.client.id, self._totem_configuration())

    def _totem_configuration(self) -> bytes:
        return pack_totem_confchg(
            self._ring_id.rep, self._ring_id.seq, self._last_members[:CLIENT_EVENT_LIST_MAX]
        )

    # ------------------------------------------------------------- synchronisation

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """Who of the last synchronised membership did not come along?"""
        self._ring_id = ring_id
        self._members = tuple(members)
        self._synchronising = True
        self.left_nodes = tuple(n for n in self._last_members if n not in trans)
        self._joinlists = []
        self._own.restart()
        self._downlist_sent = False

    def sync_process(self) -> bool:
        """Our downlist, then our processes: a node that stays and omits them loses them everywhere."""
        if not self._downlist_sent:
            if not self.context.multicast([pack_downlist(len(self._last_members), self.left_nodes)]):
                return False
            self._downlist_sent = True
        return self._own.send(
            lambda: self.processes.on_node(self.context.nodeid), self.context.multicast
        )

    def sync_activate(self) -> None:
        """Everybody's lists are here, at the same place in the order on all nodes."""
        self.multicasts.forget()
        self._last_members = self._members
        self._drop_nodes_that_left()
        self._add_processes_of_merged_nodes()
        self._drop_unclaimed_processes()
        told = [cpg.client.id for cpg in self._clients.values() if not cpg.finalized]
        self.context.event_to_all(told, self._totem_configuration())
        self._joinlists = []

    def sync_abort(self) -> None:
        """The lists collected so far belong to a ring that is no more."""
        self._joinlists = []

    def synchronised(self) -> None:
        """Programs that died meanwhile may leave now."""
        self._synchronising = False
        self._send_leaves()

    def _drop_nodes_that_left(self) -> None:
        lost = [p for nodeid in sorted(self.left_nodes) for p in self.processes.on_node(nodeid)]
        for group, processes in by_group(lost).items():
            self._tell(group, left=_addresses(processes, Reason.NODEDOWN))
            self.processes.remove(processes)

    def _add_processes_of_merged_nodes(self) -> None:
        here = self.context.nodeid
        # Clients see them in corosync's order, the latest entry first.
        new = dict.fromkeys(
            p for p in reversed(self._joinlists) if p.nodeid != here and p not in self.processes
        )
        for process in new:
            self.processes.add(process)
        for group, processes in by_group(new).items():
            self._tell(group, joined=_addresses(processes, Reason.NODEUP))

    def _drop_unclaimed_processes(self) -> None:
        """Processes that their own node no longer lists died while we were apart."""
        claimed = set(self._joinlists)
        here = self.context.nodeid
        for process in [p for p in self.processes if p.nodeid != here and p not in claimed]:
            self._tell(process.group, left=_addresses([process], Reason.PROCDOWN))
            self.processes.remove([process])

    def _joinlist(self, nodeid: int, message: bytes) -> None:
        for process in read_joinlist(nodeid, message):
            if len(self._joinlists) >= PROCESSES_MAX:
                raise AnomalyError(f"join lists of more than {PROCESSES_MAX} processes, cut")
            self._joinlists.append(process)

    def _downlist(self, nodeid: int, message: bytes) -> None:
        self.context.log(LOG_DEBUG, f"downlist of node {nodeid}")


def _addresses(processes: Iterable[Process], reason: Reason) -> list[Address]:
    return [Address(p.nodeid, p.pid, reason) for p in processes]
