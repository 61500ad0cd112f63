"""Is this part of the cluster allowed to act, and who is in it (quorum_overview(3)).

The names are those of the C library without their prefix: quorum_trackstart is `Handle.trackstart`.
Failures are exceptions of `libais.errors`, one class per cs_error_t.

    with quorum.Handle() as handle:
        print("quorate" if handle.getquorate() else "not quorate")
        handle.trackstart()
        for event in handle.events():
            ...

Threads, greenlets, asyncio and fork: as with `libais.cpg`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ipc.layouts import REQUEST_HEADER, RESPONSE_HEADER, RequestHeader
from ipc.quorum_layouts import (
    GETQUORATE_RESPONSE,
    GETTYPE_RESPONSE,
    MODEL_GETTYPE_REQUEST,
    SERVICE_NAME,
    TRACKSTART_REQUEST,
    ModelGettypeRequest,
    QuorumEvent,
    QuorumModel,
    QuorumRequest,
    QuorumType,
    Track,
    TrackstartRequest,
    unpack_notification,
    unpack_v1_nodelist,
    unpack_v1_quorum,
)
from ipc.waiting import Waiter
from libais._handle import ContextHandle
from libais._types import Dispatch, RingId
from libais.errors import InvalidParamError, LibraryError

__all__ = [
    "Dispatch",
    "Event",
    "Handle",
    "NodeListChange",
    "QuorumChange",
    "QuorumModel",
    "QuorumType",
    "RingId",
    "Track",
]


@dataclass(frozen=True, slots=True)
class QuorumChange:
    """Whether this node's part of the cluster is quorate, and the node ids in it.

    Model 0 does not tell the ring's representative: ring_id.nodeid is 0 there.
    """

    quorate: bool
    ring_id: RingId
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeListChange:
    """The membership after a change, and who came and went (node ids); model 1 only.

    A node that restarted so quickly that nobody missed it is in `joined` and in `left`.
    """

    ring_id: RingId
    members: tuple[int, ...]
    joined: tuple[int, ...]
    left: tuple[int, ...]


Event = QuorumChange | NodeListChange
QuorumCallback = Callable[["Handle", QuorumChange], object]
NodeListCallback = Callable[["Handle", NodeListChange], object]


class Handle(ContextHandle[Event]):
    """A connection to the quorum service.  quorum_initialize(3), quorum_model_initialize(3).

    notify, nodelist: callbacks of `dispatch`, called with the handle and a `QuorumChange` or a
    `NodeListChange`; an event without callback is dropped.  `events` and `aevents` need none of them.
    model: V0 gets `QuorumChange` only, and without the representative of the ring.
    context: anything, kept as attribute `context`.
    retry_for, connect_timeout, waiter: as in `libais.cpg.Handle`.

    `quorum_type` says whether a quorum provider is configured (SET) or the node always counts as
    quorate (FREE).
    Raises LibraryError when no executive runs, TryAgainError when it is not ready yet, AccessError,
    InvalidParamError for an unknown model.
    """

    _prefix = "quorum"

    def __init__(
        self,
        notify: QuorumCallback | None = None,
        nodelist: NodeListCallback | None = None,
        *,
        model: QuorumModel = QuorumModel.V1,
        context: object = None,
        retry_for: float = 0.0,
        connect_timeout: float | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        try:
            self.model = QuorumModel(model)
        except ValueError:
            raise InvalidParamError(f"quorum_model_initialize: there is no model {model!r}") from None
        super().__init__(SERVICE_NAME, retry_for=retry_for, connect_timeout=connect_timeout, waiter=waiter)
        self.notify = notify
        self.nodelist = nodelist
        self.context = context
        try:
            self.quorum_type = self._introduce()
        except BaseException:
            self.close()
            raise

    def _introduce(self) -> QuorumType:
        if self.model == QuorumModel.V0:
            request = _head(QuorumRequest.GETTYPE)
        else:
            request = MODEL_GETTYPE_REQUEST.pack(
                ModelGettypeRequest(QuorumRequest.MODEL_GETTYPE, MODEL_GETTYPE_REQUEST.size, self.model)
            )
        what = "quorum_model_initialize"
        answer = self._unpack(what, GETTYPE_RESPONSE, self._request(what, request))
        try:
            return QuorumType(answer.quorum_type)
        except ValueError:
            raise LibraryError(f"{what}: unknown type of quorum {answer.quorum_type}") from None

    def getquorate(self) -> bool:
        """Is this part of the cluster quorate?  quorum_getquorate(3)."""
        what = "quorum_getquorate"
        answer = self._request(what, _head(QuorumRequest.GETQUORATE))
        return bool(self._unpack(what, GETQUORATE_RESPONSE, answer).quorate)

    def trackstart(self, flags: Track = Track.CURRENT | Track.CHANGES) -> None:
        """Ask for events.  quorum_trackstart(3).

        flags: CURRENT one set of events with the state now; CHANGES that, and all later changes;
        CHANGES_ONLY the changes alone.
        Raises ExistError when changes are tracked already (the events with the state come anyway).
        """
        request = TrackstartRequest(QuorumRequest.TRACKSTART, TRACKSTART_REQUEST.size, flags)
        self._request("quorum_trackstart", TRACKSTART_REQUEST.pack(request))

    def trackstop(self) -> None:
        """No more events; never fails for want of tracking.  quorum_trackstop(3)."""
        self._request("quorum_trackstop", _head(QuorumRequest.TRACKSTOP))

    def _decode(self, message: bytes) -> Event:
        identifier = RESPONSE_HEADER.unpack(message).id
        if identifier == QuorumEvent.NOTIFICATION:
            event, members = unpack_notification(message)
            return QuorumChange(bool(event.quorate), RingId(0, event.ring_seq), members)
        if identifier == QuorumEvent.V1_QUORUM_NOTIFICATION:
            change, members = unpack_v1_quorum(message)
            ring_id = RingId(change.ring_nodeid, change.ring_seq)
            return QuorumChange(bool(change.quorate), ring_id, members)
        if identifier == QuorumEvent.V1_NODELIST_NOTIFICATION:
            head, members, joined, left = unpack_v1_nodelist(message)
            return NodeListChange(RingId(head.ring_nodeid, head.ring_seq), members, joined, left)
        raise LibraryError(f"the executive sent an event of unknown kind {identifier}")

    def _call_back(self, event: Event) -> None:
        if isinstance(event, QuorumChange):
            if self.notify is not None:
                self.notify(self, event)
        elif self.nodelist is not None:
            self.nodelist(self, event)


def _head(identifier: int) -> bytes:
    return REQUEST_HEADER.pack(RequestHeader(identifier, REQUEST_HEADER.size))
