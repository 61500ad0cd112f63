"""Quorum: who is in, and whether this partition may act (corosync's vsf_quorum)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from aisexec.services.base import Context, Service
from aisexec.totem.types import LOG_NOTICE, RingId

LINE_WIDTH = 63
"""Node ids are broken into lines as corosync's log has them, so that scripts can read both."""


class Quorum(Service):
    """Logs the views; without a provider a node is always quorate."""

    id: ClassVar[int] = 3
    name: ClassVar[str] = "corosync cluster quorum service v0.1"
    subsystem: ClassVar[str] = "QUORUM"
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context, *, provider: bool) -> None:
        super().__init__(context)
        self.quorate = not provider
        self.members: tuple[int, ...] = ()
        self._old_members: tuple[int, ...] = ()
        self._sync_members: tuple[int, ...] = ()

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """A node that is still a member but did not come along has left and joined."""
        old = self._old_members
        left = [n for n in old if n not in trans or n not in members]
        joined = [n for n in members if n not in old or n in left]
        self._sync_members = tuple(members)
        self._log_view("Sync members", members)
        if joined:
            self._log_view("Sync joined", joined)
        if left:
            self._log_view("Sync left", left)

    def sync_activate(self) -> None:
        """The view is the base of the next comparison."""
        self._old_members = self._sync_members

    def set_quorum(self, members: Sequence[int], quorate: bool) -> None:
        """The provider's verdict."""
        if quorate and not self.quorate:
            self._log("This node is within the primary component and will provide service.")
        elif self.quorate and not quorate:
            self._log("This node is within the non-primary component and will NOT provide any services.")
        self.quorate = quorate
        self.members = tuple(members)
        self._log_view("Members", members)

    def _log(self, text: str) -> None:
        self.context.log(LOG_NOTICE, text)

    def _log_view(self, what: str, nodes: Sequence[int]) -> None:
        rest = [f" {node}" for node in nodes]
        while True:
            line = ""
            while rest and len(line) + len(rest[0]) <= LINE_WIDTH:
                line += rest.pop(0)
            self._log(f"{what}[{len(nodes)}]:{line}" + ("\\" if rest else ""))
            if not rest:
                return
