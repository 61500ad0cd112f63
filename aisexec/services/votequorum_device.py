"""The quorum device: a program beside this node that registers, and then votes by polling in time.

One program per node at most, and one name for the whole cluster (votequorum_qdevice_register(3)
and its kin).  A device that has not polled for quorum.device.timeout casts no vote; after a change
of the ring the synchronisation waits for its word, quorum.device.sync_timeout at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from aisexec.icmap import u8
from aisexec.messages import VOTE_QDEVICE_RECONFIGURE, VOTE_QDEVICE_REG
from aisexec.services.base import AnomalyError, Client, Context, Request
from aisexec.services.timers import Alarm
from aisexec.services.votequorum_state import QDEVICE, Ballot, DeviceOptions, Flag
from aisexec.totem.types import LOG_DEBUG, LOG_INFO, LOG_WARNING
from ipc.errors import CsError
from ipc.layouts import RESPONSE_HEADER, ResponseHeader
from ipc.votequorum_layouts import (
    CALLS,
    QDEVICE_MASTER_WINS_REQUEST,
    QDEVICE_NAME_REQUEST,
    QDEVICE_NAME_SIZE,
    QDEVICE_POLL_REQUEST,
    QDEVICE_UPDATE_REQUEST,
    VotequorumRequest,
    VotequorumResponse,
)

OPERATION_UNREGISTER, OPERATION_REGISTER = 0, 1
ALL_FLAGS = (
    Flag.QDEVICE_REGISTERED | Flag.QDEVICE_ALIVE | Flag.QDEVICE_CAST_VOTE | Flag.QDEVICE_MASTER_WINS
)


class Messages(Protocol):
    """How the device's words reach the other nodes, in order and without loss."""

    def has_room(self, count: int) -> bool: ...
    def send_nodeinfo(self, nodeid: int) -> None: ...
    def send_device_registration(self, operation: int, name: bytes) -> bool: ...
    def send_device_rename(self, old: bytes, new: bytes) -> bool: ...


