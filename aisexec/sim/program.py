"""A program on a simulated node: it talks to the executive in the bytes libcpg would send.

It does one thing after the other as a real one does: while a call has not been answered the next
request is not sent.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, NamedTuple, Protocol

from aisexec.messages import CPG_MCAST
from aisexec.sim.history import (
    Life,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramSent,
    ProgramView,
    Record,
    Refused,
)
from ipc import cpg_layouts as cpg
from ipc.cpg_layouts import CpgEvent, CpgRequest, Guarantee, PartialType
from ipc.errors import CsError
from ipc.layout import Layout
from ipc.layouts import RESPONSE_HEADER

REQUESTS_AT_ONCE = 50
"""Requests that are taken out of a program's ring at once (ipc.REQUESTS_PER_TURN)."""

TODO_MAX = 100_000
"""Requests a program may have in mind; what a plan asks beyond it is left out."""


class Recorder(Protocol):
    """Where programs write what they saw."""

    def record(self, record: Record) -> None: ...
    def intern(self, message: bytes) -> int: ...
    @property
    def now(self) -> float: ...


class Pending(NamedTuple):
    """A request, and what it means."""

    what: str
    """join, quit, send, piece (not the last), last piece"""
    request: bytes
    group: bytes = b""
    message: bytes = b""
    """The whole message that is multicast."""


def pack(layout: Layout[Any], *values: Any) -> bytes:
    """A request from its fields."""
    return layout.pack(layout.cls(*values))


def join_request(group: bytes, pid: int) -> bytes:
    """cpg_join"""
    return pack(cpg.JOIN_REQUEST, CpgRequest.JOIN, cpg.JOIN_REQUEST.size, len(group), group, pid, 0)


def leave_request(group: bytes, pid: int) -> bytes:
    """cpg_leave"""
    return pack(cpg.LEAVE_REQUEST, CpgRequest.LEAVE, cpg.LEAVE_REQUEST.size, len(group), group, pid)


def mcast_request(message: bytes) -> bytes:
    """cpg_mcast_joined"""
    size = cpg.MCAST_REQUEST.size + len(message)
    return pack(cpg.MCAST_REQUEST, CpgRequest.MCAST, size, 0, Guarantee.AGREED, len(message)) + message


def multicast_of(head: bytes, request: bytes) -> tuple[bytes, bool]:
    """What the executive has to make of it, said apart from it: the message, and whether it is safe.

    head: of the program's messages, without sizes.
    """
    fields = cpg.MCAST_REQUEST.unpack(request)
    body = request[cpg.MCAST_REQUEST.size :]
    mcast = CPG_MCAST.unpack(head)
    header = mcast.header._replace(size=CPG_MCAST.size + len(body))
    message = CPG_MCAST.pack(mcast._replace(header=header, msglen=len(body))) + body
    return message, fields.guarantee == Guarantee.SAFE


def piece_request(place: int, piece: bytes, total: int) -> bytes:
    """What cpg_mcast_joined makes of a message that is too long for one request."""
    layout, agreed = cpg.PARTIAL_MCAST_REQUEST, Guarantee.AGREED
    size = layout.size + len(piece)
    return pack(layout, CpgRequest.PARTIAL_MCAST, size, 0, agreed, total, len(piece), place) + piece


