"""Reloading on all nodes: services.reload on stages that pass messages on in one order."""

from __future__ import annotations

import pytest

from aisexec.limits import RELOAD_CHECK_TIMEOUT, RELOAD_READ_INTERVAL, RELOAD_REQUESTS_MAX
from aisexec.messages import (
    CFG_RELOAD_CONFIG,
    EXEC_HEADER,
    RELOAD_CHECK,
    ReloadCheck,
)
from aisexec.services.base import AnomalyError
from aisexec.services.options import ExecutiveOptions, Findings, Reconfiguration
from aisexec.services.reload import CHECK, Reload
from aisexec.totem.settings import Settings
from ipc.errors import CsError
from tests.unit.service_support import StageContext

BROKEN = Findings(("/etc/corosync.conf:3: totem.token: no number; write 3000",), None)


def good(token: float = 2.0) -> Findings:
    return Findings((), Reconfiguration(Settings(token=token), ExecutiveOptions()))


class Ring:
    """Nodes of our kind, and others that drop what they do not know."""

    def __init__(self, ours: tuple[int, ...], others: tuple[int, ...] = ()) -> None:
        self.stages = {nodeid: StageContext(nodeid) for nodeid in ours}
        self.services = {nodeid: Reload(stage) for nodeid, stage in self.stages.items()}
        self.answers: list[CsError] = []
        for stage in self.stages.values():
            stage.members = tuple(sorted(ours + others))
            stage.companions = frozenset(ours)
            stage.now = 100.0

    def request(self, nodeid: int) -> None:
        self.services[nodeid].request(self.answers.append)

    def read(self, nodeid: int, findings: Findings) -> None:
        """The first reading under way at this node ends."""
        self.stages[nodeid].readings.pop(0)(findings)

    def deliver(self) -> list[tuple[int, int]]:
        """All that has been sent, to all; service and function of each message."""
        kinds = []
        while any(stage.sent for stage in self.stages.values()):
            for sender, stage in self.stages.items():
                if not stage.sent:
                    continue
                message = stage.sent.pop(0)
                ident = EXEC_HEADER.unpack(message).id
                kinds.append((ident >> 16, ident & 0xFFFF))
                for service in self.services.values():
                    if ident >> 16 == Reload.id:
                        service.messages()[ident & 0xFFFF].handler(sender, message)
                    else:
                        service.ordered(sender, CFG_RELOAD_CONFIG.unpack(message).source.conn)
        return kinds

    def wait(self, seconds: float) -> None:
        for stage in self.stages.values():
            stage.pass_time(seconds)

    @property
    def in_force(self) -> dict[int, list[float]]:
        return {n: [r.settings.token for r in stage.reconfigurations] for n, stage in self.stages.items()}

    def log(self, nodeid: int) -> str:
        return "\n".join(self.stages[nodeid].lines)


def test_all_check_then_all_take_over_on_the_order() -> None:
    ring = Ring((1, 2, 3))
    ring.request(2)
    ring.read(2, good())
    assert ring.deliver() == [(16, 0)]
    ring.read(1, good())
    assert ring.deliver() == [(16, 1)]
    assert ring.in_force == {1: [], 2: [], 3: []}
    assert ring.answers == []
    ring.read(3, good())
    assert ring.deliver() == [(16, 1), (1, 3)]
    assert ring.in_force == {1: [2.0], 2: [2.0], 3: [2.0]}
    assert ring.answers == [CsError.OK]
    assert ring.stages[3].readings == []


def test_what_was_checked_takes_effect_whatever_the_file_says_by_then() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.read(1, good(2.0))
    ring.deliver()
    ring.read(2, good(5.0))
    ring.deliver()
    assert ring.in_force == {1: [2.0], 2: [5.0]}


def test_nobody_is_asked_when_our_own_file_is_broken() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.read(1, BROKEN)
    assert ring.deliver() == []
    assert ring.answers == [CsError.INVALID_PARAM]
    assert ring.in_force == {1: [], 2: []}
    assert "corosync.conf:3: totem.token" in ring.log(1)
    assert "not reloaded: 1 error" in ring.log(1)
    assert ring.stages[1].map.number("config.reload_status") == CsError.INVALID_PARAM


def test_one_broken_file_elsewhere_is_told_and_nothing_changes() -> None:
    ring = Ring((1, 2, 3))
    ring.request(1)
    ring.read(1, good())
    ring.deliver()
    ring.read(2, good())
    ring.read(3, BROKEN)
    assert (1, 3) not in ring.deliver()
    assert ring.answers == [CsError.INVALID_PARAM]
    assert ring.in_force == {1: [], 2: [], 3: []}
    assert "Node 3: /etc/corosync.conf:3: totem.token" in ring.log(1)
    assert "node 3 has found 1 error" in ring.log(1)
    assert "corosync.conf:3" in ring.log(3)


