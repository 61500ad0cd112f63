"""A key-value table that several programs keep alike over CPG: state machine replication in one file.

    aisexec-kv [--rate N] [GROUP]

Reads commands from standard input, one a line: `set KEY VALUE`, `get KEY`, `dump`, `rate N`, `quit`.
Writes to standard output what happens, one JSON object a line: {"event": "view", ...}.

How the copies stay equal.  Updates are multicast and applied when they are delivered, in the order that
is the same everywhere.  At each change of the membership every member first multicasts what state it
has; updates delivered meanwhile wait.  When all of these have arrived, everybody knows, without a further
question, whose state goes on: that of most members, among equals that of the lowest node; a table
without history never wins.  If anybody has another state, the lowest member that has the winning one
multicasts it.  A state is known by the hash of all updates that led to it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from libais import cpg
from libais.errors import CsException, TryAgainError

Message = dict[str, Any]
"""A JSON object; its key `kind` is update, have or state."""

GROUP = "aisexec-kv"
CONNECT_PATIENCE = 20.0
"""Seconds to wait for an executive that starts."""
RESEND_PAUSE = 0.01
"""Seconds before trying again after the executive refused to send."""
OUTBOX_MAX = 10_000
"""Messages waiting to be sent; beyond it lines of standard input are not read."""
LINE_MAX = 65_536
"""Bytes of a command line."""


class Process(NamedTuple):
    """A member of the group."""

    node: int
    pid: int


class View(NamedTuple):
    """Who is in the group, and the ring beneath: equal only where the same change was seen."""

    ring: str
    members: tuple[Process, ...]


class Table:
    """The state machine: keys, values, and the history as a chain of hashes."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.updates = 0
        self.history = ""

    def apply(self, key: str, value: str) -> None:
        """The next update."""
        self.entries[key] = value
        self.updates += 1
        self.history = digest(self.history, key, value)

    def content(self) -> str:
        """Hash of what is in the table now."""
        return digest(*(f"{key}={value}" for key, value in sorted(self.entries.items())))


