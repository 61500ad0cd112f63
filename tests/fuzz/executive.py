"""One executive of an imagined ring of three, fed with messages of members and requests of programs.

Totem is replaced by a loop that puts what the executive sends back into the total order, so that an
input needs no frames to come to every line of the services.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

from aisexec.effects import (
    CloseClient,
    Event,
    Events,
    ExecutiveEffect,
    LoggingKeysChanged,
    ReadConfiguration,
    Reconfigured,
    Respond,
    Shutdown,
    TotemKeysChanged,
)
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.limits import CLIENT_EVENT_LIST_MAX, PENDING_LEAVES_MAX, PROCESSES_MAX
from aisexec.messages import (
    CPG_PARTIAL_MCAST,
    CPG_PROC,
    EXEC_HEADER,
    GROUP_SERVICES,
    GROUP_SYNC,
    CpgPartialMcast,
    CpgProc,
    ExecHeader,
    GroupName,
    Source,
    exec_id,
)
from aisexec.services.cpg import Cpg
from aisexec.services.cpg_joinlist import PARTIAL_MCAST, PROCJOIN
from aisexec.services.options import Findings, Reconfiguration
from aisexec.services.votequorum import VoteQuorum
from aisexec.services.votequorum_state import QuorumOptions
from aisexec.totem.assembly import split
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.settings import Settings
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX, Totem
from aisexec.totem.types import Configuration, Effect, Log, RingId, Upper
from ipc import cpg_layouts as cpg
from ipc.layouts import RESPONSE_HEADER
from ipc.limits import MESSAGE_SIZE
from tests.sim.executives import Memory, join_request, mcast_request
from tests.sim.network import FAST

MEMBERS: Final = (1, 2, 3)
GROUP: Final = b"fuzzed"
QUEUE_MAX: Final = 512
"""Messages of ours that may wait to be ordered."""


class LoopedTotem(Totem):
    """Messages sent wait to be delivered in their order, none is lost; there are no frames."""

    def __init__(self, upper: Upper) -> None:
        super().__init__(FAST, 1, 0, upper)
        # Where the intake looks how many there are.
        self.waiting = cast("deque[tuple[bytes, bytes]]", self.core.q_new)
        self.current_ring = RingId(1, 0)
        self.room = True
        self.token_wanted = False
        self._begun = b""
        """A message whose end the packer has not handed out yet."""

    @property
    def room(self) -> bool:
        """For more."""
        return self.core.queue_slots > 0

    @room.setter
    def room(self, room: bool) -> None:
        self.core.queue_slots = QUEUE_MAX + 2 if room else 0

    @property
    def ring_id(self) -> RingId:
        return self.current_ring

    def submit(self, group: bytes, parts: Sequence[bytes], *, safe: bool = False) -> bool:
        size = sum(map(len, parts))
        if size > EXECUTIVE_MESSAGE_MAX:
            raise ValueError(f"message of {size} bytes, limit {EXECUTIVE_MESSAGE_MAX}")
        if not self.room_for(size):
            return False
        self._packer.flush()
        self.waiting.append((group, b"".join(parts)))
        return True

    def _enqueue(self, packet: bytes, guarantee: int) -> None:
        """What was handed to the packer itself (aisexec.services._intake)."""
        fragmented, _, pieces = split(memoryview(packet))
        messages = [bytes(piece) for piece in pieces]
        messages[0] = self._begun + messages[0]
        self._begun = messages.pop() if fragmented else b""
        for message in messages:
            assert message.startswith(b"\x01\0\x01\0" + GROUP_SERVICES)
            self.waiting.append((GROUP_SERVICES, message[5:]))

    def room_for(self, size: int) -> bool:
        return self.room and len(self.waiting) < QUEUE_MAX

    def slots_free(self) -> int:
        return QUEUE_MAX - len(self.waiting) if self.room else 0

    def queue_fill(self) -> int:
        return 100 if not self.room else len(self.waiting) * 100 // QUEUE_MAX

    def frames_waiting(self) -> int:
        return len(self.waiting)

    def call_when_token_passed(self) -> None:
        self.token_wanted = True

    def synchronised(self) -> None:
        pass

    def force_gather(self, now: float) -> None:
        pass

    def take_effects(self) -> list[Effect]:
        return []


class LibraryModel:
    """What libcpg does with the events of one connection, and would not survive.

    lib/cpg.c of corosync 3.1: lists go into arrays of 128 entries, fragments into a buffer of the size
    that the first one announced, and none of it is checked.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], list[int]] = {}
        self._bodies: dict[tuple[int, int], bytes] = {}
        self.heard: deque[bytes] = deque(maxlen=4)

    def event(self, message: bytes) -> None:
        head = RESPONSE_HEADER.unpack(message)
        assert head.size == len(message) <= MESSAGE_SIZE
        match head.id:
            case cpg.CpgEvent.CONFCHG:
                change = cpg.unpack_confchg(message)
                assert max(map(len, change[1:])) <= CLIENT_EVENT_LIST_MAX
                for left in change.left:
                    self._open.pop((left.nodeid, left.pid), None)
            case cpg.CpgEvent.DELIVER:
                body = cpg.DELIVER_EVENT.unpack(message)
                assert body.msglen == len(message) - cpg.DELIVER_EVENT.size
                assert body.group_length <= cpg.GROUP_NAME_MAX
                self.heard.append(message[cpg.DELIVER_EVENT.size :])
            case cpg.CpgEvent.PARTIAL_DELIVER:
                self._fragment(message)
            case cpg.CpgEvent.TOTEM_CONFCHG:
                assert len(cpg.unpack_totem_confchg(message).members) <= CLIENT_EVENT_LIST_MAX
            case _:
                raise AssertionError(f"event {head.id}")

    def _fragment(self, message: bytes) -> None:
        part = cpg.PARTIAL_DELIVER_EVENT.unpack(message)
        assert part.fraglen == len(message) - cpg.PARTIAL_DELIVER_EVENT.size
        assert part.group_length <= cpg.GROUP_NAME_MAX
        sender = part.nodeid, part.pid
        if part.type == cpg.PartialType.FIRST:
            self._open[sender] = [part.msglen, 0]
            self._bodies.pop(sender, None)
        opened = self._open.get(sender)
        if opened is None:
            return
        opened[1] += part.fraglen
        assert opened[1] <= opened[0], "fragments beyond the end of the receiver's buffer"
        self._bodies[sender] = self._bodies.get(sender, b"") + message[cpg.PARTIAL_DELIVER_EVENT.size :]
        if part.type == cpg.PartialType.LAST:
            assert opened[1] == opened[0] == part.msglen, "the receiver would hand up memory not written"
            del self._open[sender]
            self.heard.append(self._bodies.pop(sender))


