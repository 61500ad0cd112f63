"""From event messages to `Event` objects; long messages are put together from their fragments."""

from __future__ import annotations

from collections.abc import Iterable

from ipc.cpg_layouts import (
    DELIVER_EVENT,
    GROUP_NAME_MAX,
    PARTIAL_DELIVER_EVENT,
    Address,
    CpgEvent,
    PartialType,
    Reason,
    group_name,
    payload,
    unpack_confchg,
    unpack_totem_confchg,
)
from ipc.layouts import RESPONSE_HEADER
from libais._cpg_types import ConfigChange, Deliver, Event, Process, TotemChange
from libais._types import RingId
from libais.errors import LibraryError, NameTooLongError, NoMemoryError
from libais.limits import MESSAGE_MAX, REASSEMBLY_BYTES_MAX


def decode_group(name: bytes) -> str:
    """Group names are bytes; what is not UTF-8 survives as lone surrogates."""
    return name.decode("utf-8", "surrogateescape")


def encode_group(group: str | bytes) -> bytes:
    """Inverse of decode_group; bytes stay as they are."""
    return group if isinstance(group, bytes) else group.encode("utf-8", "surrogateescape")


def checked_group(what: str, group: str | bytes) -> bytes:
    """A group's name for call `what`; NameTooLongError above 128 bytes."""
    name = encode_group(group)
    if len(name) > GROUP_NAME_MAX:
        raise NameTooLongError(f"{what}: group name of {len(name)} bytes")
    return name


def processes(addresses: Iterable[Address]) -> tuple[Process, ...]:
    """Addresses of a message as `Process` objects."""
    return tuple(Process(nodeid, pid, _reason(reason)) for nodeid, pid, reason in addresses)


def _reason(value: int) -> Reason:
    try:
        return Reason(value)
    except ValueError:
        return Reason.UNDEFINED


class Decoder:
    """Decodes the events of one connection, in order."""

    def __init__(self) -> None:
        self._fragments: dict[tuple[int, int], bytearray] = {}
        self._held = 0

    def decode(self, message: bytes) -> Event | None:
        """The event, or None for a fragment that does not complete its message.

        Raises ValueError when lengths contradict each other, LibraryError for an unknown event,
        NoMemoryError when a long message exceeds the limits: it is dropped, later ones are not hurt.
        """
        identifier = RESPONSE_HEADER.unpack(message).id
        if identifier == CpgEvent.DELIVER:
            return _deliver(message)
        if identifier == CpgEvent.PARTIAL_DELIVER:
            return self._partial(message)
        if identifier == CpgEvent.CONFCHG:
            return self._confchg(message)
        if identifier == CpgEvent.TOTEM_CONFCHG:
            change = unpack_totem_confchg(message)
            return TotemChange(RingId(change.ring_nodeid, change.ring_seq), change.members)
        raise LibraryError(f"the executive sent an event of unknown kind {identifier}")

    def _confchg(self, message: bytes) -> ConfigChange:
        change = unpack_confchg(message)
        for address in change.left:
            self._drop((address.nodeid, address.pid))
        return ConfigChange(
            decode_group(change.group),
            processes(change.members),
            processes(change.left),
            processes(change.joined),
        )

    def _partial(self, message: bytes) -> Deliver | None:
        head = PARTIAL_DELIVER_EVENT.unpack(message)
        fragment = payload(message, PARTIAL_DELIVER_EVENT.size, head.fraglen)
        sender = (head.nodeid, head.pid)
        if head.type == PartialType.FIRST:
            # A FIRST while another is unfinished: the sender was interrupted and starts again.
            self._drop(sender)
            self._fragments[sender] = bytearray()
        collected = self._fragments.get(sender)
        if collected is None:
            return None
        size = len(collected) + head.fraglen
        held = self._held + head.fraglen
        if head.msglen > MESSAGE_MAX or size > head.msglen or held > REASSEMBLY_BYTES_MAX:
            self._drop(sender)
            raise NoMemoryError(
                f"message of {head.msglen} bytes from process {head.pid} on node {head.nodeid} dropped: "
                f"{size} bytes of it came, {held} bytes of all senders wait, "
                f"limits are {MESSAGE_MAX} and {REASSEMBLY_BYTES_MAX}"
            )
        collected += fragment
        self._held = held
        if head.type != PartialType.LAST:
            return None
        self._drop(sender)
        if len(collected) != head.msglen:
            raise ValueError(
                f"message of {head.msglen} bytes from process {head.pid} on node {head.nodeid} "
                f"ended after {len(collected)}"
            )
        return Deliver(decode_group(group_name(head)), head.nodeid, head.pid, bytes(collected))

    def _drop(self, sender: tuple[int, int]) -> None:
        collected = self._fragments.pop(sender, None)
        if collected is not None:
            self._held -= len(collected)


def _deliver(message: bytes) -> Deliver:
    head = DELIVER_EVENT.unpack(message)
    return Deliver(
        decode_group(group_name(head)),
        head.nodeid,
        head.pid,
        payload(message, DELIVER_EVENT.size, head.msglen),
    )
