"""What is read from /proc, and how the watchdog device is treated."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from aisexec import machine
from aisexec.machine import LocalMachine, WatchdogDevice
from tests.harness.wait import wait_until


def test_proc_of_this_computer() -> None:
    here = LocalMachine()
    memory = here.memory()
    assert memory is not None
    assert 0 < memory.free < memory.total
    assert here.load_15min() == pytest.approx(os.getloadavg()[2], abs=0.5)
    assert here.nanoseconds() == pytest.approx(time.monotonic_ns(), abs=10**10)


def test_proc_that_is_missing_or_odd(tmp_path: Path) -> None:
    there = LocalMachine(str(tmp_path))
    assert there.memory() is None
    assert there.load_15min() is None
    (tmp_path / "meminfo").write_text("MemTotal: much\nMemFree:\n")
    (tmp_path / "loadavg").write_text("0.1 0.2\n")
    assert there.memory() is None
    assert there.load_15min() is None
    sizes = {"MemTotal": 10, "MemFree": 3, "Cached": 1, "SwapTotal": 5, "SwapFree": 1}
    (tmp_path / "meminfo").write_text("".join(f"{key}: {n} kB\n" for key, n in sizes.items()))
    (tmp_path / "loadavg").write_text("0.1 0.2 0.75 1/2 3\n")
    assert there.memory() == (15 * 1024, 5 * 1024)
    assert there.load_15min() == 0.75


class Driver:
    """The kernel's side of a device, which is a FIFO."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.timeout = 60
        self.fed = 0
        self.slow = threading.Event()
        self.slow.set()

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        match request:
            case machine.WDIOC_GETSUPPORT:
                argument[:] = machine._INFO.pack(machine.WDIOF_SETTIMEOUT, 0, b"Toy")
            case machine.WDIOC_SETTIMEOUT:
                if argument[0] > 100:
                    raise OSError(errno.EINVAL, "Invalid argument")
                self.timeout = argument[0]
            case machine.WDIOC_GETTIMEOUT:
                argument[0] = self.timeout
            case machine.WDIOC_KEEPALIVE:
                self.slow.wait(20)
                self.fed += 1
        return 0

    def written(self) -> bytes:
        try:
            return os.read(self.reader, 100)
        except BlockingIOError:
            return b""


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "watchdog")


def test_it_is_fed_on_request_and_stopped_by_the_magic_letter(driver: Driver) -> None:
    device = WatchdogDevice(driver.path, driver.ioctl)
    assert device.identity == "Toy"
    assert device.set_timeout(10)
    assert (device.timeout, driver.timeout) == (10, 10)
    assert not device.set_timeout(120)
    for n in range(3):
        device.keep_alive()
        wait_until(lambda n=n: driver.fed == n + 1, 10, "food")  # type: ignore[misc]
    assert driver.written() == b""
    device.close()
    assert driver.written() == b"V"
    device.close()


def test_a_slow_device_holds_nobody_up_and_gets_no_backlog(driver: Driver) -> None:
    device = WatchdogDevice(driver.path, driver.ioctl)
    driver.slow.clear()
    began = time.monotonic()
    for _ in range(100):
        device.keep_alive()
    assert time.monotonic() - began < 5
    driver.slow.set()
    wait_until(lambda: driver.fed > 0, 10, "food")
    device.close()
    assert driver.fed <= 2


def test_a_process_that_dies_leaves_the_watchdog_running(driver: Driver) -> None:
    child = os.fork()
    if child == 0:
        WatchdogDevice(driver.path, driver.ioctl).keep_alive()
        os._exit(0)
    os.waitpid(child, 0)
    assert driver.written() == b""


def test_a_missing_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LocalMachine().open_watchdog(str(tmp_path / "none"))


def test_an_end_in_good_order_closes_what_was_opened(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = LocalMachine()
    said: list[str] = []
    computer.close_watchdog(lambda priority, line: said.append(line))
    assert said == []
    computer.open_watchdog(driver.path)
    computer.close_watchdog(lambda priority, line: said.append(line))
    assert driver.written() == b"V"
    assert said == ["magically closing the watchdog."]
