"""The ring id file."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aisexec.exit_codes import ExitCode
from aisexec.state import ExpectedVotesFile, RingIdFile, StateError, enter_state_directory


def test_a_missing_file_is_zero_and_gets_created_private(tmp_path: Path) -> None:
    path = tmp_path / "ringid_16909060"
    assert RingIdFile(str(tmp_path), 16909060).load() == 0
    assert path.read_bytes() == bytes(8)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_short_file_is_zero_and_gets_whole(tmp_path: Path) -> None:
    path = tmp_path / "ringid_1"
    path.write_bytes(b"\xff\xff\xff")
    assert RingIdFile(str(tmp_path), 1).load() == 0
    assert path.read_bytes() == bytes(8)


def test_what_corosync_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "ringid_1").write_bytes(bytes.fromhex("2a00000000000000"))
    assert RingIdFile(str(tmp_path), 1).load() == 42


def test_what_is_stored_is_loaded_by_the_next_process(tmp_path: Path) -> None:
    file = RingIdFile(str(tmp_path), 1)
    file.load()
    for seq in (9, 0x1234567890):
        assert file.store(seq) is None
        assert RingIdFile(str(tmp_path), 1).load() == seq
    assert (tmp_path / "ringid_1").stat().st_size == 8


def test_a_file_removed_at_run_time_comes_back(tmp_path: Path) -> None:
    file = RingIdFile(str(tmp_path), 1)
    file.load()
    (tmp_path / "ringid_1").unlink()
    assert file.store(13) is None
    assert (tmp_path / "ringid_1").read_bytes() == bytes.fromhex("0d00000000000000")


def test_nonsense_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "ringid_1").write_bytes(b"\xff" * 8)
    with pytest.raises(StateError, match=r"damaged .* remove it") as caught:
        RingIdFile(str(tmp_path), 1).load()
    assert caught.value.exit_code == ExitCode.STORE_RINGID


def test_an_unusable_directory_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="Couldn't create ringid file") as caught:
        RingIdFile(str(tmp_path / "none"), 1).load()
    assert caught.value.exit_code == ExitCode.STORE_RINGID


def test_a_failing_store_says_what_and_why(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    file = RingIdFile(str(state_dir), 1)
    file.load()
    state_dir.rename(tmp_path / "moved")
    text = file.store(0x1A)
    assert text is not None
    assert "ring id 1a" in text
    assert os.strerror(errno.ENOENT) in text


def test_a_failing_write_leaves_the_old_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RingIdFile(str(tmp_path), 1)
    file.load()
    assert file.store(17) is None

    def no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", no_space)
    text = file.store(21)
    assert text is not None
    assert "No space left" in text
    assert file.load() == 17


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], check=True, timeout=20)
    yield disk
    subprocess.run(["umount", disk], check=True, timeout=20)


def _fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bfree == 0


def test_a_disk_that_fills_up_later_does_not_matter(full_disk: Path) -> None:
    file = RingIdFile(str(full_disk), 1)
    file.load()
    _fill(full_disk)
    assert file.store(21) is None
    assert file.load() == 21


def test_a_full_disk_at_start_is_refused(full_disk: Path) -> None:
    _fill(full_disk)
    with pytest.raises(StateError, match="No space left"):
        RingIdFile(str(full_disk), 1).load()


def test_the_state_directory_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateError, match="Cannot chdir to state directory") as caught:
        enter_state_directory(str(tmp_path / "none"))
    assert caught.value.exit_code == ExitCode.DIR_NOT_PRESENT
    (tmp_path / "there").mkdir()
    assert enter_state_directory("there") == str(tmp_path / "there")
    assert Path.cwd() == tmp_path / "there"


def test_expected_votes_are_kept_as_corosync_lays_them_down(tmp_path: Path) -> None:
    file = ExpectedVotesFile(str(tmp_path))
    assert file.load() == 0
    assert (tmp_path / "ev_tracking").read_bytes() == bytes(4)
    assert file.store(13) is None
    assert (tmp_path / "ev_tracking").read_bytes() == bytes.fromhex("0d000000")
    assert ExpectedVotesFile(str(tmp_path)).load() == 13


def test_expected_votes_that_cannot_be_kept(tmp_path: Path) -> None:
    file = ExpectedVotesFile(str(tmp_path / "gone"))
    assert "Unable to update ev_tracking_barrier 3" in (file.store(3) or "")
    with pytest.raises(StateError) as caught:
        file.load()
    assert caught.value.exit_code == ExitCode.SERVICE_ENGINE_INIT
