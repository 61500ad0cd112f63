"""wd: a watchdog device that resets the computer when we do not run, or when a resource fails.

Resources are keys resources.<type>.<name>.* in the map, of processes that use SAM and of the service mon.
One with the keys `state` and `recovery` is watched: its owner has to write `last_updated` in time.
Without resources.watchdog_device nothing is opened, and resources with other recoveries still count.
"""

from __future__ import annotations

from typing import ClassVar, Final

from aisexec.icmap import Change, TrackEvent, ValueType, is_key, u32, u64
from aisexec.limits import WATCHED_RESOURCES_MAX
from aisexec.services.base import Context, Service
from aisexec.services.machine import Machine, Watchdog
from aisexec.services.timers import Alarm
from aisexec.services.wd_resource import PERIOD, Resource
from aisexec.totem.types import LOG_CRIT, LOG_DEBUG, LOG_INFO, LOG_WARNING

DEVICE_KEY: Final = "resources.watchdog_device"
TIMEOUT_KEY: Final = "resources.watchdog_timeout"
TIMEOUT: Final = 6
TIMEOUT_MIN: Final = 2
TIMEOUT_MAX: Final = 120
"""Seconds."""

LOG_ALERT: Final = 1


class Wd(Service):
    """The device and what it waits for."""

    id: ClassVar[int] = 7
    name: ClassVar[str] = "corosync watchdog service"
    subsystem: ClassVar[str] = "WD"

    def __init__(self, context: Context, machine: Machine) -> None:
        super().__init__(context)
        self._machine = machine
        self._device: Watchdog | None = None
        self._timeout = TIMEOUT
        self._healthy = True
        self._alarm: Alarm | None = None
        self._resources: dict[str, Resource] = {}

    def start(self) -> None:
        """The configuration is good and the network about to come up: open the device, if there is one."""
        self._take_timeout()
        self.context.map.track(TIMEOUT_KEY, self._timeout_changed, events=TrackEvent.MODIFY)
        self._open()
        for key in self.context.map.keys("resources."):
            if key.count(".") == 3 and key.endswith(".state"):
                self._watch(key)
        for kind in ("process", "system"):
            self.context.map.track(f"resources.{kind}.", self._changed, prefix=True)
        if not any(resource.watched for resource in self._resources.values()):
            self.context.log(LOG_INFO, "no resources configured.")

    # The device.

    def _open(self) -> None:
        path = self._device_path()
        if not path:
            return
        try:
            self._device = self._machine.open_watchdog(path)
        except FileNotFoundError:
            self.context.log(LOG_WARNING, f"No watchdog {path}, try modprobe <a watchdog>, softdog for one")
            return
        except OSError as error:
            self.context.log(
                LOG_WARNING, f"Watchdog {path} exists but couldn't be opened: {error.strerror}."
            )
            return
        self.context.log(LOG_INFO, f"Watchdog {path} is now being tickled by aisexec.")
        self.context.log(LOG_DEBUG, self._device.identity)
        self._apply(self._timeout)
        self._tickle()

    def _device_path(self) -> str:
        value = self.context.map.get(DEVICE_KEY)
        if value is None:
            self.context.log(LOG_INFO, "Watchdog not enabled by configuration")
            return ""
        path = value.text if value.type is ValueType.STRING else ""
        if path in ("", "off"):
            self.context.log(LOG_INFO, "Watchdog disabled by configuration")
            return ""
        return path

    def _apply(self, seconds: int) -> None:
        """Have the device wait so long."""
        self._timeout = seconds
        device = self._device
        if device is None:
            return
        if not device.set_timeout(seconds):
            self.context.log(
                LOG_WARNING,
                f"Could not change the Watchdog timeout from {device.timeout} to {seconds} seconds",
            )
            self._timeout = device.timeout or seconds
        self.context.log(LOG_DEBUG, f"The Watchdog timeout is {self._timeout} seconds")

    def _tickle(self) -> None:
        if self._device is None:
            return
        if not self._healthy:
            self.context.log(LOG_ALERT, "NOT tickling the watchdog!")
            return
        self._device.keep_alive()
        self._alarm = self.context.call_later(max(self._timeout, 1) / 2, self._tickle)

    def _take_timeout(self) -> None:
        value = self.context.map.get(TIMEOUT_KEY)
        wanted = value.number if value is not None and value.type is ValueType.U32 else None
        if wanted is not None and TIMEOUT_MIN <= wanted <= TIMEOUT_MAX:
            self._timeout = wanted
            return
        if value is not None:
            self._out_of_range()
        self.context.map.set(TIMEOUT_KEY, u32(self._timeout))

    def _timeout_changed(self, change: Change) -> None:
        assert change.new is not None
        wanted = change.new.number if change.new.type is ValueType.U32 else 0
        if not TIMEOUT_MIN <= wanted <= TIMEOUT_MAX:
            self._out_of_range()
            if wanted != self._timeout:
                self.context.map.set(TIMEOUT_KEY, u32(self._timeout))
        elif wanted != self._timeout:
            self._apply(wanted)
            if self._alarm is not None:
                self._alarm.cancel()
            self._tickle()  # the old time may be too long

    def _out_of_range(self) -> None:
        self.context.log(
            LOG_WARNING, f"Set watchdog_timeout is out of range ({TIMEOUT_MIN}..{TIMEOUT_MAX})."
        )

    # Resources.

    def _changed(self, change: Change) -> None:
        prefix, _, last = change.key.rpartition(".")
        if prefix.count(".") != 2:
            return
        resource = self._resources.get(prefix + ".")
        if resource is None:
            if last == "state" and change.event is TrackEvent.ADD:
                self._watch(change.key)
        elif change.event is TrackEvent.DELETE:
            if last == "state":
                self.context.log(LOG_WARNING, f'resource "{resource.name}" deleted from cmap!')
                self._resources.pop(prefix + ".").end()
        elif last not in ("last_updated", "current"):
            resource.reconsider()

    def _watch(self, key: str) -> None:
        prefix = key.removesuffix("state")
        if len(self._resources) >= WATCHED_RESOURCES_MAX:
            self.context.log(
                LOG_WARNING, f"{key} is not watched: {WATCHED_RESOURCES_MAX} resources are already"
            )
            return
        if not is_key(prefix + "poll_period"):
            self.context.log(LOG_WARNING, f"{key} is not watched: its other keys would be too long")
            return
        if self.context.map.get(prefix + "poll_period") is None:
            self.context.map.set(prefix + "poll_period", u64(PERIOD))
        self._resources[prefix] = Resource(self.context, self._machine, prefix, self._failed)
        self._resources[prefix].begin()

    def _failed(self, resource: Resource, recovery: str) -> None:
        self.context.log(LOG_CRIT, f'{recovery} resource "{resource.name}" failed!')
        if recovery in ("watchdog", "quit"):
            self._healthy = False
        elif recovery in ("reboot", "shutdown"):
            try:
                self._machine.end(power_off=recovery == "shutdown")
            except OSError as error:
                self.context.log(LOG_CRIT, f"{recovery} is not possible: {error.strerror}")
