"""The log: line formats, priorities, destinations, and that no destination can hold up the executive."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aisexec import log_outputs
from aisexec.config.model import Destinations, Logging
from aisexec.log import DEBUG, ERROR, INFO, NOTICE, TRACE, WARNING, CallSite, LogError, Logger
from aisexec.log_outputs import FILE_QUEUE_MAX, LINE_MAX, FileOutput, StderrOutput, SyslogOutput, is_journal

NOW = time.mktime((2025, 11, 1, 7, 6, 39, 0, 0, -1)) + 0.0625
SITE = CallSite("totemip.c", 411, "totemip_parse")
QUIET = Destinations(to_stderr=False, to_syslog=False)
TEXT = "A new membership (1.5) was formed"


def to_file(path: Path, **changes: object) -> Logging:
    return replace(Logging(replace(QUIET, to_logfile=True, logfile=str(path))), **changes)  # type: ignore[arg-type]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


class Pipe:
    """A pipe whose writing end stands for standard error."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def read(self) -> str:
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reader)
    os.close(made.writer)


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "devlog"))
        daemon.settimeout(10)
        yield daemon


# Formats as corosync 3.1.7 with libqb 2.0.6 writes them.
FORMATS = [
    ("hires", "off", "off", "Nov 01 07:06:39.062 [{pid}] host aisexec notice  [TOTEM ] ", "  [TOTEM ] "),
    ("on", "off", "off", "Nov 01 07:06:39 [{pid}] host aisexec notice  [TOTEM ] ", "  [TOTEM ] "),
    ("off", "off", "off", "[{pid}] host aisexecnotice  [TOTEM ] ", " [TOTEM ] "),
    ("on", "on", "off", "Nov 01 07:06:39 [{pid}] host aisexec notice  [TOTEM ] totemip.c:411 ",
     "  [TOTEM ] totemip.c:411 "),
    ("on", "on", "on", "Nov 01 07:06:39 [{pid}] host aisexec notice  [TOTEM ] totemip.c:totemip_parse:411 ",
     "  [TOTEM ] totemip.c:totemip_parse:411 "),
    ("on", "off", "on", "Nov 01 07:06:39 [{pid}] host aisexec notice  [TOTEM ] totemip_parse ",
     "  [TOTEM ] totemip_parse "),
]  # fmt: skip


@pytest.mark.parametrize(("timestamp", "fileline", "function", "file_head", "syslog_head"), FORMATS)
def test_formats(
    tmp_path: Path,
    pipe: Pipe,
    syslog: socket.socket,
    timestamp: str,
    fileline: str,
    function: str,
    file_head: str,
    syslog_head: str,
) -> None:
    path = tmp_path / "log"
    config = Logging(
        Destinations(to_logfile=True, logfile=str(path)),
        timestamp=timestamp,  # type: ignore[arg-type]
        fileline=fileline == "on",
        function_name=function == "on",
    )
    logger = Logger(
        config, clock=lambda: NOW, stderr=pipe.writer, hostname="host", syslog_path=str(tmp_path / "devlog")
    )
    logger.log("TOTEM", NOTICE, TEXT, SITE)
    logger.close()
    head = file_head.format(pid=os.getpid())
    assert lines(path) == [head + TEXT]
    assert pipe.read() == head.replace(f"[{os.getpid()}] host aisexec ", "").replace(
        f"[{os.getpid()}] host aisexec", ""
    ) + TEXT + "\n"
    datagram = syslog.recv(1000).decode()
    assert datagram.startswith("<29>")
    assert datagram.endswith(f" aisexec[{os.getpid()}]: {syslog_head}{TEXT}")


def test_tags_and_priorities_are_padded_and_cut(tmp_path: Path) -> None:
    logger = Logger(to_file(tmp_path / "log", timestamp="off"), hostname="h", ident="i")
    for priority, subsystem in ((0, "CPG"), (3, "VOTEQ "), (4, "QUORUM"), (6, "LONGNAME")):
        logger.log(subsystem, priority, "x")
    logger.close()
    pid = os.getpid()
    assert lines(tmp_path / "log") == [
        f"[{pid}] h iemerg   [CPG   ] x",
        f"[{pid}] h ierror   [VOTEQ ] x",
        f"[{pid}] h iwarning [QUORUM] x",
        f"[{pid}] h iinfo    [LONGNA] x",
    ]


def test_text_cannot_forge_lines_or_terminal_commands(tmp_path: Path) -> None:
    logger = Logger(to_file(tmp_path / "log"))
    logger.log("CPG", INFO, "name a\nNov 01 forged\x1b[2J\udc80\u00e9 end\n")
    logger.log("CPG", INFO, "y" * (2 * LINE_MAX))
    logger.close()
    first, second = lines(tmp_path / "log")
    assert first.endswith("name a\\nNov 01 forged\\x1b[2J\\udc80\u00e9 end")
    assert len(second.encode()) == LINE_MAX


