"""Walking over the groups of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from ipc.cpg_layouts import (
    ITERATION_INITIALIZE_REQUEST,
    ITERATION_INITIALIZE_RESPONSE,
    ITERATION_NEXT_RESPONSE,
    ITERATION_REQUEST,
    CpgRequest,
    IterationInitializeRequest,
    IterationRequest,
    IterationType,
    group_name,
)
from libais._cpg_events import checked_group, decode_group
from libais._cpg_types import Event, GroupEntry
from libais._handle import ServiceHandle
from libais.errors import InvalidParamError, LibraryError, NoSectionsError


class Iteration(Iterator[GroupEntry]):
    """A walk over a snapshot of groups.  It finalizes itself at its end or as a context manager."""

    def __init__(self, handle: ServiceHandle[Event], kind: IterationType, group: str | bytes | None) -> None:
        what = "cpg_iteration_initialize"
        if (kind == IterationType.ONE_GROUP) != (group is not None):
            raise InvalidParamError(f"{what}: a group goes with ONE_GROUP and with nothing else")
        name = checked_group(what, group or b"")
        request = IterationInitializeRequest(
            CpgRequest.ITERATION_INITIALIZE, ITERATION_INITIALIZE_REQUEST.size, len(name), name, kind
        )
        response = handle._request(what, ITERATION_INITIALIZE_REQUEST.pack(request))
        self._handle = handle
        self._cookie = handle._unpack(what, ITERATION_INITIALIZE_RESPONSE, response).iteration_handle
        self._finalized = False

    def __next__(self) -> GroupEntry:
        if self._finalized:
            raise StopIteration
        try:
            response = self._call(CpgRequest.ITERATION_NEXT, "cpg_iteration_next")
        except NoSectionsError:
            self.finalize()
            raise StopIteration from None
        try:
            entry = ITERATION_NEXT_RESPONSE.unpack(response)
            return GroupEntry(decode_group(group_name(entry)), entry.nodeid, entry.pid)
        except ValueError as error:
            raise LibraryError(f"cpg_iteration_next: {error}") from None

    def finalize(self) -> None:
        """Drop the executive's snapshot; twice is harmless.  cpg_iteration_finalize(3)."""
        if not self._finalized:
            self._finalized = True
            self._call(CpgRequest.ITERATION_FINALIZE, "cpg_iteration_finalize")

    def __enter__(self) -> Iteration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handle.closed:
            self.finalize()

    def _call(self, identifier: CpgRequest, what: str) -> bytes:
        request = IterationRequest(identifier, ITERATION_REQUEST.size, self._cookie)
        return self._handle._request(what, ITERATION_REQUEST.pack(request))
