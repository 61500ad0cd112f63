"""Closed process groups: ordered multicast between the processes of a cluster (cpg_overview(3)).

The names are those of the C library without their prefix: cpg_mcast_joined is
`Handle.mcast_joined`.  Failures are exceptions of `libais.errors`, one class per cs_error_t.

    with cpg.Handle() as handle:
        handle.join("counters")
        handle.mcast_joined(b"plus one")
        for event in handle.events():
            ...

A handle may be used by several threads or greenlets; events are handed out in their order, to one of
them at a time.  After a fork the child has to open its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

from ipc.client import LIMIT_BULK
from ipc.cpg_layouts import (
    ATOMIC_MESSAGE_MAX,
    JOIN_REQUEST,
    LEAVE_REQUEST,
    LOCAL_GET_RESPONSE,
    MCAST_REQUEST,
    MEMBERSHIP_GET_REQUEST,
    PARTIAL_MCAST_REQUEST,
    SERVICE_NAME,
    ZC_ALLOC_REQUEST,
    ZC_EXECUTE_REQUEST,
    ZC_FREE_REQUEST,
    ZC_PAYLOAD_OFFSET,
    CpgRequest,
    Guarantee,
    IterationType,
    JoinFlag,
    JoinRequest,
    LeaveRequest,
    McastRequest,
    MembershipGetRequest,
    PartialMcastRequest,
    PartialType,
    Reason,
    ZcAllocRequest,
    ZcExecuteRequest,
    ZcFreeRequest,
    pack_request,
    unpack_membership,
)
from ipc.layout import Buffer
from ipc.waiting import Waiter
from libais._cpg_events import Decoder, checked_group, decode_group, processes
from libais._cpg_iteration import Iteration
from libais._cpg_message import flatten, fragments, total_size
from libais._cpg_types import (
    ConfigChange,
    Deliver,
    Event,
    FlowControlState,
    GroupEntry,
    Process,
    TotemChange,
)
from libais._cpg_zero_copy import SIZE_MAX, ZeroCopyBuffer, create_shared_memory
from libais._handle import ContextHandle, Retry
from libais._types import Dispatch, RingId
from libais.errors import (
    BusyError,
    ExistError,
    InterruptError,
    InvalidParamError,
    LibraryError,
    TooBigError,
    TryAgainError,
    from_os_error,
)
from libais.limits import BUSY_RETRY, FRAGMENT_RETRY, MESSAGE_MAX

__all__ = [
    "ConfigChange",
    "Deliver",
    "Dispatch",
    "Event",
    "FlowControlState",
    "GroupEntry",
    "Guarantee",
    "Handle",
    "Iteration",
    "IterationType",
    "Process",
    "Reason",
    "RingId",
    "TotemChange",
    "ZeroCopyBuffer",
]

Group = str | bytes
DeliverCallback = Callable[["Handle", Deliver], object]
ConfigChangeCallback = Callable[["Handle", ConfigChange], object]
TotemChangeCallback = Callable[["Handle", TotemChange], object]


class Handle(ContextHandle[Event]):
    """A connection to the CPG service; it can be in one group at a time.  cpg_model_initialize(3).

    deliver, confchg, totem_confchg: callbacks of `dispatch`, called with the handle and a `Deliver`,
    `ConfigChange` or `TotemChange`; an event without callback is dropped.  `events` and `aevents`
    need none of them.
    initial_totem_confchg: ask for a `TotemChange` with the present configuration after the join.
    context: anything, kept as attribute `context`.
    retry_for: seconds for which every call repeats what the executive answers with TRY_AGAIN.
    connect_timeout: seconds to wait for the executive's answer, None for ever.
    waiter: `ipc.waiting.GeventWaiter()` makes it cooperative where gevent did not patch the standard
    library; normally left out.

    Raises LibraryError when no executive runs, TryAgainError when it is not ready yet, AccessError.
    """

    _prefix = "cpg"

    def __init__(
        self,
        deliver: DeliverCallback | None = None,
        confchg: ConfigChangeCallback | None = None,
        totem_confchg: TotemChangeCallback | None = None,
        *,
        initial_totem_confchg: bool = False,
        context: object = None,
        retry_for: float = 0.0,
        connect_timeout: float | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        super().__init__(SERVICE_NAME, retry_for=retry_for, connect_timeout=connect_timeout, waiter=waiter)
        self.deliver = deliver
        self.confchg = confchg
        self.totem_confchg = totem_confchg
        self.context = context
        self._flags = JoinFlag.DELIVER_INITIAL_TOTEM_CONF if initial_totem_confchg else JoinFlag(0)
        self._decoder = Decoder()
        # Fragments are put together by sender: those of two messages must not mix.
        self._fragment_lock = self._waiter.lock()

    # --- membership ----------------------------------------------------------------------------

    def join(self, group: Group) -> None:
        """Become a member of `group` (at most 128 bytes).  cpg_join(3).

        Done when a `ConfigChange` lists this process.  While an earlier leave is not finished the call
        waits, up to a minute.
        Raises ExistError when this process is a member already (a process is one member, whatever its
        handles) or this handle is in another group, NameTooLongError, TryAgainError,
        BusyError.
        """
        name = checked_group("cpg_join", group)
        request = JoinRequest(CpgRequest.JOIN, JOIN_REQUEST.size, len(name), name, os.getpid(), self._flags)
        try:
            self._request_while_busy("cpg_join", JOIN_REQUEST.pack(request))
        except ExistError:
            raise ExistError(
                f"cpg_join: process {os.getpid()} is already a member of {decode_group(name)!r}, "
                "or this handle of another group"
            ) from None

    def leave(self, group: Group) -> None:
        """Leave `group`.  cpg_leave(3).  Done when a `ConfigChange` lists this process as left.

        Raises NotExistError when it is no member, NameTooLongError, TryAgainError, BusyError.
        """
        name = checked_group("cpg_leave", group)
        request = LeaveRequest(CpgRequest.LEAVE, LEAVE_REQUEST.size, len(name), name, os.getpid())
        self._request_while_busy("cpg_leave", LEAVE_REQUEST.pack(request))

    def membership_get(self, group: Group) -> tuple[Process, ...]:
        """The members of `group` in the whole cluster, empty for an unknown one.  cpg_membership_get(3)."""
        name = checked_group("cpg_membership_get", group)
        request = MembershipGetRequest(
            CpgRequest.MEMBERSHIP_GET, MEMBERSHIP_GET_REQUEST.size, len(name), name
        )
        response = self._request("cpg_membership_get", MEMBERSHIP_GET_REQUEST.pack(request))
        try:
            return processes(unpack_membership(response))
        except ValueError as error:
            raise LibraryError(f"cpg_membership_get: {error}") from None

    def local_get(self) -> int:
        """The node id of this node.  cpg_local_get(3)."""
        response = self._request("cpg_local_get", pack_request(CpgRequest.LOCAL_GET))
        return self._unpack("cpg_local_get", LOCAL_GET_RESPONSE, response).local_nodeid

    def iteration(
        self, kind: IterationType = IterationType.ALL, group: Group | None = None
    ) -> Iteration:
        """Walk over all groups of the cluster as they are now.  cpg_iteration_initialize(3).

        kind: NAME_ONLY the names, ALL every process of every group, ONE_GROUP those of `group`, which
        has to be given then and only then (InvalidParamError).
        """
        return Iteration(self, kind, group)

    def _request_while_busy(self, what: str, request: bytes) -> None:
        retry = Retry(BUSY_RETRY)
        while True:
            try:
                self._request(what, request)
                return
            except BusyError:
                pause = retry.next_pause()
                if pause is None:
                    raise
                self._waiter.sleep(pause)

    # --- sending -------------------------------------------------------------------------------

    def mcast_joined(
        self, message: Buffer | Sequence[Buffer], guarantee: Guarantee = Guarantee.AGREED
    ) -> None:
        """Send to the group this handle has joined, itself included.  cpg_mcast_joined(3).

        message: bytes, or a list or tuple of pieces sent as one message.  What is longer than
        `max_atomic_msgsize_get` goes in fragments and is put together by the receivers; then the call
        lasts until the executive has taken the last one.
        guarantee: the executive orders everything at least AGREED.
        Without an error the message is on its way; it is lost only with this node, or when the handle
        has joined no group (then silently, as in C).
        Raises TryAgainError (nothing was sent), TooBigError above 512 MiB, and for a long message
        InterruptError (membership changed, nobody gets it: send it again) and NotExistError (not
        joined).
        """
        parts = flatten(message)
        size = total_size(parts)
        if size > MESSAGE_MAX:
            raise TooBigError(f"cpg_mcast_joined: message of {size} bytes, limit is {MESSAGE_MAX}")
        if size > self.max_atomic_msgsize_get():
            self._send_fragmented(parts, size, guarantee)
            return
        request = (_mcast_head(size, guarantee), *parts)
        retry = Retry(self.retry_for) if self.retry_for > 0 else None
        while True:
            try:
                self._send(request, wait=True)
                return
            except TryAgainError:
                pause = retry.next_pause() if retry else None
                if pause is None:
                    raise
                self._waiter.sleep(pause)

    async def amcast_joined(
        self, message: Buffer | Sequence[Buffer], guarantee: Guarantee = Guarantee.AGREED
    ) -> None:
        """`mcast_joined` that never blocks the asyncio loop; long messages are sent from a thread."""
        parts = flatten(message)
        size = total_size(parts)
        if size > self.max_atomic_msgsize_get():
            await asyncio.to_thread(self.mcast_joined, parts, guarantee)
            return
        request = (_mcast_head(size, guarantee), *parts)
        retry = Retry(self.retry_for)
        while True:
            try:
                self._send(request, wait=False)
                return
            except TryAgainError:
                pause = retry.next_pause()
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    def max_atomic_msgsize_get(self) -> int:
        """Bytes of the longest message that is sent in one piece.  cpg_max_atomic_msgsize_get(3)."""
        self._check_open("cpg_max_atomic_msgsize_get")
        return ATOMIC_MESSAGE_MAX

    def flow_control_state_get(self) -> FlowControlState:
        """Always DISABLED, as in the C library; TryAgainError tells when to slow down."""
        self._check_open("cpg_flow_control_state_get")
        return FlowControlState.DISABLED

    def _send(self, request: Sequence[Buffer], *, wait: bool) -> None:
        try:
            self._connection.send(request, limit=LIMIT_BULK, wait=wait)
        except OSError as error:
            raise from_os_error(error, "cpg_mcast_joined") from None

    def _send_fragmented(self, parts: Sequence[Buffer], size: int, guarantee: Guarantee) -> None:
        retry = Retry(self.retry_for) if self.retry_for > 0 else None
        with self._fragment_lock:
            while True:
                try:
                    self._send_fragments(parts, size, guarantee)
                    return
                except InterruptError:
                    # The last fragment was not sent, so no receiver has the message.
                    pause = retry.next_pause() if retry else None
                    if pause is None:
                        raise
                    self._waiter.sleep(pause)

    def _send_fragments(self, parts: Sequence[Buffer], size: int, guarantee: Guarantee) -> None:
        patience = max(self.retry_for, FRAGMENT_RETRY)
        sent = 0
        for fragment in fragments(parts, ATOMIC_MESSAGE_MAX):
            length = total_size(fragment)
            place = PartialType.LAST if sent + length == size else PartialType.CONTINUED
            head = PartialMcastRequest(
                id=CpgRequest.PARTIAL_MCAST,
                size=PARTIAL_MCAST_REQUEST.size + length,
                unused=0,
                guarantee=guarantee,
                msglen=size,
                fraglen=length,
                type=place if sent else PartialType.FIRST,
            )
            self._request(
                "cpg_mcast_joined",
                (PARTIAL_MCAST_REQUEST.pack(head), *fragment),
                limit=LIMIT_BULK,
                retry_for=patience,
            )
            sent += length

    # --- zero copy -----------------------------------------------------------------------------

    def zcb_alloc(self, size: int) -> ZeroCopyBuffer:
        """A buffer of `size` bytes shared with the executive.  cpg_zcb_alloc(3).

        Raises InvalidParamError, NoSpaceError (/dev/shm), TryAgainError, LibraryError.
        """
        if not 0 <= size <= SIZE_MAX:
            raise InvalidParamError(f"cpg_zcb_alloc: buffer of {size} bytes, 0 to {SIZE_MAX} are possible")
        self._check_open("cpg_zcb_alloc")
        map_size = ZC_PAYLOAD_OFFSET + size
        path, mapping = create_shared_memory(map_size)
        buffer = ZeroCopyBuffer(mapping, size, self.zcb_free)
        request = ZcAllocRequest(CpgRequest.ZC_ALLOC, ZC_ALLOC_REQUEST.size, map_size, os.fsencode(path))
        try:
            self._request("cpg_zcb_alloc", ZC_ALLOC_REQUEST.pack(request), vague=True)
            if buffer.server_address == 0:
                raise LibraryError("cpg_zcb_alloc: the executive did not take the buffer: see its log")
        except BaseException:
            buffer.release()
            raise
        finally:
            # The executive has removed the name when it took the buffer.
            _unlink(path)
        buffer.finish_allocation()
        return buffer

    def zcb_free(self, buffer: ZeroCopyBuffer) -> None:
        """Give a buffer back.  cpg_zcb_free(3).  Raises InvalidParamError when done twice."""
        if buffer.freed:
            raise InvalidParamError("cpg_zcb_free: the buffer is freed already")
        request = ZcFreeRequest(
            CpgRequest.ZC_FREE, ZC_FREE_REQUEST.size, buffer.map_size, buffer.server_address
        )
        try:
            self._request("cpg_zcb_free", ZC_FREE_REQUEST.pack(request), vague=True)
        except TryAgainError:
            raise
        except BaseException:
            buffer.release()
            raise
        buffer.release()

    def zcb_mcast_joined(
        self,
        buffer: ZeroCopyBuffer,
        length: int | None = None,
        guarantee: Guarantee = Guarantee.AGREED,
    ) -> None:
        """Send the first `length` bytes (default: all) of a buffer.  cpg_zcb_mcast_joined(3).

        The buffer may be written again when the call returns.
        Raises TooBigError above `max_atomic_msgsize_get`, NotExistError when not joined,
        TryAgainError, InvalidParamError.
        """
        if buffer.freed:
            raise InvalidParamError("cpg_zcb_mcast_joined: the buffer is freed already")
        length = len(buffer) if length is None else length
        # The C library allows 1 MiB, but then stalls its receivers: the event is longer than their buffer.
        if length > ATOMIC_MESSAGE_MAX:
            raise TooBigError(
                f"cpg_zcb_mcast_joined: message of {length} bytes, limit is {ATOMIC_MESSAGE_MAX}"
            )
        buffer.write_head(length, guarantee)
        request = ZcExecuteRequest(
            CpgRequest.ZC_EXECUTE, ZC_EXECUTE_REQUEST.size, buffer.server_address
        )
        self._request("cpg_zcb_mcast_joined", ZC_EXECUTE_REQUEST.pack(request))

    # --- the rest ------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Tell the executive and disconnect; a group still joined is left.  cpg_finalize(3).

        The handle is closed even when an exception is raised (LibraryError, TryAgainError).
        """
        try:
            self._request("cpg_finalize", pack_request(CpgRequest.FINALIZE))
        finally:
            self.close()

    def _decode(self, message: bytes) -> Event | None:
        return self._decoder.decode(message)

    def _call_back(self, event: Event) -> None:
        if isinstance(event, Deliver):
            if self.deliver is not None:
                self.deliver(self, event)
        elif isinstance(event, ConfigChange):
            if self.confchg is not None:
                self.confchg(self, event)
        elif self.totem_confchg is not None:
            self.totem_confchg(self, event)


def _mcast_head(size: int, guarantee: Guarantee) -> bytes:
    return MCAST_REQUEST.pack(
        McastRequest(CpgRequest.MCAST, MCAST_REQUEST.size + size, 0, guarantee, size)
    )


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
