"""The ring: libqb's layout byte for byte, libqb itself as the partner, and hostile peers."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipc._ring import Ring, RingCorrupt, RingError, RingGone, SharedMap, remove_stale_semaphore
from ipc.limits import MESSAGE_SIZE, WRITE_PARTS_MAX

COMMIT, ALLOC, DEAD = 0xA1A1A1A1, 0xA110CED0, 0xD0D0D0D0
WRITE_PT, READ_PT, WORD_SIZE, HDR_PATH, DATA_PATH, REF_COUNT, SEM, USER_DATA = (
    0, 4, 8, 12, 4108, 8204, 8208, 8240,
)  # fmt: skip
SYSV_SETS = Path("/proc/sysvipc/sem")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def base() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="aisexec-test-ring-", dir="/dev/shm")
    yield f"{directory}/qb-test-ring"
    shutil.rmtree(directory)


@pytest.fixture(params=[False, True], ids=["posix", "sysv"])
def pair(base: str, request: pytest.FixtureRequest) -> Iterator[tuple[Ring, Ring]]:
    creator = Ring.create(base, MESSAGE_SIZE, sysv=request.param)
    opener = Ring.open(base, MESSAGE_SIZE)
    yield creator, opener
    opener.close()
    creator.close(unlink=True)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition not reached"
        time.sleep(0.002)


def poke(path: str, offset: int, code: str, value: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(struct.pack("<" + code, value))


def peek(path: str, offset: int, code: str) -> int:
    with open(path, "rb") as file:
        file.seek(offset)
        return int(struct.unpack("<" + code, file.read(struct.calcsize(code)))[0])


def semaphore_sets() -> set[int]:
    return {int(line.split()[1]) for line in SYSV_SETS.read_text().splitlines()[1:]}


# ---------------------------------------------------------------- layout


def test_fresh_files_are_libqbs(base: str) -> None:
    ring = Ring.create(base, MESSAGE_SIZE, user_data=2)
    header, data = Path(base + "-header").read_bytes(), Path(base + "-data").read_bytes()
    assert (len(header), len(data)) == (8252, 1052672)
    assert struct.unpack_from("<III", header) == (0, 0, 263168)
    assert header[HDR_PATH:].split(b"\0")[0].decode() == base + "-header"
    assert header[DATA_PATH:].split(b"\0")[0].decode() == base + "-data"
    assert struct.unpack_from("<i", header, REF_COUNT) == (1,)
    # glibc's process-shared sem_t of value 0, as dumped from the stock executive
    assert header[SEM : SEM + 32] == struct.pack("<QI", 0, 128) + bytes(20)
    assert struct.unpack_from("<i", header, USER_DATA) == (2,)
    assert data == struct.pack("<I", 5) + bytes(len(data) - 4)
    for suffix in ("-header", "-data"):
        assert os.stat(base + suffix).st_mode & 0o777 == 0o600
    ring.close(unlink=True)
    assert os.listdir(os.path.dirname(base)) == []


def test_chunks_are_libqbs(base: str) -> None:
    writer, reader = Ring.create(base, 12328), Ring.open(base, 12328)
    assert writer.write(b"abcde")
    words = struct.unpack_from("<6I", Path(base + "-data").read_bytes())
    assert words[:2] == (5, COMMIT)
    assert Path(base + "-data").read_bytes()[8:13] == b"abcde"
    assert peek(base + "-header", WRITE_PT, "I") == 4
    assert peek(base + "-header", SEM, "I") == 1
    assert reader.read() == b"abcde"
    assert struct.unpack_from("<2I", Path(base + "-data").read_bytes()) == (0, DEAD)
    assert peek(base + "-header", READ_PT, "I") == 4
    assert peek(base + "-header", SEM, "I") == 0
    reader.close()
    writer.close()


def test_reference_count_and_flow_level(pair: tuple[Ring, Ring]) -> None:
    creator, opener = pair
    assert creator.ref_count == 2
    creator.flow_level = 2
    assert opener.flow_level == 2
    opener.close()
    assert creator.ref_count == 0
    with pytest.raises(ValueError, match="closed"):
        opener.read()


# ---------------------------------------------------------------- behaviour


def test_parts_are_joined(pair: tuple[Ring, Ring]) -> None:
    writer, reader = pair
    assert writer.write([b"one", bytearray(b"two"), memoryview(b"xthreex")[1:6]])
    assert writer.write(memoryview(b"alone"))
    assert writer.write([b"x"] * WRITE_PARTS_MAX)
    assert [reader.read() for _ in range(4)] == [b"onetwothree", b"alone", b"x" * WRITE_PARTS_MAX, None]
    with pytest.raises(ValueError, match="parts"):
        writer.write([b"x"] * (WRITE_PARTS_MAX + 1))
    with pytest.raises(TypeError):
        writer.write((b"x", 3))  # type: ignore[arg-type]


def test_longest_message_fits_and_longer_is_refused(pair: tuple[Ring, Ring]) -> None:
    writer, reader = pair
    longest = random.Random(1).randbytes(MESSAGE_SIZE)
    assert writer.write(longest)
    assert not writer.write(longest)
    assert reader.read() == longest
    assert writer.write(longest), "crosses the end of the file"
    assert reader.read() == longest
    with pytest.raises(RingError) as caught:
        writer.write((longest, b"x"))
    assert caught.value.errno == errno.EMSGSIZE


def test_any_sequence_of_writes_and_reads_is_a_queue(pair: tuple[Ring, Ring]) -> None:
    writer, reader = pair
    rng = random.Random(7)
    oracle: deque[bytes] = deque()
    for _ in range(6000):
        if rng.random() < 0.55:
            message = rng.randbytes(rng.choice([0, 1, 3, 4, 24, 184, 5000, 70000]))
            room = writer.free_bytes()
            assert writer.write(message) == (room >= len(message) + 12)
            if room >= len(message) + 12:
                oracle.append(message)
        else:
            assert reader.read() == (oracle.popleft() if oracle else None)
        assert reader.pending() == len(oracle)
    rest = reader.read_many(len(oracle) + 1)
    assert rest == list(oracle)


def test_read_many_stops_at_its_limit(pair: tuple[Ring, Ring]) -> None:
    writer, reader = pair
    for number in range(5):
        writer.write(bytes([number]))
    assert reader.read_many(2) == [b"\0", b"\1"]
    assert reader.read_many(9) == [b"\2", b"\3", b"\4"]
    assert reader.read_many(9) == []


def test_read_waits_no_longer_than_told(pair: tuple[Ring, Ring]) -> None:
    started = time.monotonic()
    assert pair[1].read(80) is None
    assert 0.07 < time.monotonic() - started < 5.0


def test_blocked_reader_is_woken_and_protects_its_ring(pair: tuple[Ring, Ring]) -> None:
    writer, reader = pair
    found: list[bytes | None] = []
    thread = threading.Thread(target=lambda: found.append(reader.read(-1)))
    thread.start()

    def is_busy() -> bool:
        try:
            reader.close()
        except RingError as error:
            return error.errno == errno.EBUSY
        raise AssertionError("closed under a waiting thread")

    # close() succeeds while nobody waits, so ask for evidence that the thread sleeps first
    until(lambda: "S" in Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rsplit(")", 1)[1])
    assert is_busy()
    writer.write(b"wake")
    thread.join(10)
    assert found == [b"wake"]


def test_signal_handler_can_end_a_blocking_read(pair: tuple[Ring, Ring]) -> None:
    class Alarm(Exception):
        pass

    def handler(*_: object) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Alarm):
            pair[1].read(-1)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert pair[0].write(b"still works")
    assert pair[1].read() == b"still works"


@pytest.mark.parametrize("sysv", [False, True])
def test_between_processes(base: str, sysv: bool) -> None:
    ring = Ring.create(base, 12328, sysv=sysv)
    code = """
