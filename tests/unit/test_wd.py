"""The watchdog service: when the device is fed, and what makes it stop."""

from __future__ import annotations

import pytest

from aisexec.icmap import Icmap, text, u32, u64
from aisexec.limits import WATCHED_RESOURCES_MAX
from aisexec.services.machine import NoMachine
from aisexec.services.wd import DEVICE_KEY, TIMEOUT_KEY, Wd
from tests.unit.service_support import StageContext

SAM = "resources.process.4711."


class Dog:
    identity = "Software Watchdog"

    def __init__(self) -> None:
        self.timeout = 60
        self.fed: list[float] = []
        self.trained = True
        self.clock = StageContext()

    def set_timeout(self, seconds: int) -> bool:
        if self.trained:
            self.timeout = seconds
        return self.timeout == seconds

    def keep_alive(self) -> None:
        self.fed.append(self.clock.now)


class Computer(NoMachine):
    """Its clock is the stage's."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.dog = Dog()
        self.dog.clock = context
        self.opened: list[str] = []
        self.error: OSError | None = None
        self.ended: list[bool] = []

    def nanoseconds(self) -> int:
        return 1_000_000_000 + int(self.context.now * 1e9)

    def open_watchdog(self, path: str) -> Dog:
        self.opened.append(path)
        if self.error is not None:
            raise self.error
        return self.dog

    def end(self, *, power_off: bool) -> None:
        self.ended.append(power_off)


class Stage:
    """wd with a clock."""

    def __init__(self, device: str | None = "/dev/watchdog", *, start: bool = True) -> None:
        self.context = StageContext()
        self.computer = Computer(self.context)
        self.dog = self.computer.dog
        if device is not None:
            self.map.set(DEVICE_KEY, text(device))
        self.wd = Wd(self.context, self.computer)
        if start:
            self.wd.start()

    @property
    def map(self) -> Icmap:
        return self.context.map

    def wait(self, seconds: float) -> None:
        end = self.context.now + seconds
        while (due := self.context.alarms.next()) is not None and due <= end:
            self.context.now = due
            self.context.alarms.run(due)
        self.context.now = end

    def register(self, recovery: str = "quit", period: int = 1000) -> None:
        """As libsam does it."""
        self.map.set(SAM + "recovery", text(recovery))
        self.map.set(SAM + "poll_period", u64(period))
        self.map.set(SAM + "last_updated", u64(0))
        self.map.set(SAM + "state", text("running"))

    def beat(self) -> None:
        self.map.set(SAM + "last_updated", u64(self.computer.nanoseconds()))

    def said(self, words: str) -> bool:
        return any(words in line for line in self.context.lines)


@pytest.mark.parametrize("device", [None, "", "off"])
def test_without_a_device_nothing_is_opened_or_timed(device: str | None) -> None:
    stage = Stage(device)
    assert stage.computer.opened == []
    assert stage.context.alarms.next() is None
    assert stage.map.get(TIMEOUT_KEY) == u32(6)


def test_the_device_is_not_touched_before_the_start() -> None:
    stage = Stage(start=False)
    assert stage.computer.opened == []
    stage.wd.start()
    assert stage.computer.opened == ["/dev/watchdog"]


def test_it_is_fed_twice_in_its_time() -> None:
    stage = Stage()
    assert stage.dog.timeout == 6
    stage.wait(30)
    assert stage.dog.fed == [float(n) for n in range(0, 31, 3)]


def test_a_shorter_time_is_kept_at_once_and_a_wrong_one_taken_back() -> None:
    stage = Stage()
    stage.wait(1)
    stage.map.set(TIMEOUT_KEY, u32(2))
    assert stage.dog.timeout == 2
    stage.wait(3)
    assert stage.dog.fed == [0.0, 1.0, 2.0, 3.0, 4.0]
    for wrong in (u32(1), u32(121), text("5"), u64(5)):
        stage.map.set(TIMEOUT_KEY, wrong)
        assert stage.map.get(TIMEOUT_KEY) == u32(2)
    assert stage.said("out of range (2..120)")


def test_a_device_that_keeps_its_own_time_is_fed_by_that() -> None:
    stage = Stage(start=False)
    stage.dog.trained = False
    stage.dog.timeout = 10
    stage.wd.start()
    assert stage.said("Could not change the Watchdog timeout from 10 to 6 seconds")
    stage.wait(20)
    assert stage.dog.fed == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_a_device_that_does_not_tell_its_time_is_fed_by_ours() -> None:
    stage = Stage(start=False)
    stage.dog.trained = False
    stage.dog.timeout = 0
    stage.wd.start()
    stage.wait(6)
    assert stage.dog.fed == [0.0, 3.0, 6.0]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), PermissionError(13, "Denied")])
def test_a_device_that_cannot_be_opened_is_told(error: OSError) -> None:
    stage = Stage(start=False)
    stage.computer.error = error
    stage.wd.start()
    assert stage.said("/dev/watchdog")
    assert stage.context.alarms.next() is None


@pytest.mark.parametrize("recovery", ["quit", "watchdog"])
def test_a_process_that_falls_silent_lets_the_dog_starve(recovery: str) -> None:
    stage = Stage()
    stage.register(recovery)
    for _ in range(20):
        stage.wait(0.9)
        stage.beat()
    assert not stage.said("failed!")
    silent_since = stage.context.now
    stage.wait(20)
    assert stage.said(f'{recovery} resource "4711" failed!')
    assert stage.said("NOT tickling the watchdog!")
    assert stage.dog.fed[-1] <= silent_since + 3 + 2.5


@pytest.mark.parametrize(("recovery", "ended"), [("reboot", [False]), ("shutdown", [True]), ("restart", [])])
def test_other_recoveries(recovery: str, ended: list[bool]) -> None:
    stage = Stage(None)
    stage.register(recovery)
    stage.wait(1)
    stage.beat()
    stage.wait(30)
    assert stage.computer.ended == ended
    assert stage.said(f'{recovery} resource "4711" failed!')


def test_a_process_that_stops_or_goes_is_not_missed() -> None:
    stage = Stage()
    stage.register()
    stage.beat()
    stage.map.set(SAM + "state", text("stopped"))
    stage.wait(60)
    stage.map.set(SAM + "state", text("running"))
    stage.beat()
    stage.wait(0.5)
    for key in list(stage.map.keys(SAM)):
        stage.map.delete(key)
    stage.wait(60)
    assert not stage.said("failed!")
    assert stage.dog.fed[-1] > stage.context.now - 3.1


def test_what_is_failed_by_its_own_account_has_failed() -> None:
    stage = Stage()
    stage.register()
    stage.beat()
    stage.map.set(SAM + "state", text("failed"))
    stage.wait(7)
    assert stage.said("NOT tickling")


def test_without_a_recovery_nothing_is_watched() -> None:
    stage = Stage()
    stage.map.set("resources.system.memory_used.state", text("failed"))
    stage.wait(100)
    assert not stage.said("failed!")
    stage.map.set("resources.system.memory_used.recovery", text("watchdog"))
    stage.wait(10)
    assert stage.said('watchdog resource "memory_used" failed!')


def test_resources_of_the_configuration_are_found_at_the_start() -> None:
    stage = Stage(start=False)
    stage.register()
    stage.wd.start()
    stage.beat()
    stage.wait(30)
    assert stage.said("NOT tickling")


def test_resources_are_bounded_and_nonsense_in_keys_is_harmless() -> None:
    stage = Stage()
    for n in range(WATCHED_RESOURCES_MAX + 50):
        stage.map.set(f"resources.process.{n}.recovery", text("quit"))
        stage.map.set(f"resources.process.{n}.state", text("running"))
    assert stage.said(f"{WATCHED_RESOURCES_MAX} resources are already")
    stage.map.set("resources.process.1.poll_period", text("often"))
    stage.map.set("resources.process.1.last_updated", text("never"))
    stage.map.set("resources.process.2.state", u32(1))
    stage.map.set("resources.process.2.recovery", u64(1))
    stage.map.set("resources.process.state", text("x"))
    stage.map.set("resources.process.1.2.3.state", text("x"))
    stage.wait(30)
    assert stage.said('quit resource "1" failed!')


def test_a_resource_whose_other_keys_would_be_too_long_is_not_watched() -> None:
    stage = Stage()
    key = f"resources.process.{'x' * 226}.state"
    stage.map.client_set(key, text("running"))
    assert stage.map.get(key) == text("running")
    assert stage.said("is not watched: its other keys would be too long")
