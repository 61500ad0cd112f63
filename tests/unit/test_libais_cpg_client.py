"""The client half against a scripted executive: refusals, flow control, death, interruption, fork."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from ipc import cpg_layouts as layout
from ipc._ring import Ring
from ipc.client import Connection, IpcError, connect
from ipc.errors import CsError
from ipc.layouts import (
    CONNECT_REQUEST,
    CONNECT_RESPONSE,
    CONNECTION_TYPE_SHM,
    RESPONSE_HEADER,
    ConnectResponse,
    ResponseHeader,
)
from ipc.limits import MESSAGE_SIZE_MIN
from ipc.waiting import GeventWaiter, ThreadWaiter, Waiter
from libais import cpg, errors

PATIENCE = 10.0
_names = itertools.count()


class ScriptedExecutive:
    """Listens on a service name of its own; a test plays the executive's part step by step."""

    def __init__(self) -> None:
        self.service = f"aisexec-test-{os.getpid()}-{next(_names)}"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(b"\0" + self.service.encode().ljust(107, b"\0"))
        self.listener.listen(8)
        self.directory = tempfile.mkdtemp(prefix="aisexec-test-", dir="/dev/shm")
        self.rings: list[Ring] = []
        self.sock = self.listener

    def accept(self) -> None:
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(PATIENCE)
        assert len(self.sock.recv(CONNECT_REQUEST.size, socket.MSG_WAITALL)) == CONNECT_REQUEST.size

    def answer(self, error: int = 0, kind: int = CONNECTION_TYPE_SHM) -> None:
        bases = [f"{self.directory}/qb-{name}-{self.service}" for name in ("request", "response", "event")]
        if error == 0:
            self.rings = [Ring.create(base, MESSAGE_SIZE_MIN) for base in bases]
        response = ConnectResponse(
            -1, CONNECT_RESPONSE.size, error, kind, MESSAGE_SIZE_MIN, 0, *map(os.fsencode, bases)
        )
        self.sock.sendall(CONNECT_RESPONSE.pack(response))

    def connect(self, waiter: Waiter | None = None) -> Connection:
        with self.serving(self.answer):
            return connect(self.service, waiter=waiter or ThreadWaiter(), timeout=PATIENCE)

    @contextlib.contextmanager
    def serving(self, *steps: Callable[[], object]) -> Iterator[None]:
        """Accept a client and take `steps` beside the body."""

        def run() -> None:
            self.accept()
            for step in steps:
                step()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def request(self) -> bytes:
        request = self.rings[0].read(int(PATIENCE * 1000))
        assert request is not None
        self.sock.recv(1)
        return request

    def respond(self, error: int = CsError.OK, identifier: int = 0) -> None:
        assert self.rings[1].write(layout.pack_response(identifier, error))

    def event(self, message: bytes) -> None:
        assert self.rings[2].write(message)
        self.sock.send(b"\0")

    def hang_up(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def close(self) -> None:
        for ring in self.rings:
            ring.close(unlink=True)
        self.sock.close()
        self.listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def executive() -> Iterator[ScriptedExecutive]:
    scripted = ScriptedExecutive()
    yield scripted
    scripted.close()


@pytest.fixture
def connection(executive: ScriptedExecutive) -> Iterator[Connection]:
    made = executive.connect()
    yield made
    made.close()


REQUEST = layout.pack_request(layout.CpgRequest.LOCAL_GET)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "condition not reached"
        time.sleep(0.001)


def failing(action: Callable[[], object]) -> IpcError:
    with pytest.raises(IpcError) as caught:
        action()
    return caught.value


# --- connecting -------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    error = failing(lambda: connect("aisexec-test-nobody"))
    assert error.errno == errno.ECONNREFUSED
    assert "aisexec-test-nobody" in str(error)


@pytest.mark.parametrize("name", ["", "x" * 108, "a\0b"])
def test_impossible_service_name(name: str) -> None:
    assert failing(lambda: connect(name)).errno == errno.EINVAL


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (errno.EAGAIN, "try again"),
        (errno.EACCES, "uidgid"),
        (errno.ENOSYS, "no service"),
        (errno.EMFILE, "descriptors"),
        (errno.ENOMEM, "refuses"),
    ],
)
def test_refusal_tells_what_to_do(executive: ScriptedExecutive, refusal: int, text: str) -> None:
    with executive.serving(lambda: executive.answer(-refusal)):
        error = failing(lambda: connect(executive.service, timeout=PATIENCE))
    assert error.errno == refusal
    assert text in str(error)


