"""What a process and its supervisor say to each other, over two pipes."""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from typing import Final

from ipc.errors import CsError
from libais.errors import LibraryError, from_code
from libais.limits import SAM_DATA_MAX

_NUMBER: Final = struct.Struct("=q")


class Command(IntEnum):
    """First byte from the process; all but BEAT and MARK_FAILED are answered with a number."""

    START = 0
    STOP = 1
    BEAT = 2
    DATA_STORE = 3
    WARN_SIGNAL_SET = 4
    MARK_FAILED = 5


class Pipes:
    """The ends that one of the two holds; in a child of the process they are closed by its exec or end."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self.writing = writing

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)

    def send(self, data: bytes) -> None:
        """All of it; BrokenPipeError when the other one has gone."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.writing, view) :]

    def receive(self, size: int) -> bytes:
        """Just so many bytes; less when the other one has gone."""
        data = bytearray()
        while len(data) < size:
            part = os.read(self.reading, size - len(data))
            if not part:
                break
            data += part
        return bytes(data)

    def send_number(self, number: int) -> None:
        """A signal, a length, or an answer."""
        self.send(_NUMBER.pack(number))

    def receive_number(self) -> int | None:
        """None when the other one has gone."""
        data = self.receive(_NUMBER.size)
        return int(_NUMBER.unpack(data)[0]) if len(data) == _NUMBER.size else None

    def receive_data(self) -> bytes | None:
        """What `send_data` sent; None when the other one has gone or it is too long to be true."""
        size = self.receive_number()
        if size is None or not 0 <= size <= SAM_DATA_MAX:
            return None
        data = self.receive(size)
        return data if len(data) == size else None

    def ask(self, what: str, command: Command, data: bytes = b"") -> None:
        """A command and its answer, which is raised when it is an error; LibraryError without one."""
        try:
            self.send(bytes([command]) + data)
            answer = self.receive_number()
        except OSError as error:
            raise LibraryError(f"{what}: the supervisor is gone ({error.strerror})") from None
        if answer is None:
            raise LibraryError(f"{what}: the supervisor is gone")
        if answer != CsError.OK:
            raise from_code(answer, f"{what}: so the supervisor was told")

    def tell(self, what: str, command: Command) -> None:
        """A command that has no answer; LibraryError."""
        try:
            self.send(bytes([command]))
        except OSError as error:
            raise LibraryError(f"{what}: the supervisor is gone ({error.strerror})") from None


def pack_number(number: int) -> bytes:
    """As `send_number` does."""
    return _NUMBER.pack(number)


def pair() -> tuple[Pipes, Pipes]:
    """The process's ends and the supervisor's."""
    reading, answering = os.pipe()
    try:
        listening, writing = os.pipe()
    except OSError:
        os.close(reading)
        os.close(answering)
        raise
    return Pipes(reading, writing), Pipes(listening, answering)
