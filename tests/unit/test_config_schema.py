"""The schema: types, defaults, unknown names, repeated and free sections, and the reference made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisexec.config.document import replace_reference
from aisexec.config.grammar import parse
from aisexec.config.manual import OLDER, replace_keys
from aisexec.config.schema import Values, keys, validate

ROOT = Path(__file__).resolve().parents[2]


def check(text: str) -> tuple[Values, list[str]]:
    root, syntax = parse(text.encode(), "f")
    assert not syntax.found
    values, problems = validate(root)
    return values, [str(problem) for problem in problems.found]


def test_values_are_converted_and_know_their_place() -> None:
    values, found = check("totem {\nversion: 2\ntoken: +0500\n}\nlogging {\nlogfile_priority: WARNING\n}\n")
    assert not found
    totem = values.one("totem")
    assert totem.value("token") == 500
    assert str(totem.where_of("token")) == "f:3"
    assert totem.value("join") == 50
    assert not totem.given("join")
    assert values.one("logging").value("logfile_priority") == 4
    assert values.one("quorum").value("last_man_standing_window") == 10000


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("token", "1_000", "is not a whole number"),
        ("token", "0x10", "is not a whole number"),
        ("token", "1000ms", "is not a whole number"),
        ("token", "\u0661", "is not a whole number"),
        ("token", "", "is not a whole number"),
        ("token", "-1", "is out of range; write a number from 0 to 4294967295"),
        ("token", "4294967296", "is out of range"),
        ("token", "9" * 60, "is not a whole number"),
        ("version", "1", "is out of range; write 2"),
        ("transport", "iba", "is not known here; write knet, udp or udpu"),
        ("secauth", "yes", "is not known here; write on or off"),
        ("config_version", "18446744073709551616", "is out of range"),
    ],
)
def test_wrong_value_names_line_value_and_remedy(key: str, text: str, reason: str) -> None:
    version = "" if key == "version" else "version: 2\n"
    values, found = check(f"totem {{\n{version}{key}: {text}\n}}\n")
    line = 2 if key == "version" else 3
    assert len(found) == 1
    assert found[0].startswith(f"f:{line}: totem.{key}: {text!r} {reason}")
    default = {info.key: info.default for info in keys() if info.section == "totem"}[key]
    assert values.one("totem").value(key) == default
    assert key in values.one("totem").wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("totem {\nversion: 2\ntokken: 1\n}",
         "f:3: unknown key 'tokken' in section totem; did you mean 'token'?"),
        ("totem {\nversion: 2\nlogfile: x\n}",
         "f:3: unknown key 'logfile' in section totem; it belongs in section logging"),
        ("totem {\nversion: 2\nzzz: x\n}", "f:3: unknown key 'zzz' in section totem; remove it"),
        ("totem {\nversion: 2\ninterface: x\n}",
         "f:3: unknown key 'interface' in section totem; write it as a section"),
        ("totem {\nversion: 2\ntoken {\n}\n}",
         "f:3: totem.token is a key, not a section; write 'token: value'"),
        ("totem {\nversion: 2\nzzz {\n}\n}", "f:3: unknown section 'totem.zzz'; remove it"),
        ("totem {\nversion: 2\n}\nnodelst {\n}", "f:4: unknown section 'nodelst'; did you mean 'nodelist'?"),
        ("totem {\nversion: 2\n}\nother {\na: 1\nb {\n}\n}",
         "f:4: warning: section 'other' is not known here; it has no effect"),
        ("totem {\n}", "f:1: totem.version is missing; write 'version: 2'"),
        ("token: 5\ntotem {\nversion: 2\n}", "f:1: unknown key 'token'; it belongs in section totem"),
        ("totem {\nversion: 2\n}\nlogging {\nlogger_subsys {\n}\n}",
         "f:5: logging.logger_subsys.subsys is missing; write 'subsys: ...'"),
        ("totem {\nversion: 2\ntoken: 1\ntoken: 2\n}",
         "f:4: warning: totem.token is given again; the value at f:3 is not used"),
        ("totem {\nversion: 2\n}\namf {\nmode: disabled\n}",
         "f:4: warning: section amf has no effect; the availability management framework is not served"
         " by this version"),
    ],
)  # fmt: skip
def test_names(text: str, expected: str) -> None:
    assert check(text)[1] == [expected]


def test_repeated_sections_stand_for_themselves_and_others_are_joined() -> None:
    values, found = check(
        "totem {\nversion: 2\n}\nlogging {\ndebug: on\nlogger_subsys {\nsubsys: A\n}\n}\n"
        "logging {\nto_syslog: no\nlogger_subsys {\nsubsys: B\n}\n}\n"
        "nodelist {\nnode {\nnodeid: 1\n}\nnode {\nnodeid: 2\n}\n}\n"
    )
    assert not found
    logging = values.one("logging")
    assert (logging.value("debug"), logging.value("to_syslog")) == ("on", "no")
    assert [s.value("subsys") for s in logging.all("logger_subsys")] == ["A", "B"]
    assert [node.value("nodeid") for node in values.one("nodelist").all("node")] == [1, 2]


def test_free_sections_take_any_key() -> None:
    values, found = check(
        "totem {\nversion: 2\n}\nquorum {\ndevice {\nmodel: net\nanything: 1\nnet {\nhost: q\n}\n}\n}\n"
        "resources {\nsystem {\nmemory_used {\nmax: 80\npoll_period: 5\n}\n}\n}\n"
    )
    assert not found
    device = values.one("quorum").one("device")
    assert device.value("anything") == "1"
    assert device.one("net").value("host") == "q"


def test_every_key_is_documented_and_its_default_valid() -> None:
    listed = list(keys())
    assert len({(info.section, info.key) for info in listed}) == len(listed)
    for info in listed:
        old = info.section in ("timeout", "totem.timeout", "qb")
        override = info.section in ("logging.logger_subsys", "logging.logging_daemon")
        assert info.doc or old or override, f"{info.section}.{info.key}"
        assert info.change in ("live", "reload", "start", "ignored"), info


def test_reference_in_the_documentation_is_current() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert replace_reference(text) == text, "run python -m aisexec.config.document docs/configuration.md"


def test_manual_page_is_current() -> None:
    page = ROOT / "docs" / "man" / "corosync.conf.5"
    text = page.read_text(encoding="utf-8")
    assert replace_keys(text) == text, "run python -m aisexec.config.manual docs/man/corosync.conf.5"


def test_manual_page_names_every_key() -> None:
    text = (ROOT / "docs" / "man" / "corosync.conf.5").read_text(encoding="utf-8").replace("\\-", "-")
    for info in keys():
        assert info.section in OLDER or not info.section or info.key in text, info