def test_answer_without_shared_memory(executive: ScriptedExecutive) -> None:
    with executive.serving(lambda: executive.answer(kind=0)):
        error = failing(lambda: connect(executive.service, timeout=PATIENCE))
    assert error.errno == errno.ENOTSUP


def test_closed_without_answer(executive: ScriptedExecutive) -> None:
    with executive.serving(executive.hang_up):
        error = failing(lambda: connect(executive.service, timeout=PATIENCE))
    assert error.errno in (errno.ENOTCONN, errno.ECONNRESET)


@pytest.mark.parametrize("waiter", [ThreadWaiter(), GeventWaiter()])
def test_no_answer_in_time(executive: ScriptedExecutive, waiter: Waiter) -> None:
    error = failing(lambda: connect(executive.service, timeout=0.05, waiter=waiter))
    assert error.errno == errno.ETIME


def test_shared_memory_out_of_sight(executive: ScriptedExecutive) -> None:
    def answer_elsewhere() -> None:
        bases = (os.fsencode(f"{executive.directory}/{name}") for name in "abc")
        answer = ConnectResponse(
            -1, CONNECT_RESPONSE.size, 0, CONNECTION_TYPE_SHM, MESSAGE_SIZE_MIN, 0, *bases
        )
        executive.sock.sendall(CONNECT_RESPONSE.pack(answer))

    with executive.serving(answer_elsewhere):
        error = failing(lambda: connect(executive.service, timeout=PATIENCE))
    assert error.errno == errno.ENOENT
    assert "/dev/shm" in str(error)


# --- requests ---------------------------------------------------------------------------------------


def test_call_and_response(executive: ScriptedExecutive, connection: Connection) -> None:
    executive.respond(CsError.OK, identifier=7)
    assert RESPONSE_HEADER.unpack(connection.call(REQUEST)) == ResponseHeader(7, 24, 1)
    assert executive.request() == REQUEST


@pytest.mark.parametrize(("level", "limit", "sent"), [(1, 1, 0), (2, 1, 1), (1, 2, 0), (2, 2, 0), (0, 2, 1)])
def test_flow_level(
    executive: ScriptedExecutive, connection: Connection, level: int, limit: int, sent: bool
) -> None:
    executive.rings[0].flow_level = level
    if sent:
        connection.send(REQUEST, limit=limit)
    else:
        assert failing(lambda: connection.send(REQUEST, limit=limit)).errno == errno.EAGAIN
    assert executive.rings[0].pending() == sent


def test_dropped_by_reference_count(executive: ScriptedExecutive, connection: Connection) -> None:
    executive.rings[0].ref_count = 0
    assert failing(lambda: connection.send(REQUEST)).errno == errno.ENOTCONN
    executive.rings[0].ref_count = 2


def test_full_ring_and_long_request(executive: ScriptedExecutive, connection: Connection) -> None:
    connection.send(b"x" * MESSAGE_SIZE_MIN)
    assert failing(lambda: connection.send(b"x" * MESSAGE_SIZE_MIN)).errno == errno.EAGAIN
    assert failing(lambda: connection.send(b"x" * (MESSAGE_SIZE_MIN + 1))).errno == errno.EMSGSIZE


