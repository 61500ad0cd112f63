"""votequorum's features, orders and events, one node at a time (votequorum(5), exec/votequorum.c).

That they count as corosync counts is for tests/quorum to show.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisexec.icmap import MapError, Value, i32, text, u8, u32, u64
from aisexec.limits import VOTES_UNSENT_MAX
from aisexec.messages import (
    VOTE_NODE_INFO,
    VOTE_QDEVICE_REG,
    VOTE_RECONFIGURE,
    ExecHeader,
    VoteQdeviceReg,
    VoteReconfigure,
    exec_id,
)
from aisexec.services.base import AnomalyError, Client
from aisexec.services.votequorum import (
    NODEINFO,
    PARAM_CANCEL_WAIT_FOR_ALL,
    PARAM_EXPECTED_VOTES,
    QDEVICE_REG,
    RECONFIGURE,
)
from aisexec.services.votequorum_state import DeviceOptions, Flag, Roll, TieBreaker, Voter
from aisexec.totem.types import RingId
from ipc import quorum_layouts
from ipc import votequorum_layouts as lib
from ipc.errors import CsError
from ipc.layout import Layout
from ipc.layouts import RESPONSE_HEADER
from tests.unit.test_votequorum import Node

CLIENT, OTHER = Client(1, 10, 0, 0), Client(2, 11, 0, 0)
TRACK_CHANGES = quorum_layouts.Track.CHANGES_ONLY


class Served(Node):
    """A node with programs."""

    def ask(self, number: int, layout: Layout[Any], *fields: object, client: Client = CLIENT) -> int | None:
        """The error of the answer; None when there is none yet."""
        self.context.answers.clear()
        message = layout.pack(layout.cls(number, layout.size, *fields))
        self.service.requests()[number].handler(client, message)
        return self.answer(client)

    def answer(self, client: Client = CLIENT) -> int | None:
        answers = [message for receiver, message in self.context.answers if receiver == client.id]
        return RESPONSE_HEADER.unpack(answers[-1]).error if answers else None

    def info(self, nodeid: int = 0, **kwargs: Any) -> Any:
        if kwargs:
            return super().info(nodeid, **kwargs)
        self.ask(lib.VotequorumRequest.GETINFO, lib.GETINFO_REQUEST, nodeid)
        return lib.GETINFO_RESPONSE.unpack(self.context.answers[-1][1])

    def track(self, context: int = 7) -> None:
        error = self.ask(lib.VotequorumRequest.TRACKSTART, lib.TRACKSTART_REQUEST, context, TRACK_CHANGES)
        assert error == CsError.OK
        self.context.events.clear()

    def events(self) -> list[int]:
        kinds = [RESPONSE_HEADER.unpack(message).id for _, message in self.context.events]
        self.context.events.clear()
        return kinds

    def loop(self) -> None:
        """What was sent comes back."""
        sent, self.context.sent = list(self.context.sent), []
        for message in sent:
            self.deliver(1, int.from_bytes(message[:2], "little"), message)

    # The quorum device.

    def register(self, name: bytes = b"dev", client: Client = CLIENT) -> int | None:
        number = lib.VotequorumRequest.QDEVICE_REGISTER
        self.context.sent.clear()
        error = self.ask(number, lib.QDEVICE_NAME_REQUEST, name, client=client)
        while self.context.sent:
            self.loop()
        return error if error is not None else self.answer(client)

    def poll(self, vote: int = 1, name: bytes = b"dev") -> int | None:
        ring = self.ballot.ring_id
        fields = (name, vote, ring.rep, ring.seq)
        error = self.ask(lib.VotequorumRequest.QDEVICE_POLL, lib.QDEVICE_POLL_REQUEST, *fields)
        self.loop()
        return error


def with_device(**options: Any) -> Served:
    device = DeviceOptions(votes=1, timeout=1000, sync_timeout=3000)
    return Served(2, device=device, **options)


# --- features ------------------------------------------------------------------------------------------


def test_last_man_standing_counts_anew_after_its_window() -> None:
    node = Node(5, last_man_standing=True, last_man_standing_window=10000)
    node.ring(1, 2, 3, 4, 5)
    node.ring(1, 2, 3)
    node.context.pass_time(9.9)
    assert node.state == (3, True)
    node.context.pass_time(0.2)
    assert node.state == (2, True)
    node.ring(1, 2)
    node.context.pass_time(10.1)
    assert (node.state, node.ballot.us.expected_votes) == ((2, True), 2)
    node.ring(1)
    node.context.pass_time(10.1)
    assert node.state == (2, False)


def test_last_man_standing_wants_one_vote_each() -> None:
    node = Node(3, last_man_standing=True)
    node.ring(1, 2, 3, votes=2)
    assert any("Disabling LMS" in line for line in node.context.lines)
    node.ring(1, 2)
    node.context.pass_time(100)
    assert node.ballot.quorum == 3


@pytest.mark.parametrize(
    ("breaker", "nodes", "stays", "goes"),
    [
        (TieBreaker.LOWEST, (), (1, 2), False),
        (TieBreaker.HIGHEST, (), (1, 4), False),
        (TieBreaker.LIST, (1,), (1, 3), False),
        (TieBreaker.LIST, (4, 1), (1, 2), True),
        (TieBreaker.LIST, (3,), (1, 2), True),
    ],
)
def test_one_half_goes_on(
    breaker: TieBreaker, nodes: tuple[int, ...], stays: tuple[int, ...], goes: bool
) -> None:
    node = Node(4, tie_breaker=breaker, configured_tie_breaker=breaker, tie_breaker_nodes=nodes)
    node.ring(1, 2, 3, 4)
    node.ring(*stays)
    assert node.ballot.quorate is not goes


def test_leaving_only_with_downscale_and_not_below_what_was_configured() -> None:
    node = Node(3, allow_downscale=True, expected_votes_tracking=True)
    node.ring(1, 2, 3, 4, 5)
    assert node.ballot.us.expected_votes == 5
    node.context.sent.clear()
    assert node.service.leaving()
    assert VOTE_NODE_INFO.unpack(node.context.sent[0]).flags & Flag.LEAVING
    node.ballot.us.flags &= ~Flag.LEAVING
    for leaver in (5, 4, 3):
        node.info(leaver, flags=Flag.LEAVING | Flag.QUORATE)
    assert node.ballot.quorum == 2  # of 3
    assert not Node(3).service.leaving()


def test_tracked_votes_are_stored_and_the_least_that_is_expected() -> None:
    node = Node(3, expected_votes_tracking=True)
    node.ring(1, 2, 3, 4)
    assert node.context.stored_votes[-1] == 4
    assert node.context.map.number("runtime.votequorum.ev_tracking_barrier") == 4
    again = Node(3, expected_votes_tracking=True, tracked_votes=4)
    assert again.state == (3, False)
    assert not Node(3).context.stored_votes


# --- the quorum device -----------------------------------------------------------------------------------


def test_a_device_votes_as_long_as_it_polls() -> None:
    node = with_device()
    node.ring(1, 2)
    node.ring(1)
    assert node.state == (2, False)
    assert node.register() == CsError.OK
    assert node.state == (2, False)
    assert node.poll() == CsError.OK
    assert node.state == (2, True)
    node.context.pass_time(0.9)
    node.poll()
    node.context.pass_time(0.9)
    assert node.ballot.device_casts
    node.context.pass_time(0.2)
    node.loop()
    assert node.state == (2, False)
    assert any("lost contact with quorum device dev" in line for line in node.context.lines)


def test_synchronisation_waits_for_the_device() -> None:
    node = with_device()
    node.ring(1)
    node.register()
    node.poll()
    for end in ("poll", "silence"):
        node.seq += 4
        node.service.sync_init((), (1,), type(node.ballot.ring_id)(1, node.seq))
        assert not node.service.sync_process()
        node.context.pass_time(2.9)
        assert not node.service.sync_process()
        assert node.ask(
            lib.VotequorumRequest.QDEVICE_POLL, lib.QDEVICE_POLL_REQUEST, b"dev", 1, 1, node.seq - 4
        ) == CsError.MESSAGE_ERROR  # still of the old ring
        if end == "poll":
            node.poll()
        else:
            node.context.pass_time(0.2)
        assert node.service.sync_process()
        node.service.sync_activate()


def test_synchronisation_does_not_wait_for_a_device_that_is_said_to_be_dead() -> None:
    node = with_device()
    node.ring(1)
    node.register()
    node.poll()
    node.service.sync_init((1,), (1, 2), RingId(1, 77))
    node.info(1, flags=Flag.QDEVICE_REGISTERED)  # an older word of ours, which comes late
    assert not node.service.sync_process()
    node.context.pass_time(3)
    assert node.service.sync_process()


def test_one_device_and_one_name() -> None:
    node = with_device()
    node.ring(1)
    assert node.poll() == CsError.NOT_EXIST
    assert node.register() == CsError.OK
    assert node.register() == CsError.OK
    assert node.register(b"other", OTHER) == CsError.EXIST
    assert node.poll(name=b"other") == CsError.INVALID_PARAM
    assert node.info().qdevice_name.rstrip(b"\0") == b"dev"


def test_a_name_is_that_of_the_whole_cluster() -> None:
    node = with_device()
    node.ring(1, 2)
    header = ExecHeader(exec_id(5, QDEVICE_REG), VOTE_QDEVICE_REG.size)
    node.deliver(2, QDEVICE_REG, VOTE_QDEVICE_REG.pack(VoteQdeviceReg(header, 1, b"theirs")))
    assert node.register(b"ours") == CsError.EXIST
    assert node.register(b"theirs") == CsError.OK


def test_second_registration_while_one_is_under_way() -> None:
    node = with_device()
    node.ring(1)
    number = lib.VotequorumRequest.QDEVICE_REGISTER
    assert node.ask(number, lib.QDEVICE_NAME_REQUEST, b"dev") is None
    assert node.ask(number, lib.QDEVICE_NAME_REQUEST, b"dev", client=OTHER) == CsError.TRY_AGAIN


def test_names_without_an_end_harm_nobody() -> None:
    """corosync's strcpy would run over."""
    node = with_device()
    node.ring(1)
    assert node.register(b"x" * 255) == CsError.INVALID_PARAM
    assert node.register(b"") == CsError.INVALID_PARAM
    header = ExecHeader(exec_id(5, QDEVICE_REG), VOTE_QDEVICE_REG.size)
    with pytest.raises(AnomalyError):
        node.deliver(2, QDEVICE_REG, VOTE_QDEVICE_REG.pack(VoteQdeviceReg(header, 1, b"x" * 255)))
    with pytest.raises(AnomalyError):
        Node.info(node, 0, sender=77, votes=3)


