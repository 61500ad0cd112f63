"""Walking over the keys of a map."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

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
from libais.errors import LibraryError, NoSectionsError


class Iteration(Iterator[Entry]):
    """A walk over keys in the order of their bytes.  It finalizes itself at its end or as a context manager.

    The map is not frozen: keys may be set and deleted on the way, and the one just given may be deleted.
    """

    def __init__(self, handle: ServiceHandle[Notification], prefix: str | bytes) -> None:
        what = "cmap_iter_init"
        name = checked_key(what, prefix)
        request = KeyRequest(CmapRequest.ITER_INIT, KEY_REQUEST.size, len(name), name)
        response = handle._request(what, KEY_REQUEST.pack(request))
        self._handle = handle
        self._cookie = handle._unpack(what, HANDLE_RESPONSE, response).handle
        self._finalized = False

    def __next__(self) -> Entry:
        if self._finalized:
            raise StopIteration
        try:
            response = self._call(CmapRequest.ITER_NEXT, "cmap_iter_next")
        except NoSectionsError:
            self.finalize()
            raise StopIteration from None
        try:
            entry = ITER_NEXT_RESPONSE.unpack(response)
            return Entry(decode_text(key_name(entry)), ValueType(entry.type), entry.value_len)
        except ValueError as error:
            raise LibraryError(f"cmap_iter_next: {error}") from None

    def finalize(self) -> None:
        """Tell the executive that it is over; twice is harmless.  cmap_iter_finalize(3)."""
        if not self._finalized:
            self._finalized = True
            self._call(CmapRequest.ITER_FINALIZE, "cmap_iter_finalize")

    def __enter__(self) -> Iteration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handle.closed:
            self.finalize()

    def _call(self, identifier: CmapRequest, what: str) -> bytes:
        request = HandleRequest(identifier, HANDLE_REQUEST.size, self._cookie)
        return self._handle._request(what, HANDLE_REQUEST.pack(request))
