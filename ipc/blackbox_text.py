"""A message in libqb's flight recording: a printf format, a NUL, and the arguments in binary (x86-64, arm64).

Only the format says what the arguments are.  Strings end with a NUL, everything else has C's size; the
bytes come from a file that may be damaged, so every step is checked.
"""

from __future__ import annotations

import re
import struct
from typing import Final

WIDTH_MAX: Final = 256
"""Characters that a conversion may be filled up to."""

_CONVERSION = re.compile(
    rb"%(?P<flags>[#\- +'I0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?"
    rb"(?P<size>hh|h|ll|l|z|t|j|L)?(?P<kind>.)",
    re.S,
)
_WIDE = {b"l", b"ll", b"z", b"t", b"j"}
_KINDS: Final = {
    **dict.fromkeys(b"di", ("i", "q")),
    **dict.fromkeys(b"ouxX", ("I", "Q")),
    **dict.fromkeys(b"eEfFgG", ("d", "d")),
    **dict.fromkeys(b"aA", ("d", "d")),
}
"""struct codes by conversion: an ordinary argument's, and a long one's."""


class TextError(ValueError):
    """The message cannot be put together."""


def expand(message: bytes) -> str:
    """The text.  Raises TextError when arguments are missing."""
    template, separator, _ = message.partition(b"\0")
    arguments = _Arguments(message, len(template) + len(separator))
    if b"%" not in template:
        return template.decode("utf-8", "replace")
    parts: list[str] = []
    position = 0
    for match in _CONVERSION.finditer(template):
        parts.append(template[position : match.start()].decode("utf-8", "replace"))
        parts.append(_converted(match, arguments))
        position = match.end()
    parts.append(template[position:].decode("utf-8", "replace"))
    return "".join(parts)


def _converted(match: re.Match[bytes], arguments: _Arguments) -> str:
    kind = match["kind"]
    if kind == b"%":
        return "%"
    flags = "".join(c for c in match["flags"].decode() if c in "#-+ 0")
    width = _number(match["width"], arguments)
    precision = None if match["precision"] is None else _number(match["precision"], arguments)
    if width < 0:
        flags, width = flags + "-", -width
    spec = f"%{flags}{min(width, WIDTH_MAX) or ''}"
    if precision is not None and precision >= 0:
        spec += f".{min(precision, WIDTH_MAX)}"
    if kind == b"s":
        return (spec + "s") % arguments.string()
    if kind == b"c":
        return (spec + "s") % chr(int(arguments.number("B")))
    if kind == b"p":
        return f"{arguments.number('Q'):#x}"
    codes = _KINDS.get(kind[0])
    if codes is None:
        raise TextError(f"conversion %{kind.decode('ascii', 'replace')} is not known")
    value = arguments.number(codes[match["size"] in _WIDE])
    letter = {"a": "g", "A": "G", "i": "d", "u": "d"}.get(kind.decode(), kind.decode())
    if flags and "#" in flags and letter == "o":
        flags = flags.replace("#", "")
    return str((spec + letter) % value)


def _number(text: bytes, arguments: _Arguments) -> int:
    if text == b"*":
        return int(arguments.number("i"))
    return int(text) if text else 0


class _Arguments:
    """What lies behind the format."""

    def __init__(self, message: bytes, offset: int) -> None:
        self._message = message
        self._offset = offset

    def number(self, code: str) -> int | float:
        """The next argument, of a struct code."""
        try:
            value: int | float = struct.unpack_from("<" + code, self._message, self._offset)[0]
        except struct.error:
            raise TextError("an argument is missing") from None
        self._offset += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        """The next argument, up to its NUL."""
        end = self._message.find(b"\0", self._offset)
        if end < 0:
            raise TextError("a string without an end")
        text = self._message[self._offset : end]
        self._offset = end + 1
        return text.decode("utf-8", "replace")
