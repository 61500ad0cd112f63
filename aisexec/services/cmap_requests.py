"""The calls of libcmap (cmap_overview(3), spec ipc.md 5.3), each answered at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from aisexec.icmap import Change, Icmap, MapError, Value
from aisexec.limits import CMAP_ITERATIONS_PER_CLIENT_MAX, CMAP_TRACKS_MAX, CMAP_TRACKS_PER_CLIENT_MAX
from aisexec.services.base import Client, Context, Request
from aisexec.services.cmap_client import CmapClient, ConfigurationView, Iteration, MapView, StatisticsView
from aisexec.services.stats_map import StatsMap
from ipc.cmap_layouts import (
    ADJUST_INT_REQUEST,
    CALLS,
    GET_REQUEST,
    GET_RESPONSE,
    HANDLE,
    HANDLE_REQUEST,
    HANDLE_RESPONSE,
    ITER_NEXT_RESPONSE,
    KEY_REQUEST,
    SET_CURRENT_MAP_REQUEST,
    SET_REQUEST,
    TRACK_ADD_REQUEST,
    VALUE_MAX,
    BadMessageError,
    CmapRequest,
    CmapResponse,
    GetResponse,
    HandleResponse,
    IterNextResponse,
    Map,
    Notification,
    StoredValue,
    key_name,
    pack_response,
    payload,
    split_notification,
)
from ipc.errors import CsError

Handler = Callable[[Client, CmapClient, bytes], None]

NOTHING = StoredValue(0, b"")


class CmapRequests:
    """All programs that are connected to cmap."""

    def __init__(self, context: Context, map: Icmap, stats: StatsMap) -> None:
        self._context = context
        self._views: Mapping[int, MapView] = {
            Map.ICMAP: ConfigurationView(map),
            Map.STATS: StatisticsView(stats),
        }
        self._clients: dict[int, CmapClient] = {}
        self._handle = 0
        self._tracks = 0
        self._told: Change | None = None
        """The change that was told last, and how: most are told to many tracks, one after the other."""
        self._packed = b"", b""

    def handlers(self) -> Mapping[int, Request]:
        """By id; none needs room in the send queue."""
        handlers: dict[CmapRequest, Handler] = {
            CmapRequest.SET: self._set,
            CmapRequest.DELETE: self._delete,
            CmapRequest.GET: self._get,
            CmapRequest.ADJUST_INT: self._adjust,
            CmapRequest.ITER_INIT: self._iter_init,
            CmapRequest.ITER_NEXT: self._iter_next,
            CmapRequest.ITER_FINALIZE: self._iter_finalize,
            CmapRequest.TRACK_ADD: self._track_add,
            CmapRequest.TRACK_DELETE: self._track_delete,
            CmapRequest.SET_CURRENT_MAP: self._set_current_map,
        }
        return {
            number: Request(partial(self._handle_request, handler), CALLS[number].request.size, False)
            for number, handler in handlers.items()
        }

    def connected(self, client: Client) -> None:
        """It begins with the configuration map."""
        self._clients[client.id] = CmapClient(self._views[Map.ICMAP])

    def disconnected(self, client: Client) -> None:
        """Its tracks end."""
        state = self._clients.pop(client.id)
        self._tracks -= len(state.tracks)
        state.close()

    def _handle_request(self, handler: Handler, client: Client, message: bytes) -> None:
        try:
            handler(client, self._clients[client.id], message)
        except BadMessageError as error:
            self._context.close(client.id, f"bad request: {error}")

    def _new_handle(self) -> int:
        self._handle += 1
        return self._handle

    # ------------------------------------------------------------- values

    def _set(self, client: Client, state: CmapClient, message: bytes) -> None:
        request = SET_REQUEST.unpack(message)
        value = payload(message, SET_REQUEST.size, request.value_len)
        key = name(key_name(request))
        self._try(client, CmapResponse.SET, lambda: state.view.set(key, request.type, value))

    def _delete(self, client: Client, state: CmapClient, message: bytes) -> None:
        key = name(key_name(KEY_REQUEST.unpack(message)))
        self._try(client, CmapResponse.DELETE, lambda: state.view.delete(key))

    def _adjust(self, client: Client, state: CmapClient, message: bytes) -> None:
        request = ADJUST_INT_REQUEST.unpack(message)
        key = name(key_name(request))
        self._try(client, CmapResponse.ADJUST_INT, lambda: state.view.adjust(key, request.step))

    def _try(self, client: Client, response: CmapResponse, what: Callable[[], None]) -> None:
        try:
            what()
            error = CsError.OK
        except MapError as refused:
            error = refused.error
        self._context.respond(client.id, pack_response(response, error))

    def _get(self, client: Client, state: CmapClient, message: bytes) -> None:
        """The answer is as long as the caller has room; room for no value asks for its size only."""
        request = GET_REQUEST.unpack(message)
        value, room = state.view.get(name(key_name(request))), request.value_len
        if value is None or 0 < room < len(value.data):
            error = CsError.NOT_EXIST if value is None else CsError.INVALID_PARAM
            answer = GetResponse(CmapResponse.GET, GET_RESPONSE.size, error, 0, 0)
            self._context.respond(client.id, GET_RESPONSE.pack(answer))
            return
        room = min(room, VALUE_MAX + 1)  # no value is longer, and callers take what is shorter
        size = GET_RESPONSE.size + room
        answer = GetResponse(CmapResponse.GET, size, CsError.OK, len(value.data), value.type)
        content = value.data.ljust(room, b"\0") if room else b""
        self._context.respond(client.id, GET_RESPONSE.pack(answer) + content)

    # ------------------------------------------------------------- iterations

    def _iter_init(self, client: Client, state: CmapClient, message: bytes) -> None:
        handle, error = 0, CsError.OK
        if len(state.iterations) >= CMAP_ITERATIONS_PER_CLIENT_MAX:
            error = CsError.NO_RESOURCES
        else:
            handle = self._new_handle()
            state.iterations[handle] = Iteration(name(key_name(KEY_REQUEST.unpack(message))))
        self._respond_handle(client, CmapResponse.ITER_INIT, error, handle)

    def _iter_next(self, client: Client, state: CmapClient, message: bytes) -> None:
        iteration = state.iterations.get(HANDLE_REQUEST.unpack(message).handle)
        key, size, kind, error = None, 0, 0, CsError.BAD_HANDLE
        if iteration is not None:
            key, error = state.view.next_key(iteration.last, iteration.prefix), CsError.NO_SECTIONS
            if key is not None:
                iteration.last, error = key, CsError.OK
                size, kind = state.view.listed(key)
        raw = (key or "").encode()
        answer = IterNextResponse(
            CmapResponse.ITER_NEXT, ITER_NEXT_RESPONSE.size, error, len(raw), raw, size, kind
        )
        self._context.respond(client.id, ITER_NEXT_RESPONSE.pack(answer))

    def _iter_finalize(self, client: Client, state: CmapClient, message: bytes) -> None:
        known = state.iterations.pop(HANDLE_REQUEST.unpack(message).handle, None)
        error = CsError.BAD_HANDLE if known is None else CsError.OK
        self._context.respond(client.id, pack_response(CmapResponse.ITER_FINALIZE, error))

    def _respond_handle(self, client: Client, response: CmapResponse, error: CsError, handle: int) -> None:
        answer = HandleResponse(response, HANDLE_RESPONSE.size, error, handle)
        self._context.respond(client.id, HANDLE_RESPONSE.pack(answer))

    # ------------------------------------------------------------- tracks

    def _track_add(self, client: Client, state: CmapClient, message: bytes) -> None:
        request = TRACK_ADD_REQUEST.unpack(message)
        key = name(key_name(request)) or None
        handle, error = 0, CsError.OK
        if len(state.tracks) >= CMAP_TRACKS_PER_CLIENT_MAX or self._tracks >= CMAP_TRACKS_MAX:
            error = CsError.NO_RESOURCES
        else:
            inst = request.track_inst_handle
            try:
                untrack = state.view.track(key, request.track_type, partial(self._notify, client.id, inst))
            except MapError as refused:
                error = refused.error
            else:
                handle = self._new_handle()
                state.tracks[handle] = inst, untrack
                self._tracks += 1
        self._respond_handle(client, CmapResponse.TRACK_ADD, error, handle)

    def _notify(self, client: int, inst: int, change: Change) -> None:
        if change is not self._told:
            self._told = change
            self._packed = split_notification(
                Notification(0, change.key.encode(), change.event, stored(change.new), stored(change.old))
            )
        front, back = self._packed
        self._context.event(client, front, HANDLE.pack(inst), back)

    def _track_delete(self, client: Client, state: CmapClient, message: bytes) -> None:
        known = state.tracks.pop(HANDLE_REQUEST.unpack(message).handle, None)
        inst, error = 0, CsError.BAD_HANDLE
        if known is not None:
            inst, untrack = known
            untrack()
            self._tracks -= 1
            error = CsError.OK
        self._respond_handle(client, CmapResponse.TRACK_DELETE, error, inst)

    # ------------------------------------------------------------- which map

    def _set_current_map(self, client: Client, state: CmapClient, message: bytes) -> None:
        wanted = SET_CURRENT_MAP_REQUEST.unpack(message).map
        error = CsError.OK
        if state.iterations or state.tracks:
            error = CsError.BUSY
        elif wanted not in self._views:
            error = CsError.NOT_EXIST
        else:
            state.view = self._views[wanted]
        self._context.respond(client.id, pack_response(CmapResponse.SET_CURRENT_MAP, error))


def name(raw: bytes) -> str:
    """A key as C sees it: up to the first NUL.  Bytes that no key has stay different from all that has."""
    return raw.split(b"\0")[0].decode("latin-1")


def stored(value: Value | None) -> StoredValue:
    """For a notification."""
    return NOTHING if value is None else StoredValue(value.type, value.data)
