"""Walking over the keys of a map."""

from __future__ import annotations

from ipc.cmap_layouts import (
    HANDLE_REQUEST,
    HANDLE_RESPONSE,
    ITER_NEXT_RESPONSE,
    KEY_REQUEST,
    CmapRequest,
    HandleRequest,
    KeyRequest,
    ValueType,
    key_name,
)
from libais._cmap_keys import checked_key
from libais._cmap_types import Entry, Notification, decode_text
from libais._handle import ServiceHandle
from libais._iteration import ServiceIteration


class Iteration(ServiceIteration[Entry]):
    """A walk over keys in the order of their bytes.  It finalizes itself at its end or as a context manager.

    cmap_iter_init(3), cmap_iter_next(3), cmap_iter_finalize(3).
    The map is not frozen: keys may be set and deleted on the way, and the one just given may be deleted.
    """

    def __init__(self, handle: ServiceHandle[Notification], prefix: str | bytes) -> None:
        super().__init__(handle, "cmap_iter_next")
        what = "cmap_iter_init"
        name = checked_key(what, prefix)
        request = KeyRequest(CmapRequest.ITER_INIT, KEY_REQUEST.size, len(name), name)
        response = handle._request(what, KEY_REQUEST.pack(request))
        self._cookie = handle._unpack(what, HANDLE_RESPONSE, response).handle

    def _request_next(self) -> bytes:
        return self._call(CmapRequest.ITER_NEXT, "cmap_iter_next")

    def _decode(self, response: bytes) -> Entry:
        entry = ITER_NEXT_RESPONSE.unpack(response)
        return Entry(decode_text(key_name(entry)), ValueType(entry.type), entry.value_len)

    def _request_finalize(self) -> None:
        self._call(CmapRequest.ITER_FINALIZE, "cmap_iter_finalize")

    def _call(self, identifier: CmapRequest, what: str) -> bytes:
        request = HandleRequest(identifier, HANDLE_REQUEST.size, self._cookie)
        return self._handle._request(what, HANDLE_REQUEST.pack(request))
