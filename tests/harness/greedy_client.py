"""Clients of the cpg service that want more than their share:

    python -m tests.harness.greedy_client mcasts SIZE            as fast as it can, and takes its deliveries
    python -m tests.harness.greedy_client deaf SIZE              the same, and never takes one
    python -m tests.harness.greedy_client questions KIND         without waiting for the answer of one
    python -m tests.harness.greedy_client connections COUNT SIZE [GROUP]
                                                 so many, with rings for messages of SIZE bytes, each in a
                                                 group of its own (GROUP and a number) or all in none
    python -m tests.harness.greedy_client crowd COUNT SIZE GROUP      the same, all in one group
    python -m tests.harness.greedy_client churn                  connects and goes, again and again

Prints `ready` when it is at work, `closed` when the executive has cut it off, and at the end of its input
what it counted, as `NAME NUMBER` pairs.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from ipc._ring import Ring, RingError
from ipc.cpg_layouts import (
    ITERATION_INITIALIZE_REQUEST,
    JOIN_REQUEST,
    MCAST_REQUEST,
    MEMBERSHIP_GET_REQUEST,
    CpgRequest,
    IterationInitializeRequest,
    IterationType,
    JoinRequest,
    McastRequest,
    MembershipGetRequest,
)
from ipc.errors import CsError
from ipc.layouts import (
    CONNECT_ID,
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    ConnectRequest,
    RequestHeader,
)

SIZE: Final = 0x100000
PATIENCE_MS: Final = 60_000
TRY_AGAIN: Final = 11
"""errno value EAGAIN, with which a connection is put off."""
PAUSE: Final = 0.001
WATCHED: Final = 0.2
"""Seconds for which connections are watched in one go."""


class Refused(Exception):
    """With an errno value."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


class Client:
    """A raw connection."""

    def __init__(self, size: int = SIZE) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(b"\0" + b"cpg".ljust(107, b"\0"))
            self.sock.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, size)))
            data = self.sock.recv(CONNECT_RESPONSE.size, socket.MSG_WAITALL)
            if len(data) < CONNECT_RESPONSE.size:
                raise ConnectionResetError("no answer")
            answer = CONNECT_RESPONSE.unpack(data)
            if answer.error:
                raise Refused(abs(answer.error))
        except BaseException:
            self.sock.close()
            raise
        bases = [field.split(b"\0")[0].decode() for field in (answer.request, answer.response, answer.event)]
        self.requests, self.responses, self.events = (Ring.open(base, answer.max_msg_size) for base in bases)

    def send(self, *parts: bytes) -> bool:
        """False when the ring is full, for which the library would return TRY_AGAIN."""
        if not self.requests.write(parts):
            return False
        self.sock.send(b"\0")
        return True

    def ask_to_join(self, group: bytes) -> None:
        """The answer is to come."""
        size = JOIN_REQUEST.size
        self.send(JOIN_REQUEST.pack(JoinRequest(CpgRequest.JOIN, size, len(group), group, self.pid, 0)))

    def answer(self) -> CsError:
        """The error of the next answer."""
        answer = self.responses.read(PATIENCE_MS)
        assert answer is not None, "no answer"
        return CsError(RESPONSE_HEADER.unpack(answer).error)

    pid = os.getpid()

    def take_events(self) -> int:
        """Everything that is there, as the library takes it."""
        count = 0
        try:
            while taken := len(self.sock.recv(4096, socket.MSG_DONTWAIT)):
                count += taken
        except BlockingIOError:
            pass
        else:
            raise ConnectionResetError("closed")
        if count:
            self.events.read_many(count)
        return count

    def close(self) -> None:
        self.sock.close()
        for ring in (self.requests, self.responses, self.events):
            ring.close()


counts: Counter[str] = Counter()
ended = threading.Event()


def wait_for_end() -> None:
    """Input's end is the sign to stop."""
    sys.stdin.read()
    ended.set()


def until_cut_off(step: Callable[[], bool]) -> None:
    """Again and again; `step` is False when there is nothing to be done for a moment."""
    print("ready", flush=True)
    try:
        while not ended.is_set():
            if not step():
                time.sleep(PAUSE)
    except (ConnectionError, RingError):
        print("closed", flush=True)


def joined(group: bytes, size: int = SIZE) -> Client:
    client = Client(size)
    client.ask_to_join(group)
    assert client.answer() is CsError.OK
    return client


