"""The log follows keys of cmap: what corosync understands there, and what is passed over."""

from __future__ import annotations

from aisexec.config.live_logging import KEYS_MAX, live_logging
from aisexec.config.machine import Machine
from aisexec.icmap import text, u8


def test_the_default_and_subsystems_follow() -> None:
    keys = {
        "logging.to_syslog": text("no"),
        "logging.debug": text("on"),
        "logging.logger_subsys.QUORUM.subsys": text("QUORUM"),
        "logging.logger_subsys.QUORUM.debug": text("trace"),
        "logging.logger_subsys.CPG.to_stderr": text("no"),
    }
    logging, problems = live_logging(keys, Machine())
    assert problems == []
    assert (logging.default.to_syslog, logging.default.logfile_priority) == (False, 7)
    assert logging.subsystems["QUORUM"].logfile_priority == 8
    assert logging.subsystems["CPG"].to_stderr is False
    assert logging.subsystems["CPG"].logfile_priority == 7


def test_what_is_wrong_is_passed_over_and_told() -> None:
    keys = {
        "logging.nonsense": text("x"),
        "logging.timestamp": text("sometimes"),
        "logging.debug": u8(1),
        "logging.to_stderr": text("no"),
    }
    logging, problems = live_logging(keys, Machine())
    assert sorted(problem.where.file for problem in problems) == ["logging.nonsense", "logging.timestamp"]
    assert logging.default.to_stderr is False
    assert logging.default.logfile_priority == 6


def test_without_keys_it_is_the_default() -> None:
    logging, problems = live_logging({}, Machine())
    assert problems == []
    assert logging.default.to_stderr is True
    assert logging.subsystems == {}


def test_a_flood_of_keys_is_cut() -> None:
    """40,000 of them took 2.5 s, in the loop."""
    keys = {f"logging.logger_subsys.S{n}.debug": text("on") for n in range(KEYS_MAX + 1)}
    logging, problems = live_logging(keys, Machine())
    assert len(logging.subsystems) == KEYS_MAX
    assert f"only the first {KEYS_MAX} are looked at" in problems[0].what
