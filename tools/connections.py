"""Handles of several services that are opened and closed together."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Connections:
    """A context manager; whoever derives from it has opened its handles in `_stack`."""

    _stack: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._stack.close()