def test_master_wins_for_a_minority() -> None:
    node = with_device(votes=1)
    node.ring(1, 2, 3, 4, 5)
    node.ring(1)
    node.register()
    node.poll()
    assert not node.ballot.quorate
    error = node.ask(lib.VotequorumRequest.QDEVICE_MASTER_WINS, lib.QDEVICE_MASTER_WINS_REQUEST, b"dev", 1)
    node.loop()
    assert (error, node.ballot.quorate) == (CsError.OK, True)
    assert node.context.map.number("runtime.votequorum.qdevice_master_wins") == 1


# --- programs ------------------------------------------------------------------------------------------


def test_track_tells_members_then_quorum_then_answers() -> None:
    node = Served(2)
    node.ring(1, 2)
    start = lib.VotequorumRequest.TRACKSTART
    flags = quorum_layouts.Track.CURRENT
    assert node.ask(start, lib.TRACKSTART_REQUEST, 99, flags) == CsError.OK
    (_, members), (_, quorum) = node.context.events
    assert lib.unpack_nodelist(members)[1] == (1, 2)
    assert lib.unpack_nodelist(members)[0].context == 99
    nodes = {entry.nodeid: entry.state for entry in lib.unpack_quorum(quorum)[1]}
    assert nodes == {1: lib.NodeState.MEMBER, 2: lib.NodeState.MEMBER}
    node.context.events.clear()
    node.ring(1, 2)
    assert node.events() == []  # no track
    node.track()
    assert node.ask(start, lib.TRACKSTART_REQUEST, 1, TRACK_CHANGES) == CsError.EXIST
    node.ring(1)
    assert node.events() == [
        lib.VotequorumEvent.NODELIST_NOTIFICATION,
        lib.VotequorumEvent.QUORUM_NOTIFICATION,
    ]
    node.service.disconnected(CLIENT)
    node.ring(1, 2)
    assert node.events() == []


