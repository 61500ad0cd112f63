"""Background, lock, service manager, scheduling and memory: real processes, asked from outside."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aisexec.exit_codes import ExitCode
from aisexec.lock import LOCK_FILE, LockError, NodeLock
from aisexec.realtime import OPEN_FILES_WANTED, parse_priority
from aisexec.systemd import Notifier

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that has the package at hand, wait for its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


# Background


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """Where a daemon writes its process id; it is stopped in the end."""
    path = tmp_path / "pid"
    yield path
    if path.exists():
        try:
            os.kill(int(path.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


DAEMON = """
import os, sys, time
from pathlib import Path
from aisexec.daemon import go_to_background
from aisexec.exit_codes import ExitCode
print("before", flush=False)
startup = go_to_background()
Path({trace!r}).write_text(str(os.getpid()))
"""


def test_the_command_ends_well_when_the_daemon_has_started(trace: Path) -> None:
    done = run(
        DAEMON.format(trace=str(trace))
        + "print('said', os.umask(0o077) == 0o027, file=sys.stderr); startup.succeeded(); time.sleep(60)"
    )
    # run() has come back although the daemon lives: it holds none of the command's streams.
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\n", "said True\n")
    pid = int(trace.read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
    assert session not in (pid, os.getsid(0))
    assert terminal == 0
    assert parent != os.getpid()
    for fd in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"


def test_the_command_ends_with_the_daemons_status(trace: Path) -> None:
    done = run(
        DAEMON.format(trace=str(trace))
        + "print('port taken', file=sys.stderr); startup.failed(ExitCode.FATAL_ERROR); sys.exit(15)"
    )
    assert (done.returncode, done.stderr) == (15, "port taken\n")


def test_the_command_notices_that_the_daemon_died(trace: Path) -> None:
    done = run(DAEMON.format(trace=str(trace)) + "os.kill(os.getpid(), 9)")
    assert done.returncode == ExitCode.FATAL_ERROR
    assert "ended while starting" in done.stderr


def test_the_foreground_has_nobody_to_tell(capfd: pytest.CaptureFixture[str]) -> None:
    from aisexec.daemon import Startup

    Startup().succeeded()
    Startup().failed(ExitCode.FATAL_ERROR)
    os.write(1, b"still here\n")
    assert capfd.readouterr().out == "still here\n"


def test_the_hub_works_after_going_to_the_background(trace: Path) -> None:
    done = run(
        "import gevent; gevent.get_hub(); gevent.sleep(0)\n"
        + DAEMON.format(trace=str(trace))
        + "gevent.get_hub().threadpool.apply(os.getpid); startup.failed(ExitCode.PLOAD); os._exit(0)"
    )
    assert (done.returncode, done.stderr) == (99, "")


# Lock


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    lock = NodeLock(str(tmp_path))
    lock.acquire()
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    done = run(
        f"""
        import sys
        from aisexec.lock import LockError, NodeLock
        try:
            NodeLock({str(tmp_path)!r}).acquire()
        except LockError as error:
            print(error.text)
            sys.exit(error.exit_code)
        """
    )
    assert done.returncode == ExitCode.ALREADY_RUNNING
    assert f"process {os.getpid()} (" in done.stdout
    assert "pytest" in done.stdout
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    lock.release()
    lock.release()
    again = NodeLock(str(tmp_path))
    again.acquire()
    again.release()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    done = run(
        f"""
        import os
        from aisexec.lock import NodeLock
        NodeLock({str(tmp_path)!r}).acquire()
        os.kill(os.getpid(), 9)
        """
    )
    assert done.returncode == -signal.SIGKILL
    lock = NodeLock(str(tmp_path))
    lock.acquire()
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_programs_we_start_do_not_hold_the_lock(tmp_path: Path) -> None:
    lock = NodeLock(str(tmp_path))
    lock.acquire()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        again = NodeLock(str(tmp_path))
        again.acquire()
        again.release()
        child.kill()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="Cannot take the lock") as caught:
        NodeLock(str(tmp_path / "none")).acquire()
    assert caught.value.exit_code == ExitCode.ACQUIRE_LOCK


# Service manager


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_for_systemd(tmp_path: Path, abstract: bool) -> None:
    name = f"@aisexec-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(5)
        environment = {"NOTIFY_SOCKET": name, "HOME": "/"}
        notifier = Notifier(environment)
        assert environment == {"HOME": "/"}
        assert notifier.wanted
        assert notifier.status("gathering\nmembers")
        assert manager.recv(1000) == b"STATUS=gathering members"
        assert notifier.ready("3 members")
        assert manager.recv(1000) == f"READY=1\nSTATUS=3 members\nMAINPID={os.getpid()}".encode()
        assert notifier.stopping("asked to")
        assert manager.recv(1000) == b"STOPPING=1\nSTATUS=asked to"


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    assert not Notifier({}).wanted
    assert Notifier({}).ready("x")
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("x")


def test_a_service_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        deadline = time.monotonic() + PATIENCE
        while notifier.status("x" * 1000):
            assert time.monotonic() < deadline


# Scheduling and memory

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root for real-time priority and locked memory"
)

REPORT = """
import os, sys
sys.path.insert(0, '.')
import gevent, gevent.hub, configobj, argparse, logging
from aisexec.net import transports
from aisexec import daemon, lock, realtime, state, systemd
lines = []
log = lambda priority, text: lines.append((priority, text))
def memory(key):
    for line in open('/proc/self/status'):
        if line.startswith(key + ':'):
            return int(line.split()[1])
