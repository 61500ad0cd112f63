"""Records the frames of a cluster at the switch and sends them again, as somebody on the network can:

    python -m tests.harness.eavesdropper PORT INTERFACE...

Runs in the namespace of the switch; the interfaces are its ports.  Commands on standard input, one
line each, answered by one line: `count` (datagrams recorded), `replay` (all of them, as they were,
and those for one host also to the others), `find TEXT` (how many contain it), `quit`.
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from tests.harness.node import PATIENCE, ROOT
from tools.lab import Network

ETH_P_ALL = 3
"""Frames that are bridged pass by sockets of a single protocol."""
ETH_P_IP = b"\x08\x00"
PACKET_OUTGOING = 4
ETHERNET = 14
KEPT = 1200
"""Frames recorded at most."""
PAUSE = 0.002
"""Seconds after each batch of a replay, so that socket buffers do not overflow."""
BATCH = 20


class Frame(NamedTuple):
    """An Ethernet frame that came in at a port."""

    port: str
    data: bytes

    @property
    def ip_header(self) -> int:
        return (self.data[ETHERNET] & 0x0F) * 4

    @property
    def source(self) -> bytes:
        return self.data[ETHERNET + 12 : ETHERNET + 16]

    @property
    def destination(self) -> bytes:
        return self.data[ETHERNET + 16 : ETHERNET + 20]

    @property
    def whole(self) -> bool:
        """No fragment of a datagram."""
        return not int.from_bytes(self.data[ETHERNET + 6 : ETHERNET + 8], "big") & 0x3FFF

    def is_for(self, port: int) -> bool:
        """UDP to that port, or a later fragment of something."""
        if len(self.data) < ETHERNET + 28 or self.data[12:14] != ETH_P_IP:
            return False
        if self.data[ETHERNET + 9] != socket.IPPROTO_UDP:
            return False
        if int.from_bytes(self.data[ETHERNET + 6 : ETHERNET + 8], "big") & 0x1FFF:
            return True
        start = ETHERNET + self.ip_header
        return int.from_bytes(self.data[start + 2 : start + 4], "big") == port

    def readdressed(self, mac: bytes, address: bytes) -> bytes:
        """The same datagram, from the same sender, to another host."""
        header = bytearray(self.data[ETHERNET : ETHERNET + self.ip_header])
        header[16:20] = address
        header[10:12] = b"\0\0"
        header[10:12] = struct.pack("!H", checksum(bytes(header)))
        rest = bytearray(self.data[ETHERNET + self.ip_header :])
        rest[6:8] = b"\0\0"  # UDP without checksum
        return mac + self.data[6:ETHERNET] + bytes(header) + bytes(rest)


def checksum(data: bytes) -> int:
    """Of an IP header (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Recorder:
    """What was heard at which port, and who is behind it."""

    def __init__(self, udp_port: int, ports: list[str]) -> None:
        self.udp_port = udp_port
        self.frames: list[Frame] = []
        self.hosts: dict[bytes, tuple[str, bytes]] = {}
        """Port and MAC address by IP address."""
        self.sockets: dict[str, socket.socket] = {}
        for port in ports:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            made.bind((port, ETH_P_ALL))
            made.setblocking(False)
            self.sockets[port] = made

    def record(self, port: str) -> None:
        """All that waits at a port."""
        try:
            while True:
                data, (_, _, kind, *_) = self.sockets[port].recvfrom(65536)
                frame = Frame(port, data)
                if kind == PACKET_OUTGOING or not frame.is_for(self.udp_port):
                    continue
                self.hosts[frame.source] = (port, data[6:12])
                if len(self.frames) < KEPT:
                    self.frames.append(frame)
        except BlockingIOError:
            return

    def replay(self) -> int:
        """Send everything again; how many frames left."""
        count = 0
        for port, data in self._attacks(list(self.frames)):
            self.sockets[port].send(data)
            count += 1
            if count % BATCH == 0:
                time.sleep(PAUSE)
        return count

    def _attacks(self, frames: list[Frame]) -> Iterator[tuple[str, bytes]]:
        for frame in frames:
            known = self.hosts.get(frame.destination)
            if known is None:  # to a group; also back to its sender
                yield from ((port, frame.data) for port in self.sockets)
                continue
            yield known[0], frame.data
            if frame.whole:
                for address, (port, mac) in self.hosts.items():
                    if address != frame.destination:
                        yield port, frame.readdressed(mac, address)


def main() -> None:
    recorder = Recorder(int(sys.argv[1]), sys.argv[2:])
    by_file = {made.fileno(): port for port, made in recorder.sockets.items()}
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([0, *by_file], [], [])
        for file in readable:
            if file in by_file:
                recorder.record(by_file[file])
        if 0 not in readable:
            continue
        command, _, argument = sys.stdin.readline().strip().partition(" ")
        match command:
            case "count":
                print(len(recorder.frames), flush=True)
            case "find":
                print(sum(argument.encode() in frame.data for frame in recorder.frames), flush=True)
            case "replay":
                print(recorder.replay(), flush=True)
            case _:
                return


class Eavesdropper:
    """The program, at the switch of a network; a context manager."""

    def __init__(self, network: Network, port: int = 5405) -> None:
        for host in network.hosts.values():
            # Otherwise a virtual cable carries many datagrams as one, which nobody could send again.
            host.ip("link", "set", "eth0", "gso_max_segs", "1")
        interfaces = [f"port{number}" for number in network.hosts]
        command = [sys.executable, "-m", "tests.harness.eavesdropper", str(port), *interfaces]
        self._process = subprocess.Popen(
            network.switch.enter(command),
            cwd=ROOT,
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _ask(self, command: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        return int(self._answer())

    def count(self) -> int:
        """Frames recorded so far."""
        return self._ask("count")

    def find(self, text: str) -> int:
        """Recorded frames that contain the text."""
        return self._ask(f"find {text}")

    def replay(self) -> int:
        """Send all again, also where it was not sent before; how many frames that were."""
        return self._ask("replay")

    def __enter__(self) -> Eavesdropper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


if __name__ == "__main__":
    main()
