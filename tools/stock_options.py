"""Command lines as the stock tools read them: getopt(3) of glibc, and numbers by strtoll(3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Option(NamedTuple):
    """One option with its argument; name is the letter, or for a long option its name with the dashes."""

    name: str
    argument: str | None


class UsageError(Exception):
    """The command line is wrong; the text is what getopt(3) prints."""


class Options(Iterator[Option]):
    """The options one by one, so that those in front of a mistake are acted on, as stock does.

    letters: as for getopt(3), a colon behind those with an argument.
    long: names of long options, "--json", and whether they take an argument; stock has none.
    When the walk is over, `operands` holds what is no option, wherever it stood.
    Raises UsageError.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], letters: str, long: Mapping[str, bool] | None = None
    ) -> None:
        self.operands: list[str] = []
        self._program = program
        self._waiting = list(arguments)
        self._letters = letters
        self._long = long or {}
        self._cluster = ""

    def __next__(self) -> Option:
        while not self._cluster:
            if not self._waiting:
                raise StopIteration
            word = self._spelled_out(self._waiting.pop(0))
            if word == "--":
                self.operands += self._waiting
                self._waiting.clear()
            elif word.split("=", 1)[0] in self._long:
                return self._long_option(word)
            elif word.startswith("-") and word != "-":
                self._cluster = word[1:]
            else:
                self.operands.append(word)
        return self._short_option()

    def _spelled_out(self, word: str) -> str:
        """For a subclass that takes shortened long options."""
        return word

    def _short_option(self) -> Option:
        letter, self._cluster = self._cluster[0], self._cluster[1:]
        place = self._letters.find(letter)
        if place < 0 or letter in ":;-":
            raise UsageError(f"{self._program}: invalid option -- '{letter}'")
        if self._letters[place + 1 : place + 2] != ":":
            return Option(letter, None)
        argument, self._cluster = self._cluster, ""
        if argument:
            return Option(letter, argument)
        if not self._waiting:
            raise UsageError(f"{self._program}: option requires an argument -- '{letter}'")
        return Option(letter, self._waiting.pop(0))

    def _long_option(self, word: str) -> Option:
        name, equals, argument = word.partition("=")
        if not self._long[name]:
            if equals:
                raise UsageError(f"{self._program}: option '{name}' doesn't allow an argument")
            return Option(name, None)
        if equals:
            return Option(name, argument)
        if not self._waiting:
            raise UsageError(f"{self._program}: option '{name}' requires an argument")
        return Option(name, self._waiting.pop(0))


class LongOptions(Options):
    """The same for a program that has long options: getopt_long(3), so they may be shortened."""

    def _spelled_out(self, word: str) -> str:
        if not word.startswith("--") or word == "--":
            return word
        name, equals, argument = word.partition("=")
        found = [name] if name in self._long else [known for known in self._long if known.startswith(name)]
        if not found:
            raise UsageError(f"{self._program}: unrecognized option '{word}'")
        if len(found) > 1:
            possible = " ".join(f"'{known}'" for known in found)
            raise UsageError(f"{self._program}: option '{word}' is ambiguous; possibilities: {possible}")
        return f"{found[0]}{equals}{argument}"


def number(text: str, least: int, most: int) -> int | None:
    """A decimal number between the bounds, as strtoll(3) takes it; None for anything else."""
    if not re.fullmatch(r"[ \t\n\v\f\r]*[+-]?[0-9]+", text):
        return None
    try:
        value = int(text)
    except ValueError:  # thousands of digits
        return None
    return value if least <= value <= most else None