class Device:
    """What this node knows of quorum devices, its own and the others'."""

    def __init__(self, context: Context, ballot: Ballot, messages: Messages) -> None:
        self._context = context
        self._ballot = ballot
        self._messages = messages
        options = ballot.options.device
        ballot.roll.device.votes = options.votes if options is not None else 0
        self.options = options if options is not None else DeviceOptions()
        self.name = b""
        """Of all devices in the cluster."""
        self._can_operate = True
        self._registering: int | None = None
        self._silence: Alarm | None = None
        self.awaited = False
        """The synchronisation waits for it to poll."""

    def requests(self) -> Mapping[int, Request]:
        """Library calls by id."""
        handlers: dict[int, Callable[[Client, bytes], None]] = {
            VotequorumRequest.QDEVICE_REGISTER: self._register,
            VotequorumRequest.QDEVICE_UNREGISTER: self._unregister,
            VotequorumRequest.QDEVICE_UPDATE: self._update,
            VotequorumRequest.QDEVICE_POLL: self._poll,
            VotequorumRequest.QDEVICE_MASTER_WINS: self._master_wins,
        }
        return {
            number: Request(handler, CALLS[VotequorumRequest(number)].request.size, False)
            for number, handler in handlers.items()
        }

    def start(self) -> None:
        """The executive is about to start."""
        if self._ballot.options.device is not None:
            self.allow(True)

    def allow(self, can_operate: bool) -> None:
        """The configuration lets devices work, or not."""
        self._can_operate = can_operate
        self._context.map.set("runtime.votequorum.qdevice_can_operate", u8(can_operate))

    @property
    def registered(self) -> bool:
        """A device of this node has registered."""
        return bool(self._ballot.us.flags & Flag.QDEVICE_REGISTERED)

    # The ring.

    def ring_changed(self) -> None:
        """A live device is asked for its vote on the new ring, which it gives by polling."""
        self.awaited = False
        alive = Flag.QDEVICE_REGISTERED | Flag.QDEVICE_ALIVE
        if self._ballot.us.flags & alive == alive:
            self._expect_poll_within(self.options.sync_timeout)
            self.awaited = True
            self._log(
                LOG_INFO,
                f"waiting for quorum device {_text(self.name)} poll (but maximum for"
                f" {self.options.sync_timeout} ms)",
            )

    @property
    def holds_up_sync(self) -> bool:
        """Not all has been said yet."""
        return self.registered and self.awaited

    # Messages.

    def registration(self, sender: int, message: bytes) -> None:
        """A node's device registers or unregisters; every member says so again after a ring change."""
        order = VOTE_QDEVICE_REG.unpack(message)
        name = _name(order.name)
        if name is None:
            raise AnomalyError("quorum device name without an end")
        if order.operation == OPERATION_REGISTER:
            self._registration(sender, name)
        elif order.operation == OPERATION_UNREGISTER and not any(
            node.flags & Flag.QDEVICE_REGISTERED for node in self._ballot.roll.members
        ):
            self.name = b""

    def _registration(self, sender: int, name: bytes) -> None:
        if sender != self._context.nodeid:
            self.name = self.name or name
            return
        if self.registered or self._registering is None:
            return
        self.name = self.name or name
        client, self._registering = self._registering, None
        error = CsError.OK
        if name == self.name:
            self._ballot.us.flags |= Flag.QDEVICE_REGISTERED
            self._messages.send_nodeinfo(QDEVICE)
            self._messages.send_nodeinfo(self._context.nodeid)
        else:
            self._log_other_name("register", name)
            error = CsError.EXIST
        self._answer(client, error)

    def renaming(self, sender: int, message: bytes) -> None:
        """A device has another name from now on."""
        order = VOTE_QDEVICE_RECONFIGURE.unpack(message)
        old, new = _name(order.oldname), _name(order.newname)
        if old is None or new is None:
            raise AnomalyError("quorum device name without an end")
        if old == self.name:
            self.name = new

    # Requests.

    def _register(self, client: Client, message: bytes) -> None:
        name = _name(QDEVICE_NAME_REQUEST.unpack(message).name)
        if not name:
            self._answer(client.id, CsError.INVALID_PARAM)
        elif not self._can_operate:
            self._log(
                LOG_INFO,
                "Registration of quorum device is disabled by incorrect corosync.conf."
                " See logs for more information",
            )
            self._answer(client.id, CsError.ACCESS)
        elif self.registered:
            if name != self.name:
                self._log_other_name("re-register", name)
            self._answer(client.id, CsError.OK if name == self.name else CsError.EXIST)
        elif self._registering is not None:
            self._log(LOG_WARNING, "Registration request already in progress")
            self._answer(client.id, CsError.TRY_AGAIN)
        else:
            # Answered when the message comes back; without one it would stay "in progress" for good.
            if self._messages.send_device_registration(OPERATION_REGISTER, name):
                self._registering = client.id
            else:
                self._answer(client.id, CsError.NO_RESOURCES)

    def _unregister(self, client: Client, message: bytes) -> None:
        name = _name(QDEVICE_NAME_REQUEST.unpack(message).name)
        error = self._check(name)
        if error is CsError.OK and not self._messages.has_room(2):
            error = CsError.NO_RESOURCES
        if error is CsError.OK:
            self._stop_waiting()
            self._ballot.us.flags &= ~ALL_FLAGS
            self._messages.send_nodeinfo(self._context.nodeid)
            self._messages.send_device_registration(OPERATION_UNREGISTER, self.name)
        self._answer(client.id, error)

    def _update(self, client: Client, message: bytes) -> None:
        request = QDEVICE_UPDATE_REQUEST.unpack(message)
        old, new = _name(request.oldname), _name(request.newname)
        error = self._check(old)
        if error is CsError.OK and not new:
            error = CsError.INVALID_PARAM
        if error is CsError.OK and not self._messages.send_device_rename(old or b"", new or b""):
            error = CsError.NO_RESOURCES
        self._answer(client.id, error)

    def _poll(self, client: Client, message: bytes) -> None:
        request = QDEVICE_POLL_REQUEST.unpack(message)
        ring_id = self._ballot.ring_id
        error = self._check(_name(request.name))
        if not self._can_operate:
            error = CsError.ACCESS
        elif self.registered and (request.ring_nodeid, request.ring_seq) != (ring_id.rep, ring_id.seq):
            self._log(
                LOG_DEBUG,
                f"Received poll ring id ({request.ring_nodeid:x}.{request.ring_seq:x}) != last sync ring id"
                f" ({ring_id.rep:x}.{ring_id.seq:x}). Ignoring poll call.",
            )
            error = CsError.MESSAGE_ERROR
        if error is CsError.OK:
            self._set({Flag.QDEVICE_ALIVE: True, Flag.QDEVICE_CAST_VOTE: bool(request.cast_vote)})
            self._expect_poll_within(self.options.timeout)
            self.awaited = False
        self._answer(client.id, error)

    def _master_wins(self, client: Client, message: bytes) -> None:
        request = QDEVICE_MASTER_WINS_REQUEST.unpack(message)
        error = self._check(_name(request.name)) if self._can_operate else CsError.ACCESS
        if error is CsError.OK:
            self._set({Flag.QDEVICE_MASTER_WINS: bool(request.allow)})
            self._ballot.master_wins = bool(request.allow)
            self._context.map.set("runtime.votequorum.qdevice_master_wins", u8(request.allow & 0xFF))
        self._answer(client.id, error)

    def _check(self, name: bytes | None) -> CsError:
        if not self.registered:
            return CsError.NOT_EXIST
        return CsError.OK if name == self.name else CsError.INVALID_PARAM

    def _answer(self, client: int, error: CsError) -> None:
        answer = ResponseHeader(VotequorumResponse.STATUS, RESPONSE_HEADER.size, error)
        self._context.respond(client, RESPONSE_HEADER.pack(answer))

    # Flags and time.

    def _set(self, wishes: Mapping[Flag, bool]) -> None:
        """Set or clear flags of ours; the others hear of a change."""
        us = self._ballot.us
        before = us.flags
        for flag, wanted in wishes.items():
            us.flags = us.flags | flag if wanted else us.flags & ~flag
        if us.flags != before:
            self._messages.send_nodeinfo(self._context.nodeid)

    def _expect_poll_within(self, milliseconds: int) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._context.call_later(milliseconds / 1000, self._silent)

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
            self.awaited = False

    def _silent(self) -> None:
        self._silence = None
        self.awaited = False  # in any case: all nodes' synchronisation waits
        us = self._ballot.us
        if not us.flags & Flag.QDEVICE_ALIVE:
            return
        us.flags &= ~(Flag.QDEVICE_ALIVE | Flag.QDEVICE_CAST_VOTE)
        self._log(LOG_INFO, f"lost contact with quorum device {_text(self.name)}")
        self._messages.send_nodeinfo(self._context.nodeid)

    def _log(self, priority: int, text: str) -> None:
        self._context.log(priority, text)

    def _log_other_name(self, what: str, name: bytes) -> None:
        self._log(
            LOG_WARNING,
            f"A new qdevice with different name (new: {_text(name)} old: {_text(self.name)})"
            f" is trying to {what}!",
        )


def _name(field: bytes) -> bytes | None:
    """What comes before the first NUL; None when there is none, which would run over in corosync."""
    assert len(field) == QDEVICE_NAME_SIZE
    name, end, _ = field.partition(b"\0")
    return name if end else None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