"""


@needs_root
def test_real_time_scheduling_is_not_inherited() -> None:
    done = run(
        REPORT
        + """
realtime.apply_scheduling(realtime.Scheduling(move_to_root_cgroup="no"), log)
policy = os.sched_getscheduler(0)
print(policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR, os.sched_getparam(0).sched_priority, lines, flush=True)
os.execvp("sh", ["sh", "-c", "chrt -p $$; sh -c 'chrt -p $$' || true"])
"""
    )
    first, *rest = done.stdout.splitlines()
    assert first == "True 99 []", done
    policies = [line for line in rest if "policy" in line]
    assert "SCHED_RR" in policies[0]
    assert "SCHED_OTHER" in policies[1]


@needs_root
def test_a_nice_value_instead() -> None:
    done = run(
        REPORT
        + """
realtime.apply_scheduling(realtime.Scheduling(realtime=False, nice=-7, move_to_root_cgroup="no"), log)
print(os.sched_getscheduler(0) == os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0), lines)
"""
    )
    assert done.stdout == "True -7 []\n", done


@needs_root
def test_memory_is_locked_and_stays_small() -> None:
    done = run(
        REPORT
        + """
import mmap
print(realtime.lock_memory(log), lines)
print(memory('VmLck') > 10000)
rings = [mmap.mmap(-1, 8 << 20) for _ in range(10)]
gevent.get_hub().threadpool.apply(os.getpid)
print(memory('VmRSS'))
"""
    )
    first, second, resident = done.stdout.splitlines()
    assert (first, second) == ("True []", "True")
    # 80 MB of mappings nobody has touched do not count.
    assert int(resident) < 45_000


def test_without_rights_there_are_warnings_and_nothing_else() -> None:
    drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else "pass"
    done = run(
        REPORT
        + f"""
import resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
{drop}
realtime.apply_scheduling(realtime.Scheduling(), log)
print(realtime.lock_memory(log))
print(realtime.raise_open_files(log), resource.getrlimit(resource.RLIMIT_NOFILE))
for priority, text in lines:
    if priority <= 4: print(text)
"""
    )
    locked, files, *warnings = done.stdout.splitlines()
    assert (locked, files) == ("False", "200 (200, 200)"), done
    for part in ("SCHED_RR at priority 99", "set priority -20", "RLIMIT_MEMLOCK", "200 descriptors"):
        assert [part in text for text in warnings].count(True) == 1, (part, warnings)


def test_open_files_are_raised_within_the_hard_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_WANTED:
        pytest.skip(f"the hard limit of open files is {hard} here")
    done = run(
        REPORT
        + """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(realtime.raise_open_files(log), resource.getrlimit(resource.RLIMIT_NOFILE), lines)
"""
    )
    assert done.stdout == f"{OPEN_FILES_WANTED} {(OPEN_FILES_WANTED, hard)} []\n", done


@pytest.mark.parametrize(("text", "nice"), [("max", -20), ("min", 19), ("5", 5), ("-3", -3)])
def test_priorities(text: str, nice: int) -> None:
    assert parse_priority(text) == nice


def test_a_wrong_priority() -> None:
    with pytest.raises(ValueError, match="high is invalid"):
        parse_priority("high")
