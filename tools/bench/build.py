"""Compiles the C client where it is used: it needs a compiler and the header of libcpg."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .figures import BenchError

SOURCES = Path(__file__).resolve().parent / "client"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
LIBRARIES = ("-lcpg",)
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT = 120.0
PACKAGES = "apt-get install gcc libc6-dev libcpg-dev"


def cache_directory() -> Path:
    """Where compiled clients are kept for this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aisexec"


def c_client(directory: Path | None = None) -> Path:
    """The program, compiled unless the same source was compiled before; BenchError says what is missing.

    directory: where to keep it, `cache_directory` by default.
    """
    sources = sorted(SOURCES.glob("*.c"))
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".c", ".h"):
            digest.update(path.read_bytes())
    directory = directory or cache_directory()
    program = directory / f"bench-client-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise BenchError(f"the C client cannot be compiled, there is no compiler; as root: {PACKAGES}")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            built = Path(work) / "client"
            command = [compiler, *FLAGS, "-o", str(built), *map(str, sources), *LIBRARIES]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            if done.returncode:
                said = done.stderr.strip()
                raise BenchError(f"the C client cannot be compiled; as root: {PACKAGES}\n{said}")
            built.replace(program)
    except OSError as error:
        raise BenchError(f"the C client cannot be compiled in {directory}: {error.strerror}") from None
    return program


def client_command(kind: str, group: str, directory: Path | None = None) -> list[str]:
    """The command line of a client; kind: c, python, or auto for C where it can be had."""
    if kind != "python":
        try:
            return [str(c_client(directory)), group]
        except BenchError as error:
            if kind == "c":
                raise
            print(f"aisexec-bench: {error}\nUsing the Python client, which is slower.", file=sys.stderr)
    return [sys.executable, "-m", f"{__package__}.python_client", group]
