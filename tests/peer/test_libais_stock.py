"""libais.cpg as a client of Debian's corosync 3.1.7, one node in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from ipc.waiting import GeventWaiter, ThreadWaiter, Waiter
from libais import cpg, errors

PATIENCE = 20.0
ROOT = Path(__file__).parents[2]
CLONE_NEWNET = 0x40000000

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: libais
    transport: udpu
}}
nodelist {{
    node {{
        nodeid: 1
        ring0_addr: 127.0.0.1
    }}
}}
logging {{
    to_syslog: no
    to_stderr: no
    to_logfile: yes
    logfile: {directory}/corosync.log
}}
"""


def missing() -> str:
    """What these tests need and this machine does not have."""
    if shutil.which("corosync") is None:
        return "corosync is not installed (apt install corosync)"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "ip and unshare are needed (apt install iproute2 util-linux)"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


class StockNode:
    """A corosync process in its own network and mount namespace."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.namespace = name
        self.log = directory / "corosync.log"
        (directory / "corosync.conf").write_text(CONFIGURATION.format(directory=directory))
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        script = (
            "mount -t tmpfs none /run && mkdir -p /run/lock && mount -t tmpfs none /var/lib/corosync && "
            f"exec corosync -f -c {directory}/corosync.conf"
        )
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "-m", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=(directory / "output").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def wait_ready(self) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.handle(retry_for=PATIENCE).close()
                return
            except errors.LibraryError:
                assert self.process.poll() is None, self.explain("corosync ended")
                assert time.monotonic() < end, self.explain("corosync does not listen")
                time.sleep(0.05)

    def explain(self, what: str) -> str:
        log = self.log.read_text() if self.log.exists() else ""
        return f"{what}\n{(self.directory / 'output').read_text()}\n{log}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the node's network namespace: connections made here lead to it."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{self.namespace}") as other:
            assert libc.setns(other.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), CLONE_NEWNET) == 0

    def handle(
        self, *, retry_for: float = 0.0, initial_totem_confchg: bool = False, waiter: Waiter | None = None
    ) -> cpg.Handle:
        with self.inside():
            return cpg.Handle(
                retry_for=retry_for,
                connect_timeout=PATIENCE,
                initial_totem_confchg=initial_totem_confchg,
                waiter=waiter,
            )

    def python(self, program: str) -> subprocess.Popen[str]:
        """Runs a Python program beside the node."""
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        run("ip", "netns", "del", self.namespace)
        pid = self.process.pid
        for directory in Path("/dev/shm").glob(f"qb-{pid}-*"):
            shutil.rmtree(directory, ignore_errors=True)
        for blackbox in Path("/dev/shm").glob(f"qb-corosync-{pid}-blackbox-*"):
            blackbox.unlink()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockNode]:
    started = StockNode(tmp_path_factory.mktemp("stock"), f"cl-{os.getpid()}-0")
    try:
        started.wait_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[StockNode]:
    """A node that the test may kill."""
    started = StockNode(tmp_path, f"cl-{os.getpid()}-1")
    try:
        started.wait_ready()
        yield started
    finally:
        started.stop()


def take(handle: cpg.Handle, count: int) -> list[cpg.Event]:
    """The next `count` events."""
    events = []
    for event in handle.events(PATIENCE):
        events.append(event)
        if len(events) == count:
            return events
    raise AssertionError(f"only {len(events)} of {count} events came: {events}")


def take_messages(handle: cpg.Handle, count: int) -> list[bytes]:
    """The next `count` messages; other events in between are left out."""
    messages: list[bytes] = []
    for event in handle.events(PATIENCE):
        if isinstance(event, cpg.Deliver):
            messages.append(event.message)
            if len(messages) == count:
                return messages
    raise AssertionError(f"only {len(messages)} of {count} messages came")


def join(handle: cpg.Handle, group: str) -> cpg.ConfigChange:
    handle.join(group)
    for event in handle.events(PATIENCE):
        if isinstance(event, cpg.ConfigChange):
            return event
    raise AssertionError("no configuration change came")


ME = cpg.Process(1, os.getpid())
JOINED = cpg.Process(1, os.getpid(), cpg.Reason.JOIN)
LEFT = cpg.Process(1, os.getpid(), cpg.Reason.LEAVE)


def test_life_of_a_member(node: StockNode) -> None:
    with node.handle(initial_totem_confchg=True) as handle:
        assert handle.local_get() == 1
        assert handle.membership_get("life") == ()
        with pytest.raises(errors.NotExistError):
            handle.leave("life")
        handle.join("life")
        change, totem = take(handle, 2)
        assert change == cpg.ConfigChange("life", (ME,), (), (JOINED,))
        assert isinstance(totem, cpg.TotemChange)
        assert totem.members == (1,)
        assert totem.ring_id.nodeid == 1
        with pytest.raises(errors.ExistError):
            handle.join("life")
        assert handle.membership_get("life") == (ME,)
        handle.mcast_joined(b"hello", cpg.Guarantee.SAFE)
        assert take(handle, 1) == [cpg.Deliver("life", 1, os.getpid(), b"hello")]
        handle.leave("life")
        assert take(handle, 1) == [cpg.ConfigChange("life", (), (LEFT,), ())]
        handle.context_set("mine")
        assert handle.context_get() == "mine"
        handle.finalize()
        with pytest.raises(errors.BadHandleError):
            handle.local_get()


def test_group_name_of_any_bytes(node: StockNode) -> None:
    for name in ("x" * 128, "grün", b"\xff\x00\xfe"):
        with node.handle() as handle:
            handle.join(name)
            (change,) = take(handle, 1)
            assert isinstance(change, cpg.ConfigChange)
            given = name if isinstance(name, bytes) else name.encode()
            assert change.group.encode("utf-8", "surrogateescape") == given
            assert handle.membership_get(change.group) == (ME,)


def test_iteration(node: StockNode) -> None:
    with node.handle() as one, node.handle() as two:
        join(one, "walk-a")
        join(two, "walk-b")
        names = {entry.group for entry in one.iteration(cpg.IterationType.NAME_ONLY)}
        assert {"walk-a", "walk-b"} <= names
        entries = set(one.iteration())
        assert {("walk-a", 1, os.getpid()), ("walk-b", 1, os.getpid())} <= entries
        assert list(one.iteration(cpg.IterationType.ONE_GROUP, "walk-b")) == [("walk-b", 1, os.getpid())]
        with one.iteration() as iteration:
            next(iteration)
        assert list(iteration) == []


def test_messages_of_every_size_arrive_whole_and_in_order(node: StockNode) -> None:
    sizes = [0, 1, 63, 1000, 65536, 1047551, 1047552, 1047553, 2 * 1047552, 2_500_000, 5]
    with node.handle(retry_for=PATIENCE) as handle:
        join(handle, "sizes")
        sent = [bytes([size % 251]) * size for size in sizes]
        for message in sent:
            half = len(message) // 2
            handle.mcast_joined([message[:half], memoryview(message)[half:]])
        assert take_messages(handle, len(sent)) == sent


def test_two_processes_see_the_same_order(node: StockNode) -> None:
    with node.handle(retry_for=PATIENCE) as one, node.handle(retry_for=PATIENCE) as two:
        join(one, "order")
        with pytest.raises(errors.ExistError, match="already a member"):
            two.join("order")
        # Another group is another matter; it is not told of this one's messages.
        join(two, "disorder")
        two.mcast_joined(b"elsewhere")
        assert take_messages(two, 1) == [b"elsewhere"]
        child = node.python(
            """
            import hashlib
            from libais import cpg
            with cpg.Handle(retry_for=20) as handle:
                handle.join("order")
                seen, digest = 0, hashlib.sha256()
                sent = False
                for event in handle.events(20):
                    if isinstance(event, cpg.ConfigChange) and not sent:
                        for number in range(500):
                            handle.mcast_joined(b"child %d" % number)
                        sent = True
                    if isinstance(event, cpg.Deliver):
                        seen += 1
                        digest.update(event.message)
                        if seen == 1000:
                            break
                print(digest.hexdigest())
            """
        )
        (change,) = take(one, 1)
        assert isinstance(change, cpg.ConfigChange)
        assert len(change.members) == 2
        for number in range(500):
            one.mcast_joined(b"parent %d" % number)
        digest = hashlib.sha256(b"".join(take_messages(one, 1000))).hexdigest()
        output, _ = child.communicate(timeout=PATIENCE)
        assert output.strip() == digest


def test_death_of_a_member_is_told_with_its_reason(node: StockNode) -> None:
    with node.handle() as handle:
        join(handle, "mourning")
        child = node.python(
            """
            import signal
            from libais import cpg
            handle = cpg.Handle()
            handle.join("mourning")
            signal.pause()
            """
        )
        (arrival,) = take(handle, 1)
        assert isinstance(arrival, cpg.ConfigChange)
        assert arrival.joined == (cpg.Process(1, child.pid, cpg.Reason.JOIN),)
        child.kill()
        child.communicate()
        assert take(handle, 1) == [
            cpg.ConfigChange("mourning", (ME,), (cpg.Process(1, child.pid, cpg.Reason.PROCDOWN),), ())
        ]


def test_zero_copy(node: StockNode) -> None:
    before = set(Path("/dev/shm").glob("corosync_zerocopy-*"))
    with node.handle(retry_for=PATIENCE) as handle:
        with handle.zcb_alloc(10) as buffer, pytest.raises(errors.NotExistError):
            handle.zcb_mcast_joined(buffer)
        join(handle, "zero")
        with handle.zcb_alloc(1047552) as buffer:
            assert len(buffer) == len(buffer.data) == 1047552
            sent = []
            for size in (0, 5, 70000, 1047552):
                message = bytes([size % 251]) * size
                buffer.data[:size] = message
                handle.zcb_mcast_joined(buffer, size)
                sent.append(message)
            assert take_messages(handle, len(sent)) == sent
            with pytest.raises(errors.InvalidParamError):
                handle.zcb_mcast_joined(buffer, -1)
        with pytest.raises(errors.InvalidParamError):
            handle.zcb_free(buffer)
        big = handle.zcb_alloc(1047553)
        with pytest.raises(errors.TooBigError):
            handle.zcb_mcast_joined(big)
        handle.zcb_free(big)
    assert set(Path("/dev/shm").glob("corosync_zerocopy-*")) == before


def test_callbacks(node: StockNode) -> None:
    calls: list[tuple[str, object]] = []
    with node.handle(initial_totem_confchg=True) as handle:
        handle.deliver = lambda given, event: calls.append(("deliver", (given is handle, event.message)))
        handle.confchg = lambda _, event: calls.append(("confchg", event.joined))
        handle.totem_confchg = lambda _, event: calls.append(("totem", event.members))
        handle.join("calls")
        handle.mcast_joined(b"x" * 1_500_000)
        for _ in range(3):
            assert handle.dispatch(cpg.Dispatch.ONE) == 1
        assert calls == [
            ("confchg", (JOINED,)),
            ("totem", (1,)),
            ("deliver", (True, b"x" * 1_500_000)),
        ]
        assert handle.dispatch() == 0
        with pytest.raises(errors.TryAgainError):
            handle.dispatch(cpg.Dispatch.ONE_NONBLOCKING)


def test_several_threads_share_a_handle(node: StockNode) -> None:
    each, senders = 200, 4
    with node.handle(retry_for=PATIENCE) as handle:
        join(handle, "threads")

        def send(sender: int) -> None:
            for number in range(each):
                handle.mcast_joined(b"%d %d" % (sender, number))
                if number % 50 == 0:
                    # Fragments of two threads must not mix; small messages may come in between.
                    handle.mcast_joined(b"%d %d " % (sender, number) + bytes([sender]) * 1_100_000)
                    assert handle.local_get() == 1

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
        for thread in threads:
            thread.start()
        messages = take_messages(handle, senders * (each + each // 50))
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    for sender in range(senders):
        mine = [message for message in messages if message.startswith(b"%d " % sender)]
        small = [message for message in mine if len(message) < 100]
        assert small == [b"%d %d" % (sender, number) for number in range(each)]
        for long in mine:
            if len(long) > 100:
                assert long.split(b" ", 2)[2] == bytes([sender]) * 1_100_000


def test_flood_is_held_back_and_complete(node: StockNode) -> None:
    count = 20_000
    with node.handle(retry_for=PATIENCE) as handle:
        join(handle, "flood")

        def send() -> None:
            for number in range(count):
                handle.mcast_joined(number.to_bytes(4, "big"))

        sender = threading.Thread(target=send)
        sender.start()
        messages = take_messages(handle, count)
        sender.join(PATIENCE)
    assert messages == [number.to_bytes(4, "big") for number in range(count)]


def test_stranger_is_refused_and_told_why(node: StockNode) -> None:
    program = """
        import os
        from libais import cpg, errors
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            cpg.Handle()
        except errors.AccessError as error:
            print("refused:", error)
        """
    output, _ = node.python(program).communicate(timeout=PATIENCE)
    assert output.startswith("refused: cpg_initialize: uid 65534 gid 65534"), output
    assert "uidgid" in output


def test_connections_leave_nothing_behind(node: StockNode) -> None:
    def litter() -> tuple[int, int]:
        directories = len(list(Path("/dev/shm").glob(f"qb-{node.process.pid}-*")))
        return directories, len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = litter()
    for _ in range(50):
        with node.handle() as handle:
            handle.local_get()
    end = time.monotonic() + PATIENCE
    while litter() != before:
        assert time.monotonic() < end, (before, litter())
        time.sleep(0.01)


def timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    with pytest.raises(errors.LibraryError):
        action()
    return time.monotonic() - started


@pytest.mark.parametrize("waiter", [ThreadWaiter(), GeventWaiter()])
def test_death_of_the_executive_is_an_error_everywhere(mortal: StockNode, waiter: Waiter) -> None:
    handle = mortal.handle(waiter=waiter)
    calling = mortal.handle(waiter=waiter)
    join(handle, "doom")
    assert list(Path("/dev/shm").glob(f"qb-{mortal.process.pid}-{os.getpid()}-*"))
    # A stopped executive leaves the call waiting; then it dies.
    mortal.process.send_signal(signal.SIGSTOP)
    results: list[float] = []
    if isinstance(waiter, GeventWaiter):
        caller: gevent.Greenlet[..., float] = gevent.spawn(timed, calling.local_get)
        waiting: gevent.Greenlet[..., float] = gevent.spawn(timed, lambda: list(handle.events()))
        gevent.sleep(0.05)
        mortal.process.kill()
        mortal.process.wait()
        results = [caller.get(timeout=5.0), waiting.get(timeout=5.0)]
    else:
        threads = [
            threading.Thread(target=lambda: results.append(timed(calling.local_get))),
            threading.Thread(target=lambda: results.append(timed(lambda: list(handle.events())))),
        ]
        for thread in threads:
            thread.start()
        mortal.process.kill()
        mortal.process.wait()
        for thread in threads:
            thread.join(5.0)
    assert len(results) == 2
    assert max(results) < 2.0
    for action in (
        handle.dispatch,
        handle.local_get,
        lambda: handle.mcast_joined(b"x"),
        lambda: handle.mcast_joined(b"x" * 2_000_000),
        lambda: handle.leave("doom"),
        lambda: handle.zcb_alloc(100),
        handle.finalize,
        mortal.handle,
    ):
        assert timed(action) < 2.0
    calling.close()
    # Nobody else would remove what a killed executive left.
    assert not list(Path("/dev/shm").glob(f"qb-{mortal.process.pid}-{os.getpid()}-*"))


def test_asyncio(node: StockNode) -> None:
    count = 300
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def send(handle: cpg.Handle) -> None:
        for number in range(count):
            await handle.amcast_joined(b"%d" % number)
        await handle.amcast_joined(b"x" * 2_500_000)

    async def main() -> list[bytes]:
        messages: list[bytes] = []
        with node.handle(retry_for=PATIENCE) as handle:
            await asyncio.to_thread(handle.join, "asyncio")
            ticker = asyncio.create_task(tick())
            sender: asyncio.Task[None] | None = None
            async for event in handle.aevents(PATIENCE):
                if isinstance(event, cpg.ConfigChange):
                    sender = asyncio.create_task(send(handle))
                elif isinstance(event, cpg.Deliver):
                    messages.append(event.message)
                    if len(messages) == count + 1:
                        break
            assert sender is not None
            await sender
            # Nothing more comes: the timeout ends the iteration, the loop runs on.
            before = ticks
            assert [event async for event in handle.aevents(0.05)] == []
            assert ticks > before
            ticker.cancel()
        return messages

    messages = asyncio.run(main())
    assert messages == [b"%d" % number for number in range(count)] + [b"x" * 2_500_000]


def test_asyncio_sees_the_handle_closed_and_refuses_two_readers(node: StockNode) -> None:
    async def main() -> None:
        handle = node.handle()

        async def read() -> list[cpg.Event]:
            return [event async for event in handle.aevents()]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await read()
        handle.close()
        assert await asyncio.wait_for(reader, PATIENCE) == []

    asyncio.run(main())


def test_gevent_without_patching(node: StockNode) -> None:
    with node.handle(retry_for=PATIENCE, waiter=GeventWaiter()) as handle:
        join(handle, "gevent")
        turns = 0

        def tick() -> None:
            nonlocal turns
            while True:
                gevent.sleep(0.001)
                turns += 1

        ticker = gevent.spawn(tick)
        reader = gevent.spawn(take_messages, handle, 301)
        for number in range(300):
            handle.mcast_joined(b"%d" % number)
        handle.mcast_joined(b"x" * 2_500_000)
        messages = reader.get(timeout=PATIENCE)
        before = turns
        assert list(handle.events(0.05)) == []
        assert turns > before
        ticker.kill()
    assert messages == [b"%d" % number for number in range(300)] + [b"x" * 2_500_000]


def test_gevent_with_patching(node: StockNode) -> None:
    child = node.python(
        """
        from gevent import monkey
        monkey.patch_all()
        import threading, time, gevent
        from libais import cpg
        from ipc.waiting import GeventWaiter

        handle = cpg.Handle(retry_for=20)
        assert isinstance(handle._waiter, GeventWaiter)
        turns = 0
        def tick():
            global turns
            while True:
                time.sleep(0.001)
                turns += 1
        gevent.spawn(tick)
        got = []
        def read():
            for event in handle.events():
                if isinstance(event, cpg.Deliver):
                    got.append(event.message)
        reader = threading.Thread(target=read)
        reader.start()
        handle.join("patched")
        for number in range(200):
            handle.mcast_joined(b"%d" % number)
        handle.mcast_joined(b"x" * 2_500_000)
        with gevent.Timeout(20):
            while len(got) < 201:
                time.sleep(0.01)
        before = turns
        assert list(handle.iteration(cpg.IterationType.ONE_GROUP, "patched"))
        time.sleep(0.05)
        handle.finalize()
        reader.join()
        assert got == [b"%d" % number for number in range(200)] + [b"x" * 2_500_000]
        assert turns > before
        print("good")
        """
    )
    output, _ = child.communicate(timeout=PATIENCE)
    assert output.strip() == "good", output