def test_expected_votes_are_told() -> None:
    node = Served(2)
    node.ring(1, 2)
    node.track()
    node.reconfigure(PARAM_EXPECTED_VOTES, 3)
    assert node.events() == [lib.VotequorumEvent.EXPECTEDVOTES_NOTIFICATION]
    assert node.context.map.number("runtime.votequorum.ev_barrier") == 3


def test_info_of_other_nodes() -> None:
    node = Served(3)
    node.ring(1, 2, flags=Flag.QDEVICE_REGISTERED)
    node.ring(1)
    assert node.info(99).error == CsError.NOT_EXIST
    other = node.info(2)
    assert (other.error, other.nodeid, other.state) == (CsError.OK, 2, lib.NodeState.DEAD)
    assert lib.InfoFlag(other.flags) & lib.InfoFlag.QDEVICE_REGISTERED


def test_orders_are_checked_and_sent() -> None:
    node = Served(3)
    node.ring(1, 2, 3)
    node.context.sent.clear()
    expected, votes = lib.VotequorumRequest.SETEXPECTED, lib.VotequorumRequest.SETVOTES
    assert node.ask(expected, lib.SETEXPECTED_REQUEST, 2) == CsError.INVALID_PARAM
    assert node.ask(expected, lib.SETEXPECTED_REQUEST, 9) == CsError.INVALID_PARAM
    assert node.ask(votes, lib.SETVOTES_REQUEST, 1, 77) == CsError.NAME_NOT_FOUND
    assert not node.context.sent
    assert node.ask(expected, lib.SETEXPECTED_REQUEST, 4) == CsError.OK
    assert node.ask(votes, lib.SETVOTES_REQUEST, 2, 1) == CsError.OK
    orders = [VOTE_RECONFIGURE.unpack(message) for message in node.context.sent]
    assert [(order.param, order.nodeid, order.value) for order in orders] == [(1, 1, 4), (2, 1, 2)]