class Program:
    """One process with one connection to cpg."""

    def __init__(self, recorder: Recorder, life: Life, client: int, pid: int) -> None:
        self._recorder = recorder
        self.life = life
        self.client = client
        self.pid = pid
        self.group = b""
        """Of which it is a member, by the answers it got."""
        self.todo: deque[Pending] = deque()
        self._awaited: Pending | None = None
        self.tired = False
        """It was told TRY_AGAIN and waits a moment."""
        self._wanted = b""
        """The group it will be in when all that is to do is done."""
        self._pieces: dict[tuple[int, int], list[bytes]] = {}

    # What the plan wants of it.

    def want_join(self, group: bytes) -> None:
        """Become a member, unless it is or is about to be one of another group."""
        if not self._wanted:
            self._wanted = group
            self._do(Pending("join", join_request(group, self.pid), group))

    def want_quit(self) -> None:
        """Leave its group."""
        if self._wanted:
            self._do(Pending("quit", leave_request(self._wanted, self.pid), self._wanted))
            self._wanted = b""

    def want_send(self, message: bytes) -> None:
        """Multicast to its group."""
        if self._wanted:
            self._do(Pending("send", mcast_request(message), self._wanted, message))

    def want_pieces(self, message: bytes, size: int) -> None:
        """Multicast in fragments of `size` bytes."""
        if not self._wanted:
            return
        cuts = range(0, len(message), size)
        for start in cuts:
            last = start + size >= len(message)
            place = (
                PartialType.FIRST if start == 0 else PartialType.LAST if last else PartialType.CONTINUED
            )
            request = piece_request(place, message[start : start + size], len(message))
            self._do(Pending("last piece" if last else "piece", request, self._wanted, message))

    def _do(self, pending: Pending) -> None:
        if len(self.todo) < TODO_MAX:
            self.todo.append(pending)

    # Between it and the executive.

    def next_requests(self) -> list[bytes]:
        """What comes out of its request ring now: up to the first one to which it waits for an answer."""
        if self._awaited is not None or self.tired:
            return []
        while self.todo and self.todo[0].what != "join" and not self.group:
            self.todo.popleft()  # its join was refused
        found = []
        for pending in islice(self.todo, REQUESTS_AT_ONCE):
            found.append(pending.request)
            if pending.what != "send":
                break
        return found

    def taken(self, count: int) -> None:
        """The executive has taken so many of next_requests()."""
        for _ in range(count):
            pending = self.todo.popleft()
            if pending.what == "send":
                self._sent(pending)
            else:
                self._awaited = pending

    def _sent(self, pending: Pending) -> None:
        recorder = self._recorder
        number = recorder.intern(pending.message)
        pieces = pending.what != "send"
        recorder.record(ProgramSent(recorder.now, self.life, self.pid, pending.group, number, pieces))

    def answer(self, message: bytes) -> None:
        """To the request it waits for."""
        pending, self._awaited = self._awaited, None
        recorder = self._recorder
        assert pending is not None, "an answer nobody waits for"
        error = RESPONSE_HEADER.unpack(message).error
        if error == CsError.TRY_AGAIN:
            self.todo.appendleft(pending)
            self.tired = True
        elif error != CsError.OK:
            recorder.record(Refused(recorder.now, self.life, self.pid, pending.what, error))
            self._give_up(pending)
        elif pending.what == "join":
            self.group = pending.group
            recorder.record(ProgramJoined(recorder.now, self.life, self.pid, pending.group))
        elif pending.what == "quit":
            self.group = b""
            self._pieces.clear()
            recorder.record(ProgramEnded(recorder.now, self.life, self.pid, "leave"))
        elif pending.what == "last piece":
            self._sent(pending)

    def _give_up(self, refused: Pending) -> None:
        """The other pieces of a message of which one was refused, or all if it is in no group."""
        if refused.what == "join":
            self._wanted = b""
        while self.todo and self.todo[0].what in ("piece", "last piece"):
            if self.todo[0].message is not refused.message:
                break
            self.todo.popleft()

    def event(self, event: bytes) -> None:
        """What cpg_dispatch would call back with."""
        head = RESPONSE_HEADER.unpack(event)
        match head.id:
            case CpgEvent.CONFCHG:
                self._view(event)
            case CpgEvent.DELIVER:
                message = cpg.DELIVER_EVENT.unpack(event)
                self._delivered((message.nodeid, message.pid), event[cpg.DELIVER_EVENT.size :])
            case CpgEvent.PARTIAL_DELIVER:
                part = cpg.PARTIAL_DELIVER_EVENT.unpack(event)
                self._piece((part.nodeid, part.pid), part.type, event[cpg.PARTIAL_DELIVER_EVENT.size :])

    def _view(self, event: bytes) -> None:
        change = cpg.unpack_confchg(event)
        recorder = self._recorder
        members = tuple((a.nodeid, a.pid) for a in change.members)
        left = tuple((a.nodeid, a.pid, a.reason) for a in change.left)
        joined = tuple((a.nodeid, a.pid, a.reason) for a in change.joined)
        for nodeid, pid, _ in left:
            self._pieces.pop((nodeid, pid), None)
        recorder.record(ProgramView(recorder.now, self.life, self.pid, members, left, joined))

    def _delivered(self, sender: tuple[int, int], body: bytes) -> None:
        recorder = self._recorder
        number = recorder.intern(body)
        recorder.record(ProgramDelivered(recorder.now, self.life, self.pid, sender, number))

    def _piece(self, sender: tuple[int, int], place: int, body: bytes) -> None:
        if place == PartialType.FIRST:
            self._pieces[sender] = [body]
        elif sender in self._pieces:
            self._pieces[sender].append(body)
            if place == PartialType.LAST:
                self._delivered(sender, b"".join(self._pieces.pop(sender)))

    def ended(self, how: str) -> None:
        """It is gone."""
        recorder = self._recorder
        recorder.record(ProgramEnded(recorder.now, self.life, self.pid, how))
