"""The executive's doors: who is let in, what is answered, when clients are stopped."""

from __future__ import annotations

import errno
import struct

import pytest

from aisexec.effects import CloseClient, Events, ExecutiveEffect, LoggingKeysChanged, Respond
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.icmap import Icmap, text, u8, u16, u32
from aisexec.limits import LOG_INTERVAL
from aisexec.messages import CFG_KILL_NODE, CfgKillNode, ExecHeader, Name, exec_id
from aisexec.services.options import Reconfiguration
from aisexec.totem.stack import EXECUTIVE_MESSAGE_MAX
from aisexec.totem.types import Configuration, Log, RingId, Unicast
from ipc import cpg_layouts as cpg
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER
from tests.sim.executives import Memory, fragment_request, join_request, mcast_request
from tests.sim.network import FAST


class Alone:
    """One executive in a ring of its own; frames to itself come back at once."""

    def __init__(self, **options: object) -> None:
        self.executive = Executive(FAST, 1, 0, ExecutiveOptions(**options), Memory())  # type: ignore[arg-type]
        self.now = 0.0
        self.effects: list[ExecutiveEffect] = []

    def start(self) -> Alone:
        self.executive.start(self.now)
        self.turn(until_ready=True)
        return self

    def turn(self, *, until_ready: bool = False) -> None:
        """A few token rotations."""
        for _ in range(60):
            effects = self.executive.take_effects()
            self.effects += effects
            frames = [e.frame for e in effects if isinstance(e, Unicast)]
            if frames:
                self.executive.receive([(frame, "self") for frame in frames], self.now)
            else:
                due = self.executive.next_timer()
                assert due is not None
                self.now = max(self.now, due)
                self.executive.handle_timer(self.now)
            if until_ready and self.executive.ready:
                break
        assert self.executive.ready

    def client(self, number: int = 1) -> int:
        self.executive.client_opened(number, "cpg", 100 + number, 0, 0)
        return number

    def request(self, client: int, message: bytes) -> None:
        self.executive.client_request(client, message, self.now)
        self.effects += self.executive.take_effects()

    def errors(self, client: int) -> list[int]:
        return [
            RESPONSE_HEADER.unpack(e.message).error
            for e in self.effects
            if isinstance(e, Respond) and e.client == client
        ]

    def closings(self, client: int) -> list[str]:
        return [e.reason for e in self.effects if isinstance(e, CloseClient) and e.client == client]

    def lines(self) -> list[str]:
        self.effects += self.executive.take_effects()
        return [e.text for e in self.effects if isinstance(e, Log)]


# Clients at the door.


def test_nobody_is_let_in_before_the_first_synchronisation() -> None:
    node = Alone()
    assert node.executive.client_admit("cpg", 1, 0, 0) == errno.EAGAIN
    node.start()
    assert node.executive.client_admit("cpg", 1, 0, 0) == 0
    assert node.executive.client_admit("nosuch", 1, 0, 0) == errno.ENOSYS


@pytest.mark.parametrize(
    ("uid", "gid", "answer"),
    [(0, 5, 0), (5, 0, 0), (77, 5, 0), (5, 88, 0), (5, 5, errno.EACCES), (88, 77, errno.EACCES)],
)
def test_root_and_uidgid_are_let_in(uid: int, gid: int, answer: int) -> None:
    node = Alone(uids=frozenset({77}), gids=frozenset({88})).start()
    assert node.executive.client_admit("cpg", 4711, uid, gid) == answer
    denied = [line for line in node.lines() if "Denied connection" in line]
    assert len(denied) == (answer != 0)
    if denied:
        assert f"{uid}:{gid}" in denied[0]
        assert "4711" in denied[0]
        assert "uidgid" in denied[0]


@pytest.mark.parametrize("key", ["uidgid.uid.5", "uidgid.gid.6", "uidgid.config.uid.5"])
def test_a_key_lets_in_at_once(key: str) -> None:
    node = Alone().start()
    door = node.executive
    assert door.client_admit("cpg", 1, 5, 6) == errno.EACCES
    door.map.set(key, u32(1))
    assert door.client_admit("cpg", 1, 5, 6) == errno.EACCES  # only u8 counts, as in stock
    door.map.set(key, u8(1))
    assert door.client_admit("cpg", 1, 5, 6) == 0
    door.map.delete(key)
    assert door.client_admit("cpg", 1, 5, 6) == errno.EACCES