def test_orders_wait_for_room_but_not_without_end() -> None:
    node = Served(3)
    node.ring(1, 2, 3)
    node.context.sent.clear()
    node.context.room = 0
    number = lib.VotequorumRequest.SETEXPECTED
    answers = [node.ask(number, lib.SETEXPECTED_REQUEST, 3) for _ in range(VOTES_UNSENT_MAX + 5)]
    assert answers == [CsError.OK] * VOTES_UNSENT_MAX + [CsError.NO_RESOURCES] * 5
    assert sum("Message dropped" in line for line in node.context.lines) == 1
    assert node.service.wants_token
    assert node.context.token_wanted
    node.context.room = 1000
    node.service.token_passed()
    assert len(node.context.sent) == VOTES_UNSENT_MAX
    assert not node.service.wants_token


def test_what_is_refused_changes_nothing_here() -> None:
    node = with_device()
    node.ring(1, 2)
    node.context.room = 0
    number = lib.VotequorumRequest.SETEXPECTED
    while node.ask(number, lib.SETEXPECTED_REQUEST, 2) == CsError.OK:
        pass
    assert node.ask(number, lib.SETEXPECTED_REQUEST, 3) == CsError.NO_RESOURCES
    assert node.info().expected_votes == 2
    votes = lib.VotequorumRequest.SETVOTES
    assert node.ask(votes, lib.SETVOTES_REQUEST, 2, 2) == CsError.NO_RESOURCES
    assert node.info(2).votes == 1
    assert node.register() == CsError.NO_RESOURCES
    node.context.room = 1000
    node.service.token_passed()
    assert node.register() == CsError.OK