class Stage:
    """An executive, its ring and its programs."""

    def __init__(self, *, votequorum: bool = True) -> None:
        self.memory = Memory()
        options = ExecutiveOptions(
            votequorum=votequorum,
            quorum=QuorumOptions(expected_votes=3, wait_for_all=True),
            config_version=3,
        )
        self.executive = Executive(FAST, 1, 0, options, self.memory)
        self.totem = LoopedTotem(self.executive)
        self.executive.totem = self.totem
        self.libraries: dict[int, LibraryModel] = {}
        self.answers: dict[int, int] = {}
        self.closed: dict[int, str] = {}
        self.shut_down = False
        self.readings = 0
        self.now = 0.0
        self._next_client = 1
        for service in self.executive.services.values():
            service.start()
        self.ring(MEMBERS)

    # The ring.

    def ring(self, members: Sequence[int]) -> None:
        """A membership change; what was not ordered yet comes between."""
        old = self.executive.sync._members
        came = tuple(n for n in members if n in old or n == 1)
        left = tuple(n for n in old if n not in members)
        joined = tuple(n for n in members if n not in came)
        ring_id = RingId(min(members), self.totem.ring_id.seq + 4)
        self.executive.configuration(Configuration(True, came, left, (), ring_id))
        self.totem.current_ring = ring_id
        self.executive.configuration(Configuration(False, tuple(members), (), joined, ring_id))
        self.carry_out()

    def deliver(self, group: bytes, nodeid: int, message: bytes) -> None:
        self.now += 0.001
        self.executive.now = self.now
        self.executive.deliver(group, nodeid, message)
        self.carry_out()

    def token(self) -> None:
        """One rotation: what was sent is ordered; members who are as we are say the same in sync."""
        for _ in range(len(self.totem.waiting)):
            group, message = self.totem.waiting.popleft()
            self.deliver(group, 1, message)
            if group == GROUP_SYNC:
                for other in self.executive.sync._members:
                    if other != 1:
                        self.deliver(group, other, message)
        if self.totem.token_wanted:
            self.totem.token_wanted = False
            self.executive.token_passed()
            self.carry_out()

    def settle(self) -> None:
        """Until services are in step."""
        for _ in range(60):
            if not self.executive.sync.running and not self.totem.waiting:
                return
            self.token()
        raise AssertionError(f"not in step: {self.executive.sync._state}")

    # Programs.

    def connect(self, service: str = "cpg") -> int:
        number, self._next_client = self._next_client, self._next_client + 1
        self.executive.client_opened(number, service, 1000 + number, 0, 0)
        self.libraries[number] = LibraryModel()
        self.answers[number] = 0
        self.carry_out()
        return number

    def disconnect(self, number: int) -> None:
        if self.libraries.pop(number, None) is not None:
            self.executive.client_closed(number, self.now)
            self.carry_out()

    def request(self, number: int, message: bytes) -> bool:
        """False when it has to wait for room."""
        return self.requests(number, [message]) == 1

    def requests(self, number: int, messages: list[bytes]) -> int:
        """As the driver does it: what finds no room stays in the client's ring."""
        taken = 0
        self.now += 0.001
        while taken < len(messages):
            some = self.executive.client_requests(number, messages, taken, self.now)
            if not some:
                break
            taken += some
        self.totem.packer.flush()
        self.carry_out()
        return taken

    # Effects.

    def carry_out(self) -> None:
        while effects := self.executive.take_effects():
            for effect in effects:
                self._effect(effect)

    def _effect(self, effect: ExecutiveEffect) -> None:
        match effect:
            case Respond(client, message):
                head = RESPONSE_HEADER.unpack(message)
                assert head.size == len(message)
                if client in self.answers:
                    self.answers[client] += 1
            case Event(client, parts):
                if client in self.libraries:
                    self.libraries[client].event(b"".join(parts))
            case Events(clients, parts):
                for client in clients:
                    if client in self.libraries:
                        self.libraries[client].event(b"".join(parts))
            case CloseClient(client, reason):
                assert reason
                self.closed[client] = reason
                self.disconnect(client)
            case Shutdown():
                self.shut_down = True
            case TotemKeysChanged() | LoggingKeysChanged():
                pass
            case ReadConfiguration(serial):
                self.readings += 1
                good = Findings((), Reconfiguration(Settings(), self.executive.options))
                broken = Findings(("corosync.conf:1: broken",), None)
                findings = good if self.readings % 3 else broken
                self.executive.configuration_read(serial, findings, self.now)
            case Reconfigured():
                pass
            case Log(_, priority, text):
                assert 0 <= priority <= 8
                assert len(text) < 4096
            case _:
                raise AssertionError(f"unexpected {effect}")

    # Promises.

    def check(self) -> None:
        """Nothing has grown, and the executive goes on working."""
        service = self.executive.services[Cpg.id]
        assert isinstance(service, Cpg)
        assert len(service.processes) <= 2 * PROCESSES_MAX
        assert len(service._fragments) <= len(service.processes)
        assert len(service._joinlists) <= PROCESSES_MAX
        assert len(service._pending_leaves) <= PENDING_LEAVES_MAX
        votes = self.executive.services.get(VoteQuorum.id)
        if isinstance(votes, VoteQuorum):
            assert len(votes.ballot.roll) <= PROCESSOR_COUNT_MAX
        if self.shut_down:
            return
        self.totem.room = True
        self.ring(MEMBERS)
        self.settle()
        witness = self.connect()
        library = self.libraries[witness]
        self.request(witness, join_request(b"witness", 1 << 20))
        self.settle()
        self.request(witness, mcast_request(b"still here"))
        self.settle()
        assert b"still here" in library.heard, "nothing is delivered any more"