def test_a_refusal_says_what_to_add() -> None:
    node = Alone().start()
    node.executive.client_admit("cpg", 4711, 5, 6)
    (line,) = (line for line in node.lines() if "Denied" in line)
    assert "uidgid { uid: 5 }" in line
    assert "corosync-cmapctl -s uidgid.uid.5 u8 1" in line


# The keys that the executive keeps.


def test_the_configuration_is_in_the_map_and_not_for_programs() -> None:
    keys = {"totem.cluster_name": text("lab"), "nodelist.node.0.nodeid": u32(1), "logging.debug": text("on")}
    map = Alone(keys=keys).executive.map
    assert map.text("totem.cluster_name") == "lab"
    assert map.is_read_only("totem.cluster_name")
    assert map.is_read_only("nodelist.node.0.nodeid")
    assert not map.is_read_only("logging.debug")


def test_services_and_their_messages_are_in_the_map() -> None:
    map = Alone().start().executive.map
    assert map.text("internal_configuration.service.2.name") == "corosync_cpg"
    assert map.get("runtime.services.cmap.service_id") == u16(0)
    assert map.number("runtime.services.cmap.0.tx") == map.number("runtime.services.cmap.0.rx") >= 1


def test_members_come_go_and_come_again() -> None:
    node = Alone(addresses={1: "10.0.0.1", 2: "10.0.0.2"})
    map = node.executive.map
    node.executive.configuration(Configuration(False, (1, 2, 3), (), (2, 3), RingId(1, 8)))
    assert map.text("runtime.members.2.ip") == "r(0) ip(10.0.0.2) "
    assert map.text("runtime.members.3.ip") == "no interface found for nodeid"
    assert map.get("runtime.members.2.join_count") == u32(1)
    node.executive.configuration(Configuration(True, (1,), (2, 3), (), RingId(1, 12)))
    assert map.text("runtime.members.2.status") == "left"
    map.set("runtime.members.3.join_count", text("written by a program"))
    node.executive.configuration(Configuration(False, (1, 2, 3), (), (2, 3), RingId(1, 12)))
    assert map.text("runtime.members.2.status") == "joined"
    assert map.number("runtime.members.2.join_count") == 2
    assert map.number("runtime.members.3.join_count") == 1


def test_gather_is_forced() -> None:
    node = Alone().start()
    before = node.executive.totem.stats.gather_entered
    node.executive.map.client_set("runtime.force_gather", text("yes"))
    assert node.executive.map.text("runtime.force_gather") == "no"
    assert node.executive.totem.stats.gather_entered == before + 1
    node.turn()
    assert node.executive.ready


def test_refusals_are_logged_once_per_interval() -> None:
    node = Alone().start()
    for _ in range(100):
        node.executive.client_admit("cpg", 1, 5, 5)
    assert sum("Denied" in line for line in node.lines()) == 1
    node.now += LOG_INTERVAL + 1
    node.executive.handle_timer(node.now)
    node.executive.client_admit("cpg", 1, 5, 5)
    assert sum("Denied" in line for line in node.lines()) == 2


# Requests: the order of checks of spec ipc.md 4.2.


def test_unknown_request_is_answered_with_an_error() -> None:
    node = Alone().start()
    client = node.client()
    for number in (-1, 13, 99, 1 << 30):
        node.request(client, struct.pack("<i4xi4x", number, 16))
    node.request(client, b"")
    assert node.errors(client) == [CsError.INVALID_PARAM] * 5
    assert node.closings(client) == []


def test_request_longer_than_any_message_is_refused_and_never_held_back() -> None:
    node = Alone().start()
    client = node.client()
    huge = fragment_request(1, bytes(EXECUTIVE_MESSAGE_MAX), EXECUTIVE_MESSAGE_MAX)
    node.executive.sync.running = True
    assert node.executive.has_room_for("cpg", huge)
    node.request(client, huge)
    assert node.errors(client) == [CsError.INVALID_PARAM]
    node.request(client, mcast_request(bytes(EXECUTIVE_MESSAGE_MAX)))
    assert node.errors(client) == [CsError.INVALID_PARAM]  # multicasts are never answered
    assert "limit" in node.closings(client)[0]


def test_short_request_closes_the_client() -> None:
    node = Alone().start()
    for number, call in cpg.CALLS.items():
        if call.request.size > 16:
            client = node.client(100 + number)
            node.request(client, struct.pack("<i4xi4x", number, 16))
            assert node.errors(client) == []
            assert f"{call.request.size} needed" in node.closings(client)[0]


