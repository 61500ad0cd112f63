"""What is wrong with a configuration: where, what, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from aisexec.exit_codes import ExitCode


class Where(NamedTuple):
    """A place in a configuration file; line 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.  `write` says what to write or do, empty when `what` says it all."""

    where: Where
    what: str
    write: str = ""
    warning: bool = False
    early: bool = False
    """Found while corosync would still read the file, before it looks at the logging section."""
    exit_code: ExitCode = ExitCode.MAIN_CONFIG_READ

    def __str__(self) -> str:
        text = f"{self.where}: {'warning: ' if self.warning else ''}{self.what}"
        return f"{text}; {self.write}" if self.write else text


class Problems:
    """Collects problems in the order found; nothing is fatal before the end."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def error(
        self, where: Where, what: str, write: str = "", exit_code: ExitCode = ExitCode.MAIN_CONFIG_READ
    ) -> None:
        self.found.append(Problem(where, what, write, exit_code=exit_code))

    def warning(self, where: Where, what: str, write: str = "") -> None:
        self.found.append(Problem(where, what, write, warning=True))

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.found if not problem.warning]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.found if problem.warning]


def exit_code_of(problems: Iterable[Problem]) -> ExitCode:
    """The code corosync would exit with: that of the stage of its start that fails first.

    0 when there are only warnings.
    """
    errors = [problem for problem in problems if not problem.warning]
    if any(problem.early for problem in errors):
        return ExitCode.MAIN_CONFIG_READ
    codes = {problem.exit_code for problem in errors}
    return next((code for code in _STAGES if code in codes), ExitCode.OK)


_STAGES = (
    ExitCode.LOG_CONFIG_READ,
    ExitCode.DIR_NOT_PRESENT,
    ExitCode.MAIN_CONFIG_READ,
    ExitCode.FATAL_ERROR,
    ExitCode.SERVICE_ENGINE_INIT,
)
