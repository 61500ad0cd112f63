"""Questions of programs about groups: who is in, which exist; answered from the table at once."""

from __future__ import annotations

import itertools
from typing import Any

from aisexec.limits import ITERATION_ENTRIES_MAX, ITERATIONS_PER_CLIENT_MAX, LOG_INTERVAL
from aisexec.ratelimit import RateLimit
from aisexec.services.base import Context
from aisexec.services.cpg_client import CpgClient
from aisexec.services.cpg_iteration import Iteration, snapshot
from aisexec.services.cpg_processes import Process, ProcessTable
from aisexec.totem.types import LOG_WARNING
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
        self._walking: dict[int, CpgClient] = {}
        self._entries = 0
        # Of the table as it is: many clients that walk over it share them.
        self._snapshots: dict[int, list[Process]] = {}
        self._version = -1
        self._complaints = RateLimit(LOG_INTERVAL)
        self.iterations_dropped = 0
        """Iterations taken from clients that had too many entries open."""

    def disconnected(self, cpg: CpgClient) -> None:
        """A program is gone."""
        self._drop_iterations(cpg)

    def membership_get(self, cpg: CpgClient, message: bytes) -> None:
        group = _group_asked_for(MEMBERSHIP_GET_REQUEST.unpack(message))
        members = self._processes.members(group)[:MEMBERSHIP_LIST_MAX]
        self._context.respond(cpg.client.id, pack_membership([Address(p.nodeid, p.pid) for p in members]))

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
            entries = self._snapshot(request)
            error = CsError.OK if self._make_room(cpg, len(entries)) else CsError.NO_RESOURCES
            if error is CsError.OK:
                handle = next(self._handles)
                cpg.iterations[handle] = Iteration(entries)
        answer = IterationInitializeResponse(
            CpgResponse.ITERATION_INITIALIZE, ITERATION_INITIALIZE_RESPONSE.size, error, handle
        )
        self._context.respond(cpg.client.id, ITERATION_INITIALIZE_RESPONSE.pack(answer))

    def _snapshot(self, request: Any) -> list[Process]:
        kind = request.iteration_type
        if kind == IterationType.ONE_GROUP:
            group = _group_asked_for(request)  # left uninitialised by the library for the other types
            return snapshot(self._processes.members(group), kind, group)
        if self._version != self._processes.version:
            self._version = self._processes.version
            self._snapshots.clear()
        if kind not in self._snapshots:
            self._snapshots[kind] = snapshot(self._processes, kind, None)
        return self._snapshots[kind]

    def _make_room(self, cpg: CpgClient, size: int) -> bool:
        """Count a new iteration; who has most entries open makes room, which may be who asks."""
        while self._entries + size > ITERATION_ENTRIES_MAX:
            worst = max(self._walking.values(), key=lambda c: c.entries, default=cpg)
            if worst.entries <= cpg.entries + size:
                return False
            if self._complaints.allow(worst.client.pid, self._context.now) is not None:
                self._context.log(
                    LOG_WARNING,
                    f"Iterations of process {worst.client.pid} dropped: {worst.entries} entries are open",
                )
            self.iterations_dropped += len(worst.iterations)
            self._drop_iterations(worst)
        self._walking[cpg.client.id] = cpg
        cpg.entries += size
        self._entries += size
        return True

    def _drop_iterations(self, cpg: CpgClient) -> None:
        self._walking.pop(cpg.client.id, None)
        self._entries -= cpg.entries
        cpg.entries = 0
        cpg.iterations.clear()

    def iteration_next(self, cpg: CpgClient, message: bytes) -> None:
        entries = cpg.iterations.get(ITERATION_REQUEST.unpack(message).iteration_handle)
        entry = Process(0, 0, b"")
        error = CsError.LIBRARY
        if entries is not None:
            found = entries.next()
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
        if entries is not None:
            cpg.entries -= len(entries)
            self._entries -= len(entries)
        error = CsError.LIBRARY if entries is None else CsError.OK
        self._context.respond(cpg.client.id, pack_response(CpgResponse.ITERATION_FINALIZE, error))


def _group_asked_for(request: Any) -> bytes | None:
    """None for a name longer than that of any group."""
    return group_name(request) if request.group_length <= GROUP_NAME_MAX else None