def test_requests_that_send_wait_for_synchronisation_and_room() -> None:
    node = Alone().start()
    client = node.client()
    join = join_request(b"g", 101)
    assert node.executive.has_room_for("cpg", join)
    ring = RingId(1, 1 << 20)
    node.executive.configuration(Configuration(True, (1,), (), (), ring))
    for number, call in cpg.CALLS.items():
        request = struct.pack("<i4xi4x", number, call.request.size).ljust(call.request.size, b"\0")
        assert node.executive.has_room_for("cpg", request) is not call.flow_control
    node.request(client, join)
    node.request(client, mcast_request(b"dropped"))
    assert node.errors(client) == [CsError.TRY_AGAIN]


def test_clients_are_stopped_while_synchronising_and_when_the_queue_is_full() -> None:
    node = Alone()
    assert node.executive.flow_level() == 2
    node.start()
    assert node.executive.flow_level() == 0
    levels = []
    for percent in (10, 74, 75, 90, 74, 70, 69, 74, 80):
        node.executive.totem.queue_fill = lambda percent=percent: percent  # type: ignore[method-assign, misc]
        levels.append(node.executive.flow_level())
    assert levels == [0, 0, 2, 2, 2, 2, 0, 0, 2]


def test_events_come_behind_what_caused_them() -> None:
    node = Alone().start()
    client = node.client()
    node.request(client, join_request(b"g", 101))
    node.turn()
    mine = [e for e in node.effects if isinstance(e, Respond | Events)]
    assert [type(e) for e in mine] == [Respond, Events]


def test_requests_and_closing_of_unknown_clients_are_no_concern() -> None:
    node = Alone().start()
    node.request(77, join_request(b"g", 1))
    assert node.errors(77) == []


# Messages of other nodes.


def test_bad_messages_are_logged_once_per_node_and_interval() -> None:
    node = Alone().start()
    for _ in range(50):
        for nodeid in (2, 3):
            node.executive.deliver(b"a", nodeid, b"\0\0")
            node.executive.deliver(b"a", nodeid, struct.pack("<i4xi4x", 0x20003, 16))
            node.executive.deliver(b"a", nodeid, struct.pack("<i4xi4x", 0x200FF, 16))
            node.executive.deliver(b"sync", nodeid, b"")
    complaints = [line for line in node.lines() if line.startswith("Dropped from node")]
    assert len(complaints) == 2


@pytest.mark.parametrize("ident", [0x280000, 0x3F0000, 0x400000, -1, -65536])
def test_messages_for_services_we_lack_pass_in_silence(ident: int) -> None:
    node = Alone().start()
    before = len(node.lines())
    node.executive.deliver(b"a", 2, struct.pack("<i4xi4x", ident, 16))
    node.executive.deliver(b"nobody", 2, b"whatever")
    assert len(node.lines()) == before


def test_values_longer_than_their_message_are_dropped() -> None:
    node = Alone().start()
    item = struct.pack("<H6x256sB7xQ", 20, b"totem.config_version", 8, (1 << 64) - 1)
    head = struct.pack("<i4xi4xB7xB7x16x", 0, 328, 0, 32)
    node.executive.deliver(b"a", 2, head + item)
    assert any("announced" in line for line in node.lines())


def test_order_to_kill_a_node_is_for_that_node_only() -> None:
    node = Alone().start()
    for target in (2, 1):
        order = CfgKillNode(ExecHeader(exec_id(1, 1), CFG_KILL_NODE.size), target, Name(4, b"why?"))
        node.executive.deliver(b"a", 3, CFG_KILL_NODE.pack(order))
    node.effects += node.executive.take_effects()
    ends = [e for e in node.effects if type(e).__name__ == "Shutdown"]
    assert [e.leave for e in ends] == [False]  # type: ignore[union-attr]
    assert any("Killed by node 3 : why?" in line for line in node.lines())


def test_keys_are_heeded_after_a_reload_that_failed_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    executive = Alone().start().executive

    def broken(keys: Icmap, new: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("aisexec.executive.take_over", broken)
    with pytest.raises(ZeroDivisionError):
        executive.reconfigure(Reconfiguration(FAST, ExecutiveOptions()))
    keys = ("config.reload_in_progress", "config.totemconfig_reload_in_progress", "config.reload_status")
    assert [executive.map.number(key) for key in keys] == [0, 0, CsError.LIBRARY]
    executive.take_effects()
    executive.map.set("logging.debug", text("on"))
    assert LoggingKeysChanged() in executive.take_effects()
