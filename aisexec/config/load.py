"""From a path to a checked, not yet derived configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aisexec.config.checks import check_sections, check_values
from aisexec.config.files import read_file
from aisexec.config.grammar import Section, parse
from aisexec.config.problems import Problem, Problems, Where, exit_code_of
from aisexec.config.schema import Values, validate
from aisexec.config.uidgid import UidGid, from_directory, from_sections
from aisexec.exit_codes import ExitCode

DEFAULT_PATH = "/etc/corosync/corosync.conf"
PATH_VARIABLES = ("COROSYNC_MAIN_CONFIG_FILE", "OPENAIS_MAIN_CONFIG_FILE")
PARSER_VARIABLES = ("COROSYNC_DEFAULT_CONFIG_IFACE", "OPENAIS_DEFAULT_CONFIG_IFACE")
OWN_PARSERS = ("", "corosync_parser", "aisparser")
"""Names of the parser module of older versions that mean the grammar we read."""


@dataclass(slots=True)
class Loaded:
    """A configuration that has been read.  `problems` holds errors and warnings so far."""

    path: str
    root: Section
    """The main file as written."""
    values: Values
    """Its values, converted, with defaults."""
    admitted: UidGid
    problems: Problems = field(default_factory=Problems)
    readable: bool = True
    """False when there was nothing to read; then there is nothing more to say."""

    @property
    def errors(self) -> list[Problem]:
        return self.problems.errors

    @property
    def exit_code(self) -> ExitCode:
        """Corosync's exit status for these errors, 0 without any."""
        return exit_code_of(self.problems.found)

    @property
    def warnings(self) -> list[Problem]:
        return self.problems.warnings


def config_path(option: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The main file: option -c, else the environment, else /etc/corosync/corosync.conf."""
    if option is not None:
        return option
    return next((environ[name] for name in PATH_VARIABLES if environ.get(name)), DEFAULT_PATH)


def load(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check the main file and uidgid.d beside it.  Never raises: see `Loaded.problems`."""
    file = config_path(path, environ)
    problems = Problems()
    for name in PARSER_VARIABLES:
        if environ.get(name, "").split(":")[-1] not in OWN_PARSERS:
            what = f"{environ[name]!r} has no effect"
            problems.warning(Where(name), what, "corosync.conf's grammar is read")
    data = _read(file, problems)
    root, syntax = parse(data if data is not None else b"", file)
    values, wrong = validate(root)
    admitted = UidGid()
    if data is not None:
        reading = Problems()
        reading.found.extend(syntax.found)
        reading.found.extend(wrong.found)
        from_sections(root, admitted, reading)
        from_directory(os.path.join(os.path.dirname(file) or ".", "uidgid.d"), admitted, reading)
        problems.found.extend(_early(problem) for problem in reading.found)
        check_sections(root, problems)
        check_values(values, problems)
    return Loaded(file, root, values, admitted, problems, readable=data is not None)


def _early(problem: Problem) -> Problem:
    return replace(problem, early=problem.exit_code is ExitCode.MAIN_CONFIG_READ)


def _read(path: str, problems: Problems) -> bytes | None:
    try:
        return read_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.error(Where(path), f"can't read file: {reason}", "name another with -c FILE")
        return None
