"""libais.sam without an executive: who is restarted, warned, killed, and with what status it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0

HEAD = """\
import os, signal, sys, time
from libais import errors, sam

def say(*words):
    print(*words, flush=True)

def expect(error, call, *arguments):
    try:
        call(*arguments)
    except error:
        return
    say("no", error.__name__)
"""


def run(program: str) -> tuple[int, list[str]]:
    """Exit status and lines of a program."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_a_process_that_dies_is_started_again_with_its_data() -> None:
    status, lines = run(
        """
        handle = sam.Handle(0, sam.RecoveryPolicy.RESTART)
        handle.data_store(b"from the beginning")
        print("not flushed before the fork")
        instance = handle.register()
        say(instance, handle.data_restore().decode(), handle.data_getsize())
        handle.start()
        if instance < 3:
            handle.data_store(b"x" * (100_000 * instance) + b"end" if instance == 1 else None)
            os.kill(os.getpid(), signal.SIGKILL) if instance == 1 else os._exit(9)
        handle.stop()
        os._exit(7)
        """.replace("handle.data_restore().decode()", "handle.data_restore()[-18:].decode()[-9:]")
    )
    assert lines == ["not flushed before the fork", "1 beginning 18", "2 xxxxxxend 100003", "3  0"]
    assert status == 7


def test_a_silent_process_is_warned_and_then_killed() -> None:
    status, lines = run(
        """
        handle = sam.Handle(0.2, sam.RecoveryPolicy.RESTART)
        instance = handle.register()
        if instance == 1:
            handle.warn_signal_set(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *_: say("warned", instance))
        handle.start()
        if instance < 3:
            for _ in range(6):
                time.sleep(0.05)
                handle.hc_send()
            say("silent", instance)
            while True:
                time.sleep(60)
        handle.finalize()
        expect(errors.BadHandleError, handle.start)
        expect(errors.BadHandleError, handle.data_restore)
        """
    )
    assert lines == ["silent 1", "warned 1", "silent 2", "warned 2"]
    assert status == 0


def test_quit_ends_with_the_status_of_the_process() -> None:
    program = """
        handle = sam.Handle(0, sam.RecoveryPolicy.QUIT)
        handle.register()
        handle.start()
        say("once")
        sys.exit(5)
        """
    assert run(program) == (5, ["once"])


def test_without_start_nothing_is_a_failure() -> None:
    program = """
        handle = sam.Handle(0.05, sam.RecoveryPolicy.RESTART)
        handle.register()
        handle.start()
        handle.stop()
        time.sleep(0.3)
        say("once")
        sys.exit(5)
        """
    assert run(program) == (5, ["once"])


def test_the_callback_decides_about_health() -> None:
    status, lines = run(
        """
        calls = []
        def healthy():
            calls.append(1)
            if len(calls) == 3:
                say("ill", instance)
            return len(calls) >= 3
        handle = sam.Handle(0.2, sam.RecoveryPolicy.RESTART)
        instance = handle.register()
        expect(errors.InvalidParamError, handle.hc_callback_register, None)
        handle.hc_callback_register(healthy)
        handle.start()
        expect(errors.BadHandleError, handle.hc_callback_register, healthy)
        if instance == 2:
            handle.stop()
            sys.exit(4)
        time.sleep(60)
        """
    )
    assert lines == ["ill 1"]
    assert status == 4


def test_calls_at_the_wrong_time() -> None:
    status, lines = run(
        """
        expect(errors.InvalidParamError, sam.Handle, 1, sam.RecoveryPolicy.QUORUM)
        expect(errors.InvalidParamError, sam.Handle, 1, sam.RecoveryPolicy(3))
        expect(errors.InvalidParamError, sam.Handle, -1)
        expect(errors.LibraryError, sam.Handle, 1, sam.RecoveryPolicy.QUORUM_QUIT)
        handle = sam.Handle(0)
        expect(errors.BadHandleError, sam.Handle, 1)
        for early in (handle.start, handle.stop, handle.hc_send, handle.mark_failed):
            expect(errors.BadHandleError, early)
        expect(errors.InvalidParamError, handle.warn_signal_set, 1000)
        expect(errors.InvalidParamError, handle.data_store, bytes(2**26 + 1))
        handle.register()
        expect(errors.BadHandleError, handle.register)
        expect(errors.BadHandleError, handle.stop)
        expect(errors.InvalidParamError, handle.mark_failed)
        expect(errors.InvalidParamError, handle.hc_callback_register, print)
        os.kill(os.getppid(), signal.SIGKILL)
        while os.getppid() != 1 and handle._pipes is None:
            time.sleep(0.01)
        try:
            while True:
                handle.data_store(b"x")
        except errors.LibraryError as error:
            say(error.what.split(":")[1])
        """
    )
    assert lines == [" the supervisor is gone"] or lines == [" the supervisor is gone (Broken pipe)"]
    assert status == -9


def test_with_gevent() -> None:
    pytest.importorskip("gevent")
    status, lines = run(
        """
        from gevent import monkey
        monkey.patch_all()
        handle = sam.Handle(0.2, sam.RecoveryPolicy.RESTART)
        instance = handle.register()
        handle.start()
        say(instance)
        if instance == 1:
            time.sleep(60)
        handle.stop()
        sys.exit(6)
        """
    )
    assert (status, lines) == (6, ["1", "2"])
