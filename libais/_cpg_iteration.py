"""Walking over the groups of the cluster."""

from __future__ import annotations

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
from libais._iteration import ServiceIteration
from libais.errors import InvalidParamError


class Iteration(ServiceIteration[GroupEntry]):
    """A walk over a snapshot of groups.  It finalizes itself at its end or as a context manager.

    cpg_iteration_initialize(3), cpg_iteration_next(3), cpg_iteration_finalize(3).
    """

    def __init__(self, handle: ServiceHandle[Event], kind: IterationType, group: str | bytes | None) -> None:
        super().__init__(handle, "cpg_iteration_next")
        what = "cpg_iteration_initialize"
        if (kind == IterationType.ONE_GROUP) != (group is not None):
            raise InvalidParamError(f"{what}: a group goes with ONE_GROUP and with nothing else")
        name = checked_group(what, group or b"")
        request = IterationInitializeRequest(
            CpgRequest.ITERATION_INITIALIZE, ITERATION_INITIALIZE_REQUEST.size, len(name), name, kind
        )
        response = handle._request(what, ITERATION_INITIALIZE_REQUEST.pack(request))
        self._cookie = handle._unpack(what, ITERATION_INITIALIZE_RESPONSE, response).iteration_handle

    def _request_next(self) -> bytes:
        return self._call(CpgRequest.ITERATION_NEXT, "cpg_iteration_next")

    def _decode(self, response: bytes) -> GroupEntry:
        entry = ITERATION_NEXT_RESPONSE.unpack(response)
        return GroupEntry(decode_group(group_name(entry)), entry.nodeid, entry.pid)

    def _request_finalize(self) -> None:
        self._call(CpgRequest.ITERATION_FINALIZE, "cpg_iteration_finalize")

    def _call(self, identifier: CpgRequest, what: str) -> bytes:
        request = IterationRequest(identifier, ITERATION_REQUEST.size, self._cookie)
        return self._handle._request(what, ITERATION_REQUEST.pack(request))
