"""What the services mon and wd need of the computer they run on, handed in as everything is."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Memory(NamedTuple):
    """Bytes of main memory and swap space together."""

    total: int
    free: int


class Watchdog(Protocol):
    """An open watchdog device: the computer is reset when keep_alive() stays away for its time-out."""

    @property
    def identity(self) -> str:
        """What the driver calls itself."""

    @property
    def timeout(self) -> int:
        """Seconds."""

    def set_timeout(self, seconds: int) -> bool:
        """False when the device cannot; it then has the time-out it had."""

    def keep_alive(self) -> None:
        """Never waits for the device."""


class Machine(Protocol):
    """The computer."""

    def nanoseconds(self) -> int:
        """On the clock of resources' last_updated keys: CLOCK_MONOTONIC of this computer."""

    def memory(self) -> Memory | None:
        """None when it cannot be told."""

    def load_15min(self) -> float | None:
        """Load average of the last 15 minutes."""

    def open_watchdog(self, path: str) -> Watchdog:
        """Open and start it.  Raises OSError."""

    def end(self, *, power_off: bool) -> None:
        """Reset or switch off the computer, at once.  Raises OSError."""


class NoMachine:
    """For executives that run nowhere, as in the simulator."""

    def nanoseconds(self) -> int:
        """See Machine."""
        return 0

    def memory(self) -> Memory | None:
        """See Machine."""
        return None

    def load_15min(self) -> float | None:
        """See Machine."""
        return None

    def open_watchdog(self, path: str) -> Watchdog:
        """See Machine."""
        raise FileNotFoundError(2, "no computer", path)

    def end(self, *, power_off: bool) -> None:
        """See Machine."""
