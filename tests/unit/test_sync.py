"""Synchronisation: one service after the other, all members in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from aisexec.messages import BARRIER, SERVICE_BUILD, Barrier, ExecHeader, ServiceBuild, SyncMessage
from aisexec.services.base import Service
from aisexec.sync import Sync
from aisexec.totem.types import Configuration, RingId
from tests.unit.service_support import StageContext

RING = RingId(1, 5)
NEXT = RingId(1, 9)


class Recorder(Service):
    syncs: ClassVar[bool] = True

    def __init__(self, number: int, calls: list[tuple[object, ...]], steps: int = 1) -> None:
        super().__init__(StageContext())
        self.number = number
        self.calls = calls
        self.steps = steps

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        self.calls.append(("init", self.number, tuple(trans), tuple(members)))
        self.left = self.steps

    def sync_process(self) -> bool:
        self.left -= 1
        self.calls.append(("process", self.number))
        return self.left <= 0

    def sync_activate(self) -> None:
        self.calls.append(("activate", self.number))

    def sync_abort(self) -> None:
        self.calls.append(("abort", self.number))


class Stage:
    """Surroundings of Sync for node 1."""

    def __init__(self, *numbers: int, steps: int = 1) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.sent: list[bytes] = []
        self.room = True
        self.wanted = False
        self.done = 0
        self.anomalies: list[str] = []
        services = []
        for number in numbers:
            kind = type(f"Service{number}", (Recorder,), {"id": number})
            services.append(kind(number, self.calls, steps))
        self.sync = Sync(self, services)

    def multicast_sync(self, message: bytes) -> bool:
        if self.room:
            self.sent.append(message)
        return self.room

    def call_when_token_passed(self) -> None:
        self.wanted = True

    def synchronisation_done(self) -> None:
        self.done += 1

    def anomaly(self, nodeid: int, text: str) -> None:
        self.anomalies.append(text)

    def token(self) -> None:
        assert self.wanted
        self.wanted = False
        self.sync.token_passed()

    def ring(self, members: tuple[int, ...], trans: tuple[int, ...], ring: RingId = RING) -> None:
        self.sync.configuration(Configuration(True, trans, (), (), ring))
        self.sync.configuration(Configuration(False, members, (), (), ring))

    def build(self, nodeid: int, *numbers: int, ring: RingId = RING, entries: int | None = None) -> None:
        header = ExecHeader(SyncMessage.SERVICE_BUILD, SERVICE_BUILD.size)
        count = len(numbers) if entries is None else entries
        self.sync.deliver(nodeid, SERVICE_BUILD.pack(ServiceBuild(header, ring, count, numbers)))

    def barrier(self, *nodeids: int, ring: RingId = RING) -> None:
        header = ExecHeader(SyncMessage.BARRIER, BARRIER.size)
        for nodeid in nodeids:
            self.sync.deliver(nodeid, BARRIER.pack(Barrier(header, ring)))

    def barriers_sent(self) -> int:
        return sum(len(message) == BARRIER.size for message in self.sent)


def test_services_run_one_after_the_other_in_the_order_of_their_ids() -> None:
    stage = Stage(2, 0)
    stage.ring((1, 2), (1,))
    assert SERVICE_BUILD.unpack(stage.sent[0]).service_list[:3] == (0, 2, 0)
    assert [c[1] for c in stage.calls if c[0] == "init"] == [0, 2]
    stage.build(1, 0, 2)
    assert not stage.wanted  # node 2 has not spoken
    stage.build(2, 0, 2)
    stage.token()
    assert stage.calls[-1] == ("process", 0)
    assert stage.barriers_sent() == 1
    stage.barrier(1)
    assert ("activate", 0) not in stage.calls
    stage.barrier(2)
    assert stage.calls[-1] == ("activate", 0)
    stage.token()
    stage.barrier(2, 1)
    assert stage.calls[-2:] == [("process", 2), ("activate", 2)]
    assert stage.done == 1
    assert not stage.sync.running


def test_services_of_others_get_a_barrier_only() -> None:
    stage = Stage(0)
    stage.ring((1, 2), (1,))
    stage.build(2, 0, 5, 40)
    stage.build(1, 0)
    for _ in range(3):
        assert stage.done == 0
        stage.token()
        stage.barrier(1, 2)
    assert stage.done == 1
    assert stage.barriers_sent() == 3


def test_step_that_is_not_finished_goes_on_at_the_next_token() -> None:
    stage = Stage(0, steps=3)
    stage.ring((1,), ())
    stage.build(1, 0)
    for _ in range(2):
        stage.token()
        assert stage.barriers_sent() == 0
    stage.token()
    assert stage.barriers_sent() == 1


def test_full_queue_delays_list_and_barrier() -> None:
    stage = Stage(0)
    stage.room = False
    stage.ring((1,), ())
    stage.token()
    assert stage.sent == []
    stage.room = True
    stage.token()
    assert len(stage.sent) == 1
    stage.build(1, 0)
    stage.room = False
    stage.token()
    stage.token()
    stage.room = True
    stage.token()
    assert stage.barriers_sent() == 1
    assert stage.calls.count(("process", 0)) == 1


def test_change_in_the_middle_aborts_the_service_and_starts_over() -> None:
    stage = Stage(0, 2)
    stage.ring((1, 2), (1,))
    stage.build(1, 0, 2)
    stage.build(2, 0, 2)
    stage.token()
    stage.ring((1,), (1,), NEXT)
    assert ("abort", 0) in stage.calls
    assert ("abort", 2) not in stage.calls
    stage.barrier(1, 2)  # of the old ring
    stage.build(1, 0, 2)
    assert ("activate", 0) not in stage.calls
    stage.build(1, 0, 2, ring=NEXT)
    for _ in range(2):
        stage.token()
        stage.barrier(1, ring=NEXT)
    assert stage.done == 1


def test_nodes_outside_the_ring_do_not_count() -> None:
    stage = Stage(0)
    stage.ring((1, 2), (1,))
    stage.build(1, 0)
    stage.build(9, 0)
    assert not stage.wanted
    stage.build(2, 0)
    stage.token()
    stage.barrier(1, 9, 9)
    assert stage.done == 0
    stage.barrier(2)
    assert stage.done == 1


@pytest.mark.parametrize("entries", [-1, 129, 1 << 30])
def test_list_of_impossible_length_is_dropped(entries: int) -> None:
    stage = Stage(0)
    stage.ring((1,), ())
    stage.build(1, 0, entries=entries)
    assert stage.anomalies
    assert not stage.wanted


def test_impossible_services_and_short_messages_are_dropped() -> None:
    stage = Stage(0)
    stage.ring((1,), ())
    for message in (b"", bytes(7), bytes(15), bytes(16), b"\1" + bytes(100), b"\7" + bytes(600)):
        stage.sync.deliver(1, message)
    assert len(stage.anomalies) == 6
    stage.build(1, 0, 64, -5, 1 << 30)
    stage.token()
    stage.barrier(1)
    assert stage.done == 1


def test_who_was_away_since_a_service_was_in_step_has_not_come_along() -> None:
    """Service 0 gets in step in the middle ring, service 2 does not."""
    stage = Stage(0, 2)
    stage.ring((1, 2), ())
    stage.build(1, 0, 2)
    stage.build(2, 0, 2)
    for _ in range(2):
        stage.token()
        stage.barrier(1, 2)
    assert stage.done == 1
    middle = RingId(1, 9)
    stage.ring((1,), (1,), middle)
    stage.build(1, 0, 2, ring=middle)
    stage.token()
    stage.barrier(1, ring=middle)
    stage.ring((1, 2), (1,), RingId(1, 13))
    stage.ring((1, 2), (1, 2), RingId(1, 17))
    inits = [call[1:3] for call in stage.calls if call[0] == "init"]
    assert inits[-2:] == [(0, (1,)), (2, (1,))]
    stage.ring((1, 2, 3), (1, 2), RingId(1, 21))
    inits = [call[1:3] for call in stage.calls if call[0] == "init"]
    assert inits[-2:] == [(0, (1,)), (2, (1,))]
    last = RingId(1, 25)
    stage.ring((1, 2), (1, 2), last)
    stage.build(1, 0, 2, ring=last)
    stage.build(2, 0, 2, ring=last)
    stage.token()
    stage.barrier(1, 2, ring=last)
    stage.ring((1, 2), (1, 2), RingId(1, 29))
    inits = [call[1:3] for call in stage.calls if call[0] == "init"]
    assert inits[-2:] == [(0, (1, 2)), (2, (1,))]


def test_our_service_list_says_what_we_are_and_corosync_sees_nothing_of_it() -> None:
    stage = Stage(0, 2)
    stage.ring((1, 2, 3), (1,))
    ours = stage.sent[0]
    assert SERVICE_BUILD.unpack(ours).service_list_entries == 2
    stage.sync.deliver(1, ours)
    stage.sync.deliver(3, ours)
    stage.build(2, 0, 2)
    assert stage.sync.companions == {1, 3}
    stage.ring((1, 2), (1,), NEXT)
    assert stage.sync.companions == frozenset()
