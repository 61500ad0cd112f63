"""Command lines as glibc's getopt and getopt_long read them."""

from __future__ import annotations

import pytest

from tools.stock_options import LongOptions, Option, Options, UsageError, number


def read(*arguments: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    options = Options("tool", arguments, "ab:c:", {"--json": False, "--to": True})
    return [(option.name, option.argument) for option in options], options.operands


def test_letters_arguments_and_operands() -> None:
    assert read() == ([], [])
    mixed = read("-a", "one", "-b", "x", "-cy", "two")
    assert mixed == ([("a", None), ("b", "x"), ("c", "y")], ["one", "two"])
    assert read("-ab", "-a") == ([("a", None), ("b", "-a")], [])
    assert read("-a", "--", "-a", "--json") == ([("a", None)], ["-a", "--json"])
    assert read("-", "-b", "") == ([("b", "")], ["-"])


def test_long_options() -> None:
    assert read("--json", "--to=x", "--to", "y", "--to=") == (
        [("--json", None), ("--to", "x"), ("--to", "y"), ("--to", "")],
        [],
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-x"], "tool: invalid option -- 'x'"),
        (["-a:"], "tool: invalid option -- ':'"),
        (["--nope"], "tool: invalid option -- '-'"),
        (["-b"], "tool: option requires an argument -- 'b'"),
        (["--to"], "tool: option '--to' requires an argument"),
        (["--json=1"], "tool: option '--json' doesn't allow an argument"),
    ],
)
def test_mistakes(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    assert str(caught.value) == text


def test_what_stands_before_a_mistake_is_seen() -> None:
    options = Options("tool", ["-a", "-x"], "a")
    assert next(options) == Option("a", None)
    with pytest.raises(UsageError):
        next(options)


def test_long_options_may_be_shortened() -> None:
    def long(word: str) -> list[Option]:
        return list(LongOptions("tool", [word], "a", {"--reload": False, "--reopen": False, "--to": True}))

    assert long("--rel") == [Option("--reload", None)]
    assert long("--t=1") == [Option("--to", "1")]
    with pytest.raises(UsageError, match="'--re' is ambiguous; possibilities: '--reload' '--reopen'"):
        long("--re")
    with pytest.raises(UsageError, match="unrecognized option '--x'"):
        long("--x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        (" \t+7", 7),
        ("-1", -1),
        ("007", 7),
        ("8", None),
        ("-2", None),
        ("", None),
        (" ", None),
        ("7 ", None),
        ("7x", None),
        ("0x7", None),
        ("\u0667", None),
        ("9" * 5000, None),
    ],
)
def test_numbers(text: str, value: int | None) -> None:
    assert number(text, -1, 7) == value
