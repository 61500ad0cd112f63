"""Sending out of memory that a program shares with us: cpg_zcb_alloc(3), cpg_zcb_mcast_joined(3)."""

from __future__ import annotations

from collections.abc import Callable

from aisexec.services.base import Context
from aisexec.services.cpg_client import CpgClient
from ipc.cpg_layouts import (
    DELIVER_MAX,
    MCAST_REQUEST,
    ZC_ALLOC_REQUEST,
    ZC_EXECUTE_REQUEST,
    ZC_FREE_REQUEST,
    ZC_MCAST_OFFSET,
    ZC_PAYLOAD_OFFSET,
    CpgResponse,
    pack_response,
)
from ipc.errors import CsError

Multicast = Callable[[CpgClient, bytes, int], bool]
"""Sends a message with a guarantee; False when there is no room."""


class ZeroCopy:
    """The requests about buffers; the memory itself is the context's."""

    def __init__(self, context: Context, multicast: Multicast) -> None:
        self._context = context
        self._multicast = multicast

    def allocate(self, cpg: CpgClient, message: bytes) -> None:
        """Take over a buffer that the program has made."""
        request = ZC_ALLOC_REQUEST.unpack(message)
        path = request.path_to_file.split(b"\0")[0].decode("utf-8", "surrogateescape")
        try:
            self._context.open_buffer(cpg.client.id, path, request.map_size)
        except OSError as error:
            # The library ignores an error answer and would use a buffer that nobody reads.
            self._context.close(cpg.client.id, f"zero-copy buffer refused: {error}")
            return
        self._answer(cpg, CpgResponse.ZC_ALLOC, CsError.OK)

    def free(self, cpg: CpgClient, message: bytes) -> None:
        """Give it back."""
        request = ZC_FREE_REQUEST.unpack(message)
        try:
            self._context.release_buffer(cpg.client.id, request.server_address)
        except KeyError:
            self._context.close(cpg.client.id, "zero-copy buffer freed that was never allocated")
            return
        self._answer(cpg, CpgResponse.ZC_FREE, CsError.OK)

    def execute(self, cpg: CpgClient, message: bytes) -> None:
        """Send the message that a buffer holds."""
        cookie = ZC_EXECUTE_REQUEST.unpack(message).server_address
        client = cpg.client.id
        try:
            head = self._context.read_buffer(client, cookie, ZC_MCAST_OFFSET, MCAST_REQUEST.size)
            request = MCAST_REQUEST.unpack(head)
            if request.msglen > DELIVER_MAX:
                self._answer(cpg, CpgResponse.ZC_EXECUTE, CsError.TOO_BIG)
                return
            body = self._context.read_buffer(client, cookie, ZC_PAYLOAD_OFFSET, request.msglen)
        except (KeyError, ValueError, OSError) as error:
            self._context.close(client, f"bad zero-copy message: {error}")
            return
        error_code = CsError.NOT_EXIST
        if cpg.may_send():
            error_code = CsError.OK if self._multicast(cpg, body, request.guarantee) else CsError.TRY_AGAIN
        self._answer(cpg, CpgResponse.ZC_EXECUTE, error_code)

    def _answer(self, cpg: CpgClient, response: int, error: CsError) -> None:
        self._context.respond(cpg.client.id, pack_response(response, error))
