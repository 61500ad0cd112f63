"""The service mon: memory and load as keys, off until there is a limit."""

from __future__ import annotations

import pytest

from aisexec.icmap import Icmap, ValueType, double, text, u32, u64
from aisexec.services.machine import Memory, NoMachine
from aisexec.services.mon import Mon
from tests.unit.service_support import StageContext

MEMORY = "resources.system.memory_used."
LOAD = "resources.system.load_15min."


class Computer(NoMachine):
    def __init__(self) -> None:
        self.mem: Memory | None = Memory(1000, 600)
        self.load: float | None = 0.5
        self.looks = 0

    def nanoseconds(self) -> int:
        return 123_000_000_000

    def memory(self) -> Memory | None:
        self.looks += 1
        return self.mem

    def load_15min(self) -> float | None:
        return self.load


class Stage:
    """mon with a clock."""

    def __init__(self, **keys: str) -> None:
        self.context = StageContext()
        self.computer = Computer()
        for key, value in keys.items():
            self.map.set(MEMORY + key, text(value))
        self.mon = Mon(self.context, self.computer)
        self.mon.start()

    @property
    def map(self) -> Icmap:
        return self.context.map

    def wait(self, seconds: float) -> None:
        end = self.context.now + seconds
        while (due := self.context.alarms.next()) is not None and due <= end:
            self.context.now = due
            self.context.alarms.run(due)
        self.context.now = end

    def state(self) -> str:
        return self.map.text(MEMORY + "state")


def test_off_by_default_with_the_keys_of_corosync() -> None:
    stage = Stage()
    stage.wait(100)
    shown = {}
    for key in stage.map.keys("resources."):
        value = stage.map.get(key)
        assert value is not None
        shown[key.removeprefix("resources.system.")] = (value.type, value.data.rstrip(b"\0"))
    nought = b""
    assert shown == {
        "load_15min.current": (ValueType.DOUBLE, nought),
        "load_15min.last_updated": (ValueType.U64, nought),
        "load_15min.poll_period": (ValueType.U64, b"\xb8\x0b"),
        "load_15min.state": (ValueType.STRING, b"stopped"),
        "memory_used.current": (ValueType.I32, nought),
        "memory_used.last_updated": (ValueType.U64, nought),
        "memory_used.poll_period": (ValueType.U64, b"\xb8\x0b"),
        "memory_used.state": (ValueType.STRING, b"stopped"),
    }
    assert stage.computer.looks == 0
    assert stage.context.alarms.next() is None


def test_a_limit_switches_it_on_and_its_removal_off() -> None:
    stage = Stage()
    stage.map.set(MEMORY + "max", text("80"))
    assert stage.state() == "running"
    assert stage.map.get(MEMORY + "current") == u32(40)
    assert stage.map.get(MEMORY + "last_updated") == u64(123_000_000_000)
    stage.computer.mem = Memory(1000, 400)
    stage.wait(3.1)
    assert stage.map.number(MEMORY + "current") == 60
    stage.map.delete(MEMORY + "max")
    assert stage.state() == "stopped"
    assert stage.context.alarms.next() is None


def test_beyond_the_limit_it_has_failed_until_somebody_changes_something() -> None:
    stage = Stage(max="50")
    stage.computer.mem = Memory(1000, 100)
    stage.wait(3)
    assert stage.state() == "failed"
    stage.computer.mem = Memory(1000, 900)
    stage.wait(3)
    assert (stage.state(), stage.map.number(MEMORY + "current")) == ("failed", 10)
    stage.map.set(MEMORY + "max", text("95"))
    assert stage.state() == "running"
    assert 'Fsm:memory_used event "failure", state "running" --> "failed"' in stage.context.lines


def test_the_load_is_a_floating_point_number() -> None:
    stage = Stage()
    stage.map.set(LOAD + "max", text("1.5"))
    assert stage.map.get(LOAD + "current") == double(0.5)
    stage.computer.load = 1.75
    stage.wait(3)
    assert stage.map.text(LOAD + "state") == "failed"


def test_the_period_may_be_changed_within_its_range() -> None:
    stage = Stage(max="80", poll_period="1000")
    looks = stage.computer.looks
    stage.wait(5)
    assert stage.computer.looks == looks + 5
    stage.map.set(MEMORY + "poll_period", u64(500))
    looks = stage.computer.looks
    stage.wait(5)
    assert stage.computer.looks == looks + 10
    for wrong in (text("499"), text("soon"), u64(10**18), text("nan"), text("1e400")):
        stage.map.set(MEMORY + "poll_period", wrong)
    assert sum("Could NOT use poll_period" in line for line in stage.context.lines) == 5
    looks = stage.computer.looks
    stage.wait(5)
    assert stage.computer.looks == looks + 10


@pytest.mark.parametrize("limit", ["", "much", "nan", "inf", "1e400"])
def test_a_limit_that_is_none_switches_it_off(limit: str) -> None:
    stage = Stage(max="80")
    stage.map.set(MEMORY + "max", text(limit))
    assert stage.state() == "stopped"


def test_what_cannot_be_read_changes_nothing() -> None:
    stage = Stage(max="80")
    for nothing in (None, Memory(0, 0), Memory(100, 200)):
        stage.computer.mem = nothing
        stage.wait(3)
    assert stage.map.number(MEMORY + "current") == 40
    assert stage.state() == "running"
