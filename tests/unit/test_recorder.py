"""The flight recorder: what is in the ring after any death of the process, and what libqb makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aisexec.config.model import Destinations, Logging
from aisexec.log import DEBUG, NOTICE, TRACE, Logger
from aisexec.recorder import DUMPS_MAX, FlightRecorder, rescue
from ipc.blackbox import (
    CHUNK_MAX,
    FILE_HEADER,
    PART_MAX,
    RING_OFFSET,
    BlackboxError,
    Recording,
    read_recording,
    ring_path,
)
from ipc.blackbox_text import TextError, expand

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000_123_456_789
SIZE = 16384


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    path = tmp_path / "shm"
    path.mkdir()
    return str(path)


@pytest.fixture
def state_dir(tmp_path: Path) -> str:
    path = tmp_path / "state"
    path.mkdir()
    return str(path)


@pytest.fixture
def recorder(state_dir: str, run_dir: str) -> FlightRecorder:
    return FlightRecorder(state_dir, SIZE, run_dir, lambda: NOW)


def ring_of(recorder: FlightRecorder) -> Recording:
    return read_recording(Path(recorder.path).read_bytes())


def test_a_record_is_there_as_soon_as_it_was_logged(recorder: FlightRecorder) -> None:
    recorder.record("TOTEM", TRACE, "entering GATHER state; 100 %s of it, Grüße")
    recording = ring_of(recorder)
    assert recording.problems == []
    assert [r[:4] + r[6:] for r in recording.records] == [
        (1_700_000_000, 123_456_789, TRACE, "TOTEM", "entering GATHER state; 100 %s of it, Grüße")
    ]
    assert recording.trailer is not None
    assert recording.trailer.pid == os.getpid()


def test_the_newest_records_stay_in_a_ring_that_was_filled_many_times(recorder: FlightRecorder) -> None:
    lengths = (0, 1, 2, 3, 7, 100, PART_MAX, PART_MAX + 1, 3000)
    said = []
    for n in range(2000):
        text = f"{n} " + "x" * lengths[n % len(lengths)]
        said.append(text)
        recorder.record("CPG", NOTICE, text)
        if n % 97 == 0 or n > 1990:
            recording = ring_of(recorder)
            assert recording.problems == []
            texts = [r.text for r in recording.records]
            # The first may be the rest of a long one.
            assert texts[1:] == said[len(said) - len(texts) + 1 :]
            assert texts[-1] == text
    assert sum(map(len, texts)) > SIZE / 2


def test_the_log_hands_everything_to_the_recorder(recorder: FlightRecorder) -> None:
    nowhere = Destinations(to_stderr=False, to_syslog=False)
    logger = Logger(Logging(nowhere))
    logger.log("MAIN", NOTICE, "before there was a recorder")
    logger.record_with(recorder)
    logger.log("TOTEM", DEBUG, "below every threshold")
    texts = [(r.function, r.priority, r.text) for r in ring_of(recorder).records]
    assert texts == [
        ("MAIN", NOTICE, "before there was a recorder"),
        ("TOTEM", DEBUG, "below every threshold"),
    ]


# What libqb can do with it.


def test_libqb_reads_our_dump(recorder: FlightRecorder, tmp_path: Path) -> None:
    program = tmp_path / "read"
    source = tmp_path / "read.c"
    source.write_text(
        "#include <qb/qblog.h>\nint main(int c, char **v) { qb_log_init(\"x\", 1, 7);"
        " qb_log_blackbox_print_from_file(v[1]); return 0; }\n"
    )
    built = subprocess.run(["cc", "-o", program, source, "-lqb"], capture_output=True, text=True)
    if built.returncode:
        pytest.skip("libqb's headers are missing (apt install libqb-dev)")
    for n in range(300):  # goes round the ring's end
        recorder.record("TOTEM", DEBUG, f"number {n} of 100% " + "y" * (n % 90))
    path = recorder.dump()
    done = subprocess.run([program, path], capture_output=True, text=True, timeout=30)
    lines = [line for line in done.stdout.splitlines() if "TOTEM(0):0: number" in line]
    ours = [f"number {n} of 100% " + "y" * (n % 90) for n in range(300)]
    theirs = [line.partition("TOTEM(0):0: ")[2] for line in lines]
    assert len(theirs) > 50
    assert [line.rstrip() for line in theirs] == [line.rstrip() for line in ours[-len(theirs) :]]
    assert all(line.startswith("debug ") for line in lines)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"plain\0", "plain"),
        (b"%s is %d %%\0ring\0\xff\xff\xff\xff", "ring is -1 %"),
        (b"%u %x %o\0" + (15).to_bytes(4, "little") * 3, "15 f 17"),
        (b"%lu %llx %zu\0" + (2**40).to_bytes(8, "little") * 3, f"{2**40} {2**40:x} {2**40}"),
        (b"[%-6s] %3d|%03d\0MAIN\0" + (5).to_bytes(4, "little") * 2, "[MAIN  ]   5|005"),
        (b"%.*s|\0" + (2).to_bytes(4, "little") + b"abcdef\0", "ab|"),
        (b"%p %c\0" + (4096).to_bytes(8, "little") + b"A", "0x1000 A"),
        (b"%5.2f\0" + bytes.fromhex("000000000000f83f"), " 1.50"),
    ],
)
def test_messages_of_libqb_are_put_together(message: bytes, text: str) -> None:
    assert expand(message) == text


@pytest.mark.parametrize("message", [b"%s\0no end", b"%d\0\0\0", b"%k\0" + bytes(8), b"%lu\0" + bytes(4)])
def test_a_damaged_message_is_an_error(message: bytes) -> None:
    with pytest.raises(TextError):
        expand(message)


# Damage.


def test_what_is_no_recording_is_refused() -> None:
    for data in (b"", b"short", bytes(40), b"root:x:0:0:root:/root:/bin/bash\n" * 1000):
        with pytest.raises(BlackboxError):
            read_recording(data)


def test_a_recording_that_is_cut_off_gives_what_is_there(recorder: FlightRecorder) -> None:
    for n in range(40):
        recorder.record("CPG", NOTICE, f"number {n}")
    data = Path(recorder.path).read_bytes()
    whole = read_recording(data).records
    for end in range(RING_OFFSET, RING_OFFSET + 2600, 13):
        recording = read_recording(data[:end])
        assert "cut off" in recording.problems[0]
        assert [r.text for r in recording.records] == [r.text for r in whole[: len(recording.records)]]


def test_any_damaged_byte_is_told_or_harmless(recorder: FlightRecorder) -> None:
    for n in range(150):
        recorder.record("CPG", NOTICE, f"number {n} " + "z" * (n % 50))
    data = bytearray(Path(recorder.path).read_bytes())
    refused = []
    for at in [*range(RING_OFFSET), *range(RING_OFFSET, len(data), 119)]:
        for flip in (0x01, 0x80, 0xFF):
            data[at] ^= flip
            try:
                read_recording(bytes(data))
            except BlackboxError:
                refused.append(at)
            data[at] ^= flip
    assert refused
    assert max(refused) < RING_OFFSET


def test_forged_sizes_do_not_make_it_read_for_ever() -> None:
    words = CHUNK_MAX
    head = FILE_HEADER.pack(FILE_HEADER.cls(0, 0xCCBBCCBB, 0xBBCCBBCC, 2, 0))
    sums = words + 5 + 1
    ring = bytes(4 * words)
    for size in (0, 1, 0xFFFFFFFF):
        chunk = size.to_bytes(4, "little") + (0xA1A1A1A1).to_bytes(4, "little")
        header = b"".join(n.to_bytes(4, "little") for n in (words, 5, 0, 1, sums))
        recording = read_recording(head + header + chunk + ring[8:])
        assert recording.problems


# Death.


def run(script: str, state_dir: str, run_dir: str) -> subprocess.CompletedProcess[str]:
    prelude = """
        import faulthandler, os, signal, sys
        from aisexec.recorder import FlightRecorder
        recorder = FlightRecorder(sys.argv[1], 65536, sys.argv[2])
        faulthandler.enable(recorder.crash_descriptor)
        recorder.record("TOTEM", 8, "the last words")
        """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + script, state_dir, run_dir],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_the_ring_outlives_the_process_and_is_kept_by_the_next(
    state_dir: str, run_dir: str, number: signal.Signals
) -> None:
    done = run(f"os.kill(os.getpid(), {int(number)})", state_dir, run_dir)
    assert done.returncode == -number
    told = rescue(state_dir, run_dir)
    assert told is not None
    assert "ended without leaving" in told
    recording = read_recording((Path(state_dir) / "fdata").read_bytes())
    assert [r.text for r in recording.records] == ["the last words"]
    if number is not signal.SIGKILL:
        assert "Fatal Python error" in recording.crash
        assert "Fatal Python error" in told
    assert (Path(state_dir) / "fdata").stat().st_mode & 0o777 == 0o600


def test_after_an_end_in_good_order_nothing_is_left(state_dir: str, run_dir: str) -> None:
    run("recorder.close()", state_dir, run_dir)
    assert rescue(state_dir, run_dir) is None
    assert os.listdir(run_dir) == []


def test_the_ring_of_a_successor_is_not_removed(
    recorder: FlightRecorder, state_dir: str, run_dir: str
) -> None:
    successor = FlightRecorder(state_dir, SIZE, run_dir)
    recorder.close()
    assert os.path.exists(successor.path)


def test_a_foreign_file_in_the_ring_s_place_is_not_followed(
    tmp_path: Path, state_dir: str, run_dir: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.symlink(precious, ring_path(state_dir, run_dir))
    with pytest.raises(OSError, match="symbolic link"):
        rescue(state_dir, run_dir)
    recorder = FlightRecorder(state_dir, SIZE, run_dir)
    recorder.record("MAIN", NOTICE, "x")
    assert precious.read_text() == "precious"
    assert not os.path.islink(recorder.path)


def test_old_dumps_go_and_the_link_names_the_newest(state_dir: str, run_dir: str) -> None:
    times = iter(range(NOW, NOW + 1000 * 10**9, 10**9))
    recorder = FlightRecorder(state_dir, SIZE, run_dir, lambda: next(times))
    for n in range(DUMPS_MAX + 5):
        path = recorder.dump()
        os.utime(path, (n, n))
    names = sorted(name for name in os.listdir(state_dir) if name.startswith("fdata-"))
    assert len(names) == DUMPS_MAX
    assert os.path.realpath(os.path.join(state_dir, "fdata")) == os.path.realpath(path)
    assert os.path.basename(path) in names


def test_a_full_shared_memory_is_an_error_at_the_start(state_dir: str, run_dir: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        FlightRecorder(state_dir, 1 << 50, run_dir)
    assert os.listdir(run_dir) == []