def member_of_group(stage: Stage) -> int:
    """A program in GROUP, which also has members on the other nodes."""
    client = stage.connect()
    stage.request(client, join_request(GROUP, 1000 + client))
    stage.settle()
    for nodeid in MEMBERS[1:]:
        stage.deliver(GROUP_SERVICES, nodeid, process_message(PROCJOIN, remote_pid(nodeid)))
    return client


def remote_pid(nodeid: int) -> int:
    """The member of GROUP on another node."""
    return nodeid * 1000


def process_message(function: int, pid: int) -> bytes:
    """procjoin or procleave of GROUP."""
    header = ExecHeader(exec_id(Cpg.id, function), CPG_PROC.size)
    return CPG_PROC.pack(CpgProc(header, GroupName(len(GROUP), GROUP), pid, cpg.Reason.JOIN))


def fragment_message(nodeid: int, total: int, body: bytes, place: int) -> bytes:
    """A piece of a message of GROUP's member on another node."""
    size = CPG_PARTIAL_MCAST.size + len(body)
    name, source = GroupName(len(GROUP), GROUP), Source(nodeid, 1)
    header = ExecHeader(exec_id(Cpg.id, PARTIAL_MCAST), size)
    head = CpgPartialMcast(header, name, total, len(body), remote_pid(nodeid), place, source)
    return CPG_PARTIAL_MCAST.pack(head) + body


def header_of(message: bytes) -> Any:
    """The head of an executive message; zeros for a shorter one."""
    return EXEC_HEADER.unpack(message.ljust(EXEC_HEADER.size, b"\0"))