import sys
from ipc._ring import Ring
ring = Ring.open(sys.argv[1], 12328)
expected = 0
while (message := ring.read(-1)) != b"end":
    assert int(message) == expected, (message, expected)
    expected += 1
print(expected)
"""
    child = subprocess.Popen([sys.executable, "-c", code, base], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for number in range(20000):
        message = str(number).encode()
        while not ring.write(message):
            time.sleep(0.0005)
    until(lambda: ring.write(b"end"))
    assert child.communicate(timeout=30)[0] == "20000\n"
    assert child.returncode == 0
    ring.close(unlink=True)


# ---------------------------------------------------------------- libqb as the partner


def libqb() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libqb.so.100")
    except OSError:
        pytest.skip("libqb.so.100 is not installed")
    library.qb_rb_open.restype = ctypes.c_void_p
    library.qb_rb_open.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_size_t]
    library.qb_rb_close.argtypes = [ctypes.c_void_p]
    for name in ("qb_rb_chunk_write", "qb_rb_chunk_read", "qb_rb_space_free"):
        getattr(library, name).restype = ctypes.c_ssize_t
    library.qb_rb_chunk_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.qb_rb_space_free.argtypes = [ctypes.c_void_p]
    library.qb_rb_chunk_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32]
    return library


CREATE, SHARED_PROCESS = 1, 8


def test_libqb_reads_and_writes_our_ring(base: str) -> None:
    library = libqb()
    ours = Ring.create(base, MESSAGE_SIZE)
    theirs = library.qb_rb_open(base.encode(), MESSAGE_SIZE, SHARED_PROCESS, 4)
    assert theirs
    assert ours.ref_count == 2
    rng = random.Random(3)
    buffer = ctypes.create_string_buffer(MESSAGE_SIZE)
    for _ in range(300):
        message = rng.randbytes(rng.choice([16, 31, 4096, 200000]))
        assert ours.write((message[:7], message[7:]))
        assert library.qb_rb_chunk_read(theirs, buffer, MESSAGE_SIZE, 100) == len(message)
        assert buffer.raw[: len(message)] == message
    while ours.write(bytes(997)):
        assert ours.free_bytes() == library.qb_rb_space_free(theirs)
    library.qb_rb_close(theirs)
    ours.close(unlink=True)


def test_we_read_libqbs_ring(base: str) -> None:
    library = libqb()
    theirs = library.qb_rb_open(base.encode(), 20000, SHARED_PROCESS | CREATE, 4)
    assert theirs
    ours = Ring.open(base, 20000)
    assert not ours.sysv
    rng = random.Random(4)
    for _ in range(300):
        message = rng.randbytes(rng.randrange(1, 9000))
        assert library.qb_rb_chunk_write(theirs, message, len(message)) == len(message)
        assert ours.read() == message
    ours.close()
    library.qb_rb_close(theirs)


# ---------------------------------------------------------------- the C half by itself

C_CLIENT = """
#include "ring.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    ipc_ring *ring;
    const void *chunk;
    char small[4], large[64];
    struct iovec parts[2] = {{"from ", 5}, {"C", 1}};
    ssize_t length;

    if (argc != 2 || ipc_ring_open(&ring, argv[1], 12328) != 0)
        return 1;
    printf("%zd ", ipc_ring_read(ring, small, sizeof small, 0));
    printf("%zd ", length = ipc_ring_read(ring, large, sizeof large, 0));
    printf("%.*s ", (int)length, large);
    length = ipc_ring_peek(ring, &chunk, -1);
    printf("%.*s ", (int)length, (const char *)chunk);
    printf("%d ", ipc_ring_unpeek(ring));
    printf("%d ", ipc_ring_reclaim(ring) == -EINVAL);
    printf("%zd ", ipc_ring_peek(ring, &chunk, 10));
    printf("%d ", ipc_ring_reclaim(ring));
    printf("%d ", ipc_ring_peek(ring, &chunk, 1) == -ETIMEDOUT);
    printf("%d\\n", ipc_ring_writev(ring, parts, 2));
    ipc_ring_close(ring, 0);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")