def digest(*parts: str) -> str:
    """A short hash of strings."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def decode(message: bytes) -> Message:
    """A message of the group; empty when another kind of program sent it, which all members then ignore."""
    try:
        decoded = json.loads(message)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


class Have(NamedTuple):
    """What a member said about its state."""

    history: str
    updates: int


def winner(said: dict[Process, Have]) -> Process | None:
    """The member whose state goes on; None when nobody has any."""
    supporters: dict[str, list[Process]] = {}
    for process, have in said.items():
        if have.updates:
            supporters.setdefault(have.history, []).append(process)
    if not supporters:
        return None
    return min(min(side) for side in supporters.values() if len(side) == max(map(len, supporters.values())))


class Replica:
    """One copy of the table; events of CPG go in, messages to multicast come out.

    send: takes a message to be multicast, in order.  record: takes what happens, for the log.
    """

    def __init__(
        self, me: Process, send: Callable[[Message], None], record: Callable[[Message], None]
    ) -> None:
        self.me = me
        self.table = Table()
        self.view = View("", ())
        self.own_delivered = 0
        self._send = send
        self._record = record
        self._ring = ""
        self._members: tuple[Process, ...] = ()
        self._said: dict[Process, Have] = {}
        self._waiting: list[Message] = []
        self._agreed = False
        self._source: Process | None = None

    @property
    def agreed(self) -> bool:
        """Does this copy equal that of all members of the view?"""
        return self._agreed

    def handle(self, event: cpg.Event) -> None:
        """An event of the group."""
        match event:
            case cpg.TotemChange(ring_id=ring_id):
                self._ring = f"{ring_id.nodeid}.{ring_id.seq:x}"
                self._change()
            case cpg.ConfigChange(members=members):
                self._members = tuple(sorted(Process(member.nodeid, member.pid) for member in members))
                self._change()
            case cpg.Deliver(nodeid=nodeid, pid=pid, message=message):
                sender = Process(nodeid, pid)
                self.own_delivered += sender == self.me
                self._record({"event": "deliver", "from": sender, "hash": digest(message.hex())})
                self._deliver(sender, decode(message))

    def _change(self) -> None:
        view = View(self._ring, self._members)
        if view == self.view or not self._ring or self.me not in self._members:
            return
        # The members that come with us from the old view hold back the same updates, in the same order.
        self._release()
        self.view = view
        self._agreed = False
        self._said.clear()
        self._source = None
        self._record({"event": "view", "ring": view.ring, "members": view.members})
        self._send(
            {"kind": "have", "view": view, "history": self.table.history, "updates": self.table.updates}
        )

    def _deliver(self, sender: Process, message: Message) -> None:
        match message:
            case {"kind": "update"} if self._agreed:
                self.table.apply(message["key"], message["value"])
            case {"kind": "update"}:
                self._waiting.append(message)
            # Sent in another view: its sender says again what it has in this one.
            case {"view": view} if to_view(view) != self.view:
                return
            case {"kind": "have", "history": history, "updates": updates}:
                self._said[sender] = Have(history, updates)
                if len(self._said) == len(self.view.members):
                    self._compare()
            case {"kind": "state", "entries": entries} if sender == self._source:
                self.table.entries = dict(entries)
                self.table.history, self.table.updates = self._said[sender]
                self._agree()

    def _compare(self) -> None:
        self._source = winner(self._said)
        if len({have.history for have in self._said.values()}) == 1:
            self._agree()
        elif self._source == self.me:
            self._send({"kind": "state", "view": self.view, "entries": self.table.entries})

    def _agree(self) -> None:
        self._agreed = True
        self._release()
        self._record(
            {
                "event": "agreed",
                "from": self._source.node if self._source else None,
                "updates": self.table.updates,
                "history": self.table.history,
            }
        )

    def _release(self) -> None:
        for update in self._waiting:
            self.table.apply(update["key"], update["value"])
        self._waiting.clear()


def to_view(fields: Iterable[Any]) -> View:
    """A view as it comes out of JSON."""
    ring, members = fields
    return View(ring, tuple(Process(node, pid) for node, pid in members))


class Program:
    """A replica, the handle it lives on, and the standard streams."""

    def __init__(self, handle: cpg.Handle, group: str, rate: float) -> None:
        self._handle = handle
        self._group = group
        self._interval = 1 / rate if rate else None
        self._next_write = 0.0
        self._outbox: deque[bytes] = deque()
        self._input = b""
        self._written = 0
        self._queued = 0
        self._ended = False
        node = handle.local_get()
        self.replica = Replica(Process(node, os.getpid()), self._queue, self._record)

    def run(self) -> None:
        """Until `quit` or the end of standard input."""
        self._handle.join(self._group)
        with selectors.DefaultSelector() as selector:
            selector.register(self._handle, selectors.EVENT_READ)
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._read_commands)
            while not self._ended:
                ready = selector.select(self._pause())
                for event in self._handle.events(timeout=0):
                    self.replica.handle(event)
                for key, _ in ready:
                    if key.data and len(self._outbox) < OUTBOX_MAX:
                        key.data()
                self._write_when_due()
                self._send_waiting()
        self._record(
            {
                "event": "end",
                "updates": self.replica.table.updates,
                "history": self.replica.table.history,
                "content": self.replica.table.content(),
            }
        )

    def _pause(self) -> float | None:
        if self._outbox:
            return RESEND_PAUSE
        return max(0.0, self._next_write - time.monotonic()) if self._interval else None

    def _queue(self, message: Message) -> None:
        self._queued += 1
        self._outbox.append(json.dumps(message).encode())

    def _send_waiting(self) -> None:
        while self._outbox:
            try:
                self._handle.mcast_joined(self._outbox[0])
            except TryAgainError:
                return
            self._outbox.popleft()

    def _record(self, event: Message) -> None:
        print(json.dumps(event), flush=True)

    def _write(self, key: str, value: str) -> None:
        self._queue({"kind": "update", "key": key, "value": value})

    def _write_when_due(self) -> None:
        now = time.monotonic()
        if self._interval is None or now < self._next_write:
            return
        self._next_write = now + self._interval
        # While the ring does not take messages, or the copies differ, load would only pile up.
        if self._outbox or not self.replica.agreed:
            return
        node = self.replica.me.node
        self._written += 1
        # Half of the keys belong to everybody, so that the order of the updates shows in the table.
        owner = f"node{node}" if self._written % 2 else "all"
        self._write(f"{owner}/{self._written % 10}", f"{node}:{self._written}")

    def _read_commands(self) -> None:
        data = os.read(sys.stdin.fileno(), LINE_MAX)
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            self._command(line.decode(errors="replace").split(maxsplit=2))
        if not data or len(self._input) > LINE_MAX:
            self._ended = True

    def _command(self, words: list[str]) -> None:
        match words:
            case ["set", key, value]:
                self._write(key, value)
            case ["get", key]:
                self._record({"event": "value", "key": key, "value": self.replica.table.entries.get(key)})
            case ["rate", rate] if rate.isdecimal():
                self._interval = 1 / int(rate) if int(rate) else None
            case ["dump"]:
                table = self.replica.table
                self._record(
                    {
                        "event": "table",
                        "under_way": self._queued - self.replica.own_delivered,
                        "updates": table.updates,
                        "history": table.history,
                        "content": table.content(),
                        "entries": table.entries,
                    }
                )
            case ["quit"]:
                self._ended = True
            case []:
                pass
            case _:
                print("commands: set KEY VALUE, get KEY, dump, rate N, quit", file=sys.stderr)


def main() -> int:
    """The command `aisexec-kv`."""
    parser = argparse.ArgumentParser("aisexec-kv", description="A replicated key-value table over CPG.")
    parser.add_argument("--rate", type=float, default=0.0, help="updates a second to write by itself")
    parser.add_argument("group", nargs="?", default=GROUP, help=f"name of the group ({GROUP})")
    arguments = parser.parse_args()
    try:
        with cpg.Handle(initial_totem_confchg=True, retry_for=CONNECT_PATIENCE) as handle:
            # From here on a refusal is dealt with by the outbox.
            handle.retry_for = 0.0
            Program(handle, arguments.group, arguments.rate).run()
    except CsException as error:
        print(f"aisexec-kv: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
