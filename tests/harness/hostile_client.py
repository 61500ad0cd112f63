"""A client of the cpg service that does what no library does:

    python -m tests.harness.hostile_client KIND [ARGUMENT]

Prints `closed` when the executive has closed the connection, `done` when the act is over otherwise.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ipc._ring import Ring
from ipc.cpg_layouts import (
    JOIN_REQUEST,
    MCAST_REQUEST,
    MEMBERSHIP_GET_REQUEST,
    PARTIAL_MCAST_REQUEST,
    ZC_ALLOC_REQUEST,
    ZC_EXECUTE_REQUEST,
    CpgRequest,
    JoinRequest,
    McastRequest,
    MembershipGetRequest,
    PartialMcastRequest,
    ZcAllocRequest,
    ZcExecuteRequest,
    unpack_membership,
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
PATIENCE_MS: Final = 20_000
GROUP: Final = b"hostile"
WILD: Final = 0xFFFFFFFF
SEMAPHORE_OFFSET: Final = 8208
"""Of the sem_t in a ring's header file."""


def open_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(b"\0" + b"cpg".ljust(107, b"\0"))
    return sock


def wait_closed(sock: socket.socket) -> None:
    """Until the executive has closed; whatever it sends before is thrown away."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while poll.poll(PATIENCE_MS):
        try:
            if not sock.recv(65536):
                print("closed")
                return
        except ConnectionError:
            print("closed")
            return
    sys.exit("the executive keeps the connection")


class Client:
    """Connected by the rules; what follows is up to the act."""

    def __init__(self) -> None:
        self.sock = open_socket()
        self.sock.send(CONNECT_REQUEST.pack(ConnectRequest(CONNECT_ID, CONNECT_REQUEST.size, SIZE)))
        answer = CONNECT_RESPONSE.unpack(self.sock.recv(CONNECT_RESPONSE.size, socket.MSG_WAITALL))
        if answer.error:
            sys.exit(f"refused with {answer.error}")
        bases = [field.split(b"\0")[0].decode() for field in (answer.request, answer.response, answer.event)]
        self.base = bases[0]
        self.requests, self.responses, self.events = (Ring.open(base, answer.max_msg_size) for base in bases)

    @property
    def files(self) -> list[Path]:
        """Of its three rings."""
        return sorted(Path(self.base).parent.iterdir())

    def send(self, *parts: bytes) -> None:
        """One message, whatever it is, with its byte on the socket."""
        self.requests.write(parts)
        self.sock.send(b"\0")

    def call(self, message: bytes) -> bytes:
        """Send it and wait for the answer."""
        self.send(message)
        answer = self.responses.read(PATIENCE_MS)
        assert answer is not None
        return answer

    def join(self) -> None:
        """Become a member of the group of everybody else here."""
        size = JOIN_REQUEST.size
        self.call(JOIN_REQUEST.pack(JoinRequest(CpgRequest.JOIN, size, len(GROUP), GROUP, os.getpid(), 0)))


def garbage_handshake(_: str) -> None:
    """Something else than a set-up request."""
    sock = open_socket()
    sock.send(random.Random(1).randbytes(CONNECT_REQUEST.size))
    wait_closed(sock)


def half_open(_: str) -> None:
    """A few hundred connections that never finish their set-up."""
    sockets = [open_socket() for _ in range(300)]
    for sock in sockets:
        sock.send(b"\xff")
    wait_closed(sockets[0])


def no_header(_: str) -> None:
    """A message too short for its header."""
    client = Client()
    client.send(b"short")
    wait_closed(client.sock)


def wrong_size(_: str) -> None:
    """The header says more than there is."""
    client = Client()
    client.send(REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, SIZE)))
    wait_closed(client.sock)


def unknown_request(_: str) -> None:
    """Ids that no version of the library has: the answer is an error, as stock's."""
    client = Client()
    for identifier in (13, 999, -1, 0x7FFFFFFF):
        answer = client.call(REQUEST_HEADER.pack(RequestHeader(identifier, REQUEST_HEADER.size)))
        assert RESPONSE_HEADER.unpack(answer).error == CsError.INVALID_PARAM
    print("done")


def short_request(_: str) -> None:
    """A known request without its fields."""
    client = Client()
    client.send(REQUEST_HEADER.pack(RequestHeader(CpgRequest.JOIN, REQUEST_HEADER.size)))
    wait_closed(client.sock)


def long_name(_: str) -> None:
    """A group name longer than the field that holds it: there is no such group."""
    client = Client()
    size = MEMBERSHIP_GET_REQUEST.size
    request = MembershipGetRequest(CpgRequest.MEMBERSHIP_GET, size, WILD, GROUP)
    answer = client.call(MEMBERSHIP_GET_REQUEST.pack(request))
    assert unpack_membership(answer) == ()
    print("done")


