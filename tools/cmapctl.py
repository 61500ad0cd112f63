"""The command `corosync-cmapctl`: reads, writes and watches the executive's map of keys and values."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import sys
from collections.abc import Callable, Iterator
from enum import Enum, auto

from libais import cmap
from libais.errors import CsException, InvalidParamError, strerror

from . import console
from .console import EXIT_FAILURE, EXIT_SUCCESS, Failure, complain
from .stock_options import Options, UsageError

HELP = """\
usage: corosync-cmapctl [-b] [-q] [-m MAP] [--json] [ACTION] [ARGUMENT ...]

Without an action: print all keys, or those that begin with an ARGUMENT.

  -g KEY ...          print these keys
  -s KEY TYPE VALUE   set a key; TYPE is i8, u8, i16, u16, i32, u32, i64, u64, flt, dbl, str, or bin,
                      where VALUE names a file, - being standard input
  -d KEY ...          delete these keys
  -D PREFIX ...       delete all keys that begin so
  -t KEY ...          print changes of these keys, until a line q is typed
  -T PREFIX ...       print changes of all keys that begin so
  -p FILE             do what the lines of a file say:
                      KEY TYPE VALUE sets, ^KEY deletes, ^^PREFIX deletes all that begin so
  -C WHAT             set statistics to zero: knet, ipc, totem, schedmiss or all

  -m MAP              icmap (the same as default): configuration and state; stats: counters
  -b                  print binary values too
  -q                  print values only
  --json              print JSON
  -h, --help          print this
