"""Grammar of corosync.conf: places, peculiarities, limits, and that nothing makes it raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.config.grammar import Section, parse
from aisexec.config.limits import (
    FILE_SIZE_MAX,
    LINE_LENGTH_MAX,
    SECTION_DEPTH_MAX,
    SYNTAX_ERRORS_MAX,
)
from aisexec.config.schema import validate


def tree(section: Section) -> dict[str, object]:
    return {
        "items": [(item.key, item.text, item.where.line) for item in section.items],
        "sections": [(child.name, child.where.line, tree(child)) for child in section.sections],
    }


def errors(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [str(problem) for problem in parse(data, "f")[1].found]


def test_every_value_and_section_knows_its_place() -> None:
    text = "a: 1\n\n# comment\nb {\n\tc: x y # no comment: really \n  d {\n e : \n}\n}\nb {\n}\n"
    root, problems = parse(text.encode(), "corosync.conf")
    assert not problems.found
    assert tree(root) == {
        "items": [("a", "1", 1)],
        "sections": [
            (
                "b",
                4,
                {
                    "items": [("c", "x y # no comment: really", 5)],
                    "sections": [("d", 6, {"items": [("e", "", 7)], "sections": []})],
                },
            ),
            ("b", 10, {"items": [], "sections": []}),
        ],
    }
    assert str(root.sections[0].items[0].where) == "corosync.conf:5"
    assert root.sections[0].sections[0].path == "b.d"


def test_dos_line_ends_and_missing_last_one() -> None:
    root, problems = parse(b"b {\r\n a: 1\r\n\r\n}\r\nc: 2", "f")
    assert not problems.found
    assert root.named("b")[0].items[0].text == "1"
    assert root.items[0].text == "2"


def test_only_blanks_and_tabs_are_trimmed() -> None:
    root, _ = parse("\t a\t:\t\u00a0v\u00a0 \n".encode(), "f")
    assert root.items[0] == ("a", "\u00a0v\u00a0", ("f", 1))


def test_value_keeps_colons_and_bytes_that_are_no_text() -> None:
    root, _ = parse(b"a: fd00::1\nb: \xff\n", "f")
    assert [item.text for item in root.items] == ["fd00::1", "\udcff"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {\n", "f:1: missing closing brace"),
        ("}\n", "f:1: unexpected closing brace"),
        ("a { b: 1\n}\n", "f:1: extra characters after opening bracket"),
        ("a {\n} x\n", "f:2: extra characters before or after closing bracket"),
        (" {\n}\n", "f:1: missing section name"),
        ("\nword\n", "f:2: 'word' is neither a section nor a value"),
        (": x\n", "f:1: missing key"),
        ("a b: x\n", "f:1: 'a b' is not a name"),
        ("a\u00e9 {\n}\n", "f:1: 'a\u00e9' is not a name"),
        ("a: \0\n", "f:1: a NUL byte"),
        ("x" * 255 + ": 1\n", "f:1: the name xxxx"),
        ("a: " + "x" * LINE_LENGTH_MAX + "\n", f"f:1: line too long: {LINE_LENGTH_MAX + 3} bytes"),
    ],
)
def test_one_mistake_is_one_error_at_its_line(text: str, expected: str) -> None:
    found = errors(text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_errors_are_collected_and_the_rest_is_read() -> None:
    root, problems = parse(b"one\na {\ntwo\nb: 1\n}}\nc {\nd: 2\n}\n", "f")
    assert [problem.where.line for problem in problems.found] == [1, 3, 5]
    assert root.named("a")[0].items[0].key == "b"
    assert root.named("c")[0].items[0].text == "2"


def test_file_too_large_is_not_read() -> None:
    root, problems = parse(b"a: 1\n" * (FILE_SIZE_MAX // 5 + 1), "f")
    assert not root.items
    assert "more than" in str(problems.found[0])


def test_number_of_errors_is_bounded() -> None:
    found = errors("wrong\n" * 10_000)
    assert len(found) == SYNTAX_ERRORS_MAX + 1
    assert found[-1].startswith(f"f:{SYNTAX_ERRORS_MAX + 1}: too many errors")


def test_depth_is_bounded() -> None:
    inner = SECTION_DEPTH_MAX
    assert not errors("a {\n" * inner + "}\n" * inner)
    found = errors("a {\n" * (inner + 1) + "}\n" * (inner + 1))
    assert [error.split(";")[0] for error in found] == [
        f"f:{inner + 1}: sections are nested deeper than {inner}"
    ]


LINES = st.sampled_from(
    [b"totem {", b"node {", b"nodelist {", b"interface {", b"logging {", b"logger_subsys {", b"uidgid {",
     b"quorum {", b"device {", b"}", b"} ", b"{", b"version: 2", b"token: x", b"ring0_addr: ::1",
     b"__many__: 1", b"___many___ {", b"DEFAULT {", b"%(x)s: %(y)s", b"uid: 0", b"subsys: A", b"#", b"",
     b"\r", b": :", b"totem: 1", b"token {", b"interface: 1", b"None: None", b"configspec: 1"]
)  # fmt: skip


@given(st.binary(max_size=2000))
def test_bytes_never_raise(data: bytes) -> None:
    root, problems = parse(data, "f")
    validate(root)
    assert len(problems.found) <= SYNTAX_ERRORS_MAX + 1 + data.count(b"{")


@given(st.lists(st.one_of(LINES, st.binary(max_size=12)), max_size=60))
def test_likely_lines_never_raise(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    root, problems = parse(data, "f")
    _, wrong = validate(root)
    for problem in problems.found + wrong.found:
        assert 0 <= problem.where.line <= data.count(b"\n") + 1
        assert str(problem).startswith("f")