def test_c_program_over_the_same_core(base: str, tmp_path: Path) -> None:
    (tmp_path / "client.c").write_text(C_CLIENT)
    core = [str(ROOT / "ipc" / name) for name in ("guard.c", "semaphore.c", "ring.c", "ring_files.c")]
    sources = [str(tmp_path / "client.c"), *core]
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-pthread", f"-I{ROOT / 'ipc'}"]
    subprocess.run(["cc", *flags, "-o", str(tmp_path / "client"), *sources], check=True)
    ring = Ring.create(base, 12328)
    ring.write(b"hello")
    ring.write(b"in place")
    done = subprocess.run(
        [str(tmp_path / "client"), base], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == f"{-errno.ENOBUFS} 5 hello in place 0 1 8 0 1 0\n"
    assert ring.ref_count == 0
    reader = Ring.open(base, 12328)
    assert reader.read() == b"from C"
    reader.close()
    ring.close(unlink=True)


# ---------------------------------------------------------------- hostile peers


@pytest.mark.parametrize(
    ("file", "offset", "value"),
    [("-data", 4, 0), ("-data", 4, ALLOC), ("-data", 0, MESSAGE_SIZE + 1), ("-data", 0, 0xFFFFFFFF)],
    ids=["no magic", "not committed", "too long", "minus one"],
)
def test_reader_reports_a_bad_chunk(
    pair: tuple[Ring, Ring], base: str, file: str, offset: int, value: int
) -> None:
    writer, reader = pair
    writer.write(b"x" * 40)
    poke(base + file, offset, "I", value)
    with pytest.raises(RingCorrupt):
        reader.read()
    with pytest.raises(RingCorrupt):
        reader.read_many(5)


def test_writer_reports_a_bad_read_pointer(pair: tuple[Ring, Ring], base: str) -> None:
    poke(base + "-header", READ_PT, "I", 263168)
    with pytest.raises(RingCorrupt):
        pair[0].write(b"x")
    with pytest.raises(RingCorrupt):
        pair[0].free_bytes()


def test_own_pointers_are_not_believed_from_the_map(pair: tuple[Ring, Ring], base: str) -> None:
    writer, reader = pair
    writer.write(b"one")
    poke(base + "-header", WRITE_PT, "I", 0xFFFFFFF0)
    poke(base + "-header", WORD_SIZE, "I", 0xFFFFFFF0)
    writer.write(b"two")
    assert reader.read_many(9) == [b"one", b"two"]


@pytest.mark.parametrize("value", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_semaphore_out_of_range(base: str, value: int) -> None:
    ring = Ring.create(base, 12328)
    ring.write(b"x")
    poke(base + "-header", SEM, "I", value)
    with pytest.raises(RingCorrupt):
        ring.write(b"y")
    ring.close()


def test_scribbled_semaphore_flags_do_not_abort(base: str) -> None:
    # glibc's sem_post() aborts the process on futex flags that the kernel does not know
    ring = Ring.create(base, 12328)
    poke(base + "-header", SEM + 4, "I", 7)
    poke(base + "-header", SEM + 8, "I", 0x7654)
    assert ring.write(b"x")
    assert ring.read() == b"x"
    ring.close()


@pytest.mark.parametrize("suffix", ["-header", "-data"])
def test_truncated_file_is_an_error_not_a_crash(pair: tuple[Ring, Ring], base: str, suffix: str) -> None:
    writer, reader = pair
    writer.write(b"x" * 5000)
    os.truncate(base + suffix, 0)
    with pytest.raises(RingGone):
        writer.write(b"y" * 5000)
    if suffix == "-header" or not writer.sysv:
        with pytest.raises(RingGone):
            reader.read()
    if suffix == "-header":
        with pytest.raises(RingGone):
            _ = writer.ref_count
        with pytest.raises(RingGone):
            writer.flow_level = 1
    writer.close()
    reader.close()


def test_semaphore_set_removed_under_a_reader(base: str) -> None:
    ring = Ring.create(base, 12328, sysv=True)
    reader = Ring.open(base, 12328)
    ring.close()
    with pytest.raises(RingGone):
        reader.read(1000)
    reader.close()


FOREIGN_FAULT = """
import mmap, os, sys, tempfile
if sys.argv[2] == "before":
    import faulthandler; faulthandler.enable()
from ipc._ring import Ring
ring = Ring.create(sys.argv[1], 12328)
if sys.argv[2] == "after":
    import faulthandler; faulthandler.enable()
    Ring.open(sys.argv[1], 12328).close()
os.truncate(sys.argv[1] + "-data", 0)
try:
    ring.write(b"x" * 5000)
except OSError as error:
    print("caught", error.errno, flush=True)
file = tempfile.TemporaryFile(dir="/dev/shm")
file.truncate(4096)
map = mmap.mmap(file.fileno(), 4096)
file.truncate(0)
map[0]
"""


@pytest.mark.parametrize("faulthandler", ["none", "before", "after"])
def test_foreign_faults_keep_their_meaning(base: str, faulthandler: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN_FAULT, base, faulthandler],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == f"caught {errno.EIDRM}\n"
    assert done.returncode == -signal.SIGBUS
    assert ("Fatal Python error: Bus error" in done.stderr) == (faulthandler != "none")


# ---------------------------------------------------------------- files and errors


@pytest.mark.parametrize("taken", ["-header", "-data"])
def test_create_never_takes_over_a_file(base: str, taken: str) -> None:
    Path(base + taken).write_text("precious")
    with pytest.raises(RingError) as caught:
        Ring.create(base, 12328)
    assert caught.value.errno == errno.EEXIST
    assert [name.name for name in Path(base).parent.iterdir()] == [os.path.basename(base) + taken]
    assert Path(base + taken).read_text() == "precious"


def test_create_leaves_nothing_when_memory_is_short(base: str) -> None:
    code = """
import resource, sys
from ipc._ring import Ring
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Ring.create(sys.argv[1], 1 << 20, sysv=True)
except OSError as error:
    print(error.errno)
"""
    before = semaphore_sets()
    done = subprocess.run(
        [sys.executable, "-c", code, base], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == f"{errno.EFBIG}\n", done.stderr
    assert os.listdir(os.path.dirname(base)) == []
    assert semaphore_sets() <= before


@pytest.mark.parametrize("name", ["relative", "/dev/shm/" + "x" * 250, ""])
def test_impossible_names(name: str) -> None:
    for make in (Ring.create, Ring.open):
        with pytest.raises(RingError):
            make(name, 12328)


def test_open_refuses_other_sizes_and_short_files(base: str) -> None:
    ring = Ring.create(base, 12328)
    with pytest.raises(RingError) as caught:
        Ring.open(base, MESSAGE_SIZE)
    assert caught.value.errno == errno.EINVAL
    os.truncate(base + "-header", 100)
    with pytest.raises(RingError):
        Ring.open(base, 12328)
    ring.close(unlink=True)
    with pytest.raises(RingError) as missing:
        Ring.open(base, 12328)
    assert missing.value.errno == errno.ENOENT


def test_open_follows_the_data_path_in_the_header(base: str) -> None:
    ring = Ring.create(base, 12328)
    os.rename(base + "-data", base + "-moved")
    moved = (base + "-moved").encode()
    with open(base + "-header", "r+b") as file:
        file.seek(DATA_PATH)
        file.write(moved + b"\0")
    opener = Ring.open(base, 12328)
    ring.write(b"x")
    assert opener.read() == b"x"
    opener.close()
    ring.close()


def test_system_v_set_lives_as_long_as_its_ring(base: str) -> None:
    before = semaphore_sets()
    ring = Ring.create(base, 12328, sysv=True)
    assert len(semaphore_sets() - before) == 1
    opener = Ring.open(base, 12328)
    assert opener.sysv
    opener.close()
    assert len(semaphore_sets() - before) == 1
    ring.close(unlink=True)
    assert not semaphore_sets() - before


@pytest.mark.parametrize("sysv", [False, True])
def test_forked_child_leaves_its_parents_ring_alone(base: str, sysv: bool) -> None:
    ring = Ring.create(base, 12328, sysv=sysv)
    opener = Ring.open(base, 12328)
    child = os.fork()
    if child == 0:
        try:
            opener.close()
            ring.close(unlink=True)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert ring.ref_count == 2
    assert os.path.exists(base + "-data")
    assert ring.write(b"x")
    assert opener.read() == b"x"
    opener.close()
    ring.close(unlink=True)


def test_system_v_counter_ends_as_a_full_ring(base: str) -> None:
    ring = Ring.create(base, MESSAGE_SIZE, sysv=True)
    written = 0
    while ring.write(b""):
        written += 1
    assert written == 32767
    assert ring.read() == b""
    assert ring.write(b"again")
    assert ring.read_many(40000)[-1] == b"again"
    ring.close(unlink=True)


def test_stale_semaphore_is_removed_only_if_there_is_one(base: str) -> None:
    before = semaphore_sets()
    code = """
import os, signal, sys
from ipc._ring import Ring
ring = Ring.create(sys.argv[1], 12328, sysv=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, base], cwd=ROOT, timeout=30, check=False)
    left = semaphore_sets() - before
    assert len(left) == 1
    with open(base + "-header", "rb") as file:
        assert remove_stale_semaphore(file.fileno())
        assert not remove_stale_semaphore(file.fileno())
    assert not semaphore_sets() & left


def test_shared_map_bounds_and_truncation(base: str) -> None:
    Path(base).write_bytes(bytes(8192))
    with open(base, "r+b") as file:
        shared = SharedMap(file.fileno(), 8192)
    shared.write(8190, b"ab")
    assert shared.read(8188, 4) == b"\0\0ab"
    for offset, size in ((8191, 2), (9000, 0), (0, 8193)):
        with pytest.raises(ValueError, match="mapping"):
            shared.read(offset, size)
    os.truncate(base, 4096)
    assert shared.read(0, 16) == bytes(16)
    with pytest.raises(RingGone):
        shared.read(4090, 16)
    with pytest.raises(RingGone):
        shared.write(8000, b"x")
    shared.close()
    with pytest.raises(ValueError, match="closed"):
        shared.read(0, 1)
