"""The configuration is read beside the loop, one file at a time; programs' changes do not keep it busy."""

from __future__ import annotations

import threading
import time
from typing import cast

import gevent

from aisexec.effects import ReadConfiguration, TotemKeysChanged
from aisexec.executive import Executive
from aisexec.icmap import Icmap
from aisexec.reconfiguring import TOTEM_KEYS_MAX, Reconfiguring
from aisexec.services.options import Findings
from aisexec.totem.settings import Settings

PATIENCE = 10.0


class Slow:
    """A configuration that takes its time."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.readings = 0
        self.at_once = 0
        self.looks = 0
        self.fails = False

    def read(self) -> Findings:
        self.readings += 1
        self.at_once += 1
        self.go_on.wait(PATIENCE)
        time.sleep(0.01)
        assert self.at_once == 1
        self.at_once -= 1
        if self.fails:
            raise RuntimeError("a mistake of our own")
        return Findings(("nothing to read",), None)

    def take_effect(self, world: object) -> None:
        raise AssertionError

    def totem_keys_changed(self, map: Icmap) -> Settings | None:
        self.looks += 1
        return None

    def logging_keys_changed(self, map: Icmap) -> None:
        raise AssertionError


class Stage:
    """As much of an executive as is asked for."""

    def __init__(self) -> None:
        self.map = Icmap()
        self.read: list[tuple[int, Findings]] = []

    def configuration_read(self, serial: int, findings: Findings, now: float) -> None:
        self.read.append((serial, findings))


def test_the_loop_goes_on_and_files_are_read_one_after_the_other() -> None:
    stage, slow, turns = Stage(), Slow(), []
    reconfiguring = Reconfiguring(cast(Executive, stage), slow, lambda: turns.append(1))
    for serial in (1, 2, 3):
        reconfiguring.carry_out(ReadConfiguration(serial))
    gevent.sleep(0.05)
    assert stage.read == []
    slow.go_on.set()
    with gevent.Timeout(PATIENCE):
        while len(stage.read) < 3:
            gevent.sleep(0.005)
    assert [serial for serial, _ in stage.read] == [1, 2, 3]
    assert len(turns) == 3


def test_a_mistake_of_our_own_is_an_error_of_the_reload() -> None:
    stage, slow = Stage(), Slow()
    slow.fails = True
    slow.go_on.set()
    reconfiguring = Reconfiguring(cast(Executive, stage), slow, lambda: None)
    reconfiguring.carry_out(ReadConfiguration(1))
    with gevent.Timeout(PATIENCE):
        while not stage.read:
            gevent.sleep(0.005)
    assert "a mistake of our own" in stage.read[0][1].errors[0]


def test_nothing_comes_after_the_end() -> None:
    stage, slow = Stage(), Slow()
    reconfiguring = Reconfiguring(cast(Executive, stage), slow, lambda: None)
    reconfiguring.carry_out(ReadConfiguration(1))
    reconfiguring.stop()
    slow.go_on.set()
    gevent.sleep(0.1)
    assert stage.read == []


def test_a_program_that_keeps_on_changing_totems_keys() -> None:
    stage, slow = Stage(), Slow()
    reconfiguring = Reconfiguring(cast(Executive, stage), slow, lambda: None)
    for _ in range(1000):
        reconfiguring.carry_out(TotemKeysChanged())
    assert slow.looks == TOTEM_KEYS_MAX
    with gevent.Timeout(PATIENCE):
        while slow.looks == TOTEM_KEYS_MAX:
            gevent.sleep(0.05)
    assert slow.looks == TOTEM_KEYS_MAX + 1