def test_without_waiting_a_slow_executive_means_try_again(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    def send_without_end() -> None:
        while True:
            connection.send(REQUEST, wait=False)

    assert failing(send_without_end).errno == errno.EAGAIN
    assert executive.rings[0].pending() > 10


def test_with_waiting_every_request_is_announced(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    total = 350  # more bytes than the socket holds unread, fewer requests than the ring holds

    def send_all() -> None:
        for _ in range(total):
            connection.send(REQUEST)

    sender = threading.Thread(target=send_all)
    sender.start()
    for _ in range(total):
        assert executive.request() == REQUEST
    sender.join(PATIENCE)
    assert not sender.is_alive()


@pytest.mark.parametrize("waiter", [ThreadWaiter(), GeventWaiter()])
def test_executive_dies_during_a_call(executive: ScriptedExecutive, waiter: Waiter) -> None:
    connection = executive.connect(waiter)

    def die() -> None:
        executive.request()
        executive.hang_up()

    thread = threading.Thread(target=die)
    thread.start()
    started = time.monotonic()
    assert failing(lambda: connection.call(REQUEST)).errno == errno.ENOTCONN
    assert time.monotonic() - started < 2.0
    thread.join(PATIENCE)
    connection.close()


def test_answer_given_before_death_counts(executive: ScriptedExecutive, connection: Connection) -> None:
    def answer_and_die() -> None:
        executive.request()
        executive.respond(CsError.EXIST)
        executive.hang_up()

    thread = threading.Thread(target=answer_and_die)
    thread.start()
    assert RESPONSE_HEADER.unpack(connection.call(REQUEST)).error == CsError.EXIST
    thread.join(PATIENCE)


def test_answer_to_an_interrupted_call_is_not_given_to_the_next(executive: ScriptedExecutive) -> None:
    connection = executive.connect(GeventWaiter())
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        connection.call(REQUEST)
    executive.respond(CsError.BUSY)
    executive.respond(CsError.EXIST)
    assert RESPONSE_HEADER.unpack(connection.call(REQUEST)).error == CsError.EXIST
    connection.close()


def test_signal_handler_may_interrupt_a_call(executive: ScriptedExecutive, connection: Connection) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            connection.call(REQUEST)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    executive.respond(CsError.BUSY)
    executive.respond(CsError.EXIST)
    assert RESPONSE_HEADER.unpack(connection.call(REQUEST)).error == CsError.EXIST


def test_greenlets_run_while_one_waits_for_a_response(executive: ScriptedExecutive) -> None:
    connection = executive.connect(GeventWaiter())
    caller = gevent.spawn(connection.call, REQUEST)
    gevent.sleep(0)
    assert executive.request() == REQUEST
    turns = 0
    while turns < 50:
        gevent.sleep(0.0005)
        turns += 1
        assert not caller.ready()
    executive.respond(CsError.OK)
    assert RESPONSE_HEADER.unpack(caller.get(timeout=PATIENCE)).error == CsError.OK
    connection.close()


def test_calls_of_several_threads_get_their_own_answers(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    calls_each, threads = 50, 4
    wrong: list[object] = []

    def serve() -> None:
        for _ in range(calls_each * threads):
            mark = int.from_bytes(executive.request()[4:8], "little")
            executive.respond(CsError.OK, identifier=mark)

    def call(mark: int) -> None:
        for _ in range(calls_each):
            request = REQUEST[:4] + mark.to_bytes(4, "little") + REQUEST[8:]
            answer = RESPONSE_HEADER.unpack(connection.call(request))
            if answer.id != mark:
                wrong.append(answer)

    workers = [threading.Thread(target=serve)]
    workers += [threading.Thread(target=call, args=(mark,)) for mark in range(1, threads + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()
    assert wrong == []


# --- events -----------------------------------------------------------------------------------------


def readable(connection: Connection) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


@pytest.mark.parametrize("waiter", [ThreadWaiter(), GeventWaiter()])
def test_descriptor_is_readable_exactly_while_events_wait(
    executive: ScriptedExecutive, waiter: Waiter
) -> None:
    connection = executive.connect(waiter)
    assert not readable(connection)
    assert connection.take_event() is None
    executive.event(b"one")
    executive.event(b"two")
    assert readable(connection)
    assert connection.wait_event(PATIENCE)
    assert connection.take_event() == b"one"
    connection.acknowledge()
    assert readable(connection)
    assert connection.take_event() == b"two"
    connection.acknowledge()
    assert not readable(connection)
    connection.close()


def test_byte_that_comes_after_its_event_was_taken(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    assert executive.rings[2].write(b"early")
    assert connection.take_event() == b"early"
    connection.acknowledge()
    executive.sock.send(b"\0")
    assert readable(connection)
    assert not connection.wait_event(0.02)
    assert not readable(connection)


@pytest.mark.parametrize("waiter", [ThreadWaiter(), GeventWaiter()])
def test_byte_without_event_neither_wakes_nor_spins(executive: ScriptedExecutive, waiter: Waiter) -> None:
    connection = executive.connect(waiter)
    executive.sock.send(b"\0\0\0")
    assert not connection.wait_event(0.05)
    assert not readable(connection)
    connection.close()


def test_events_left_by_a_dead_executive_come_before_the_error(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    executive.event(b"last words")
    executive.hang_up()
    assert connection.wait_event(None)
    assert connection.take_event() == b"last words"
    assert failing(lambda: connection.wait_event(None)).errno == errno.ENOTCONN


def test_spoiled_ring_is_an_error(executive: ScriptedExecutive, connection: Connection) -> None:
    assert executive.rings[2].write(b"event")
    data = Path(f"{executive.directory}/qb-event-{executive.service}-data")
    with data.open("r+b") as file:
        file.seek(4)
        file.write(b"\xde\xad\xbe\xef")
    assert failing(connection.take_event).errno == errno.EBADMSG


# --- life -------------------------------------------------------------------------------------------


def test_close_wakes_those_who_wait(executive: ScriptedExecutive, connection: Connection) -> None:
    results: list[int | None] = []

    def wait(action: Callable[[], object]) -> None:
        results.append(failing(action).errno)

    waiting = [
        threading.Thread(target=wait, args=(lambda: connection.wait_event(None),)),
        threading.Thread(target=wait, args=(lambda: connection.call(REQUEST),)),
    ]
    for thread in waiting:
        thread.start()
    until(lambda: connection._users == 2)
    assert executive.request() == REQUEST
    connection.close()
    for thread in waiting:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert results == [errno.EBADF, errno.EBADF]
    assert connection.closed
    assert failing(lambda: connection.send(REQUEST)).errno == errno.EBADF
    assert failing(connection.fileno).errno == errno.EBADF
    connection.close()


def test_close_lets_the_executive_know(executive: ScriptedExecutive, connection: Connection) -> None:
    assert executive.rings[0].ref_count == 2
    connection.close()
    assert executive.sock.recv(1) == b""
    assert executive.rings[0].ref_count == 0


def test_child_process_may_not_use_the_connection(
    executive: ScriptedExecutive, connection: Connection
) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Only os._exit ends a child that must not run pytest's own clean-up.
        try:
            report = str(failing(lambda: connection.send(REQUEST)))
            connection.close()
            os.write(writer, report.encode())
            connection.__dict__.clear()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        report = pipe.read()
    assert f"belongs to process {os.getpid()}" in report
    assert "after fork" in report
    executive.respond(CsError.OK)
    assert RESPONSE_HEADER.unpack(connection.call(REQUEST)).error == CsError.OK


def test_death_of_the_parent_is_seen_though_a_child_lives(executive: ScriptedExecutive) -> None:
    connection = executive.connect()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    # As the kernel does when a process dies: the descriptor is closed, not shut down.
    os.close(connection.fileno())
    assert executive.sock.recv(1) == b""
    os.close(writer)
    os.waitpid(child, 0)
    connection._sock.detach()


# --- the handle on top ------------------------------------------------------------------------------


@pytest.fixture
def handle(executive: ScriptedExecutive, monkeypatch: pytest.MonkeyPatch) -> Iterator[cpg.Handle]:
    monkeypatch.setattr(cpg, "SERVICE_NAME", executive.service)
    with executive.serving(executive.answer), cpg.Handle(retry_for=0.0, connect_timeout=PATIENCE) as made:
        yield made


@pytest.mark.parametrize("code", [code for code in CsError if code not in (CsError.OK, CsError.BUSY)])
def test_every_result_code_has_its_exception(
    executive: ScriptedExecutive, handle: cpg.Handle, code: CsError
) -> None:
    executive.respond(code)
    with pytest.raises(errors.error_class(code)) as caught:
        handle.join("group")
    assert type(caught.value) is not errors.CsException
    assert caught.value.code == code
    assert f"CS_ERR_{code.name}" in str(caught.value)


def test_unknown_result_code(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.respond(4711)
    with pytest.raises(errors.CsException, match="4711") as caught:
        handle.leave("group")
    assert caught.value.code == 4711


def test_short_answer(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    assert executive.rings[1].write(b"abc")
    with pytest.raises(errors.LibraryError, match="too short"):
        handle.leave("group")


@pytest.mark.parametrize("call", ["local_get", "membership_get", "iteration"])
def test_answer_that_ends_after_its_head(
    executive: ScriptedExecutive, handle: cpg.Handle, call: str
) -> None:
    executive.respond(CsError.OK)
    with pytest.raises(errors.LibraryError):
        getattr(handle, call)(*(["group"] if call == "membership_get" else []))


def test_busy_is_repeated(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.respond(CsError.BUSY)
    executive.respond(CsError.BUSY)
    executive.respond(CsError.OK)
    handle.join("group")
    requests = {executive.request() for _ in range(3)}
    assert len(requests) == 1
    join = layout.JOIN_REQUEST.unpack(requests.pop())
    assert (layout.group_name(join), join.pid) == (b"group", os.getpid())


def test_try_again_is_repeated_when_asked_for(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.respond(CsError.TRY_AGAIN)
    with pytest.raises(errors.TryAgainError):
        handle.join("group")
    handle.retry_for = PATIENCE
    executive.respond(CsError.TRY_AGAIN)
    executive.respond(CsError.OK)
    handle.join("group")


def test_multicast_waits_for_flow_control_when_asked_to(
    executive: ScriptedExecutive, handle: cpg.Handle
) -> None:
    executive.rings[0].flow_level = 2
    with pytest.raises(errors.TryAgainError, match="flow level 2"):
        handle.mcast_joined(b"message")
    handle.retry_for = PATIENCE
    timer = threading.Timer(0.05, lambda: setattr(executive.rings[0], "flow_level", 0))
    timer.start()
    handle.mcast_joined([b"mess", bytearray(b"age")], cpg.Guarantee.SAFE)
    timer.join()
    request = executive.request()
    head = layout.MCAST_REQUEST.unpack(request)
    assert head == layout.McastRequest(2, 47, 0, cpg.Guarantee.SAFE, 7)
    assert request[40:] == b"message"


def test_limits_of_the_multicast_are_the_library_s_own(handle: cpg.Handle) -> None:
    assert handle.max_atomic_msgsize_get() == 1047552
    assert handle.flow_control_state_get() is cpg.FlowControlState.DISABLED
    with pytest.raises(errors.NameTooLongError):
        handle.join("x" * 129)
    with pytest.raises(errors.InvalidParamError):
        handle.iteration(cpg.IterationType.ONE_GROUP)
    with pytest.raises(errors.InvalidParamError):
        handle.iteration(cpg.IterationType.ALL, "group")
    with pytest.raises(errors.InvalidParamError):
        handle.zcb_alloc(-1)
    with pytest.raises(TypeError):
        handle.mcast_joined("text")  # type: ignore[arg-type]


def test_buffer_the_executive_did_not_take(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.respond(CsError.OK)
    with pytest.raises(errors.LibraryError, match="did not take"):
        handle.zcb_alloc(100)
    alloc = layout.ZC_ALLOC_REQUEST.unpack(executive.request())
    path = Path(os.fsdecode(alloc.path_to_file.rstrip(b"\0")))
    assert path.parent == Path("/dev/shm")
    assert path.name.startswith("corosync_zerocopy-")
    assert alloc.map_size == 156
    assert not path.exists()


def test_event_of_unknown_kind(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.event(layout.pack_response(99, CsError.OK))
    with pytest.raises(errors.LibraryError, match="99"):
        handle.dispatch()


def test_events_that_contradict_themselves(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    executive.event(layout.pack_deliver(b"group", 1, 2, 100) + b"too short")
    executive.event(layout.pack_deliver(b"group", 1, 2, 4) + b"good")
    with pytest.raises(errors.MessageError, match="100"):
        handle.dispatch()
    assert [event.message for event in handle.events(0) if isinstance(event, cpg.Deliver)] == [b"good"]


def test_dispatch_kinds(executive: ScriptedExecutive, handle: cpg.Handle) -> None:
    got: list[bytes] = []
    handle.deliver = lambda _, event: got.append(event.message)
    with pytest.raises(errors.TryAgainError):
        handle.dispatch(cpg.Dispatch.ONE_NONBLOCKING)
    assert handle.dispatch(cpg.Dispatch.ALL) == 0
    for number in range(6):
        executive.event(layout.pack_deliver(b"g", 1, 2, 1) + bytes([number]))
    assert handle.dispatch(cpg.Dispatch.ONE_NONBLOCKING) == 1
    assert handle.dispatch(cpg.Dispatch.ONE) == 1
    assert handle.dispatch() == 4
    assert got == [bytes([number]) for number in range(6)]


def test_dispatch_returns_when_a_callback_closes(
    executive: ScriptedExecutive, handle: cpg.Handle
) -> None:
    for _ in range(3):
        executive.event(layout.pack_deliver(b"g", 1, 2, 0))
    handle.deliver = lambda closing, _: closing.close()
    assert handle.dispatch(cpg.Dispatch.BLOCKING) == 1
    with pytest.raises(errors.BadHandleError):
        handle.dispatch()
    with pytest.raises(errors.BadHandleError):
        handle.join("group")
    with pytest.raises(errors.BadHandleError):
        handle.max_atomic_msgsize_get()


def test_dispatch_and_events_return_when_another_thread_closes(handle: cpg.Handle) -> None:
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(handle.dispatch(cpg.Dispatch.BLOCKING))),
        threading.Thread(target=lambda: results.append(len(list(handle.events())))),
    ]
    for thread in threads:
        thread.start()
    until(lambda: handle._connection._users == 2)
    handle.close()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert results == [0, 0]


def test_exception_of_a_callback_comes_out_and_its_event_is_done(
    executive: ScriptedExecutive, handle: cpg.Handle
) -> None:
    for payload in (b"bad", b"good"):
        executive.event(layout.pack_deliver(b"g", 1, 2, len(payload)) + payload)
    seen: list[bytes] = []

    def deliver(_: cpg.Handle, event: cpg.Deliver) -> None:
        seen.append(event.message)
        if event.message == b"bad":
            raise RuntimeError("callback failed")

    handle.deliver = deliver
    with pytest.raises(RuntimeError, match="callback failed"):
        handle.dispatch()
    assert handle.dispatch() == 1
    assert seen == [b"bad", b"good"]


def test_forgotten_handle_warns_and_disconnects(
    executive: ScriptedExecutive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpg, "SERVICE_NAME", executive.service)
    with executive.serving(executive.answer):
        forgotten = cpg.Handle(connect_timeout=PATIENCE)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del forgotten
    assert executive.sock.recv(1) == b""
