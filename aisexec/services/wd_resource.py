"""A resource that the service wd watches: stopped, running, or failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aisexec.icmap import ValueType
from aisexec.services.base import Context
from aisexec.services.machine import Machine
from aisexec.services.timers import Alarm
from aisexec.totem.types import LOG_DEBUG, LOG_ERR, LOG_INFO, LOG_WARNING

PERIOD: Final = 6000
PERIOD_MIN: Final = 500
PERIOD_MAX: Final = 120_000
"""Milliseconds in which the owner says that it is well; half as much more is granted."""

RUNNING, STOPPED, FAILED = "running", "stopped", "failed"


class Resource:
    """Looks at the keys below `prefix`, which ends with a dot."""

    def __init__(
        self, context: Context, machine: Machine, prefix: str, failed: Callable[[Resource, str], None]
    ) -> None:
        """failed: called with the recovery that the owner wishes."""
        self.name = prefix.split(".")[2]
        self._context = context
        self._machine = machine
        self._prefix = prefix
        self._failed = failed
        self._state = STOPPED
        self._period = PERIOD
        self._recovery = ""
        self._alarm: Alarm | None = None

    @property
    def watched(self) -> bool:
        """It is running, so it can fail."""
        return self._state == RUNNING

    def begin(self) -> None:
        """Its owner gets time to begin, too."""
        self._take_period()
        if self._take_keys():
            self._check_in(max(2 * self._period, PERIOD))
            self._enter(RUNNING, "config_changed")

    def reconsider(self) -> None:
        """A key has changed."""
        before = self._period
        self._take_period()
        if not self._take_keys():
            self._enter(STOPPED, "config_changed")
            return
        if self._text("state") == STOPPED:
            self.end()
            self._enter(STOPPED, "config_changed")
        else:
            self._check_in(max(before, self._period))
            self._enter(RUNNING, "config_changed")

    def end(self) -> None:
        """It is not watched any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _take_period(self) -> None:
        value = self._context.map.get(self._prefix + "poll_period")
        if value is None or value.type is not ValueType.U64:
            return
        if not PERIOD_MIN <= value.number <= PERIOD_MAX:
            self._context.log(
                LOG_WARNING, f"Could NOT use poll_period:{value.number} ms for resource {self.name}"
            )
        elif value.number != self._period:
            self._context.log(LOG_DEBUG, f"poll_period changing from:{self._period} to {value.number}.")
            self._period = value.number

    def _take_keys(self) -> bool:
        """False when it is not to be watched: nobody says what should be done if it fails."""
        for key in ("recovery", "state"):
            if self._text(key) is None:
                self._context.log(LOG_DEBUG, f"resource {self.name} missing a {key} key.")
                self.end()
                return False
        self._recovery = self._text("recovery") or ""
        return True

    def _check_in(self, milliseconds: int) -> None:
        self.end()
        self._alarm = self._context.call_later(milliseconds / 1000, self._check)

    def _check(self) -> None:
        if self._is_well():
            self._check_in(self._period)
        elif self._state == RUNNING:
            self.end()
            self._failed(self, self._recovery)
            self._enter(FAILED, "failure")

    def _is_well(self) -> bool:
        updated = self._context.map.get(self._prefix + "last_updated")
        state = self._text("state")
        if updated is None or updated.type is not ValueType.U64 or state in (None, "disabled"):
            return False
        if updated.number == 0:
            return True  # its first life sign is still to come
        late = self._machine.nanoseconds() - updated.number - self._period * 1_500_000
        if late > 0:
            self._context.log(
                LOG_ERR,
                f"resource {self.name}: last_updated {late // 1_000_000} ms too late, period:{self._period}.",
            )
            return False
        return state != FAILED

    def _text(self, key: str) -> str | None:
        value = self._context.map.get(self._prefix + key)
        return value.text if value is not None and value.type is ValueType.STRING else None

    def _enter(self, state: str, event: str) -> None:
        if state != self._state:
            self._context.log(
                LOG_INFO, f'Fsm:{self.name} event "{event}", state "{self._state}" --> "{state}"'
            )
        self._state = state
