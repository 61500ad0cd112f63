"""pload: nothing without consent; then it counts, tells and ends."""

from __future__ import annotations

import pytest

from aisexec.icmap import text, u32
from aisexec.messages import EXEC_HEADER, PLOAD_START, ExecHeader, PloadStart
from aisexec.services.base import AnomalyError
from aisexec.services.pload import CONSENT, EXIT_PLOAD, MCAST, START, Pload
from tests.unit.service_support import StageContext


def order(count: int, size: int) -> bytes:
    return PLOAD_START.pack(PloadStart(ExecHeader(4 << 16, 24), count, size))


@pytest.fixture
def context() -> StageContext:
    return StageContext()


@pytest.fixture
def pload(context: StageContext) -> Pload:
    service = Pload(context)
    service.start()
    return service


def test_nobody_else_can_start_it(pload: Pload, context: StageContext) -> None:
    for _ in range(100):
        pload.messages()[START].handler(2, order(10, 100))
    pload.messages()[MCAST].handler(2, bytes(16))
    assert not pload.wants_token
    assert len(context.lines) == 1
    assert "Node 2 starts pload. This node does not take part" in context.lines[0]
    context.map.set("pload.start", text("yes"))
    assert context.sent == []


def test_a_run_ends_with_its_figures(pload: Pload, context: StageContext) -> None:
    context.map.set("pload.count", u32(600))
    context.map.set("pload.size", u32(100))
    context.map.set("pload.start", text(CONSENT))
    assert context.sent == [order(600, 100)]
    pload.messages()[START].handler(1, context.sent.pop())
    context.alarms.run(0.0)
    while pload.wants_token:
        pload.token_passed()
    assert len(context.sent) == 600
    assert {len(message) for message in context.sent} == {100}
    assert EXEC_HEADER.unpack(context.sent[0]) == (4 << 16 | 1, 116)
    for message in context.sent:
        context.now += 0.001
        pload.messages()[MCAST].handler(1, message)
    assert any("600 Writes 100 bytes per write" in line for line in context.lines)
    assert context.shutdowns == [("pload has ended", EXIT_PLOAD, False)]


def test_orders_out_of_range_are_anomalies(pload: Pload, context: StageContext) -> None:
    context.map.set("pload.start", text(CONSENT))
    for count, size in ((0, 100), (10, 1 << 31)):
        with pytest.raises(AnomalyError):
            pload.messages()[START].handler(2, order(count, size))


def test_a_full_queue_is_waited_for(pload: Pload, context: StageContext) -> None:
    context.map.set("pload.start", text(CONSENT))
    context.room = 5
    pload.messages()[START].handler(1, order(20, 100))
    context.alarms.run(0.0)
    assert pload.wants_token
    context.room = 100
    pload.token_passed()
    assert not pload.wants_token
