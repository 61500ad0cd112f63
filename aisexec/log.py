"""The log: logging{} of corosync.conf carried out, with corosync's line formats and subsystem tags.

A line of the file:   Nov 21 07:06:39.123 [4711] host aisexec notice  [TOTEM ] A new membership ...
of standard error:    Nov 21 07:06:39.123 notice  [TOTEM ] A new membership ...
of the system log:      [TOTEM ] A new membership ...       (two blanks, as corosync has them)
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from aisexec.config.model import Destinations, Logging
from aisexec.exit_codes import ExitCode
from aisexec.log_outputs import (
    LINE_MAX,
    MONTHS,
    FileOutput,
    Output,
    StderrOutput,
    SyslogOutput,
    is_journal,
)

EMERG, ALERT, CRIT, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACE = range(9)

PRIORITY_NAMES = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug", "trace")

FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7,
    "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
    **{f"local{n}": 16 + n for n in range(8)},
}  # fmt: skip


EARLY_RECORDS_MAX: Final = 256
"""Lines kept for the flight recorder until it is there."""


class Recorder(Protocol):
    """Takes every line, whatever the outputs take."""

    def record(self, subsystem: str, priority: int, text: str, when: int | None = None) -> None:
        """when: nanoseconds since the epoch, now unless given.  Neither raises nor waits."""


class LogError(Exception):
    """A log file cannot be opened; `text` says which and why."""

    exit_code = ExitCode.LOG_CONFIG_READ

    def __init__(self, path: str, error: OSError) -> None:
        self.text = f"Can't open logfile '{path}' for reason: {error.strerror} ({error.errno})."
        super().__init__(self.text)


class CallSite(NamedTuple):
    """Where in the source a line was logged, for fileline and function_name."""

    file: str
    line: int
    function: str


class _Route(NamedTuple):
    """What is decided for a subsystem: least important priorities, and the outputs."""

    tag: str
    threshold: int
    file: FileOutput | None
    file_priority: int
    stderr: StderrOutput | None
    syslog: SyslogOutput | None
    syslog_priority: int


class Logger:
    """Writes log lines where logging{} says.  log() neither raises nor waits for a destination."""

    def __init__(
        self,
        config: Logging,
        ident: str = "aisexec",
        *,
        clock: Callable[[], float] = time.time,
        stderr: int = 2,
        syslog_path: str = "/dev/log",
        hostname: str | None = None,
    ) -> None:
        """Opens the log files; raises LogError when one cannot be opened.

        ident: the program's name in the lines.  clock: seconds since the epoch.
        """
        self.ident = ident
        self.hostname = hostname or socket.gethostname()
        self._clock = clock
        self._stderr = StderrOutput(stderr)
        self._stderr_in_journal = is_journal(stderr)
        self._syslog_path = syslog_path
        self._syslog: SyslogOutput | None = None
        self._files: dict[str, FileOutput] = {}
        self._retiring: list[FileOutput] = []
        """Files of earlier configurations whose last lines are still being written."""
        self._threaded = False
        self._second = -1
        self._second_text = ""
        self._recorder: Recorder | None = None
        self._early: deque[tuple[str, int, str, int]] | None = deque(maxlen=EARLY_RECORDS_MAX)
        self.reconfigure(config)

    def reconfigure(self, config: Logging) -> None:
        """Take over a new logging{}.  Raises LogError and keeps the old one when a file cannot be opened."""
        files = self._open_files(config)
        self._retiring = [file for file in self._retiring if file.is_retiring]
        for path, file in self._files.items():
            if path not in files:
                file.retire()
                self._retiring.append(file)
        facility = FACILITIES[config.syslog_facility]
        if self._syslog is None or self._syslog.facility != facility:
            if self._syslog is not None:
                self._syslog.close()
            self._syslog = SyslogOutput(self.ident, facility, self._syslog_path)
        self._config = config
        self._files = files
        self._routes: dict[str, _Route] = {}

    def log(self, subsystem: str, priority: int, text: str, site: CallSite | None = None) -> None:
        """Log a line.  priority: 0 emergency to 7 debug, 8 trace.  subsystem: TOTEM, CPG, MAIN, ..."""
        if self._recorder is not None:
            self._recorder.record(subsystem, priority, text)
        elif self._early is not None:
            self._early.append((subsystem, priority, text, time.time_ns()))
        route = self._routes.get(subsystem) or self._route(subsystem)
        if priority > route.threshold:
            return
        if site is None and (self._config.fileline or self._config.function_name):
            site = caller(2)
        message = f"[{route.tag}] {self._site(site)}{_one_line(text)}"
        name = f"{PRIORITY_NAMES[max(0, min(priority, TRACE))]:<7}"
        stamp = self._stamp()
        if priority <= route.file_priority:
            if route.stderr is not None:
                head = f"{stamp} {name}" if stamp else name
                route.stderr.write(_encode(f"{head} {message}"), priority)
            if route.file is not None:
                # Without a time stamp corosync has no blank before the priority either.
                head = f"[{os.getpid()}] {self.hostname} {self.ident}"
                head = f"{stamp} {head} {name}" if stamp else head + name
                route.file.write(_encode(f"{head} {message}"), priority)
        if route.syslog is not None and priority <= route.syslog_priority:
            route.syslog.write(_encode(f"{'  ' if stamp else ' '}{message}"), priority)

    def enabled(self, subsystem: str, priority: int) -> bool:
        """Would a line be written anywhere?  For callers whose text is costly to make."""
        return priority <= (self._routes.get(subsystem) or self._route(subsystem)).threshold

    def record_with(self, recorder: Recorder | None) -> None:
        """Hand every line to a flight recorder too, also those that were logged before; None: to nobody."""
        self._recorder = recorder
        early, self._early = self._early, None
        if recorder is not None:
            for line in early or ():
                recorder.record(*line)

    def start_thread(self) -> None:
        """Let threads write the files from now on; call it when the process will not fork any more."""
        self._threaded = True
        for file in self._files.values():
            file.start_thread()

    def reopen(self) -> bool:
        """Open the log files anew after rotation; one that cannot be opened is written on as it was.

        False when there was such a one.
        """
        opened = True
        for path, file in self._files.items():
            try:
                file.reopen()
            except OSError as error:
                opened = False
                self.log("MAIN", WARNING, f"Unable to reopen log file {path}: {error.strerror}")
        return opened

    @property
    def lost(self) -> Mapping[str, int]:
        """Lines lost so far by destination: stderr, syslog and the paths of files."""
        outputs: dict[str, Output] = {"stderr": self._stderr, **self._files}
        if self._syslog is not None:
            outputs["syslog"] = self._syslog
        return {name: output.lost for name, output in outputs.items()}

    def close(self) -> None:
        """Write what is waiting and close the files."""
        for file in (*self._files.values(), *(file for file in self._retiring if file.is_retiring)):
            file.close()
        self._files = {}
        self._retiring = []
        self._routes = {}
        if self._syslog is not None:
            self._syslog.close()

    def _open_files(self, config: Logging) -> dict[str, FileOutput]:
        wanted = {
            part.logfile
            for part in (config.default, *config.subsystems.values())
            if part.to_logfile and part.logfile
        }
        files: dict[str, FileOutput] = {}
        opened: list[FileOutput] = []
        try:
            for path in sorted(wanted):
                if path in self._files:
                    files[path] = self._files[path]
                    continue
                files[path] = FileOutput(path)
                opened.append(files[path])
                if self._threaded:
                    files[path].start_thread()
        except OSError as error:
            for file in opened:
                file.close()
            raise LogError(path, error) from None
        return files

    def _route(self, subsystem: str) -> _Route:
        to = self._config.subsystems.get(subsystem.strip().upper(), self._config.default)
        file = self._files.get(to.logfile) if to.to_logfile and to.logfile else None
        # In the journal a line would show twice when it also goes to the system log.
        stderr = self._stderr if to.to_stderr and not (to.to_syslog and self._stderr_in_journal) else None
        syslog = self._syslog if to.to_syslog else None
        route = _Route(
            f"{subsystem[:6]:<6}", _threshold(to, file, stderr, syslog), file, to.logfile_priority,
            stderr, syslog, to.syslog_priority,
        )  # fmt: skip
        if len(self._routes) < 64:  # as many subsystems as there can be services
            self._routes[subsystem] = route
        return route

    def _stamp(self) -> str:
        style = self._config.timestamp
        if style == "off":
            return ""
        now = self._clock()
        second = int(now)
        if second != self._second:
            t = time.localtime(second)
            clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
            self._second_text = f"{MONTHS[t.tm_mon - 1]} {t.tm_mday:02} {clock}"
            self._second = second
        fraction = f".{int((now - second) * 1000):03}" if style == "hires" else ""
        return self._second_text + fraction

    def _site(self, site: CallSite | None) -> str:
        if site is None:
            return ""
        if self._config.fileline and self._config.function_name:
            return f"{site.file}:{site.function}:{site.line} "
        if self._config.fileline:
            return f"{site.file}:{site.line} "
        return f"{site.function} " if self._config.function_name else ""


def caller(depth: int = 1) -> CallSite:
    """The place `depth` calls up from the function that asks."""
    frame = sys._getframe(depth)
    code = frame.f_code
    return CallSite(os.path.basename(code.co_filename), frame.f_lineno, code.co_name)


def _threshold(
    to: Destinations,
    file: FileOutput | None,
    stderr: StderrOutput | None,
    syslog: SyslogOutput | None,
) -> int:
    priorities = [to.logfile_priority] if file is not None or stderr is not None else []
    if syslog is not None:
        priorities.append(to.syslog_priority)
    return max(priorities, default=-1)


def _one_line(text: str) -> str:
    """A message cannot forge a further line, nor send commands to a terminal."""
    text = text.rstrip("\n")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace")[:LINE_MAX]
