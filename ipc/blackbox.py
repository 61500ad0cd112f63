"""The flight recorder's file, declared once: libqb's blackbox dump, so that qb-blackbox(8) reads ours and
we read corosync's.

    FileHeader   says that records have time stamps to the nanosecond
    RingHeader   size of the ring, and where it begins and ends
    ring         ring.word_size words: chunks one behind the other, going round its end
    Trailer      ours, behind what libqb looks at: which process it was
    text         ours: what the process wrote when it crashed

A chunk is a ChunkHead and `size` bytes, filled up to words: RecordHead, the function's name with a NUL,
RecordTail, and the message as libqb keeps it, a printf format with its arguments (ipc.blackbox_text).
Our records have the subsystem for a function, and the number of the part of a long message for a line.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple
from urllib.parse import quote

from ipc.blackbox_text import TextError, expand
from ipc.layout import I64, U8, U32, Buffer, Chars, Layout, ShortBufferError


class FileHeader(NamedTuple):
    """Distinguishes the format from an older one, which had whole seconds."""

    word_size: U32
    read_pt: U32
    write_pt: U32
    version: U32
    hash: U32


class RingHeader(NamedTuple):
    """Numbers are words of four bytes; `hash` is the sum of the others."""

    word_size: U32
    write_pt: U32
    read_pt: U32
    version: U32
    hash: U32


class ChunkHead(NamedTuple):
    """In front of every record."""

    size: U32
    magic: U32


class RecordHead(NamedTuple):
    """Where a line was logged, and how important it was (syslog's priorities, 8 trace)."""

    line: U32
    tags: U32
    priority: U8
    function_size: U32


class RecordTail(NamedTuple):
    """When (since the epoch), and the bytes of the message."""

    seconds: I64
    nanoseconds: I64
    message_size: U32


class Trailer(NamedTuple):
    """The process that recorded; `ended`: it went in good order and said why in its log."""

    magic: Annotated[bytes, Chars(8)]
    version: U32
    pid: U32
    started: I64
    ended: U32
    reserved: U32


FILE_HEADER = Layout(FileHeader)
RING_HEADER = Layout(RingHeader)
CHUNK_HEAD = Layout(ChunkHead)
RECORD_HEAD = Layout(RecordHead)
RECORD_TAIL = Layout(RecordTail)
TRAILER = Layout(Trailer)

NEW_FORMAT: Final = FileHeader(0, 0xCCBBCCBB, 0xBBCCBBCC, 2, 0)
RING_VERSION: Final = 1
CHUNK_MAGIC: Final = 0xA1A1A1A1
CHUNK_MAGIC_UNFINISHED: Final = 0xA110CED0
TRAILER_MAGIC: Final = b"AISEXEC\n"
TRAILER_VERSION: Final = 1

WORD: Final = 4
RING_OFFSET: Final = FILE_HEADER.size + RING_HEADER.size
PAGE: Final = 4096
"""libqb rounds rings up to pages, so theirs and ours are multiples."""

MESSAGE_SIZE_MAX: Final = 512
"""Bytes of a message in a record; qb-blackbox refuses more."""

CHUNK_MAX: Final = 8192
"""Bytes of a chunk with its head; libqb's have some 700."""

SECONDS_MAX: Final = 1 << 33
"""A later time is damage."""

RING_BYTES_MAX: Final = 256 * 1024 * 1024
"""Larger rings are nobody's."""

CRASH_TEXT_MAX: Final = 64 * 1024
"""Bytes read of what a crashed process wrote."""


class BlackboxError(ValueError):
    """The file is no recording, or nothing of it can be read."""


class Record(NamedTuple):
    """A log record."""

    seconds: int
    nanoseconds: int
    priority: int
    function: str
    line: int
    tags: int
    text: str


@dataclass(slots=True)
class Recording:
    """What a file holds, the oldest record first."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What is damaged, for people."""
    trailer: Trailer | None = None
    """None: corosync's."""
    crash: str = ""


def ring_header(word_size: int, write: int, read: int) -> RingHeader:
    """With its sum."""
    total = (word_size + write + read + RING_VERSION) & 0xFFFFFFFF
    return RingHeader(word_size, write, read, RING_VERSION, total)


def read_recording(data: Buffer) -> Recording:
    """Take a dump, or a ring that nobody writes any more, apart.

    Raises BlackboxError when it is none.  Damage behind the headers is told in `problems`; what can be
    read is there.
    """
    recording = Recording()
    data = bytes(data)
    try:
        file_header = FILE_HEADER.unpack(data)
    except ShortBufferError:
        raise BlackboxError(f"it has {len(data)} bytes, less than its header") from None
    new = file_header == NEW_FORMAT
    start = FILE_HEADER.size if new else 0
    try:
        header = RING_HEADER.unpack(data, start)
    except ShortBufferError:
        raise BlackboxError(f"it ends after {len(data)} bytes, in its header") from None
    _check(header, recording)
    offset = start + RING_HEADER.size
    size = header.word_size * WORD
    ring = data[offset : offset + size]
    if len(ring) < size:
        recording.problems.append(
            f"it is cut off: {len(data)} bytes are there, its ring alone has {size}"
        )
    else:
        _read_trailer(data, offset + size, recording)
    recording.records = list(_records(ring, header, new, recording))
    if recording.trailer is not None:
        recording.records = list(_joined(recording.records))
    return recording


def _check(header: RingHeader, recording: Recording) -> None:
    words = header.word_size
    if not 0 < words * WORD <= RING_BYTES_MAX or words * WORD % PAGE:
        raise BlackboxError(f"its header speaks of a ring of {words} words")
    if header.read_pt >= words or header.write_pt >= words:
        raise BlackboxError(
            f"its header is damaged: from word {header.read_pt} to {header.write_pt} of {words}"
        )
    if header.version != RING_VERSION:
        raise BlackboxError(f"it has version {header.version}, {RING_VERSION} is known")
    if header != ring_header(words, header.write_pt, header.read_pt):
        recording.problems.append("the sum in its header is wrong: it may end too early or too late")


def _records(ring: bytes, header: RingHeader, new: bool, recording: Recording) -> Iterator[Record]:
    """Chunk after chunk; the first that is damaged ends it, as nothing says where the next begins."""
    at, words = header.read_pt, header.word_size
    whole = len(ring) == words * WORD
    turned = ring + ring[:CHUNK_MAX] if whole else ring
    gone = 0
    while at != header.write_pt:
        begin = at * WORD + CHUNK_HEAD.size
        try:
            head = CHUNK_HEAD.unpack(turned, at * WORD)
        except ShortBufferError:
            return  # cut off, which has been said
        used = CHUNK_HEAD.size // WORD + -(-head.size // WORD)
        gone += used
        if head.magic != CHUNK_MAGIC or head.size > CHUNK_MAX - CHUNK_HEAD.size or gone > words:
            recording.problems.append(f"damaged at word {at}: what comes behind it cannot be read")
            return
        if begin + head.size > len(turned):
            return
        try:
            yield _record(turned[begin : begin + head.size], new)
        except (ShortBufferError, TextError) as error:
            recording.problems.append(f"damaged record at word {at}: {error}")
        at = (at + used) % words


_SECONDS_ONLY: Final = 8
"""Bytes of the old format's time stamp."""


def _record(chunk: bytes, new: bool) -> Record:
    head = RECORD_HEAD.unpack(chunk)
    at = RECORD_HEAD.size + head.function_size
    function = chunk[RECORD_HEAD.size : at].rstrip(b"\0").decode("utf-8", "replace")
    if new:
        tail = RECORD_TAIL.unpack(chunk, at)
        at += RECORD_TAIL.size
    else:
        words = chunk[at : at + _SECONDS_ONLY + 4].ljust(_SECONDS_ONLY + 4, b"\0")
        tail = RecordTail(
            int.from_bytes(words[:_SECONDS_ONLY], "little", signed=True), 0,
            int.from_bytes(words[_SECONDS_ONLY:], "little"),
        )  # fmt: skip
        at += _SECONDS_ONLY + 4
    if not (0 <= tail.seconds <= SECONDS_MAX and 0 <= tail.nanoseconds < 1_000_000_000):
        raise TextError("an impossible time")
    message = chunk[at : at + tail.message_size]
    if len(message) < tail.message_size:
        raise TextError(f"a message of {tail.message_size} bytes, {len(message)} are there")
    text = expand(message).rstrip("\n")
    return Record(tail.seconds, tail.nanoseconds, head.priority, function, head.line, head.tags, text)


def _read_trailer(data: bytes, offset: int, recording: Recording) -> None:
    try:
        trailer = TRAILER.unpack(data, offset)
    except ShortBufferError:
        return
    if trailer.magic != TRAILER_MAGIC:
        return
    recording.trailer = trailer
    text = data[offset + TRAILER.size :][:CRASH_TEXT_MAX]
    recording.crash = text.rstrip(b"\0").decode("utf-8", "replace")


def _joined(records: list[Record]) -> Iterator[Record]:
    """Parts of a long message become one again."""
    whole: Record | None = None
    for record in records:
        if whole is not None and record.line and record[:4] == whole[:4]:
            whole = whole._replace(text=whole.text + record.text)
            continue
        if whole is not None:
            yield whole
        whole = record._replace(line=0)
    if whole is not None:
        yield whole


class Ring:
    """Writes records over the oldest ones, in memory that is shared with whoever reads it later.

    The pointers are moved behind the record, so at any moment what they enclose is whole.
    """

    def __init__(self, memory: memoryview, word_size: int) -> None:
        """memory: a whole file, `file_size(word_size, 0)` bytes at least, zeros."""
        self._memory = memory
        self._words = word_size
        self._data = memory[RING_OFFSET : RING_OFFSET + word_size * WORD]
        self._read = self._write = 0
        self._used = 0
        self._sizes: deque[int] = deque()
        """Words of each record that is in the ring; what lies in the memory is never read."""
        FILE_HEADER.pack_into(memory, 0, NEW_FORMAT)
        self._point()

    def append(self, chunk: bytes) -> None:
        """Add a chunk made by `encode`."""
        words = len(chunk) // WORD
        while self._used + words + _GAP > self._words:
            self._drop_oldest()
        start = self._write * WORD
        chunk += _END
        room = len(self._data) - start
        if len(chunk) <= room:
            self._data[start : start + len(chunk)] = chunk
        else:
            self._data[start:] = chunk[:room]
            self._data[: len(chunk) - room] = chunk[room:]
        self._write = (self._write + words) % self._words
        self._used += words
        self._sizes.append(words)
        self._point()

    def _drop_oldest(self) -> None:
        words = self._sizes.popleft()
        self._used -= words
        self._read = (self._read + words) % self._words
        self._point()

    def _point(self) -> None:
        write, read, words = self._write, self._read, self._words
        _pack_header(self._memory, FILE_HEADER.size, words, write, read, RING_VERSION,
                     (words + write + read + RING_VERSION) & 0xFFFFFFFF)  # fmt: skip


_pack_header = RING_HEADER.struct.pack_into
_END: Final = CHUNK_HEAD.pack(ChunkHead(0, CHUNK_MAGIC_UNFINISHED))
"""Behind the newest record: readers that do not look at the pointers stop here."""
_GAP: Final = 4
"""Words between the newest record and the oldest: _END, and what libqb leaves."""


def file_size(word_size: int) -> int:
    """Bytes of a file with a ring of so many words, up to the text of a crash."""
    return RING_OFFSET + word_size * WORD + TRAILER.size


_FORMAT: Final = b"%s\0"
PART_MAX: Final = MESSAGE_SIZE_MAX - len(_FORMAT) - 1
"""Bytes of text in one record."""
_SUBSYSTEMS_MAX: Final = 64
_names: dict[str, bytes] = {}


def encode(subsystem: str, priority: int, text: str, nanoseconds: int) -> Iterator[bytes]:
    """The chunks of a log record, several if it is long.  nanoseconds: since the epoch."""
    name = _names.get(subsystem)
    if name is None:
        name = subsystem.encode("utf-8", "replace")[:64] + b"\0"
        if len(_names) < _SUBSYSTEMS_MAX:
            _names[subsystem] = name
    message = text.encode("utf-8", "replace").replace(b"\0", b" ")
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    part = 0
    while True:
        piece = message[part * PART_MAX : (part + 1) * PART_MAX]
        body = _pack_record(part, 0, priority, len(name)) + name
        body += _pack_tail(seconds, fraction, len(_FORMAT) + len(piece) + 1) + _FORMAT + piece + b"\0"
        size = len(body)
        yield _pack_chunk(size, CHUNK_MAGIC) + body + bytes(-size % WORD)
        part += 1
        if part * PART_MAX >= len(message):
            return


_pack_chunk = CHUNK_HEAD.struct.pack
_pack_record = RECORD_HEAD.struct.pack
_pack_tail = RECORD_TAIL.struct.pack



def ring_path(state_dir: str, run_dir: str = "/dev/shm") -> str:
    """The ring of the executive with that state directory, which only one at a time has."""
    name = quote(os.path.realpath(state_dir).strip("/"), safe="")
    return f"{run_dir}/{RING_PREFIX}{name[-_NAME_MAX:]}"


RING_PREFIX: Final = "aisexec-blackbox-"
_NAME_MAX: Final = 255 - len(RING_PREFIX)