def mcasts(size: str, *, deaf: bool = False) -> None:
    """Sends as fast as the executive takes it."""
    client = joined(b"greedy")
    body = bytes(int(size))
    head = MCAST_REQUEST.pack(
        McastRequest(CpgRequest.MCAST, MCAST_REQUEST.size + len(body), 0, 2, len(body))
    )

    def step() -> bool:
        if not deaf:
            counts["delivered"] += client.take_events()
        elif is_closed(client.sock):
            raise ConnectionResetError
        for _ in range(20):
            if not client.send(head, body):
                counts["try_again"] += 1
                return False
            counts["sent"] += 1
        return True

    until_cut_off(step)


def is_closed(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLHUP | select.POLLRDHUP)
    return bool(poll.poll(0))


def deaf(size: str) -> None:
    """A member that takes no event."""
    mcasts(size, deaf=True)


def question(kind: str) -> bytes:
    if kind == "membership":
        size = MEMBERSHIP_GET_REQUEST.size
        return MEMBERSHIP_GET_REQUEST.pack(
            MembershipGetRequest(CpgRequest.MEMBERSHIP_GET, size, 5, b"crowd")
        )
    if kind == "iteration":
        size = ITERATION_INITIALIZE_REQUEST.size
        return ITERATION_INITIALIZE_REQUEST.pack(
            IterationInitializeRequest(
                CpgRequest.ITERATION_INITIALIZE, size, 0, b"", IterationType.ALL
            )
        )
    return REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, REQUEST_HEADER.size))


def questions(kind: str) -> None:
    """Asks as fast as the executive answers."""
    client = joined(b"asking")
    request = question(kind)

    def step() -> bool:
        client.take_events()
        counts["answered"] += len(client.responses.read_many(1000))
        for _ in range(50):
            if not client.send(request):
                return False
            counts["sent"] += 1
        return True

    until_cut_off(step)


def connected(size: int) -> Client:
    """Tries until it is let in."""
    while True:
        try:
            return Client(size)
        except Refused as refused:
            if refused.errno != TRY_AGAIN:
                raise
            counts["try_again"] += 1
        except BlockingIOError:
            counts["try_again"] += 1
        time.sleep(PAUSE)


def connections(count: str, size: str, group: str = "", *, crowd: bool = False) -> None:
    """Keeps them all."""
    clients: list[Client] = []
    try:
        for number in range(int(count)):
            clients.append(connected(int(size)))
            clients[-1].pid = (os.getpid() * 4096 + number) & 0x7FFFFFFF
    except Refused as refused:
        print("refused", refused.errno, flush=True)
    counts["connected"] = len(clients)
    if group:
        join_all(clients, [(group if crowd else f"{group}{n}").encode() for n in range(len(clients))])
    until_cut_off(lambda: take_all_events(clients) >= 0)


def join_all(clients: list[Client], groups: list[bytes]) -> None:
    """Everybody asks at once, and again when told to try again."""
    outside = list(zip(clients, groups, strict=True))
    while outside:
        for client, group in outside:
            client.ask_to_join(group)
        again = []
        for client, group in outside:
            error = client.answer()
            if error is not CsError.OK:
                assert error is CsError.TRY_AGAIN, error
                counts["try_again"] += 1
                again.append((client, group))
            take_all_events([client], 0)
        while take_all_events(clients, 0):
            pass
        outside = again


def take_all_events(clients: list[Client], wait: float = WATCHED) -> int:
    """Of those that have some; waits for them, for a moment."""
    by_fd = {client.sock.fileno(): client for client in clients}
    taken = 0
    with select.epoll() as poll:
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        for fd, _ in poll.poll(wait):
            taken += by_fd[fd].take_events()
    counts["events"] += taken
    return taken


def crowd(count: str, size: str, group: str) -> None:
    """All in one group."""
    connections(count, size, group, crowd=True)


def churn() -> None:
    """Connects and goes."""

    def step() -> bool:
        connected(SIZE).close()
        counts["connected"] += 1
        return True

    until_cut_off(step)


def main() -> None:
    threading.Thread(target=wait_for_end, daemon=True).start()
    acts: dict[str, Callable[..., None]] = {
        "mcasts": mcasts,
        "deaf": deaf,
        "questions": questions,
        "connections": connections,
        "crowd": crowd,
        "churn": churn,
    }
    acts[sys.argv[1]](*sys.argv[2:])
    print(*(f"{name} {number}" for name, number in counts.items()), flush=True)
    os._exit(0)  # the kernel is quicker than a thousand finalizers


if __name__ == "__main__":
    main()
