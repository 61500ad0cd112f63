"""Questions of programs about groups: who is in, which exist; answered from the table at once."""

from __future__ import annotations

import itertools
from typing import Any

from aisexec.limits import ITERATIONS_PER_CLIENT_MAX
from aisexec.services.base import Context
from aisexec.services.cpg_client import CpgClient
from aisexec.services.cpg_iteration import snapshot
from aisexec.services.cpg_processes import Process, ProcessTable
from ipc.cpg_layouts import (
    GROUP_NAME_MAX,
    ITERATION_INITIALIZE_REQUEST,
    ITERATION_INITIALIZE_RESPONSE,
    ITERATION_NEXT_RESPONSE,
    ITERATION_REQUEST,
    LOCAL_GET_RESPONSE,
    MEMBERSHIP_GET_REQUEST,
    MEMBERSHIP_LIST_MAX,
    Address,
    CpgResponse,
    IterationInitializeResponse,
    IterationNextResponse,
    IterationType,
    LocalGetResponse,
    group_name,
    pack_membership,
    pack_response,
)
from ipc.errors import CsError


class CpgQueries:
    """The calls of libcpg that change nothing."""

    def __init__(self, context: Context, processes: ProcessTable) -> None:
        self._context = context
        self._processes = processes
        self._handles = itertools.count(1)

    def membership_get(self, cpg: CpgClient, message: bytes) -> None:
        group = _group_asked_for(MEMBERSHIP_GET_REQUEST.unpack(message))
        members = [Address(p.nodeid, p.pid) for p in self._processes.members(group)]
        self._context.respond(cpg.client.id, pack_membership(members[:MEMBERSHIP_LIST_MAX]))

    def local_get(self, cpg: CpgClient, message: bytes) -> None:
        answer = LocalGetResponse(
            CpgResponse.LOCAL_GET, LOCAL_GET_RESPONSE.size, CsError.OK, self._context.nodeid
        )
        self._context.respond(cpg.client.id, LOCAL_GET_RESPONSE.pack(answer))

    def iteration_initialize(self, cpg: CpgClient, message: bytes) -> None:
        request = ITERATION_INITIALIZE_REQUEST.unpack(message)
        handle = 0
        if request.iteration_type not in tuple(IterationType):
            error = CsError.INVALID_PARAM
        elif len(cpg.iterations) >= ITERATIONS_PER_CLIENT_MAX:
            error = CsError.NO_RESOURCES
        else:
            error = CsError.OK
            handle = next(self._handles)
            group = _group_asked_for(request)  # left uninitialised by the library for the other types
            cpg.iterations[handle] = iter(snapshot(self._processes, request.iteration_type, group))
        answer = IterationInitializeResponse(
            CpgResponse.ITERATION_INITIALIZE, ITERATION_INITIALIZE_RESPONSE.size, error, handle
        )
        self._context.respond(cpg.client.id, ITERATION_INITIALIZE_RESPONSE.pack(answer))

    def iteration_next(self, cpg: CpgClient, message: bytes) -> None:
        entries = cpg.iterations.get(ITERATION_REQUEST.unpack(message).iteration_handle)
        entry = Process(0, 0, b"")
        error = CsError.LIBRARY
        if entries is not None:
            found = next(entries, None)
            error = CsError.NO_SECTIONS if found is None else CsError.OK
            entry = found or entry
        answer = IterationNextResponse(
            CpgResponse.ITERATION_NEXT,
            ITERATION_NEXT_RESPONSE.size,
            error,
            len(entry.group),
            entry.group,
            entry.nodeid,
            entry.pid,
        )
        self._context.respond(cpg.client.id, ITERATION_NEXT_RESPONSE.pack(answer))

    def iteration_finalize(self, cpg: CpgClient, message: bytes) -> None:
        entries = cpg.iterations.pop(ITERATION_REQUEST.unpack(message).iteration_handle, None)
        error = CsError.LIBRARY if entries is None else CsError.OK
        self._context.respond(cpg.client.id, pack_response(CpgResponse.ITERATION_FINALIZE, error))


def _group_asked_for(request: Any) -> bytes | None:
    """None for a name longer than that of any group."""
    return group_name(request) if request.group_length <= GROUP_NAME_MAX else None
