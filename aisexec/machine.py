"""The computer: what /proc tells, the watchdog device, and its end.  For the services mon and wd."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aisexec.services.machine import Memory, Watchdog
from aisexec.totem.types import LOG_ERR, LOG_INFO

# linux/watchdog.h
WDIOC_GETSUPPORT: Final = 0x80285700
WDIOC_SETOPTIONS: Final = 0x80045704
WDIOC_KEEPALIVE: Final = 0x80045705
WDIOC_SETTIMEOUT: Final = 0xC0045706
WDIOC_GETTIMEOUT: Final = 0x80045707
WDIOF_SETTIMEOUT: Final = 0x0080
WDIOS_ENABLECARD: Final = 0x0002
MAGIC_CLOSE: Final = b"V"
"""Written before the device is closed: otherwise it would reset the computer."""

_INFO = struct.Struct("=II32s")
"""struct watchdog_info: options, firmware version, identity."""

RB_AUTOBOOT: Final = 0x01234567
RB_POWER_OFF: Final = 0x4321FEDC
"""reboot(2)"""

Ioctl = Callable[[int, int, Any], Any]


class WatchdogDevice:
    """An open device.  A thread talks to it: some (IPMI) take seconds, in which the token would be lost.

    The thread does nothing by itself: if the loop stands still, so does the dog's food.
    """

    def __init__(self, path: str, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Opens and starts it.  Raises OSError."""
        self._ioctl = ioctl
        self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        self._wanted = threading.Event()
        self._closing = False
        self.keep_alive_failures = 0
        info = bytearray(_INFO.size)
        with suppress(OSError):  # not every driver knows all of it
            ioctl(self._fd, WDIOC_GETSUPPORT, info)
        self._options, _, identity = _INFO.unpack(info)
        self.identity = identity.split(b"\0")[0].decode("utf-8", "replace") or "unknown watchdog"
        with suppress(OSError):
            ioctl(self._fd, WDIOC_SETOPTIONS, array.array("i", [WDIOS_ENABLECARD]))
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @property
    def timeout(self) -> int:
        """Seconds; 0 when the device does not tell."""
        number = array.array("i", [0])
        with suppress(OSError):
            self._ioctl(self._fd, WDIOC_GETTIMEOUT, number)
        return number[0]

    def set_timeout(self, seconds: int) -> bool:
        """False when the device has another one now."""
        if self._options & WDIOF_SETTIMEOUT:
            with suppress(OSError):
                self._ioctl(self._fd, WDIOC_SETTIMEOUT, array.array("i", [seconds]))
        return self.timeout == seconds

    def keep_alive(self) -> None:
        """Returns at once."""
        self._wanted.set()

    def close(self) -> None:
        """Stop the watchdog and close it."""
        if self._fd < 0:
            return
        self._closing = True
        self._wanted.set()
        self._thread.join(5)
        try:
            os.write(self._fd, MAGIC_CLOSE)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closing:
                return
            self._wanted.clear()
            try:
                self._ioctl(self._fd, WDIOC_KEEPALIVE, array.array("i", [0]))
            except OSError:
                self.keep_alive_failures += 1


class LocalMachine:
    """aisexec.services.machine.Machine."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._watchdog: WatchdogDevice | None = None

    def nanoseconds(self) -> int:
        """CLOCK_MONOTONIC, as corosync and libsam write it."""
        return time.monotonic_ns()

    def memory(self) -> Memory | None:
        """From /proc/meminfo; the page cache counts as free, as corosync (libstatgrab) has it."""
        try:
            with open(f"{self._proc}/meminfo", encoding="ascii", errors="replace") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
            total, free = (
                sum(int(fields[key].split()[0]) * 1024 for key in keys)
                for keys in (("MemTotal", "SwapTotal"), ("MemFree", "Cached", "SwapFree"))
            )
        except (OSError, KeyError, ValueError, IndexError):
            return None
        return Memory(total, free)

    def load_15min(self) -> float | None:
        """From /proc/loadavg."""
        try:
            with open(f"{self._proc}/loadavg", encoding="ascii", errors="replace") as file:
                return float(file.read().split()[2])
        except (OSError, ValueError, IndexError):
            return None

    def open_watchdog(self, path: str) -> Watchdog:
        """Raises OSError."""
        self._watchdog = WatchdogDevice(path)
        return self._watchdog

    def close_watchdog(self, log: Callable[[int, str], object]) -> None:
        """When the executive ends in good order, and only then: otherwise the computer is to be reset."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        log(LOG_INFO, "magically closing the watchdog.")
        try:
            watchdog.close()
        except OSError as error:
            log(LOG_ERR, f"The watchdog cannot be stopped and will reset this computer: {error.strerror}")

    def end(self, *, power_off: bool) -> None:
        """reboot(2).  Raises OSError."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.reboot(RB_POWER_OFF if power_off else RB_AUTOBOOT) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
