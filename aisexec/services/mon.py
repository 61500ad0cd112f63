"""mon: memory and load of the computer as keys resources.system.*, watched while a limit is set.

Off until somebody sets `max`.  What happens beyond the limit is the affair of the service wd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from aisexec.icmap import Change, TrackEvent, Value, ValueType, double, i32, text, u32, u64
from aisexec.services.base import Context, Service
from aisexec.services.machine import Machine
from aisexec.services.timers import Alarm
from aisexec.totem.types import LOG_DEBUG, LOG_INFO, LOG_WARNING

PERIOD: Final = 3000
PERIOD_MIN: Final = 500
PERIOD_MAX: Final = 120_000
"""Milliseconds between two looks."""

RUNNING, STOPPED, FAILED = "running", "stopped", "failed"


class Resource:
    """One of the two: its keys, and whether it is looked at."""

    def __init__(
        self,
        context: Context,
        machine: Machine,
        name: str,
        idle: Value,
        read: Callable[[], Value | None],
    ) -> None:
        """idle: the value when nobody has looked yet.  read: None when there is nothing to tell."""
        self.name = name
        self._prefix = f"resources.system.{name}."
        self._context = context
        self._machine = machine
        self._idle = idle
        self._read = read
        self._state = STOPPED
        self._period = PERIOD
        self._max = 0.0
        self._alarm: Alarm | None = None

    def start(self) -> None:
        """Make the keys; watch at once if the configuration has a limit."""
        keys = self._context.map
        keys.set(self._prefix + "current", self._idle)
        keys.set(self._prefix + "last_updated", u64(0))
        keys.set(self._prefix + "state", text(STOPPED))
        if not self._take_period():
            keys.set(self._prefix + "poll_period", u64(self._period))
        self._reconsider()
        keys.track(self._prefix, self._changed, prefix=True)

    def _changed(self, change: Change) -> None:
        last = change.key.rpartition(".")[2]
        if change.event is TrackEvent.DELETE:
            self._context.log(LOG_WARNING, f'resource "{self.name}" deleted from cmap!')
            self._reconsider()
        elif last in ("max", "poll_period"):
            self._take_period()
            self._reconsider()

    def _take_period(self) -> bool:
        """False when the key is missing or of no use."""
        value = self._context.map.get(self._prefix + "poll_period")
        if value is None:
            return False
        period = _as_number(value)
        if period is None or not PERIOD_MIN <= period <= PERIOD_MAX:
            said = value.text if value.type is ValueType.STRING else period
            self._context.log(LOG_WARNING, f"Could NOT use poll_period:{said} ms for resource {self.name}")
            return False
        if period != self._period:
            self._context.log(LOG_DEBUG, f"poll_period changing from:{self._period} to {int(period)}.")
            self._period = int(period)
        return True

    def _reconsider(self) -> None:
        """A limit was set, changed or removed."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        value = self._context.map.get(self._prefix + "max")
        limit = None if value is None else _as_number(value)
        if limit is None:
            self._enter(STOPPED)
            return
        self._max = limit
        self._enter(RUNNING)
        self._look()

    def _look(self) -> None:
        self._alarm = self._context.call_later(self._period / 1000, self._look)
        value = self._read()
        if value is None:
            return
        keys = self._context.map
        keys.set(self._prefix + "current", value)
        keys.set(self._prefix + "last_updated", u64(self._machine.nanoseconds()))
        number = value.real if value.type is ValueType.DOUBLE else value.number
        if number > self._max and self._state != FAILED:
            self._enter(FAILED)

    def _enter(self, state: str) -> None:
        if state == self._state:
            return
        event = "failure" if state == FAILED else "config_changed"
        self._context.log(
            LOG_INFO, f'Fsm:{self.name} event "{event}", state "{self._state}" --> "{state}"'
        )
        self._state = state
        self._context.map.set(self._prefix + "state", text(state))


class Mon(Service):
    """Two resources of the computer."""

    id: ClassVar[int] = 6
    name: ClassVar[str] = "corosync resource monitoring service"
    subsystem: ClassVar[str] = "MON"

    def __init__(self, context: Context, machine: Machine) -> None:
        super().__init__(context)
        self._machine = machine
        self._resources = (
            Resource(context, machine, "memory_used", i32(0), self._memory_used),
            Resource(context, machine, "load_15min", double(0), self._load),
        )

    def start(self) -> None:
        """Make the keys."""
        for resource in self._resources:
            resource.start()

    def _memory_used(self) -> Value | None:
        memory = self._machine.memory()
        if memory is None or memory.total <= 0:
            return None
        percent = (memory.total - memory.free) * 100 // memory.total
        return u32(percent) if 0 < percent <= 100 else None

    def _load(self) -> Value | None:
        load = self._machine.load_15min()
        return double(load) if load is not None and load > 0 else None


def _as_number(value: Value) -> float | None:
    """A number, or a text that is one; programs may have written anything."""
    if value.type is ValueType.STRING:
        try:
            number = float(value.text)
        except ValueError:
            return None
        return number if abs(number) <= 2**63 else None
    if value.type in (ValueType.FLOAT, ValueType.DOUBLE):
        return value.real if abs(value.real) <= 2**63 else None
    return None if value.type is ValueType.BINARY else float(value.number)
