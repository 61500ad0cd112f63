"""Our log lines equal corosync's, byte for byte, in every format logging{} can ask for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from itertools import product
from pathlib import Path

import pytest

from aisexec.config.model import Destinations, Logging
from aisexec.log import DEBUG, CallSite, Logger

pytestmark = pytest.mark.skipif(
    shutil.which("corosync") is None, reason="corosync is not installed (apt install corosync)"
)

TEXT = "totemip_parse: IPv4 address of 127.0.0.1 resolved as 127.0.0.1"


@pytest.mark.parametrize(
    ("timestamp", "fileline", "function"),
    list(product(("off", "on", "hires"), ("on", "off"), ("on", "off"))),
)
def test_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timestamp: str, fileline: str, function: str
) -> None:
    theirs, ours, path = tmp_path / "theirs", tmp_path / "ours", tmp_path / "corosync.conf"
    path.write_text(
        f"system {{\nstate_dir: {tmp_path}\n}}\n"
        "totem {\nversion: 2\ntransport: udpu\n}\n"
        "nodelist {\nnode {\nring0_addr: 127.0.0.1\nnodeid: 1\n}\n}\n"
        f"logging {{\nto_syslog: no\nto_logfile: yes\nlogfile: {theirs}\nblackbox: off\ndebug: on\n"
        f"timestamp: {timestamp}\nfileline: {fileline}\nfunction_name: {function}\n}}\n"
    )
    stock = subprocess.run(
        ["corosync", "-t", "-c", str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    line = next(line for line in theirs.read_text().splitlines() if line.endswith(TEXT))
    on_stderr = next(line for line in stock.stderr.splitlines() if line.endswith(TEXT))
    pid = re.search(r"\[(\d+)\]", line)
    place = re.search(r"totemip\.c:(?:totemip_parse:)?(\d+) ", line)
    assert pid is not None
    monkeypatch.setattr(os, "getpid", lambda: int(pid[1]))
    now = _time_of(line)
    reader, writer = os.pipe()
    logger = Logger(
        Logging(
            Destinations(to_syslog=False, to_logfile=True, logfile=str(ours), logfile_priority=DEBUG),
            timestamp=timestamp,  # type: ignore[arg-type]
            fileline=fileline == "on",
            function_name=function == "on",
        ),
        "corosync",
        clock=lambda: now,
        stderr=writer,
    )
    site = CallSite("totemip.c", int(place[1]) if place else 0, "totemip_parse")
    logger.log("TOTEM", DEBUG, TEXT, site)
    logger.close()
    assert ours.read_text() == line + "\n"
    assert os.read(reader, 1000).decode() == _with_time_of(on_stderr, line, timestamp) + "\n"
    os.close(reader)
    os.close(writer)


def _time_of(line: str) -> float:
    """Seconds since the epoch of a line's time stamp; half a millisecond more, against rounding."""
    match = re.match(r"(\w{3} \d\d \d\d:\d\d:\d\d)(?:\.(\d{3}))?", line)
    if match is None:
        return time.time()
    parsed = time.strptime(f"{time.localtime().tm_year} {match[1]}", "%Y %b %d %H:%M:%S")
    return time.mktime((*parsed[:8], -1)) + int(match[2] or 0) / 1000 + 0.0005


def _with_time_of(line: str, other: str, timestamp: str) -> str:
    """The line with another's time stamp: libqb may write the two a moment apart."""
    width = {"off": 0, "on": 15, "hires": 19}[timestamp]
    return other[:width] + line[width:]
