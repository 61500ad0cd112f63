"""What the administrators' commands have in common."""

from __future__ import annotations

import ctypes
import io
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from libais.errors import TryAgainError

EXIT_SUCCESS = 0
EXIT_FAILURE = 1

T = TypeVar("T")

_libc = ctypes.CDLL(None)


class Failure(Exception):
    """Ends a command: the text goes to standard error, the status to the shell."""

    def __init__(self, text: str, status: int = EXIT_FAILURE) -> None:
        super().__init__(text)
        self.status = status


def run(command: Callable[[list[str]], int], arguments: list[str] | None = None) -> int:
    """Run a command with the arguments of this process, or these; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names and values are bytes of somebody else's choice.
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    if arguments is None:
        # As commands in C end, without a trace: by ^C, and when nobody reads any more.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return command(sys.argv[1:] if arguments is None else arguments)
    except Failure as failure:
        complain(str(failure))
        return failure.status


def complain(text: str) -> None:
    """A line to standard error."""
    # What was written before comes first where both go to the same place.
    sys.stdout.flush()
    print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """One document; bytes that are no text come as surrogate escapes, \\udc80 to \\udcff."""
    print(json.dumps(value, indent=2))


def escaped(data: bytes) -> str:
    """Printable ASCII as it is, the backslash doubled, everything else as hexadecimal number.

    Stock's tools print a byte above 127 as a negative number of 32 bits, and so does this.
    """
    return "".join(_escaped_byte(byte) for byte in data)


def _escaped_byte(byte: int) -> str:
    if byte == ord("\\"):
        return "\\\\"
    if ord(" ") <= byte < 0x7F:
        return chr(byte)
    return f"\\x{byte:02X}" if byte < 0x80 else f"\\x{byte | 0xFFFFFF00:08X}"


def patient(call: Callable[[], T], retries: int) -> T:
    """Repeat a call each second while the executive says TRY_AGAIN, at most `retries` times."""
    for _ in range(retries):
        try:
            return call()
        except TryAgainError:
            time.sleep(1)
    return call()


def scan_signed(text: str) -> int | None:
    """The 64-bit number a text begins with, as sscanf(3) reads it: clamped; None when there is none."""
    return _scan(text, b"%lld", ctypes.c_longlong())


def scan_unsigned(text: str) -> int | None:
    """The same without sign: -1 is the largest number."""
    return _scan(text, b"%llu", ctypes.c_ulonglong())


def scan_float(text: str, *, single: bool) -> float | None:
    """The floating-point number a text begins with, of single or double precision."""
    return _scan(text, b"%f", ctypes.c_float()) if single else _scan(text, b"%lf", ctypes.c_double())


def _scan(text: str, form: bytes, place: ctypes._SimpleCData[T]) -> T | None:
    read = _libc.sscanf(text.encode("utf-8", "surrogateescape"), form, ctypes.byref(place))
    return place.value if read == 1 else None
