"""A copy of the source tree, so that instrumented modules never take the place of the usual ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("aisexec", "docs", "etc", "ipc", "libais", "tests", "tools")
FILES: Final = ("README.md", "LICENSE", "pyproject.toml", "setup.cfg", "setup.py")
MADE: Final = (".so", ".c")
"""Endings of what the build puts beside a .pyx."""


def sources() -> Iterator[Path]:
    """Relative paths of all that is written by hand."""
    yield from map(Path, FILES)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not generated(path):
                yield path.relative_to(ROOT)


def generated(path: Path) -> bool:
    """Made from a .pyx beside it, which need not be there any more."""
    return path.suffix == ".so" or (path.suffix == ".c" and path.name.startswith("_"))


def update(copy: Path) -> None:
    """Make `copy` like the source tree; what is the same keeps its time, for the sake of the build."""
    wanted = set(sources())
    for path in wanted:
        old, new = ROOT / path, copy / path
        new.parent.mkdir(parents=True, exist_ok=True)
        if not new.exists() or _stamp(new) != _stamp(old):
            shutil.copy2(old, new)
    for path in list(copy.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.relative_to(copy) not in wanted:
            source = path.with_name(path.name.split(".")[0] + ".pyx")
            if not (path.suffix in MADE and source.relative_to(copy) in wanted):
                path.unlink()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