def test_place_of_the_caller_is_found(tmp_path: Path) -> None:
    logger = Logger(to_file(tmp_path / "log", fileline=True, function_name=True))
    logger.log("MAIN", INFO, "x")
    logger.close()
    assert "test_log.py:test_place_of_the_caller_is_found:" in lines(tmp_path / "log")[0]


def test_priorities_and_subsystems_decide_who_gets_what(
    tmp_path: Path, pipe: Pipe, syslog: socket.socket
) -> None:
    main, own = tmp_path / "log", tmp_path / "own"
    default = Destinations(to_logfile=True, logfile=str(main), syslog_priority=WARNING)
    config = Logging(
        default,
        {
            "TOTEM": replace(default, logfile_priority=TRACE, syslog_priority=TRACE),
            "CPG": Destinations(False, False, True, str(own), ERROR),
        },
        timestamp="off",
    )
    logger = Logger(config, stderr=pipe.writer, syslog_path=str(tmp_path / "devlog"))
    for subsystem in ("MAIN", "TOTEM", "CPG"):
        for priority in (ERROR, NOTICE, DEBUG, TRACE):
            logger.log(subsystem, priority, f"{subsystem}-{priority}")
    assert logger.enabled("TOTEM", TRACE)
    assert not logger.enabled("MAIN", DEBUG)
    assert not logger.enabled("CPG", NOTICE)
    logger.close()
    wanted = ["MAIN-3", "MAIN-5", "TOTEM-3", "TOTEM-5", "TOTEM-7", "TOTEM-8"]
    assert [line.rpartition(" ")[2] for line in lines(main)] == wanted
    assert [line.rpartition(" ")[2] for line in pipe.read().splitlines()] == wanted
    assert [line.rpartition(" ")[2] for line in lines(own)] == ["CPG-3"]
    received = [syslog.recv(1000).decode() for _ in range(5)]
    # libqb sends debug as info and trace as debug.
    assert [(r[1 : r.index(">")], r.rpartition(" ")[2]) for r in received] == [
        ("27", "MAIN-3"), ("27", "TOTEM-3"), ("29", "TOTEM-5"), ("30", "TOTEM-7"), ("31", "TOTEM-8"),
    ]  # fmt: skip


def test_log_file_that_cannot_be_opened_names_it(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"Can't open logfile '.*/no/log' for reason: No such file"):
        Logger(to_file(tmp_path / "no" / "log"))


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logger = Logger(to_file(path))
    logger.log("MAIN", INFO, "one")
    path.rename(tmp_path / "log.1")
    logger.log("MAIN", INFO, "two")
    logger.reopen()
    logger.log("MAIN", INFO, "three")
    logger.close()
    assert [line.rpartition(" ")[2] for line in lines(tmp_path / "log.1")] == ["one", "two"]
    assert [line.rpartition(" ")[2] for line in lines(path)] == ["three"]