"""

TRY_AGAIN_MAX = 10
CLEARED = ("knet", "totem", "ipc", "schedmiss", "all")
MAPS = {"icmap": cmap.Map.ICMAP, "default": cmap.Map.ICMAP, "stats": cmap.Map.STATS}
LINE_SIZE = 1023
"""Bytes of a line of a file of settings; what is longer counts as further lines."""
FINISHED = "q"

TYPES = {
    "i8": cmap.ValueType.I8,
    "u8": cmap.ValueType.U8,
    "i16": cmap.ValueType.I16,
    "u16": cmap.ValueType.U16,
    "i32": cmap.ValueType.I32,
    "u32": cmap.ValueType.U32,
    "i64": cmap.ValueType.I64,
    "u64": cmap.ValueType.U64,
    "flt": cmap.ValueType.FLOAT,
    "dbl": cmap.ValueType.DOUBLE,
    "str": cmap.ValueType.STRING,
    "bin": cmap.ValueType.BINARY,
}
NAMES = {kind: name for name, kind in TYPES.items()}
EVENTS = {
    cmap.TrackEvent.ADD: "create",
    cmap.TrackEvent.DELETE: "delete",
    cmap.TrackEvent.MODIFY: "modify",
}


class Action(Enum):
    """What to do."""

    HELP = auto()
    PRINT_PREFIX = auto()
    GET = auto()
    SET = auto()
    DELETE = auto()
    DELETE_PREFIX = auto()
    TRACK = auto()
    LOAD = auto()
    CLEAR_STATS = auto()


class CommandLine:
    """The options, checked in the order in which they come."""

    def __init__(self, arguments: list[str]) -> None:
        self.action = Action.PRINT_PREFIX
        self.show_binary = False
        self.quiet = False
        self.json = False
        self.track_prefix = True
        self.map = cmap.Map.ICMAP
        self.file = ""
        self.cleared = ""
        self._map_set = False
        options = Options(sys.argv[0], arguments, "m:hqgsdDtTbp:C:", {"--help": False, "--json": False})
        try:
            for name, argument in options:
                self._take(name, argument or "")
                if self.action == Action.HELP:
                    return
        except UsageError as error:
            raise Failure(str(error)) from None
        self.operands = options.operands
        if not self.operands and self.action not in (Action.LOAD, Action.CLEAR_STATS, Action.PRINT_PREFIX):
            raise Failure("Expected key after options")

    def _take(self, name: str, argument: str) -> None:
        actions = {
            "h": Action.HELP,
            "--help": Action.HELP,
            "g": Action.GET,
            "s": Action.SET,
            "d": Action.DELETE,
            "D": Action.DELETE_PREFIX,
            "t": Action.TRACK,
            "T": Action.TRACK,
            "p": Action.LOAD,
            "C": Action.CLEAR_STATS,
        }
        self.action = actions.get(name, self.action)
        match name:
            case "b":
                self.show_binary = True
            case "q":
                self.quiet = True
            case "--json":
                self.json = True
            case "t":
                self.track_prefix = False
            case "p":
                self.file = argument
            case "C":
                if argument not in CLEARED:
                    raise Failure("argument to -C should be 'knet', 'totem', 'ipc', 'schedmiss' or 'all'")
                self.cleared = argument
                self.map = cmap.Map.STATS
            case "m":
                if argument in MAPS:
                    self.map = MAPS[argument]
                    self._map_set = True
                elif not self._map_set:
                    raise Failure("invalid map name, must be 'default', 'icmap' or 'stats'")


class Printer:
    """Keys and values as text, a line each, or collected for one JSON document."""

    def __init__(self, handle: cmap.Handle, line: CommandLine) -> None:
        self._handle = handle
        self._line = line
        self._document: dict[str, object] = {}

    def print(self, entry: cmap.Entry) -> None:
        """A key as it is now; when it cannot be read any more that is said instead."""
        if entry.type == cmap.ValueType.BINARY and not (self._line.show_binary or self._line.json):
            print(self.text(entry.key, entry.type, None))
            return
        try:
            value = self._get(entry)
        except CsException as error:
            complain(f"Can't get value of {entry.key}. Error {strerror(error.code)}")
            return
        if self._line.json:
            self._document[entry.key] = described(value)
        else:
            print(self.text(entry.key, entry.type, value))

    def _get(self, entry: cmap.Entry) -> cmap.Value:
        value = console.patient(lambda: self._handle.get(entry.key), TRY_AGAIN_MAX)
        if value.type != entry.type:
            raise InvalidParamError(f"{entry.key}: its type has changed")
        return value

    def finish(self) -> None:
        """The document, when that is what was asked for."""
        if self._line.json:
            console.print_json(self._document)

    def text(self, key: str, kind: cmap.ValueType, value: cmap.Value | None) -> str:
        """One line; a binary value is shown on request only."""
        if kind == cmap.ValueType.BINARY:
            # Also when quiet.
            shown = f" = {console.escaped(value.raw)}" if value and self._line.show_binary else ""
            return f"{'' if self._line.quiet else f'{key} ('}bin){shown}"
        assert value is not None
        return plain_text(value) if self._line.quiet else f"{key} ({NAMES[kind]}) = {plain_text(value)}"


def plain_text(value: cmap.Value) -> str:
    """As printf(3) writes it."""
    if not isinstance(value.plain, float):
        return str(value.plain)
    if math.isnan(value.plain):
        return "-nan" if math.copysign(1, value.plain) < 0 else "nan"
    return f"{value.plain:f}"


def described(value: cmap.Value) -> dict[str, object]:
    """For JSON; binary values in hexadecimal, and what JSON has no number for as text."""
    plain: object = value.plain
    if isinstance(plain, bytes):
        plain = plain.hex()
    elif isinstance(plain, float) and not math.isfinite(plain):
        plain = plain_text(value)
    return {"type": NAMES[value.type], "value": plain}


def iteration(handle: cmap.Handle, prefix: str) -> cmap.Iteration:
    """A walk over keys."""
    try:
        return handle.iteration(prefix)
    except CsException as error:
        raise Failure(f"Failed to initialize iteration. Error {strerror(error.code)}") from None


def entries(handle: cmap.Handle, prefix: str) -> Iterator[cmap.Entry]:
    """The keys with a prefix; ends silently when the executive does."""
    walk = iteration(handle, prefix)
    with contextlib.suppress(CsException):
        yield from walk
        walk.finalize()


def print_prefixes(handle: cmap.Handle, line: CommandLine) -> int:
    """Everything, or what has the prefixes; fails when none of them has anything."""
    printer = Printer(handle, line)
    empty = 0
    for prefix in line.operands or [""]:
        found = False
        for entry in entries(handle, prefix):
            found = True
            printer.print(entry)
        empty += not found
    printer.finish()
    return EXIT_FAILURE if 0 < empty >= len(line.operands) else EXIT_SUCCESS


def print_keys(handle: cmap.Handle, line: CommandLine) -> int:
    """Keys by their names; ends at the first that is not there."""
    printer = Printer(handle, line)
    for key in line.operands:
        try:
            entry = handle.get_entry(key)
        except CsException as error:
            raise Failure(f"Can't get key {key}. Error {strerror(error.code)}") from None
        printer.print(entry)
    printer.finish()
    return EXIT_SUCCESS


def delete_keys(handle: cmap.Handle, line: CommandLine) -> int:
    """Ends at the first that cannot be deleted."""
    for key in line.operands:
        try:
            handle.delete(key)
        except CsException as error:
            raise Failure(f"Can't delete key {key}. Error {strerror(error.code)}") from None
    return EXIT_SUCCESS


def delete_reporting(handle: cmap.Handle, key: str) -> None:
    """Delete a key, or say why not and go on."""
    try:
        handle.delete(key)
    except CsException as error:
        complain(f"Can't delete key {key}. Error {strerror(error.code)}")


def delete_prefixes(handle: cmap.Handle, line: CommandLine) -> int:
    """All keys with these prefixes."""
    for prefix in line.operands:
        delete_prefix(handle, prefix)
    return EXIT_SUCCESS


def delete_prefix(handle: cmap.Handle, prefix: str) -> None:
    """All keys with a prefix."""
    for entry in entries(handle, prefix):
        delete_reporting(handle, entry.key)


def set_operands(handle: cmap.Handle, line: CommandLine) -> int:
    """A key, a type and a value; what comes after them does not matter."""
    if len(line.operands) < 3:
        raise Failure("At least 3 parameters are expected for set")
    set_key(handle, *line.operands[:3])
    return EXIT_SUCCESS


def set_key(handle: cmap.Handle, key: str, type_name: str, text: str) -> None:
    """Set a key to a value given as text, or for binary as the name of a file."""
    if type_name not in TYPES:
        raise Failure(f"Unknown type {type_name}")
    kind = TYPES[type_name]
    value = parsed(type_name, text)
    try:
        if value == b"":
            raise InvalidParamError(f"{key}: the value is empty")
        try:
            handle.set(key, value, kind)
        except UnicodeEncodeError:
            raise InvalidParamError(f"{key}: no text") from None
    except CsException as error:
        raise Failure(f"Failed to set key {key}. Error {strerror(error.code)}") from None


def parsed(type_name: str, text: str) -> cmap.Plain:
    """The value a text gives for a type."""
    kind = TYPES[type_name]
    if kind == cmap.ValueType.STRING:
        return text
    if kind == cmap.ValueType.BINARY:
        return file_contents(text)
    number: int | float | None
    if kind in (cmap.ValueType.FLOAT, cmap.ValueType.DOUBLE):
        number = console.scan_float(text, single=kind == cmap.ValueType.FLOAT)
    else:
        number = (console.scan_signed if type_name[0] == "i" else console.scan_unsigned)(text)
    if number is None:
        raise Failure(f"{text} is not valid {type_name} type value")
    if isinstance(number, int) and not fits(number, type_name):
        raise Failure(f"{text} is not valid {type_name} integer")
    return number


def fits(number: int, type_name: str) -> bool:
    """Is the number in the range of an integer type?"""
    bits = int(type_name[1:])
    return -(1 << bits - 1) <= number < 1 << bits - 1 if type_name[0] == "i" else 0 <= number < 1 << bits


def file_contents(name: str) -> bytes:
    """The bytes of a file, `-` being standard input."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:
            return file.read()
    except IsADirectoryError:
        return b""
    except OSError as error:
        raise Failure(f"Can't open input file: {error.strerror}") from None


