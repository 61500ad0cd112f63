"""corosync-keygen makes keys that the executive takes, and does what corosync's command does."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aisexec.config.keyfile import read_key
from aisexec.keygen import main

STOCK = shutil.which("corosync-keygen", path="/usr/sbin:/usr/bin")
OURS = [sys.executable, "-m", "aisexec.keygen"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "authkey"


def test_the_key_can_be_used(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-k", str(key)]) == 0
    assert len(read_key(str(key))) == 256
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert capsys.readouterr().out.splitlines() == [
        "Corosync Cluster Engine Authentication key generator.",
        "Gathering 2048 bits for key from /dev/urandom.",
        f"Writing corosync key to {key}.",
    ]


def test_keys_differ(key: Path) -> None:
    main(["-k", str(key), "-s", "128"])
    first = key.read_bytes()
    main(["-k", str(key), "-s", "128"])
    assert len(first) == len(key.read_bytes()) == 128
    assert first != key.read_bytes()


def test_a_key_open_to_others_is_closed_when_written_over(key: Path) -> None:
    key.write_bytes(bytes(5000))
    key.chmod(0o644)
    assert main([f"--key-file={key}", "--size=4096", "-l"]) == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert len(key.read_bytes()) == 4096


def test_another_source(key: Path, tmp_path: Path) -> None:
    source = tmp_path / "random"
    source.write_bytes(bytes(range(200)) * 2)
    assert main(["-k", str(key), "-r", str(source)]) == 0
    assert key.read_bytes() == (bytes(range(200)) * 2)[:256]


@pytest.mark.parametrize("size", ["127", "4097", "0", "-5", "x", "128k", "", "9" * 60])
def test_sizes_refused(key: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-k", str(key), "-s", size]) == 1
    assert "Unsupported key size (supported <128,4096>)" in capsys.readouterr().err
    assert not key.exists()


def test_a_source_that_is_too_small(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Corosync's command asks for key presses for ever."""
    source = tmp_path / "random"
    source.write_bytes(bytes(100))
    assert main(["-k", str(key), "-r", str(source)]) == 1
    captured = capsys.readouterr()
    assert "generate entropy (1248 bits still needed)." in captured.out
    assert "it holds 100 bytes only" in captured.err
    assert not key.exists()


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full to write to")
    mode = stat.S_IMODE(os.stat("/dev/full").st_mode)
    try:
        assert main(["-k", "/dev/full"]) in (3, 4)  # 3 for who does not own it
        assert "/dev/full: No space left" in capsys.readouterr().err
    finally:
        os.chmod("/dev/full", mode)


SAME = [
    ["-k", "{dir}/authkey"],
    ["-k", "{dir}/authkey", "-s", "128"],
    ["-k", "{dir}/authkey", "-s", " 4096"],
    ["--key-file={dir}/authkey", "--size", "1000", "--less-secure"],
    ["-l", "-s200", "-k{dir}/authkey", "more", "words"],
    ["--key={dir}/authkey", "--si=300"],
    ["-k", "{dir}/authkey", "-r", "/dev/random"],
    ["-k", "{dir}/authkey", "-r", "{dir}/nowhere"],
    ["-k", "{dir}/nowhere/authkey"],
    ["-k", "{dir}"],
    ["-k", "{dir}/authkey", "-s", "127"],
    ["-k", "{dir}/authkey", "-s", "128x"],
    ["-m", "/dev/random"],
    ["-k"],
    ["--none"],
]


@pytest.mark.skipif(STOCK is None, reason="corosync is not installed (apt install corosync)")
@pytest.mark.parametrize("arguments", SAME, ids=" ".join)
def test_same_as_corosyncs(arguments: list[str], tmp_path: Path) -> None:
    results = []
    assert STOCK is not None
    for name, command in (("stock", [STOCK]), ("ours", OURS)):
        directory = tmp_path / name
        directory.mkdir()
        filled = [argument.format(dir=directory) for argument in arguments]
        done = subprocess.run([*command, *filled], capture_output=True, text=True, timeout=30, check=False)
        key = directory / "authkey"
        made = (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) if key.exists() else None
        errors = [line for line in done.stderr.splitlines() if line]
        if done.stdout.startswith("Error parsing"):
            errors = errors[:1]  # which option it is: getopt's words
            assert len(errors) == 1
            errors = []
        texts = [line.replace(str(directory), "DIR") for line in (*done.stdout.splitlines(), *errors)]
        results.append((done.returncode, made, texts))
    assert results[0] == results[1]