def test_what_a_device_says_is_told_later_when_too_much_waits() -> None:
    node = with_device()
    node.ring(1, 2)
    assert node.register() == CsError.OK
    node.context.room = 0
    number = lib.VotequorumRequest.SETEXPECTED
    while node.ask(number, lib.SETEXPECTED_REQUEST, 2) == CsError.OK:
        pass
    assert node.poll() == CsError.OK
    node.context.sent.clear()
    node.context.room = 1000
    node.service.token_passed()
    assert VOTE_NODE_INFO.unpack(node.context.sent[-1]).flags & Flag.QDEVICE_CAST_VOTE
    assert not node.service.wants_token


def test_a_device_that_cannot_leave_is_told_so() -> None:
    node = with_device()
    node.ring(1, 2)
    assert node.register() == CsError.OK
    node.context.room = 0
    number = lib.VotequorumRequest.SETEXPECTED
    for _ in range(VOTES_UNSENT_MAX - 1):
        assert node.ask(number, lib.SETEXPECTED_REQUEST, 2) == CsError.OK
    leave = lib.VotequorumRequest.QDEVICE_UNREGISTER
    assert node.ask(leave, lib.QDEVICE_NAME_REQUEST, b"dev") == CsError.NO_RESOURCES
    assert node.info().flags & lib.InfoFlag.QDEVICE_REGISTERED
    node.context.room = 1000
    node.service.token_passed()
    assert node.ask(leave, lib.QDEVICE_NAME_REQUEST, b"dev") == CsError.OK
    node.loop()
    assert node.info().qdevice_name.rstrip(b"\0") == b""


# --- the map -------------------------------------------------------------------------------------------


def test_keys_at_the_start() -> None:
    node = Node(2, two_node=True, wait_for_all=True, wait_for_all_follows_two_node=True)
    runtime = {key: node.context.map.number(key) for key in node.context.map.keys("runtime.votequorum.")}
    assert runtime == {
        "runtime.votequorum.ev_barrier": 2,
        "runtime.votequorum.this_node_id": 1,
        "runtime.votequorum.two_node": 1,
        "runtime.votequorum.wait_for_all_status": 1,
    }
    with pytest.raises(MapError):
        node.context.map.client_set("quorum.auto_tie_breaker", u8(1))


def test_waiting_is_cancelled_through_the_map() -> None:
    node = Node(3, wait_for_all=True)
    node.ring(1, 2)
    node.context.sent.clear()
    node.context.map.set("quorum.cancel_wait_for_all", u8(1))
    assert node.context.map.number("quorum.cancel_wait_for_all") == 0
    (message,) = node.context.sent
    assert VOTE_RECONFIGURE.unpack(message).param == PARAM_CANCEL_WAIT_FOR_ALL
    node.deliver(1, RECONFIGURE, message)
    assert node.state == (2, True)


def configured(node: Node, **keys: int) -> None:
    """As a reload leaves the map."""
    keys = {"nodelist.local_node_pos": 0, **keys}
    node.context.map.set("config.totemconfig_reload_in_progress", u8(1))
    for key, number in keys.items():
        value = u8 if key.endswith(("two_node", "wait_for_all")) else u32
        node.context.map.set(key.replace("__", "."), value(number))
    node.context.sent.clear()
    node.service.reconfigured(None, None)  # type: ignore[arg-type]
    node.context.map.set("config.totemconfig_reload_in_progress", u8(0))


def orders(node: Node) -> list[tuple[int, int]]:
    functions = {exec_id(5, NODEINFO): None, exec_id(5, RECONFIGURE): VOTE_RECONFIGURE}
    found = []
    for message in node.context.sent:
        layout = functions[int.from_bytes(message[:4], "little")]
        if layout is not None:
            order: VoteReconfigure = layout.unpack(message)
            found.append((order.param, order.value))
    return found


