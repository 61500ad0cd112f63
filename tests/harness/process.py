"""What the kernel tells about a process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Resident set size without shared memory of clients' rings: private pages and mapped files."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
    return (int(values["RssAnon"]) + int(values["RssFile"])) * 1024


def descriptors(pid: int) -> int:
    """Number of open file descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def mappings(pid: int) -> int:
    """Number of mapped areas of memory."""
    return Path(f"/proc/{pid}/maps").read_text().count("\n")


def state(pid: int) -> str:
    """R running, S sleeping, T stopped, Z ended but not waited for, ... (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def shared_memory_of(pid: int) -> list[str]:
    """Names below /dev/shm that libqb's naming gives to the server with that process id."""
    return sorted(name for name in os.listdir("/dev/shm") if name.startswith(f"qb-{pid}-"))


def remove_shared_memory_of(pid: int) -> None:
    """What an executive leaves behind that was killed."""
    for name in shared_memory_of(pid):
        shutil.rmtree(f"/dev/shm/{name}", ignore_errors=True)
    for part in ("header", "data"):
        Path(f"/dev/shm/qb-corosync-{pid}-blackbox-{part}").unlink(missing_ok=True)
