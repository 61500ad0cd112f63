"""The configuration service, on a stage: what depends on time, on room and on wrong input."""

from __future__ import annotations

import pytest

from aisexec.icmap import u32
from aisexec.limits import CFG_OUTBOX_MAX
from aisexec.messages import CFG_KILL_NODE, EXEC_HEADER
from aisexec.services.base import Client
from aisexec.services.cfg import Cfg
from aisexec.services.options import ExecutiveOptions
from aisexec.services.reload import Reload
from ipc.cfg_layouts import (
    KILL_NODE_REQUEST,
    NODE_REQUEST,
    NODE_STATUS_REQUEST,
    REPLY_TO_SHUTDOWN_REQUEST,
    TEST_SHUTDOWN_EVENT,
    TRACK_START_REQUEST,
    TRY_SHUTDOWN_REQUEST,
    CfgRequest,
    KillNodeRequest,
    Name,
    NodeRequest,
    NodeStatusRequest,
    ReplyToShutdownRequest,
    ShutdownFlag,
    TrackStartRequest,
    TryShutdownRequest,
    pack_request,
    unpack_node_addrs,
    unpack_node_status,
    unpack_ring_status,
)
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER
from tests.unit.service_support import StageContext


class Stage:
    def __init__(self) -> None:
        self.context = StageContext(1)
        self.context.options = ExecutiveOptions(addresses={1: "10.0.0.1", 2: "10.0.0.2", 3: "fd00::3"})
        self.context.members = (1, 2)
        self.context.reached = {1, 2}
        self.service = Cfg(self.context, Reload(self.context))
        self.clients: dict[int, Client] = {}

    def client(self, number: int) -> Client:
        if number not in self.clients:
            self.clients[number] = Client(number, 1000 + number, 0, 0)
            self.service.connected(self.clients[number])
        return self.clients[number]

    def call(self, number: int, request: CfgRequest, message: bytes | None = None) -> bytes | None:
        """The answer, if there is one at once."""
        before = len(self.context.answers)
        entry = self.service.requests()[request]
        message = pack_request(request) if message is None else message
        assert len(message) >= entry.size
        entry.handler(self.client(number), message)
        mine = [answer for client, answer in self.context.answers[before:] if client == number]
        return mine[0] if mine else None

    def track(self, number: int) -> None:
        size = TRACK_START_REQUEST.size
        self.call(number, CfgRequest.TRACK_START, TRACK_START_REQUEST.pack(TrackStartRequest(10, size, 0)))

    def shut_down(self, number: int, flags: int = ShutdownFlag.REQUEST) -> bytes | None:
        request = TryShutdownRequest(CfgRequest.TRY_SHUTDOWN, TRY_SHUTDOWN_REQUEST.size, flags)
        return self.call(number, CfgRequest.TRY_SHUTDOWN, TRY_SHUTDOWN_REQUEST.pack(request))

    def reply(self, number: int, yes: int) -> CsError:
        request = ReplyToShutdownRequest(4, REPLY_TO_SHUTDOWN_REQUEST.size, yes)
        answer = self.call(number, CfgRequest.REPLY_TO_SHUTDOWN, REPLY_TO_SHUTDOWN_REQUEST.pack(request))
        assert answer is not None
        return error(answer)

    def asked(self) -> list[tuple[int, int]]:
        """Clients that were told of a shutdown since the last look, and how."""
        events, self.context.events = self.context.events, []
        return [(client, TEST_SHUTDOWN_EVENT.unpack(event).error) for client, event in events]

    def answers_to(self, number: int) -> list[CsError]:
        return [error(answer) for client, answer in self.context.answers if client == number]

    def announced(self) -> int:
        return sum(EXEC_HEADER.unpack(message).id == 0x10002 for message in self.context.sent)

    def wait(self, seconds: float) -> None:
        self.context.now += seconds
        self.context.alarms.run(self.context.now)


def error(answer: bytes) -> CsError:
    return CsError(RESPONSE_HEADER.unpack(answer).error)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_links(stage: Stage) -> None:
    answer = stage.call(1, CfgRequest.RING_STATUS_GET)
    assert answer is not None
    assert unpack_ring_status(answer) == ((b"0 10.0.0.1", b"OK"),)
    stage.context.options = ExecutiveOptions()
    assert unpack_ring_status(stage.call(1, CfgRequest.RING_STATUS_GET) or b"") == ()


def node_status(stage: Stage, nodeid: int, version: int = 1) -> bytes:
    request = NodeStatusRequest(CfgRequest.NODE_STATUS_GET, NODE_STATUS_REQUEST.size, nodeid, version)
    answer = stage.call(1, CfgRequest.NODE_STATUS_GET, NODE_STATUS_REQUEST.pack(request))
    assert answer is not None
    return answer


def test_nodes_that_are_there_that_are_not_and_that_nobody_knows(stage: Stage) -> None:
    stage.context.link_up = False
    there, away, unknown = (unpack_node_status(node_status(stage, n)) for n in (2, 3, 9))
    assert (there.head.reachable, there.links[0].connected, there.links[0].enabled) == (1, 1, 0)
    assert (away.head.reachable, away.links[0].src_ipaddr) == (0, b"fd00::3")
    assert (unknown.head.nodeid, unknown.links[0].src_ipaddr) == (9, b"")


