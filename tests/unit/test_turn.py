"""Drivers with real sockets on loopback: the compiled turn, and who does what it leaves to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from aisexec.driver import Driver
from aisexec.executive import Executive, ExecutiveOptions
from aisexec.messages import GROUP_SYNC
from aisexec.net.base import NetworkSettings, Security
from aisexec.net.transports import create_transport
from aisexec.totem.settings import Settings
from ipc.server import Server
from tests.unit.net_support import PATIENCE, free_port

MEMBERS = {1: "127.0.0.11", 2: "127.0.0.12", 3: "127.0.0.13"}
SECURITY = Security("sha256", b"k" * 128, "a test")


class Disk:
    def store(self, seq: int) -> str | None:
        return None


class Ring:
    """Three drivers without clients."""

    def __init__(self, settings: Settings, security: Security | None) -> None:
        port = free_port()
        self.drivers: dict[int, Driver] = {}
        self.log: list[str] = []
        for nodeid in MEMBERS:
            network = NetworkSettings(
                "udpu", nodeid, MEMBERS[nodeid], port, members=MEMBERS, security=security
            )
            transport = create_transport(network, lambda priority, text: self.log.append(text))
            self.drivers[nodeid] = Driver(
                lambda buffers, nodeid=nodeid: Executive(  # type: ignore[misc]
                    settings, nodeid, 0, ExecutiveOptions(), buffers
                ),
                transport,
                Disk(),
                lambda subsystem, priority, text: self.log.append(text),
            )

    def totem(self, nodeid: int) -> Any:
        return self.drivers[nodeid]._executive.totem

    def wait(self, condition: Callable[[], bool]) -> None:
        with gevent.Timeout(PATIENCE, AssertionError(f"waited in vain: {self.log[-20:]}")):
            while not condition():
                gevent.sleep(0.005)

    def counters(self, nodeid: int) -> dict[str, int]:
        return dict(self.drivers[nodeid].counters())


@pytest.fixture(params=[None, SECURITY], ids=["plain", "sealed"])
def ring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    monkeypatch.setattr(Server, "start", lambda self: None)
    settings = Settings(token=2.0, token_retransmit=0.4, consensus=2.4, seqno_unchanged_const=10**9)
    made = Ring(settings, request.param)
    for driver in made.drivers.values():
        driver.start()
    made.wait(
        lambda: all(
            made.totem(nodeid).members == tuple(MEMBERS) and driver._executive.ready
            for nodeid, driver in made.drivers.items()
        )
    )
    yield made
    for driver in made.drivers.values():
        driver.shut_down("test over", leave=False)
    made.wait(lambda: all(driver.finished.is_set() for driver in made.drivers.values()))


def test_tokens_go_round_and_are_counted(ring: Ring) -> None:
    before = {nodeid: ring.counters(nodeid) for nodeid in MEMBERS}
    ring.wait(lambda: all(ring.totem(n).stats.orf_token_rx > 200 for n in MEMBERS))
    for nodeid in MEMBERS:
        then, now = before[nodeid], ring.counters(nodeid)
        passed = now["stats.srp.orf_token_tx"] - then["stats.srp.orf_token_tx"]
        assert passed > 50
        assert now["stats.net.sent_frames"] - then["stats.net.sent_frames"] >= passed
        assert now["stats.net.send_errors"] == 0
        holds = sum(n for key, n in now.items() if key.startswith("stats.srp.token_hold_us_below_"))
        assert passed / 2 < holds <= now["stats.srp.orf_token_rx"]
        receives = sum(n for key, n in now.items() if key.startswith("stats.loop.frames_per_receive_below_"))
        assert receives >= passed
    assert len({ring.totem(nodeid).ring_id for nodeid in MEMBERS}) == 1


def test_messages_reach_all_in_one_order(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[int, list[bytes]] = {nodeid: [] for nodeid in MEMBERS}
    for nodeid, driver in ring.drivers.items():
        executive = driver._executive
        monkeypatch.setattr(
            executive,
            "deliver",
            lambda group, sender, message, nodeid=nodeid: got[nodeid].append(message),
        )
    sent = 0
    for round_ in range(20):
        for nodeid, driver in ring.drivers.items():
            for size in (10, 900, 5000):
                text = f"{nodeid} {round_} ".encode()
                assert ring.totem(nodeid).submit(GROUP_SYNC, [text.ljust(size, b".")])
                sent += 1
            driver._turn()
        gevent.sleep(0.002)
    ring.wait(lambda: all(len(messages) == sent for messages in got.values()))
    assert got[1] == got[2] == got[3]
    for nodeid in MEMBERS:
        own = [message for message in got[nodeid] if message.startswith(f"{nodeid} ".encode())]
        assert [int(message.split()[1].rstrip(b".")) for message in own] == [
            round_ for round_ in range(20) for _ in range(3)
        ]
        assert ring.counters(nodeid)["stats.srp.mcast_retx"] == 0


def test_a_token_that_cannot_be_sent_is_counted_and_sent_again(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn: Any = ring.drivers[2]._light
    plain = ring.drivers[2]._transport.plain()
    if plain is None:
        pytest.skip("not a plain transport: the driver itself sends")
    addresses = turn.addresses
    good = addresses[3]
    errors = ring.counters(2)["stats.net.send_errors"]
    addresses[3] = b"\xff\xff" + good[2:]
    ring.wait(lambda: ring.counters(2)["stats.net.send_errors"] > errors)
    addresses[3] = good
    tokens = ring.totem(3).stats.orf_token_rx
    ring.wait(lambda: ring.totem(3).stats.orf_token_rx > tokens + 50)
    assert ring.totem(1).stats.operational_token_lost == 0


def test_clients_that_were_stopped_go_on_as_soon_as_there_is_room(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask for nothing meanwhile, and timers of the ring are a long time off."""
    driver = ring.drivers[2]
    levels: list[tuple[int, int]] = []
    monkeypatch.setattr(
        driver._server,
        "set_flow_level",
        lambda service, level: levels.append((level, ring.totem(2).stats.orf_token_rx)),
    )
    before = ring.totem(2).stats.orf_token_rx
    driver._flow_level = 2
    ring.wait(lambda: bool(levels))
    level, tokens = levels[0]
    assert level == 0
    assert tokens - before < 10


def test_messages_that_the_turn_cannot_send_are_sent_by_the_transport(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport: Any = ring.drivers[2]._transport
    if transport.plain() is None:
        pytest.skip("not a plain transport: the driver itself sends")
    turn: Any = ring.drivers[2]._light
    good = turn.addresses[3]
    go_on = transport.go_on_sending
    rest: list[int] = []

    def mended(nodeid: int, frames: list[bytes]) -> None:
        turn.addresses[3] = good
        rest.append(len(frames))
        go_on(nodeid, frames)

    monkeypatch.setattr(transport, "go_on_sending", mended)
    got: dict[int, list[bytes]] = {nodeid: [] for nodeid in MEMBERS}
    for nodeid, driver in ring.drivers.items():
        monkeypatch.setattr(
            driver._executive,
            "deliver",
            lambda group, sender, message, nodeid=nodeid: got[nodeid].append(message),
        )
    turn.addresses[3] = b"\xff\xff" + good[2:]
    assert ring.totem(2).submit(GROUP_SYNC, [bytes(5000)])
    ring.wait(lambda: all(len(messages) == 1 for messages in got.values()))
    assert rest == [5]  # four frames of the message, the token behind them
    assert all(ring.counters(nodeid)["stats.srp.mcast_retx"] == 0 for nodeid in MEMBERS)