def load(handle: cmap.Handle, line: CommandLine) -> int:
    """Do what the lines of a file say; one that cannot be opened is complained about, no more."""
    try:
        with open(line.file, "rb") as file:
            while part := file.readline(LINE_SIZE):
                load_line(handle, part.decode("utf-8", "surrogateescape"))
    except IsADirectoryError:
        pass
    except OSError as error:
        complain(f"Couldn't open file.: {error.strerror}")
    return EXIT_SUCCESS


def load_line(handle: cmap.Handle, text: str) -> None:
    """A line `key type value`, `^key` or `^^prefix`; blanks separate, a tab does so only in front."""
    text = text.lstrip(" \t")
    if text.startswith(("#", "\n")):
        return
    words = [word for word in text.replace("\n", " ").split(" ") if word]
    if words and words[0].startswith("^^"):
        delete_prefix(handle, words[0][2:])
    elif words and words[0].startswith("^"):
        delete_reporting(handle, words[0][1:])
    elif len(words) < 3:
        raise Failure(f"Both type and value for key {words[0] if words else '(null)'} are required")
    else:
        set_key(handle, *words[:3])


def track(handle: cmap.Handle, line: CommandLine) -> int:
    """Print changes as they come, until there is a line that begins with q or no more input."""
    printer = Printer(handle, line)

    def report(_: cmap.Handle, change: cmap.Notification) -> None:
        value = change.old if change.event == cmap.TrackEvent.DELETE else change.new
        if value is None:
            return
        name = EVENTS[change.event]
        if line.json:
            print(json.dumps({"event": name, "key": change.key, **described(value)}))
        else:
            print(f"{name}> {printer.text(change.key, value.type, value)}")

    for key in line.operands:
        try:
            handle.track_add(key, callback=report, prefix=line.track_prefix)
        except CsException as error:
            raise Failure(f"Failed to add tracking function. Error {strerror(error.code)}") from None
    if not line.json:
        print('Type "q" to finish')
    watch(handle)
    return EXIT_SUCCESS