def test_a_node_that_does_not_answer_in_time() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.read(1, good())
    ring.deliver()
    ring.stages[1].now += RELOAD_CHECK_TIMEOUT
    ring.stages[1].alarms.run(ring.stages[1].now)
    assert ring.answers == [CsError.TIMEOUT]
    assert "node 2 has not checked" in ring.log(1)
    ring.read(2, good())
    assert ring.deliver() == [(16, 1)]
    assert ring.in_force == {1: [], 2: []}


def test_corosync_nodes_are_not_asked() -> None:
    ring = Ring((2,), others=(1, 3))
    ring.request(2)
    ring.read(2, good())
    assert ring.deliver() == [(1, 3)]
    assert ring.answers == [CsError.OK]


def test_an_order_of_corosync_is_followed_by_each_node_for_itself() -> None:
    ring = Ring((2, 3), others=(1,))
    for service in ring.services.values():
        service.ordered(1, 0x55E79AFADA60)
    ring.read(2, good())
    ring.read(3, BROKEN)
    assert ring.in_force == {2: [2.0], 3: []}
    assert ring.stages[3].map.number("config.reload_status") == CsError.INVALID_PARAM


def test_orders_that_come_while_the_file_is_read_are_followed_once_more() -> None:
    ring = Ring((2,), others=(1,))
    for _ in range(5):
        ring.services[2].ordered(1, 7)
    assert len(ring.stages[2].readings) == 1
    ring.read(2, good(2.0))
    assert ring.stages[2].readings == []
    ring.wait(RELOAD_READ_INTERVAL)
    assert len(ring.stages[2].readings) == 1
    ring.read(2, good(3.0))
    assert ring.in_force == {2: [2.0, 3.0]}
    assert ring.stages[2].readings == []


def test_requests_during_a_reload_are_answered_after_another_one() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    for _ in range(RELOAD_REQUESTS_MAX + 1):
        ring.request(1)
    assert ring.answers == [CsError.TRY_AGAIN]
    for token in (2.0, 3.0):
        ring.read(1, good(token))
        ring.deliver()
        ring.wait(RELOAD_READ_INTERVAL)
        ring.read(2, good(token))
        ring.deliver()
    assert ring.answers == [CsError.TRY_AGAIN] + [CsError.OK] * (1 + RELOAD_REQUESTS_MAX)
    assert ring.in_force == {1: [2.0, 3.0], 2: [2.0, 3.0]}


def test_two_nodes_are_asked_at_the_same_time() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.request(2)
    ring.read(1, good(2.0))
    ring.read(2, good(2.0))
    ring.deliver()
    ring.read(1, good(2.0))
    ring.read(2, good(2.0))
    ring.deliver()
    assert ring.answers == [CsError.OK, CsError.OK]
    assert ring.in_force == {1: [2.0, 2.0], 2: [2.0, 2.0]}


def test_who_leaves_is_not_waited_for() -> None:
    ring = Ring((1, 2, 3))
    ring.request(1)
    ring.read(1, good())
    ring.deliver()
    ring.read(2, good())
    ring.deliver()
    for nodeid in (1, 2):
        stage = ring.stages[nodeid]
        stage.members, stage.companions = (1, 2), frozenset({1, 2})
        ring.services[nodeid].synchronised()
    del ring.services[3]
    ring.deliver()
    assert ring.answers == [CsError.OK]
    assert ring.in_force == {1: [2.0], 2: [2.0], 3: []}


def test_who_comes_meanwhile_is_asked() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.read(1, good())
    ring.deliver()
    late = Ring((3,))
    ring.stages[3], ring.services[3] = late.stages[3], late.services[3]
    for stage in ring.stages.values():
        stage.members, stage.companions = (1, 2, 3), frozenset({1, 2, 3})
    for service in ring.services.values():
        service.synchronised()
    ring.deliver()
    ring.read(2, good())
    ring.deliver()
    assert not ring.answers
    ring.read(3, BROKEN)
    ring.deliver()
    assert ring.answers == [CsError.INVALID_PARAM]
    assert ring.in_force == {1: [], 2: [], 3: []}


def test_messages_wait_for_room() -> None:
    ring = Ring((1, 2))
    ring.stages[1].room = 0
    ring.request(1)
    ring.read(1, good())
    waited = ring.services[1].wants_token
    ring.stages[1].room = 10
    ring.services[1].token_passed()
    assert waited
    assert not ring.services[1].wants_token
    assert ring.deliver() == [(16, 0)]