@pytest.mark.parametrize("version", [0, 2, 3, 4, 2**32 - 1])
def test_versions_of_a_node_status_that_nobody_speaks(stage: Stage, version: int) -> None:
    answer = node_status(stage, 1, version)
    assert error(answer) is CsError.NOT_SUPPORTED
    assert len(answer) == 32


def test_addresses_of_both_families(stage: Stage) -> None:
    def addresses(nodeid: int) -> tuple[int, tuple[bytes, ...]]:
        request = NODE_REQUEST.pack(NodeRequest(CfgRequest.GET_NODE_ADDRS, NODE_REQUEST.size, nodeid))
        return unpack_node_addrs(stage.call(1, CfgRequest.GET_NODE_ADDRS, request) or b"")

    assert addresses(0) == addresses(1) == (2, (bytes([10, 0, 0, 1]) + bytes(12),))
    assert addresses(3) == (10, (bytes([0xFD]) + bytes(14) + b"\x03",))
    assert addresses(9) == (0, ())


def kill(stage: Stage, nodeid: int, reason: bytes, length: int) -> CsError:
    request = KillNodeRequest(2, KILL_NODE_REQUEST.size, nodeid, Name(length, reason))
    answer = stage.call(1, CfgRequest.KILL_NODE, KILL_NODE_REQUEST.pack(request))
    assert answer is not None
    return error(answer)


def test_only_members_are_killed_and_a_forged_length_is_cut(stage: Stage) -> None:
    assert kill(stage, 3, b"why", 4) is CsError.NOT_EXIST
    assert stage.context.sent == []
    assert kill(stage, 2, b"x" * 256, 65535) is CsError.OK
    order = CFG_KILL_NODE.unpack(stage.context.sent[0])
    assert (order.nodeid, order.reason.length) == (2, 256)
    stage.context.nodeid = 2
    stage.service.messages()[1].handler(1, stage.context.sent[0])
    assert stage.context.shutdowns == [("killed by node 1", 255, False)]
    assert stage.context.lines == ["Killed by node 1 : " + "x" * 256]


def test_who_vanishes_agrees_and_the_vote_ends(stage: Stage) -> None:
    stage.track(2)
    stage.track(3)
    assert stage.shut_down(1) is None
    assert stage.asked() == [(3, CsError.OK), (2, CsError.OK)]
    stage.service.disconnected(stage.client(3))
    stage.reply(2, 1)
    assert stage.answers_to(1) == [CsError.OK]
    assert stage.announced() == 1


def test_a_program_has_one_voice_however_often_it_speaks(stage: Stage) -> None:
    stage.track(2)
    stage.track(3)
    stage.shut_down(1)
    for _ in range(5):
        stage.reply(2, 1)
    assert stage.answers_to(1) == []
    stage.reply(3, 0)
    assert stage.answers_to(1) == [CsError.BUSY]


def test_time_runs_out_as_the_map_says(stage: Stage) -> None:
    stage.context.map.set("cfg.shutdown_timeout", u32(200))
    stage.track(2)
    stage.shut_down(1)
    stage.wait(0.19)
    assert stage.answers_to(1) == []
    stage.wait(0.02)
    assert stage.answers_to(1) == [CsError.BUSY]
    stage.context.map.delete("cfg.shutdown_timeout")
    stage.shut_down(1)
    stage.wait(4.9)
    assert len(stage.answers_to(1)) == 1
    stage.wait(0.2)
    assert len(stage.answers_to(1)) == 2
    assert stage.announced() == 0


def test_regardless_of_what_they_say_but_not_before(stage: Stage) -> None:
    stage.track(2)
    stage.shut_down(1, ShutdownFlag.REGARDLESS)
    assert stage.announced() == 0
    stage.reply(2, 0)
    assert stage.answers_to(1) == [CsError.OK]
    assert stage.announced() == 1


def test_regardless_of_those_who_say_nothing(stage: Stage) -> None:
    stage.track(2)
    stage.shut_down(1, ShutdownFlag.REGARDLESS)
    stage.wait(5.1)
    assert stage.answers_to(1) == [CsError.OK]
    assert stage.announced() == 1


def test_the_requester_vanishes(stage: Stage) -> None:
    stage.track(2)
    stage.shut_down(1)
    stage.service.disconnected(stage.client(1))
    assert stage.reply(2, 1) is CsError.ACCESS
    stage.wait(10)
    assert stage.announced() == 0
    assert stage.shut_down(3) is None


def test_an_announcement_waits_for_room(stage: Stage) -> None:
    stage.context.room = 0
    for _ in range(2 * CFG_OUTBOX_MAX):
        stage.shut_down(1, ShutdownFlag.IMMEDIATE)
    assert stage.service.wants_token
    stage.context.room = 1000
    stage.service.token_passed()
    assert stage.announced() == CFG_OUTBOX_MAX
    assert not stage.service.wants_token


def test_orders_to_open_the_log_files_anew_are_answered_by_who_does_it(stage: Stage) -> None:
    assert stage.call(1, CfgRequest.REOPEN_LOG_FILES) is None
    [(client, done, failed)] = stage.context.reopened
    assert (client, error(done), error(failed)) == (1, CsError.OK, CsError.LIBRARY)
