"""When the flight recording is written, and what the log says of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from aisexec import blackbox
from aisexec.blackbox import DUMP_KEY, STATE_KEY, Blackbox
from aisexec.config.model import Destinations, Logging
from aisexec.icmap import Icmap, text
from aisexec.log import Logger
from aisexec.recorder import FlightRecorder
from ipc.blackbox import read_recording, ring_path

ROOT = Path(__file__).parents[2]


class Stage:
    """A black box over a log file."""

    def __init__(self, directory: Path, **changes: object) -> None:
        self.state_dir = directory / "state"
        self.state_dir.mkdir()
        self.log = directory / "log"
        config = Logging(Destinations(False, False, True, str(self.log)))
        config = replace(config, blackbox_size=16384, **changes)  # type: ignore[arg-type]
        self.logger = Logger(config)
        self.box = Blackbox(config, self.logger)
        self.box.open(str(self.state_dir))

    def said(self) -> str:
        return self.log.read_text()

    def dumps(self) -> list[Path]:
        return sorted(self.state_dir.glob("fdata-*"))


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        gevent.sleep(0.005)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.box.close()


@pytest.fixture(autouse=True)
def _hub() -> Iterator[None]:
    hub = gevent.get_hub()
    yield
    vars(hub).pop("print_exception", None)


def test_any_change_of_the_key_triggers_and_the_value_stays(stage: Stage) -> None:
    states: list[int] = []
    keys = Icmap()
    for key in (DUMP_KEY, STATE_KEY):
        keys.set(key, text("no"))
    stage.box.watch(keys, lambda: states.append(1))
    keys.set(STATE_KEY, text("1"))
    assert (len(states), stage.dumps()) == (1, [])
    stage.logger.log("TOTEM", 8, "quiet words")
    keys.set(DUMP_KEY, text("1"))
    keys.set(DUMP_KEY, text("1"))
    assert keys.text(DUMP_KEY) == "1"
    until(lambda: "Flight data is in" in stage.said())
    assert len(stage.dumps()) == 1
    assert stage.said().count("Flight data is in") == 1
    assert "quiet words" in [r.text for r in read_recording(stage.dumps()[0].read_bytes()).records]


def test_who_keeps_on_asking_gets_a_few_and_then_one_a_second(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blackbox, "ASKED_INTERVAL", 0.2)
    states: list[int] = []
    keys = Icmap()
    stage.box.watch(keys, lambda: states.append(1))
    for number in range(500):
        keys.set(STATE_KEY, text(str(number)))
    assert len(states) == blackbox.ASKED_AT_ONCE
    until(lambda: len(states) > blackbox.ASKED_AT_ONCE)
    assert len(states) == blackbox.ASKED_AT_ONCE + 1


def test_a_slow_disk_does_not_hold_up_the_loop(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    dump, dumps = FlightRecorder.dump, list[int]()

    def slowly(recorder: FlightRecorder) -> str:
        dumps.append(1)
        assert go_on.wait(10)
        return dump(recorder)

    monkeypatch.setattr(FlightRecorder, "dump", slowly)
    keys = Icmap()
    stage.box.watch(keys, lambda: None)
    for number in range(4):
        keys.set(DUMP_KEY, text(str(number)))
    gevent.sleep(0.02)
    assert len(dumps) == 1
    go_on.set()
    until(lambda: stage.said().count("Flight data is in") == 2)
    assert len(dumps) == 2  # one for all that asked meanwhile


def test_what_fails_in_the_loop_is_logged_with_its_traceback_and_kept(stage: Stage) -> None:
    def broken() -> None:
        raise ZeroDivisionError("nobody expects this")

    loop = gevent.get_hub().loop
    for _ in range(5):
        loop.run_callback(broken)
        gevent.sleep(0)
    said = stage.said()
    assert said.count("Internal error ZeroDivisionError at") == 1  # a minute of silence
    assert "test_blackbox.py" in said
    assert "raise ZeroDivisionError" in said
    assert len(stage.dumps()) == 1


def test_an_unexpected_end_is_kept_and_an_expected_one_is_not(stage: Stage) -> None:
    class Declared(Exception):
        exit_code = 8

    with pytest.raises(Declared), stage.box:
        raise Declared
    assert stage.dumps() == []
    assert not os.path.exists(ring_path(str(stage.state_dir)))
    stage.box.open(str(stage.state_dir))
    with pytest.raises(KeyError), stage.box:
        raise KeyError("unexpected")
    assert "Internal error KeyError" in stage.said()
    assert len(stage.dumps()) == 1
    assert not os.path.exists(ring_path(str(stage.state_dir)))


def test_switched_off_it_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, blackbox=False)
    stage.box.dump()
    assert "There is no flight recording: logging.blackbox is off" in stage.said()
    assert not os.path.exists(ring_path(str(stage.state_dir)))


def test_a_state_directory_that_takes_nothing_is_told(stage: Stage) -> None:
    stage.state_dir.rmdir()
    stage.box.dump()
    assert "Can't store blackbox file: No such file or directory" in stage.said()


def test_the_command_without_an_executive(tmp_path: Path) -> None:
    script = """
        import sys
        from tools import blackbox, console
        from libais import cmap
        from libais.errors import LibraryError
        def nobody(*args, **kwargs):
            raise LibraryError("cmap_initialize")
        cmap.Handle = nobody
        blackbox._configured_state_dir = lambda: sys.argv[1]
        sys.exit(blackbox.main(sys.argv[2:]))
        """

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "state"), *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    stage = Stage(tmp_path)
    stage.logger.log("CPG", 6, "before the end")
    found = run()
    assert found.returncode == 0
    assert " info    [CPG   ] before the end\n" in found.stdout
    assert "No executive answers. This is the recording that the last one left" in found.stderr
    stage.box.close()
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "there is no recording of an earlier one" in nothing.stderr
    wrong = run("--file", str(stage.log))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "is no flight recording: " in wrong.stderr
    assert run("--fil").returncode == 1
