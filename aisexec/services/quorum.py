"""Quorum: who is in, and whether this partition may act (corosync's vsf_quorum; spec ipc.md 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from aisexec.services.base import Client, Context, Request, Service
from aisexec.totem.types import LOG_ERR, LOG_NOTICE, RingId
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER, ResponseHeader
from ipc.quorum_layouts import (
    CALLS,
    GETQUORATE_RESPONSE,
    GETTYPE_RESPONSE,
    MODEL_GETTYPE_REQUEST,
    SERVICE_NAME,
    TRACKSTART_REQUEST,
    GetquorateResponse,
    GettypeResponse,
    QuorumModel,
    QuorumRequest,
    QuorumResponse,
    QuorumType,
    Track,
    pack_notification,
    pack_v1_nodelist,
    pack_v1_quorum,
)

LINE_WIDTH = 63
"""Node ids are broken into lines as corosync's log has them, so that scripts can read both."""


class Quorum(Service):
    """Tells programs of the views; without a provider a node is always quorate."""

    id: ClassVar[int] = 3
    name: ClassVar[str] = "corosync cluster quorum service v0.1"
    subsystem: ClassVar[str] = "QUORUM"
    socket: ClassVar[str | None] = SERVICE_NAME
    syncs: ClassVar[bool] = True

    def __init__(self, context: Context, *, provider: bool) -> None:
        super().__init__(context)
        self._type = QuorumType.SET if provider else QuorumType.FREE
        self.quorate = not provider
        self.members: tuple[int, ...] = ()
        """The provider's view."""
        self._ring_id = RingId(0, 0)
        self._old_members: tuple[int, ...] = ()
        self._sync_members: tuple[int, ...] = ()
        self._sync_ring_id = RingId(0, 0)
        self._joined: list[int] = []
        self._left: list[int] = []
        self._models: dict[int, QuorumModel] = {}
        """Of the programs that have chosen one."""
        self._tracking: list[int] = []
        """Programs, the youngest track first."""

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        handlers: dict[int, Callable[[Client, bytes], None]] = {
            QuorumRequest.GETQUORATE: self._getquorate,
            QuorumRequest.TRACKSTART: self._trackstart,
            QuorumRequest.TRACKSTOP: self._trackstop,
            QuorumRequest.GETTYPE: self._gettype,
            QuorumRequest.MODEL_GETTYPE: self._model_gettype,
        }
        return {
            number: Request(handler, CALLS[QuorumRequest(number)].request.size, False)
            for number, handler in handlers.items()
        }

    def disconnected(self, client: Client) -> None:
        """Its track ends."""
        self._models.pop(client.id, None)
        if client.id in self._tracking:
            self._tracking.remove(client.id)

    # Synchronisation.

    def sync_init(self, trans: Sequence[int], members: Sequence[int], ring_id: RingId) -> None:
        """A node that is still a member but did not come along has left and joined."""
        old = self._old_members
        self._left = [n for n in old if n not in trans or n not in members]
        self._joined = [n for n in members if n not in old or n in self._left]
        self._sync_members = tuple(members)
        self._sync_ring_id = ring_id
        self._log_view("Sync members", members)
        if self._joined:
            self._log_view("Sync joined", self._joined)
        if self._left:
            self._log_view("Sync left", self._left)

    def sync_activate(self) -> None:
        """The view is the base of the next comparison."""
        self._old_members = self._sync_members
        event = self._nodelist(self._joined, self._left)
        self.context.event_to_all([c for c in self._tracking if self._model(c) is QuorumModel.V1], event)

    def set_quorum(self, members: Sequence[int], quorate: bool, ring_id: RingId) -> None:
        """The provider's verdict."""
        if quorate and not self.quorate:
            self._log("This node is within the primary component and will provide service.")
        elif self.quorate and not quorate:
            self._log("This node is within the non-primary component and will NOT provide any services.")
        self.quorate = quorate
        self.members = tuple(members)
        self._ring_id = ring_id
        self._log_view("Members", members)
        verdicts = {model: self._verdict(model) for model in QuorumModel}
        for client in self._tracking:
            self.context.event(client, verdicts[self._model(client)])

    # Requests.

    def _getquorate(self, client: Client, message: bytes) -> None:
        answer = GetquorateResponse(
            QuorumResponse.GETQUORATE, GETQUORATE_RESPONSE.size, CsError.OK, self.quorate
        )
        self.context.respond(client.id, GETQUORATE_RESPONSE.pack(answer))

    def _trackstart(self, client: Client, message: bytes) -> None:
        """The present state goes out before the answer, even if that is a refusal."""
        flags = TRACKSTART_REQUEST.unpack(message).track_flags
        if flags & (Track.CURRENT | Track.CHANGES):
            if self._model(client.id) is QuorumModel.V1:
                self.context.event(client.id, self._nodelist((), ()))
            self.context.event(client.id, self._verdict(self._model(client.id)))
        error = CsError.OK
        if client.id in self._tracking:
            error = CsError.EXIST
        elif flags & (Track.CHANGES | Track.CHANGES_ONLY):
            self._tracking.insert(0, client.id)
        self._answer(client, QuorumResponse.TRACKSTART, error)

    def _trackstop(self, client: Client, message: bytes) -> None:
        """OK even when there is no track."""
        if client.id in self._tracking:
            self._tracking.remove(client.id)
        self._answer(client, QuorumResponse.TRACKSTOP, CsError.OK)

    def _gettype(self, client: Client, message: bytes) -> None:
        self._answer_type(client, QuorumResponse.GETTYPE, CsError.OK)

    def _model_gettype(self, client: Client, message: bytes) -> None:
        model = MODEL_GETTYPE_REQUEST.unpack(message).model
        error = CsError.OK
        if model in (QuorumModel.V0, QuorumModel.V1):
            self._models[client.id] = QuorumModel(model)
        else:
            self.context.log(LOG_ERR, f"quorum_model_type request for unsupported model {model}")
            error = CsError.INVALID_PARAM
        self._answer_type(client, QuorumResponse.MODEL_GETTYPE, error)

    def _answer_type(self, client: Client, response: QuorumResponse, error: CsError) -> None:
        answer = GettypeResponse(response, GETTYPE_RESPONSE.size, error, self._type)
        self.context.respond(client.id, GETTYPE_RESPONSE.pack(answer))

    def _answer(self, client: Client, response: QuorumResponse, error: CsError) -> None:
        answer = ResponseHeader(response, RESPONSE_HEADER.size, error)
        self.context.respond(client.id, RESPONSE_HEADER.pack(answer))

    # Events.

    def _model(self, client: int) -> QuorumModel:
        return self._models.get(client, QuorumModel.V0)

    def _verdict(self, model: QuorumModel) -> bytes:
        if model is QuorumModel.V0:
            return pack_notification(self.quorate, self._ring_id.seq, self.members)
        return pack_v1_quorum(self.quorate, self._ring_id.rep, self._ring_id.seq, self.members)

    def _nodelist(self, joined: Sequence[int], left: Sequence[int]) -> bytes:
        ring_id = self._sync_ring_id
        return pack_v1_nodelist(ring_id.rep, ring_id.seq, self._sync_members, joined, left)

    # The log.

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
