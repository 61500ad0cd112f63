"""Why the executive of this node did not take over its configuration file: its answer is just a number."""

from __future__ import annotations

from pathlib import Path

from aisexec.config import load

REASONS_MAX = 20
STOCK = "corosync"


def reasons(executive: int) -> list[str]:
    """A line `file:line: what; what to write` for each error in the file that the process has read.

    Nothing for stock's executive, which has a grammar of its own.
    """
    if _read(executive, "comm").strip() == STOCK:
        return []
    loaded = load(_path(executive))
    if not loaded.errors:
        return [f"{loaded.path} can be used as such: the log says on which node it cannot, and why"]
    found = [str(problem) for problem in loaded.errors]
    more = len(found) - REASONS_MAX
    return found[:REASONS_MAX] + ([f"{more} more: aisexec -t -c {loaded.path}"] if more > 0 else [])


def _path(executive: int) -> str | None:
    """What its command line names, None when that leaves it at what is usual."""
    words = _read(executive, "cmdline").split("\0")
    place = words.index("-c") + 1 if "-c" in words else len(words)
    return words[place] if place < len(words) else None


def _read(executive: int, name: str) -> str:
    try:
        return (Path("/proc") / str(executive) / name).read_text(errors="surrogateescape")
    except OSError:
        return ""
