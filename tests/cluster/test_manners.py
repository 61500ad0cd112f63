"""How the executive behaves towards the machine it runs on: systemd, disks, logs, other users."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from tests.harness.cluster import Cluster
from tests.harness.config_file import Settings
from tests.harness.wait import wait_until

OPEN = """
from libais import cpg
with cpg.Handle():
    print("open", flush=True)
    input()
"""

HELLO = """
import sys
from libais import cpg
with cpg.Handle() as handle:
    handle.join("hello")
    handle.mcast_joined(b"x" * int(sys.argv[1]))
    for event in handle.events(timeout=10):
        if isinstance(event, cpg.Deliver):
            print("delivered", len(event.message))
            break
"""


def semaphore_sets() -> set[int]:
    """Ids of all System V semaphore sets of this machine."""
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:]}


def hello(size: int) -> list[str | Path]:
    return [sys.executable, "-c", HELLO, str(size)]


def test_system_v_semaphores_serve_our_own_clients(tmp_path: Path) -> None:
    """`system { ipc_semaphores: sysv }`, for platforms without process-shared POSIX semaphores."""
    with Cluster("a", tmp_path, Settings(system={"ipc_semaphores": "sysv"})) as cluster:
        cluster.start()
        before = semaphore_sets()
        program = cluster[1].popen(
            [sys.executable, "-c", OPEN],
            stdin=-1,
        )
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == "open\n"
        sets = semaphore_sets() - before
        assert len(sets) >= 3
        program.stdin.write("\n")
        program.stdin.close()
        assert program.wait(10) == 0
        assert "delivered 2500000" in cluster[1].run(hello(2_500_000))
        wait_until(lambda: not sets & semaphore_sets(), 10, "semaphore sets removed with their clients")


def test_unwritable_state_directory_does_not_stop_the_ring(tmp_path: Path) -> None:
    with Cluster("aaa", tmp_path) as cluster:
        cluster.start()
        ring_id_file = cluster[2].state_dir / "ringid_2"
        ring_id_file.unlink()
        ring_id_file.mkdir()  # cannot be written, not even by root
        cluster[3].kill()
        cluster.wait_formed([1, 2])
        assert "Couldn't store new ring id" in cluster[2].log.text()
        cluster[3].start()
        cluster.wait_formed()


def test_ring_id_goes_on_after_all_nodes_restart(tmp_path: Path) -> None:
    with Cluster("aa", tmp_path) as cluster:
        first = cluster.start()
        for node in cluster.nodes.values():
            assert node.stop() == 0
        second = cluster.start()
        assert int(second.ring_id.split(".")[1], 16) > int(first.ring_id.split(".")[1], 16)


def test_log_is_opened_anew_after_rotation(tmp_path: Path) -> None:
    with Cluster("a", tmp_path) as cluster:
        cluster.start()
        log = cluster[1].log.path
        shutil.move(log, tmp_path / "rotated")
        cluster[1].signal(signal.SIGHUP)
        wait_until(log.exists, 10, "a new log file")
        assert cluster[1].stop() == 0
        assert "exiting normally" in log.read_text()


def test_systemd_hears_how_far_we_are(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, Cluster("a", tmp_path) as cluster:
        receiver.bind(str(path))
        receiver.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = str(path)
        try:
            cluster[1].start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        heard = ""
        while "members 1" not in heard:
            heard += receiver.recv(4096).decode() + "\n"
        assert "READY=1" in heard
        cluster[1].stop()
        while "STOPPING=1" not in heard:
            heard += receiver.recv(4096).decode() + "\n"


def test_other_users_need_leave(tmp_path: Path) -> None:
    """Refused with a line that says what to write; let in by uidgid.d."""
    tmp_path.chmod(0o755)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *hello(10)]
    with Cluster("a", tmp_path) as cluster:
        cluster.start()
        refused = cluster[1].popen(command, stderr=-2)
        output, _ = refused.communicate(timeout=20)
        assert refused.returncode != 0
        assert "CS_ERR_ACCESS" in output
        line = next(line for line in cluster[1].log.text().splitlines() if "Denied connection" in line)
        assert "65534:65534" in line
        assert "uidgid { uid: 65534 }" in line
        cluster[1].stop()
        uidgid = cluster[1].configuration.parent / "uidgid.d"
        uidgid.mkdir()
        (uidgid / "nobody").write_text("uidgid {\n    uid: 65534\n}\n")
        cluster[1].start()
        cluster.wait_formed()
        assert "delivered 10" in cluster[1].run(command)