def test_nodes_added_by_a_reload() -> None:
    node = Node(2)
    node.ring(1, 2)
    nodes = {f"nodelist__node__{place}__nodeid": place + 1 for place in range(4)}
    configured(node, **nodes, nodelist__node__0__quorum_votes=2)
    assert orders(node) == [(2, 2), (1, 5)]
    assert node.ballot.us.expected_votes == 5


def test_two_node_switched_by_a_reload_takes_waiting_along() -> None:
    node = Node(2, two_node=True, wait_for_all=True, wait_for_all_follows_two_node=True)
    nodes = {f"nodelist__node__{place}__nodeid": place + 1 for place in range(2)}
    configured(node, **nodes, quorum__two_node=0)
    assert (node.ballot.two_node, node.ballot.wait_for_all, node.ballot.waiting) == (False, False, False)
    assert node.context.map.number("runtime.votequorum.wait_for_all_status", 9) == 0


def test_a_single_key_takes_effect_at_once() -> None:
    node = Node(3)
    node.ring(1, 2, 3)
    node.context.sent.clear()
    node.context.map.set("quorum.expected_votes", u32(5))
    assert orders(node) == [(1, 5)]


@pytest.mark.parametrize("key", ["expected_votes", "votes", "device.votes", "device.timeout"])
@pytest.mark.parametrize("value", [i32(-1), u64(2**40), u8(7), text("5")])
def test_keys_of_another_type_count_as_missing(key: str, value: Value) -> None:
    """As in corosync; a number that does not fit would have to go into messages."""
    node = Node(3)
    node.context.map.set("quorum.expected_votes", u32(3))
    node.context.map.set("quorum.device.model", text("net"))
    node.context.map.set(f"quorum.{key}", value)
    assert (node.ballot.us.votes, node.ballot.us.expected_votes) == (1, 3)
    node.ring(1, 2, 3)


def test_more_votes_than_a_message_can_hold() -> None:
    node = Node(2**32 + 5)
    nodes = {f"nodelist__node__{place}__quorum_votes": 2**32 - 1 for place in range(4)}
    configured(node, **nodes)
    assert node.ballot.us.expected_votes == 2**32 - 1


def test_contradiction_at_run_time_switches_the_device_off() -> None:
    node = Served(3, last_man_standing=True)
    node.context.map.set("quorum.expected_votes", u32(3))
    node.context.map.set("quorum.device.votes", u32(1))
    node.context.map.set("quorum.device.model", text("net"))
    assert node.context.map.number("runtime.votequorum.qdevice_can_operate", 9) == 0
    assert any("not compatible with last_man_standing" in line for line in node.context.lines)
    assert node.register() == CsError.ACCESS


# --- whatever comes ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.binary(max_size=600)), max_size=12))
def test_nonsense_harms_nobody(words: list[tuple[bool, int, bytes]]) -> None:
    """Any bytes as requests and as messages, as the executive lets them through."""
    node = Served(3, allow_downscale=True, expected_votes_tracking=True, last_man_standing=True)
    node.ring(1, 2, 3)
    requests, messages = node.service.requests(), node.service.messages()
    for is_request, number, body in words:
        if is_request:
            request = requests[number]
            request.handler(CLIENT, (bytes(16) + body).ljust(request.size, b"\xff"))
        else:
            message = messages[number % len(messages)]
            with suppress(AnomalyError):
                message.handler(2, (bytes(16) + body).ljust(message.size, b"\xff"))
        node.context.pass_time(5)
    node.ring(1, 2)
    node.ring(1, 2, 3)
    assert node.info().error == CsError.OK


# --- corners --------------------------------------------------------------------------------------------


def test_nodes_are_listed_in_corosyncs_order() -> None:
    """The highest goes before the last, as in corosync's list; ids are compared signed."""
    roll = Roll(Voter(2))
    for nodeid in (3, 1, 4, 0x80000001):
        roll.add(nodeid)
    assert [node.nodeid for node in roll] == [0x80000001, 1, 3, 4, 2]


