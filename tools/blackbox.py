"""The command `corosync-blackbox`: prints the flight recording, the last log records down to trace.

It asks the executive to write its recording, as corosync's script does, and prints the file.  When no
executive runs, it prints what the last one left behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from aisexec.config import load
from ipc.blackbox import BlackboxError, Record, Recording, read_recording, ring_path
from libais import cmap
from libais.errors import CsException, LibraryError, NotExistError, TryAgainError

from . import console
from .console import EXIT_FAILURE, EXIT_SUCCESS, Failure

DUMP_STATE = "runtime.blackbox.dump_state"
DUMP_FLIGHT_DATA = "runtime.blackbox.dump_flight_data"
STATE_DIR = "system.state_dir"
DEFAULT_STATE_DIR = "/var/lib/corosync"
NEWEST = "fdata"
FILE_SIZE_MAX = 300 * 1024 * 1024
"""Bytes read of a file: corosync's recording has 8 MB."""

PATIENCE = 5.0
"""Seconds to wait for the executive's answer."""

PRIORITIES = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug", "trace")

SUBSYSTEMS = {
    1: "QUORUM", 2: "SYNC", 4: "CMAP", 5: "CPG", 7: "VOTEQ", 8: "MAIN", 9: "QB", 12: "SERV",
    13: "MON", 14: "WD", 15: "TOTEM", 1 << 31: "QB",
}  # fmt: skip
"""By the tags of corosync 3.1.7's records, as Debian builds it."""

DESCRIPTION = """\
Print the executive's flight recording: its last log records, down to the priority trace, whatever the
log files take. Without --file the executive is asked to write it; if none runs, what the last one left
behind is printed."""


class Parser(argparse.ArgumentParser):
    """Ends with the status of all commands on a wrong command line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise Failure(f"{self.prog}: {message}")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return console.run(command, arguments)


def command(arguments: list[str]) -> int:
    """Raises Failure."""
    parser = Parser("corosync-blackbox", description=DESCRIPTION)
    parser.add_argument("--file", metavar="FILE", help="a recording, or the ring of an executive that died")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    path = options.file or _fresh_recording()
    recording = read(path)
    if options.json:
        console.print_json(as_json(path, recording))
    else:
        for line in as_text(recording):
            print(line)
    for problem in recording.problems:
        console.complain(f"{path} is damaged: {problem}")
    return EXIT_FAILURE if recording.problems else EXIT_SUCCESS


def read(path: str) -> Recording:
    """What is in a file.  Raises Failure."""
    try:
        with open(path, "rb") as file:
            return read_recording(file.read(FILE_SIZE_MAX))
    except OSError as error:
        raise Failure(f"Cannot read {path}: {error.strerror}") from None
    except BlackboxError as error:
        raise Failure(f"{path} is no flight recording: {error}") from None


def _fresh_recording() -> str:
    try:
        with cmap.Handle(connect_timeout=PATIENCE, retry_for=PATIENCE) as handle:
            return _dumped(handle)
    except (LibraryError, TryAgainError) as error:
        path = left_behind(_configured_state_dir())
        if path is None:
            text = f"No executive answers, and there is no recording of an earlier one ({error})"
            raise Failure(text) from None
        console.complain(f"No executive answers. This is the recording that the last one left: {path}")
        return path
    except CsException as error:
        raise Failure(f"Cannot have the flight recording written: {error}") from None


def _dumped(handle: cmap.Handle) -> str:
    try:
        state_dir = handle.get_string(STATE_DIR)
    except NotExistError:
        state_dir = DEFAULT_STATE_DIR
    path = os.path.join(state_dir, NEWEST)
    before = _identity(path)
    # A value that is not the present one: only changes trigger.
    value = str(time.time_ns())
    handle.set_string(DUMP_STATE, value)
    handle.set_string(DUMP_FLIGHT_DATA, value)
    if _identity(path) == before:
        raise Failure(
            f"The executive has written no new recording to {state_dir}. Its log says why: logging.blackbox"
            " may be off, or the disk full."
        )
    return os.path.realpath(path)


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _configured_state_dir() -> str:
    return str(load().values.one("system").value("state_dir"))


def left_behind(state_dir: str, run_dir: str = "/dev/shm") -> str | None:
    """The ring of an executive that died, else the newest dump; None when there is neither."""
    for path in (ring_path(state_dir, run_dir), os.path.join(state_dir, NEWEST)):
        if os.path.exists(path):
            return path
    return None


def priority_name(priority: int) -> str:
    """As in the log."""
    return PRIORITIES[min(priority, len(PRIORITIES) - 1)]


def subsystem(record: Record, recording: Recording) -> str:
    """Of ours the record says it, of corosync's the number it gives the subsystem."""
    if recording.trailer is not None:
        return record.function
    return SUBSYSTEMS.get(record.tags, "")


def as_text(recording: Recording) -> Iterator[str]:
    """A line each, as in the log."""
    for record in recording.records:
        when = time.strftime("%b %d %H:%M:%S", time.localtime(record.seconds))
        tag = subsystem(record, recording)[:6]
        where = "" if recording.trailer is not None else f"{record.function}:{record.line} "
        yield _printable(
            f"{when}.{record.nanoseconds // 1_000_000:03} {priority_name(record.priority):<7}"
            f" [{tag:<6}] {where}{record.text}"
        )
    if recording.crash:
        yield ""
        yield "The process crashed. This is what it was doing:"
        yield from (_printable(line) for line in recording.crash.splitlines())


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def as_json(path: str, recording: Recording) -> dict[str, object]:
    """The document of --json."""
    trailer = recording.trailer
    return {
        "file": path,
        "pid": None if trailer is None else trailer.pid,
        "started": None if trailer is None else trailer.started,
        "records": [_json_record(record, recording) for record in recording.records],
        "crash": recording.crash or None,
        "problems": recording.problems,
    }


def _json_record(record: Record, recording: Recording) -> dict[str, object]:
    when = datetime.fromtimestamp(record.seconds, UTC)
    entry: dict[str, object] = {
        "time": f"{when:%Y-%m-%dT%H:%M:%S}.{record.nanoseconds:09}Z",
        "priority": priority_name(record.priority),
        "subsystem": subsystem(record, recording) or None,
        "text": record.text,
    }
    if recording.trailer is None:
        entry["function"] = record.function
        entry["line"] = record.line
    return entry


if __name__ == "__main__":
    sys.exit(main())
