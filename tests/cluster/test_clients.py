"""Clients come and go by the hundred, half of them without a word: the executive keeps nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import NewCluster
from tests.harness import process
from tests.harness.node import Node
from tests.harness.programs import HistoryProgram
from tests.harness.wait import wait_until

CLIENTS = 200
GROUP_SIZE = 20
"""libcpg has room for 128 members of one group."""
ROUNDS = 3
TIMEOUT = 60.0
GROWTH_MAX = 2 * 1024 * 1024
"""Bytes that may come on top in a further round: less than a ring of one client."""


class Held(NamedTuple):
    """What the executive holds on behalf of clients."""

    descriptors: int
    mappings_of_rings: int
    shared_memory: list[str]


def held(pid: int) -> Held:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return Held(process.descriptors(pid), maps.count("/dev/shm/qb-"), process.shared_memory_of(pid))


def one_round(node: Node, directory: Path) -> None:
    """200 programs at once, each used; half of them leave, half are killed."""
    programs = [
        HistoryProgram(node, f"clients{number // GROUP_SIZE}", directory / str(number))
        for number in range(CLIENTS)
    ]
    for program in programs:
        program.wait_output("ready", TIMEOUT)
    for number, program in enumerate(programs):
        program.send(5, 1, 20_000, number)
    for program in programs:
        program.wait_sends_done(TIMEOUT)
    assert len(process.shared_memory_of(node.pid)) >= CLIENTS
    for program in programs[::2]:
        program.process.kill()
    for program in programs[1::2]:
        program.command("quit")
    for program in programs:
        program.process.wait(TIMEOUT)
    assert all(program.process.returncode == 0 for program in programs[1::2])
    node.end_programs()


@pytest.mark.timeout(300)
def test_two_hundred_clients_leave_nothing(new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = new_cluster("a")
    cluster.start()
    node = cluster[1]
    before = held(node.pid)
    assert not before.shared_memory
    resident = []
    for number in range(ROUNDS):
        one_round(node, tmp_path / f"round{number}")
        wait_until(lambda: held(node.pid) == before, TIMEOUT, lambda: f"{held(node.pid)} is {before} again")
        resident.append(process.resident_bytes(node.pid))
    print(f"\nclients: resident {', '.join(f'{size / 1e6:.1f} MB' for size in resident)} after each round")
    # The first round fills the allocator's pools; from then on they are used again.
    assert resident[-1] - resident[0] < GROWTH_MAX, resident
