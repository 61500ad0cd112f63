"""The driver's part in configuration at run time: files are read beside the loop, changes taken in turn."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult

from aisexec.effects import LoggingKeysChanged, ReadConfiguration, Reconfigured, TotemKeysChanged
from aisexec.executive import Executive
from aisexec.icmap import Icmap
from aisexec.services.options import Findings
from aisexec.totem.settings import Settings

TOTEM_KEYS_PERIOD = 1.0
"""Seconds ..."""

TOTEM_KEYS_MAX = 20
"""... in which Totem's keys in the map are looked at so often at most; later changes wait for the next."""

READING_SWITCH_INTERVAL = 0.0005
"""Seconds that the thread which reads the configuration may keep the interpreter from the loop."""

LOGGING_KEYS_DELAY = 0.05
"""Seconds after which changed keys of the log are in force, all that have changed meanwhile together."""

ConfigurationEffect = ReadConfiguration | Reconfigured | TotemKeysChanged | LoggingKeysChanged


class Configuration(Protocol):
    """The configuration's files, and what outside the executive follows from them."""

    def read(self) -> Findings:
        """Called in a thread of its own."""

    def take_effect(self, world: object) -> None:
        """What `read()` has put into a reconfiguration is in force."""

    def totem_keys_changed(self, map: Icmap) -> Settings | None:
        """What Totem goes on with, None to leave it as it is."""

    def logging_keys_changed(self, map: Icmap) -> None:
        """Have the log follow."""


class NoConfiguration:
    """For executives that were not started from a file."""

    def read(self) -> Findings:
        """See Configuration."""
        return Findings(("this executive has no configuration file",), None)

    def take_effect(self, world: object) -> None:
        """See Configuration."""

    def totem_keys_changed(self, map: Icmap) -> Settings | None:
        """See Configuration."""
        return None

    def logging_keys_changed(self, map: Icmap) -> None:
        """See Configuration."""


class Reconfiguring:
    """Carries out an executive's effects that concern its configuration."""

    def __init__(
        self, executive: Executive, configuration: Configuration, turn: Callable[[], object]
    ) -> None:
        """turn: carries out what the executive has to say after it was handed something."""
        self._executive = executive
        self._configuration = configuration
        self._turn = turn
        self._loop = gevent.get_hub().loop
        self._now = time.monotonic
        self._readings: deque[int] = deque()
        """Serials of readings; the first one is under way."""
        self._keys_since = float("-inf")
        self._keys_count = 0
        self._keys_timer: Any = None
        self._logging_timer: Any = None
        self._stopped = False

    def carry_out(self, effect: ConfigurationEffect) -> None:
        """One of them."""
        match effect:
            case ReadConfiguration(serial):
                self._readings.append(serial)
                if len(self._readings) == 1:
                    self._read()
            case Reconfigured(world):
                self._configuration.take_effect(world)
            case TotemKeysChanged():
                self._keys_changed()
            case LoggingKeysChanged():
                self._logging_keys_changed()

    def stop(self) -> None:
        """Nothing is handed to the executive any more."""
        self._stopped = True
        for timer in (self._keys_timer, self._logging_timer):
            if timer is not None:
                timer.stop()

    def _read(self) -> None:
        """In a thread: neither files nor name servers nor parsing may keep the token waiting."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(READING_SWITCH_INTERVAL)

        def done(result: AsyncResult[Findings]) -> None:
            sys.setswitchinterval(interval)
            findings = result.value
            if findings is None:
                findings = Findings((f"reading the configuration failed: {result.exception!r}",), None)
            self._have_read(findings)

        gevent.get_hub().threadpool.spawn(self._configuration.read).rawlink(done)

    def _have_read(self, findings: Findings) -> None:
        serial = self._readings.popleft()
        if self._stopped:
            return
        self._executive.configuration_read(serial, findings, self._now())
        if self._readings:
            self._read()
        self._turn()

    def _keys_changed(self) -> None:
        """At once, as corosync; but who keeps on changing them must not keep us busy."""
        if self._keys_timer is not None:
            return
        now = self._now()
        if now >= self._keys_since + TOTEM_KEYS_PERIOD:
            self._keys_since, self._keys_count = now, 0
        self._keys_count += 1
        if self._keys_count > TOTEM_KEYS_MAX:
            self._keys_timer = timer = self._loop.timer(TOTEM_KEYS_PERIOD)
            timer.start(self._take_keys)
        else:
            self._take_keys()

    def _take_keys(self) -> None:
        self._keys_timer = None
        settings = self._configuration.totem_keys_changed(self._executive.map)
        if settings is not None:
            self._executive.change_settings(settings, self._now())
        self._turn()

    def _logging_keys_changed(self) -> None:
        if self._logging_timer is None:
            self._logging_timer = timer = self._loop.timer(LOGGING_KEYS_DELAY)
            timer.start(self._take_logging_keys)

    def _take_logging_keys(self) -> None:
        self._logging_timer = None
        self._configuration.logging_keys_changed(self._executive.map)