def watch(handle: cmap.Handle) -> None:
    """Dispatch until the user or the executive has ended it."""
    poll = select.poll()
    poll.register(handle.fileno(), select.POLLIN)
    poll.register(sys.stdin.fileno(), select.POLLIN)
    typed = b""
    while True:
        sys.stdout.flush()
        ready = {descriptor for descriptor, _ in poll.poll()}
        if sys.stdin.fileno() in ready:
            more = os.read(sys.stdin.fileno(), 4096)
            *lines, typed = (typed + more).split(b"\n")
            ended = not more or any(text.startswith(FINISHED.encode()) for text in lines)
            typed = typed[:1]
        else:
            ended = False
        if handle.fileno() in ready:
            try:
                handle.dispatch()
            except CsException as error:
                complain(f"Dispatch error {strerror(error.code)}")
                return
        if ended:
            return


def clear_stats(handle: cmap.Handle, line: CommandLine) -> int:
    """Set counters to zero; what the executive answers does not matter, as in stock's tool."""
    with contextlib.suppress(CsException):
        handle.set_uint32(f"stats.clear.{line.cleared}", 1)
    return EXIT_SUCCESS


ACTIONS: dict[Action, Callable[[cmap.Handle, CommandLine], int]] = {
    Action.PRINT_PREFIX: print_prefixes,
    Action.GET: print_keys,
    Action.SET: set_operands,
    Action.DELETE: delete_keys,
    Action.DELETE_PREFIX: delete_prefixes,
    Action.TRACK: track,
    Action.LOAD: load,
    Action.CLEAR_STATS: clear_stats,
}


def connect(map: cmap.Map) -> cmap.Handle:
    """A handle, after some patience with an executive that starts."""
    try:
        return console.patient(lambda: cmap.Handle(map), TRY_AGAIN_MAX)
    except CsException as error:
        raise Failure(f"Failed to initialize the cmap API. Error {strerror(error.code)}") from None


def command(arguments: list[str]) -> int:
    """All of it."""
    line = CommandLine(arguments)
    if line.action == Action.HELP:
        print(HELP, end="")
        return EXIT_SUCCESS
    with connect(line.map) as handle:
        return ACTIONS[line.action](handle, line)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return console.run(command, arguments)


if __name__ == "__main__":
    sys.exit(main())