def wild_mcast(_: str) -> None:
    """A multicast longer than the request that carries it."""
    client = Client()
    client.join()
    size = MCAST_REQUEST.size + 8
    client.send(MCAST_REQUEST.pack(McastRequest(CpgRequest.MCAST, size, 0, 2, WILD)), b"8 bytes.")
    wait_closed(client.sock)


def wild_fragment(_: str) -> None:
    """A fragment longer than the request that carries it, of an absurdly long message."""
    client = Client()
    client.join()
    head = PartialMcastRequest(CpgRequest.PARTIAL_MCAST, PARTIAL_MCAST_REQUEST.size + 8, 0, 2, WILD, WILD, 2)
    client.send(PARTIAL_MCAST_REQUEST.pack(head), b"8 bytes.")
    wait_closed(client.sock)


def zero_copy_of_foreign_file(path: str) -> None:
    """A buffer that is somebody else's file; the original would remove it."""
    client = Client()
    request = ZcAllocRequest(CpgRequest.ZC_ALLOC, ZC_ALLOC_REQUEST.size, 8192, path.encode())
    client.send(ZC_ALLOC_REQUEST.pack(request))
    wait_closed(client.sock)


def zero_copy_of_nothing(_: str) -> None:
    """A buffer at an address of the client's choice; the original would read there."""
    client = Client()
    client.join()
    request = ZcExecuteRequest(CpgRequest.ZC_EXECUTE, ZC_EXECUTE_REQUEST.size, 0xDEADBEEF000)
    client.send(ZC_EXECUTE_REQUEST.pack(request))
    wait_closed(client.sock)


def zero_copy_truncated(_: str) -> None:
    """The file of a buffer shrinks before it is read."""
    client = Client()
    client.join()
    handle, name = tempfile.mkstemp(prefix="corosync_zerocopy-", dir="/dev/shm")
    os.truncate(handle, 1 << 16)
    request = ZcAllocRequest(CpgRequest.ZC_ALLOC, ZC_ALLOC_REQUEST.size, 1 << 16, name.encode())
    client.call(ZC_ALLOC_REQUEST.pack(request))
    _, cookie = struct.unpack("<QQ", os.pread(handle, 16, 0))
    os.ftruncate(handle, 0)
    execute = ZcExecuteRequest(CpgRequest.ZC_EXECUTE, ZC_EXECUTE_REQUEST.size, cookie)
    client.send(ZC_EXECUTE_REQUEST.pack(execute))
    wait_closed(client.sock)


def scribbled_ring(_: str) -> None:
    """Garbage where requests are looked for."""
    client = Client()
    client.send(REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, REQUEST_HEADER.size)))
    data = Path(f"{client.base}-data")
    with data.open("r+b") as file:
        file.write(random.Random(1).randbytes(1 << 20))
    client.sock.send(b"\0" * 10)
    client.send(b"once more")
    wait_closed(client.sock)


def truncated_files(_: str) -> None:
    """All memory shared with the executive is taken away."""
    client = Client()
    client.send(REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, REQUEST_HEADER.size)))
    for path in client.files:
        os.truncate(path, 0)
    client.sock.send(b"\0" * 10)
    wait_closed(client.sock)


def broken_semaphore(_: str) -> None:
    """The number of waiting requests is nonsense."""
    client = Client()
    with Path(f"{client.base}-header").open("r+b") as file:
        file.seek(SEMAPHORE_OFFSET)
        file.write(b"\xff" * 32)
    client.sock.send(b"\0" * 10)
    wait_closed(client.sock)


def dies_in_request(_: str) -> None:
    """Dead between the message and its byte, with bytes for messages that are not there."""
    client = Client()
    client.join()
    client.sock.send(b"\0" * 100)
    client.requests.write(REQUEST_HEADER.pack(RequestHeader(CpgRequest.LOCAL_GET, REQUEST_HEADER.size)))
    print("done", flush=True)
    os.kill(os.getpid(), 9)


def never_reads(_: str) -> None:
    """A member that takes no event while much is sent to it."""
    client = Client()
    client.join()
    print("joined", flush=True)
    poll = select.poll()
    poll.register(client.sock, select.POLLHUP | select.POLLRDHUP)
    if not poll.poll(PATIENCE_MS):
        sys.exit("the executive keeps the connection")
    print("closed")


ACTS: Final[dict[str, Callable[[str], None]]] = {
    act.__name__: act
    for act in (
        garbage_handshake,
        half_open,
        no_header,
        wrong_size,
        unknown_request,
        short_request,
        long_name,
        wild_mcast,
        wild_fragment,
        zero_copy_of_foreign_file,
        zero_copy_of_nothing,
        zero_copy_truncated,
        scribbled_ring,
        truncated_files,
        broken_semaphore,
        dies_in_request,
        never_reads,
    )
}

if __name__ == "__main__":
    ACTS[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "")
