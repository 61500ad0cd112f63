"""A whole machine on this machine: processes, files, IPC and network of its own, which can lose its power."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.harness.wait import wait_until
from tools.lab import Host

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds for a process to start or to end."""

OWN = (
    "etc/corosync",
    "etc/pacemaker",
    "run",
    "var/lib/corosync",
    "var/lib/pacemaker",
    "var/log/corosync",
    "var/log/pacemaker",
)
"""Directories a machine has for itself; they are found below `Machine.directory`."""

OF_PACEMAKER = ("blackbox", "cib", "cores", "pengine")
"""Below /var/lib/pacemaker."""

# Process 1 waits for those whose parents are gone, as an init has to.
INIT = """\
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigtimedwait([signal.SIGCHLD], 0.2)
"""

BOOT = """\
set -e
name=$1 own=$2
shift 2
mount --make-rprivate /
hostname "$name"
for path in {own}; do mount --bind "$own/$path" "/$path"; done
mount -t tmpfs -o mode=1777 none /dev/shm
exec "$@"
""".format(own=" ".join(OWN))


class Machine:
    """Namespaces for processes, mounts, host name and System V IPC around a host of the test network.

    Its process 1 is the machine: with it the kernel kills every other process inside, all at once, and
    nothing says goodbye.  What was written to `OWN` directories stays for the next boot, except /run.
    """

    def __init__(self, name: str, host: Host, directory: Path) -> None:
        self.name = name
        self.host = host
        self.directory = directory
        self._unshare: subprocess.Popen[str] | None = None
        self._init = 0
        self._programs: list[subprocess.Popen[str]] = []
        for path in OWN:
            (directory / path).mkdir(parents=True)

    def __repr__(self) -> str:
        return f"<machine {self.name}>"

    def path(self, path: str | Path) -> Path:
        """Where a file of an `OWN` directory lies for programs outside."""
        return self.directory / str(path).lstrip("/")

    @property
    def up(self) -> bool:
        """Has it power?"""
        return self._unshare is not None and self._unshare.poll() is None

    def boot(self) -> None:
        """Make the namespaces; nothing but process 1 runs then."""
        assert not self.up, f"{self} is up"
        subprocess.run(["rm", "-rf", str(self.path("run"))], check=True)
        self.path("run").mkdir()
        self._own_by_hacluster()
        unshare = [
            *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child"),
            *("sh", "-c", BOOT, "boot", self.name, str(self.directory), sys.executable, "-SEc", INIT),
        ]
        errors = self.directory / "boot.errors"
        with errors.open("w") as stream:
            self._unshare = subprocess.Popen(
                self.host.enter(unshare),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        assert self._unshare.stdout is not None
        word = self._unshare.stdout.readline()
        assert word == "up\n", f"{self} does not boot: {errors.read_text()}"
        pid = self._unshare.pid
        self._init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def _own_by_hacluster(self) -> None:
        """The directories as the packages make them, with their owners."""
        state, logs = self.path("var/lib/pacemaker"), self.path("var/log/pacemaker")
        for name in OF_PACEMAKER:
            (state / name).mkdir(exist_ok=True)
        subprocess.run(["chown", "-R", "hacluster:haclient", str(state), str(logs)], check=True)
        for path in (*(state / name for name in OF_PACEMAKER), logs):
            path.chmod(0o750)

    def cut_power(self) -> None:
        """All processes are gone, at once."""
        if self._unshare is None:
            return
        # The init of a process namespace takes no signal from inside, but this one from outside.
        if self.up:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        self._unshare.wait(PATIENCE)
        for program in self._programs:
            program.wait(PATIENCE)
            for stream in (program.stdin, program.stdout):
                if stream is not None:
                    stream.close()
        self._programs.clear()
        if self._unshare.stdout is not None:
            self._unshare.stdout.close()
        self._unshare = None

    close = cut_power

    def popen(
        self,
        arguments: Sequence[str | Path],
        *,
        stdout: int | IO[bytes] = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program inside, its standard error with its standard output."""
        assert self.up, f"{self} has no power"
        inside = ["nsenter", f"--target={self._init}", "--mount", "--pid", "--net", "--uts", "--ipc"]
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        program = subprocess.Popen(
            [*inside, f"--wd={ROOT}", "env", *settings, *map(str, arguments)],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
        self._programs.append(program)
        return program

    def daemon(
        self,
        arguments: Sequence[str | Path],
        log: str,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program that stays; what it prints goes to the file /var/log/corosync/`log`."""
        with self.path("var/log/corosync").joinpath(log).open("ab") as stream:
            return self.popen(arguments, stdout=stream, environment=environment)

    def call(self, arguments: Sequence[str | Path], timeout: float = PATIENCE) -> tuple[int, str]:
        """Run a program to its end: exit status and output."""
        program = self.popen(arguments)
        try:
            output, _ = program.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            output, _ = program.communicate()
            raise AssertionError(f"{arguments[0]} does not end on {self}\n{output}") from None
        finally:
            self._programs.remove(program)
        return program.returncode, output

    def run(self, arguments: Sequence[str | Path], timeout: float = PATIENCE) -> str:
        """Run a program to its end and return its output; AssertionError when it fails."""
        status, output = self.call(arguments, timeout)
        assert status == 0, f"{arguments[0]} on {self}: {status}\n{output}"
        return output

    def end(self, program: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> int:
        """Send a daemon a signal and wait for its end; its exit status."""
        os.kill(self.inner_pid(program), number)
        return self.wait_end(program)

    def wait_end(self, program: subprocess.Popen[str]) -> int:
        """Wait for the end of a daemon; its exit status."""
        try:
            return program.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{program.args!r} does not end on {self}") from None

    def inner_pid(self, program: subprocess.Popen[str]) -> int:
        """Process id, outside, of a program that was started inside: nsenter stays in front of it."""
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        return int(children[0]) if children else program.pid

    def wait_file(self, path: str, text: str, timeout: float = PATIENCE) -> None:
        """Wait until a file of an own directory contains `text`."""
        file = self.path(path)

        def content() -> str:
            return file.read_text(errors="replace") if file.exists() else ""

        wait_until(lambda: text in content(), timeout, lambda: f"{text!r} in {file}\n{content()[-3000:]}")
