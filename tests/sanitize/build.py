"""Compiles with the sanitizers, and the environment in which the result runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from tests.sanitize import tree

FLAGS: Final = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "-O1",
    "-g",
)
RUNTIMES: Final = ("libasan.so", "libubsan.so")
STATUS: Final = 99
"""Exit status of a process in which a sanitizer has found something."""
BUILD_TIMEOUT: Final = 600.0
"""Seconds."""


class SanitizeError(Exception):
    """It cannot be built; says what is missing or what the compiler said."""


@cache
def _runtime(name: str) -> str:
    compiler = shutil.which("gcc")
    if compiler is None:
        return ""
    command = [compiler, f"-print-file-name={name}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    path = asked.stdout.strip()
    return str(Path(path).resolve()) if os.path.isabs(path) and os.path.exists(path) else ""


def missing() -> str:
    """What has to be installed first; empty when nothing."""
    try:
        import Cython  # noqa: F401
    except ModuleNotFoundError:
        return "Cython is needed: pip install 'cython>=3.0'"
    if shutil.which("gcc") is None:
        return "gcc is needed: apt-get install gcc libc6-dev python3-dev"
    absent = [name for name in RUNTIMES if not _runtime(name)]
    return f"gcc has no {' and '.join(absent)}: apt-get install libasan8 libubsan1" if absent else ""


def build(directory: Path) -> Path:
    """The root of an instrumented copy of the source tree in `directory`; SanitizeError."""
    if lacking := missing():
        raise SanitizeError(lacking)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(directory)


def _build(directory: Path) -> Path:
    copy = directory / "tree"
    tree.update(copy)
    flags = " ".join(FLAGS)
    environment = {**os.environ, "CC": "gcc", "CFLAGS": flags, "LDFLAGS": flags}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel", "2"]
    command += ["--build-temp", str(directory / "objects"), "--build-lib", str(directory / "lib")]
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False
    )
    if done.returncode:
        raise SanitizeError(f"{done.stdout}\n{done.stderr}")
    return copy


def environment(reports: Path) -> dict[str, str]:
    """For programs that import the instrumented modules.

    What AddressSanitizer finds is written to `reports`.*, what the other one finds to stderr.
    """
    common = f"halt_on_error=1:exitcode={STATUS}"
    # Python does not give back all its memory at its end.
    # SIGBUS is what a client sends us that truncates its rings: ipc/guard.c and its tests see to it.
    address = f"log_path={reports}:detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1"
    return {
        **os.environ,
        # greenlet throws C++ exceptions, which have to be known before the sanitizer looks for them.
        "LD_PRELOAD": f"{_runtime('libasan.so')} {_runtime('libstdc++.so.6')}",
        "ASAN_OPTIONS": f"{common}:{address}",
        "UBSAN_OPTIONS": f"{common}:print_stacktrace=1",
        # Python's own allocator would hide where one object ends and the next begins.
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(reports.parent / "hypothesis"),
    }