def test_failed_rotation_keeps_the_old_file(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    logger = Logger(to_file(directory / "log"))
    directory.rename(tmp_path / "e")
    logger.reopen()
    logger.close()
    assert "Unable to reopen log file" in lines(tmp_path / "e" / "log")[0]


def test_reconfigure_opens_new_files_and_keeps_the_old_ones_on_failure(tmp_path: Path) -> None:
    logger = Logger(to_file(tmp_path / "a"))
    logger.reconfigure(to_file(tmp_path / "b"))
    with pytest.raises(LogError):
        logger.reconfigure(to_file(tmp_path / "no" / "c"))
    logger.log("MAIN", INFO, "x")
    logger.close()
    assert not lines(tmp_path / "a")
    assert len(lines(tmp_path / "b")) == 1


def test_nobody_waits_for_a_file_that_is_not_used_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, go_on = threading.Event(), threading.Event()
    store = FileOutput._store

    def slowly(output: FileOutput, data: bytes, count: int) -> None:
        slow.set()
        assert go_on.wait(10)
        store(output, data, count)

    monkeypatch.setattr(FileOutput, "_store", slowly)
    logger = Logger(to_file(tmp_path / "a"))
    logger.start_thread()
    logger.log("MAIN", INFO, "x")
    assert slow.wait(10)
    begin = time.monotonic()
    logger.reconfigure(to_file(tmp_path / "b"))
    assert time.monotonic() - begin < log_outputs.DRAIN_SECONDS / 2
    logger.log("MAIN", INFO, "y")
    go_on.set()
    logger.close()
    assert [len(lines(tmp_path / name)) for name in "ab"] == [1, 1]


def test_full_disk_is_survived_and_reported_when_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    output = FileOutput(str(path))
    output.write(b"a", INFO)
    output.write(b"b", INFO)
    assert output.lost == 2
    path.unlink()
    output.reopen()
    output.write(b"c", INFO)
    output.write(b"d", INFO)
    output.close()
    assert lines(path) == ["aisexec: 2 log lines were lost here: No space left on device", "c", "d"]


def test_nobody_waits_for_the_reader_of_a_pipe(tmp_path: Path) -> None:
    """A program may name one in logging.logfile, through cmap."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        FileOutput(str(pipe))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    output = FileOutput(str(pipe))
    for _ in range(200):
        output.write(b"x" * LINE_MAX, NOTICE)
    assert output.lost
    output.close()
    os.close(reader)


def test_line_that_fitted_in_part_does_not_spoil_the_next(tmp_path: Path) -> None:
    # RLIMIT_FSIZE makes the kernel take the first bytes of a write only.
    program = """
import resource, sys
from aisexec.log_outputs import FileOutput
output = FileOutput(sys.argv[1])
output.write(b"x" * 9, 6)
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
output.write(b"y" * 9, 6)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
output.write(b"z" * 9, 6)
assert output.lost == 1
"""
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert lines(path) == [
        "x" * 9, "y" * 5, "aisexec: 1 log lines were lost here: no space left", "z" * 9,
    ]  # fmt: skip


def test_thread_keeps_order_and_close_waits_for_it(tmp_path: Path) -> None:
    logger = Logger(to_file(tmp_path / "log"))
    logger.log("MAIN", INFO, "0")
    logger.start_thread()
    for number in range(1, 1000):
        logger.log("MAIN", INFO, str(number))
    logger.close()
    assert [int(line.rpartition(" ")[2]) for line in lines(tmp_path / "log")] == list(range(1000))


def test_disk_that_does_not_answer_costs_lines_not_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)  # holds it open and reads nothing: the writer blocks
    monkeypatch.setattr(log_outputs, "DRAIN_SECONDS", 0.05)
    output = FileOutput(str(path))
    output.start_thread()
    line = b"x" * 1000
    while output.lost < FILE_QUEUE_MAX:
        output.write(line, INFO)
        assert len(output._lines) <= FILE_QUEUE_MAX
    output.close()
    os.close(reader)  # lets the thread end


def test_stderr_that_nobody_reads_is_skipped(pipe: Pipe) -> None:
    output = StderrOutput(pipe.writer)
    written = 0
    while output.lost == 0:
        output.write(b"x" * 5000, INFO)
        written += 1
    assert written > 1
    assert len(pipe.read()) >= 4096
    output.write(b"again", INFO)
    assert pipe.read().endswith("again\n")


def test_stderr_that_is_closed_is_survived() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = StderrOutput(writer)
    output.write(b"x", INFO)
    os.close(writer)
    output.write(b"x", INFO)
    assert output.lost == 2


def test_syslog_that_does_not_read_is_skipped(tmp_path: Path, syslog: socket.socket) -> None:
    output = SyslogOutput("i", 3, str(tmp_path / "devlog"))
    sent = 0
    while output.lost == 0:
        output.write(b"x" * 1000, INFO)
        sent += 1
    for _ in range(sent - 1):
        syslog.recv(2000)
    output.write(b"again", INFO)
    assert syslog.recv(2000).endswith(b" i[%d]: again" % os.getpid())
    output.close()


def test_syslog_is_found_again_after_its_restart(tmp_path: Path) -> None:
    path, now = str(tmp_path / "devlog"), [0.0]
    output = SyslogOutput("i", 3, path, clock=lambda: now[0])
    output.write(b"nobody", INFO)
    assert output.lost == 1
    for text in (b"one", b"two"):
        now[0] += 2
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            daemon.settimeout(10)
            output.write(text, INFO)
            assert daemon.recv(1000).endswith(text)
        os.unlink(path)
    assert output.lost == 1
    output.close()


def test_line_is_not_twice_in_the_journal(
    tmp_path: Path, pipe: Pipe, syslog: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(pipe.writer)
    assert not is_journal(pipe.writer, {})
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    logger = Logger(Logging(), stderr=pipe.writer, syslog_path=str(tmp_path / "devlog"))
    logger.log("MAIN", INFO, "once")
    assert syslog.recv(1000).endswith(b"once")
    assert pipe.read() == ""
    logger.reconfigure(Logging(Destinations(to_syslog=False)))
    logger.log("MAIN", INFO, "without syslog")
    logger.close()
    assert "without syslog" in pipe.read()


def test_lost_lines_are_counted_by_destination(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    default = Destinations(to_stderr=False, to_logfile=True, logfile=str(path))
    logger = Logger(Logging(default), syslog_path=str(tmp_path / "none"))
    logger.log("MAIN", INFO, "x")
    assert dict(logger.lost) == {"stderr": 0, str(path): 1, "syslog": 1}
    logger.close()
