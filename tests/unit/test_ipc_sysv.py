"""Rings on System V semaphores, looked at from outside with sysv_ipc."""

from __future__ import annotations

from pathlib import Path

import pytest
import sysv_ipc

from ipc._ring import Ring, RingError


def semaphore_sets() -> set[int]:
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:]}


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "qb-request-test")


def test_a_message_can_be_counted_from_outside(base: str) -> None:
    before = semaphore_sets()
    server = Ring.create(base, 12328, sysv=True)
    client = Ring.open(base, 12328)
    assert len(semaphore_sets() - before) == 1
    assert client.write(b"one")
    assert client.write(b"two")
    assert server.pending() == 2
    assert server.read() == b"one"
    client.close()
    server.close(unlink=True)
    assert not semaphore_sets() - before


def test_a_removed_set_is_an_error_and_no_hang(base: str) -> None:
    """What ipcrm(1) does by mistake."""
    before = semaphore_sets()
    server = Ring.create(base, 12328, sysv=True)
    client = Ring.open(base, 12328)
    (number,) = semaphore_sets() - before
    sysv_ipc.remove_semaphore(number)
    with pytest.raises(RingError):
        client.write(b"lost")
    with pytest.raises(RingError):
        server.read(1000)
    client.close()
    server.close(unlink=True)
