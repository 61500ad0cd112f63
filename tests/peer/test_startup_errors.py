"""Whoever cannot start says in one line why, and ends with the status that stock corosync ends with."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from aisexec.exit_codes import ExitCode
from tests.conftest import NewCluster
from tests.harness.node import Node

TIMEOUT = 60.0
"""Seconds; a port that is taken is tried again for a while."""

HOLD_PORT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 5405))
print("held", flush=True)
sys.stdin.read()
"""

HOLD_NAME = """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind(b"\\0" + b"cpg".ljust(107, b"\\0"))
s.listen()
print("held", flush=True)
sys.stdin.read()
"""


def replace(node: Node, pattern: str, replacement: str) -> None:
    """Change the node's configuration; the pattern has to be there."""
    text, count = re.subn(pattern, replacement, node.configuration.read_text(), count=1)
    assert count == 1
    node.configuration.write_text(text)


def missing_state_dir(node: Node) -> None:
    node.state_dir.rmdir()


def state_dir_is_a_file(node: Node) -> None:
    node.state_dir.rmdir()
    node.state_dir.touch()


def foreign_address(node: Node) -> None:
    replace(node, r"ring0_addr: .*", "ring0_addr: 10.99.0.1")


def broken_section(node: Node) -> None:
    replace(node, r"quorum \{", "quorum { provider")


def wrong_value(node: Node) -> None:
    replace(node, r"token: \d+", "token: soon")


def no_file(node: Node) -> None:
    node.configuration.unlink()


def log_in_no_directory(node: Node) -> None:
    replace(node, r" logfile: .*", " logfile: /nowhere/at/all")


def cipher_without_hash(node: Node) -> None:
    replace(node, r"version: 2", "version: 2\n    crypto_cipher: aes256")


def no_key(node: Node) -> None:
    replace(node, r"version: 2", "version: 2\n    secauth: on\n    keyfile: /nowhere/authkey")


def short_key(node: Node) -> None:
    key = node.directory / "authkey"
    key.write_bytes(bytes(127))
    key.chmod(0o400)
    replace(node, r"version: 2", f"version: 2\n    secauth: on\n    keyfile: {key}")


def hold(node: Node, script: str) -> None:
    """Something else has it; it ends with the test."""
    holder = node.popen([sys.executable, "-c", script, node.host.address], stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"


def port_taken(node: Node) -> None:
    hold(node, HOLD_PORT)


def name_taken(node: Node) -> None:
    hold(node, HOLD_NAME)


class Case(NamedTuple):
    """What is wrong, and what our line about it has to name."""

    spoil: Callable[[Node], None]
    says: str


CASES = [
    Case(missing_state_dir, r"state directory .*/state: No such file"),
    Case(state_dir_is_a_file, r"state directory .*/state: Not a directory"),
    Case(foreign_address, r"corosync\.conf:\d+: no valid name found for local host"),
    Case(broken_section, r"corosync\.conf:\d+: extra characters after opening bracket"),
    Case(wrong_value, r"corosync\.conf:\d+: totem\.token: 'soon'"),
    Case(no_file, r"corosync\.conf: can't read file"),
    Case(log_in_no_directory, r"corosync\.conf:\d+: can't open logfile '/nowhere/at/all'"),
    Case(cipher_without_hash, r"corosync\.conf:\d+: crypto_cipher requires crypto_hash"),
    Case(no_key, r"corosync\.conf:\d+: could not open key file /nowhere/authkey.*corosync-keygen"),
    Case(short_key, r"corosync\.conf:\d+: could only read 1016 bits of minimum 1024 bits from .*/authkey"),
    Case(port_taken, r"5405.*in use"),
    Case(name_taken, r"IPC service 'cpg' is already served"),
]


def end_of(node: Node) -> tuple[int, list[str]]:
    """Exit status and lines of an executive that is to fail."""
    process = subprocess.run(
        node.host.enter(node.command(), private_run=True),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return process.returncode, (process.stderr + process.stdout).splitlines()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.spoil.__name__)
def test_same_status_and_one_line(case: Case, new_cluster: NewCluster) -> None:
    results = []
    for mix in "sa":
        node = new_cluster(mix)[1]
        case.spoil(node)
        results.append(end_of(node))
    (stock_status, stock_lines), (status, lines) = results
    assert status == stock_status, "\n".join([*stock_lines, "---", *lines])
    final = [line for line in lines if "Trying again" not in line]
    assert len([line for line in final if re.search(case.says, line)]) == 1, "\n".join(lines)
    assert not any("Traceback" in line for line in lines)


def test_all_errors_of_a_file_at_once(new_cluster: NewCluster) -> None:
    node = new_cluster("a")[1]
    wrong_value(node)
    replace(node, r"provider: .*", "provider: none_such")
    replace(node, r"timestamp: .*", "timestamp: sometimes")
    status, lines = end_of(node)
    assert status == ExitCode.MAIN_CONFIG_READ
    for text in ("'soon'", "none_such", "sometimes"):
        found = [line for line in lines if text in line and "corosync.conf:" in line]
        assert len(found) == 1, "\n".join(lines)


def test_second_executive_of_a_node(new_cluster: NewCluster) -> None:
    cluster = new_cluster("a")
    cluster.start()
    status, lines = end_of(cluster[1])
    assert status == ExitCode.ALREADY_RUNNING
    assert any(str(cluster[1].pid) in line for line in lines), "\n".join(lines)
    assert cluster[1].running
    assert cluster[1].stop() == 0


def test_damaged_ring_id_file(new_cluster: NewCluster) -> None:
    node = new_cluster("a")[1]
    (node.state_dir / "ringid_1").write_bytes(b"\xff" * 8)
    status, lines = end_of(node)
    assert status == ExitCode.STORE_RINGID
    assert any("ringid_1" in line and "remove it" in line for line in lines), "\n".join(lines)