def test_a_stranger_cannot_keep_us_reading() -> None:
    ring = Ring((2,), others=(1,))
    service = ring.services[2]
    message = RELOAD_CHECK.pack(ReloadCheck(service.header(CHECK, RELOAD_CHECK.size), 1))
    with pytest.raises(AnomalyError):
        service.messages()[CHECK].handler(1, message)
    assert ring.stages[2].readings == []


def test_a_flood_of_checks_reads_one_file_at_a_time() -> None:
    ring = Ring((1, 2))
    service = ring.services[2]
    for number in range(1, 100):
        message = RELOAD_CHECK.pack(ReloadCheck(service.header(CHECK, RELOAD_CHECK.size), number))
        service.messages()[CHECK].handler(1, message)
    assert len(ring.stages[2].readings) == 1
    ring.read(2, good())
    assert ring.stages[2].sent == []
    ring.wait(RELOAD_READ_INTERVAL)
    ring.read(2, good())
    assert ring.stages[2].readings == []
    assert len(ring.stages[2].sent) == 1


def check(ring: Ring, sender: int, number: int) -> None:
    """Node 2 is asked."""
    service = ring.services[2]
    message = RELOAD_CHECK.pack(ReloadCheck(service.header(CHECK, RELOAD_CHECK.size), number))
    service.messages()[CHECK].handler(sender, message)


def test_the_order_finds_its_place_whatever_others_repeat() -> None:
    ring = Ring((2, 3), others=(1,))
    check(ring, 3, 1)
    ring.read(2, good())
    ring.stages[2].room = 0
    for _ in range(200):
        check(ring, 3, 1)
    ring.stages[2].companions = frozenset({2})  # as if node 3 had no say in our round
    ring.request(2)
    ring.read(2, good())
    ring.stages[2].room = 1000
    ring.services[2].token_passed()
    assert len(ring.stages[2].sent) == 3  # the verdict that had room, the newest one, the order
    ring.deliver()
    assert ring.answers == [CsError.OK]


def test_an_order_without_room_is_called_back_in_the_end() -> None:
    ring = Ring((2,))
    ring.stages[2].room = 0
    ring.request(2)
    ring.read(2, good())
    ring.wait(RELOAD_CHECK_TIMEOUT)
    assert ring.answers == [CsError.TIMEOUT]
    assert "Nothing has changed" in ring.log(2)
    assert not ring.services[2].wants_token
    ring.stages[2].room = 1000
    ring.request(2)
    ring.read(2, good(3.0))
    ring.deliver()
    assert ring.answers == [CsError.TIMEOUT, CsError.OK]
    assert ring.in_force == {2: [3.0]}


def test_an_order_that_comes_back_late_does_what_was_checked() -> None:
    ring = Ring((2,))
    ring.request(2)
    ring.read(2, good())
    ring.wait(RELOAD_CHECK_TIMEOUT)
    assert ring.answers == [CsError.TIMEOUT]
    assert "takes effect on all nodes when it does" in ring.log(2)
    ring.deliver()
    assert ring.in_force == {2: [2.0]}
    assert ring.stages[2].readings == []


def test_who_has_asked_is_answered_when_it_fails_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring((2,))

    def broken(new: Reconfiguration) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ring.stages[2], "reconfigure", broken)
    ring.request(2)
    ring.read(2, good())
    with pytest.raises(ZeroDivisionError):
        ring.deliver()
    assert ring.answers == [CsError.LIBRARY]


def test_others_cannot_fill_the_log_with_our_errors() -> None:
    ring = Ring((2, 3), others=(1,))
    for number in range(1, 5):
        ring.services[2].ordered(1, number)
        check(ring, 3, number)
        ring.read(2, BROKEN)
        ring.wait(RELOAD_READ_INTERVAL)
    assert ring.log(2).count("corosync.conf:3") == 1
    while ring.stages[2].readings:
        ring.read(2, BROKEN)
    assert ring.services[2].counters()["reload_files_broken"] == 5
    ring.request(2)
    ring.read(2, BROKEN)
    assert ring.log(2).count("corosync.conf:3") == 2


def test_a_long_list_of_errors_is_cut() -> None:
    ring = Ring((1, 2))
    ring.request(1)
    ring.read(1, good())
    ring.deliver()
    ring.read(2, Findings(tuple(f"corosync.conf:{n}: wrong" for n in range(500)), None))
    ring.deliver()
    assert "node 2 has found 500 errors" in ring.log(1)
    assert len(ring.stages[1].lines) < 60
