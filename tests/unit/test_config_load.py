"""What is read, and what is no file to be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aisexec.config.load import load


@pytest.mark.timeout(10)
def test_nobody_waits_for_the_writer_of_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "corosync.conf"
    os.mkfifo(pipe)
    loaded = load(str(pipe))
    assert not loaded.readable
    assert "can't read file: Not a regular file" in str(loaded.errors[0])


def test_a_directory_is_told_apart(tmp_path: Path) -> None:
    assert "Is a directory" in str(load(str(tmp_path)).errors[0])
