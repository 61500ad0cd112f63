"""Section logging: destinations of the default and of each subsystem."""

from __future__ import annotations

import os
from typing import Any

from aisexec.config.machine import Machine
from aisexec.config.model import Destinations, Logging
from aisexec.config.problems import Problems
from aisexec.config.schema import Values
from aisexec.exit_codes import ExitCode

OWN_DAEMONS = ("corosync", "aisexec")
"""Names under which logging_daemon means this executive."""

DEBUG, TRACE = 7, 8


def derive_logging(root: Values, machine: Machine, problems: Problems) -> Logging:
    """The effective section.  What a subsystem does not say it takes from the default."""
    section = root.one("logging")
    daemons = [d for d in section.all("logging_daemon") if d.value("name") in OWN_DAEMONS]
    default = _destinations(section, Destinations(), machine, problems)
    for daemon in daemons:
        if daemon.value("subsys") is None:
            default = _destinations(daemon, default, machine, problems)
    subsystems: dict[str, Destinations] = {}
    special = [d for d in daemons if d.value("subsys") is not None]
    for part in [*section.all("logger_subsys"), *special]:
        name = part.value("subsys")
        if name is not None:
            key = name.strip().upper()
            subsystems[key] = _destinations(part, subsystems.get(key, default), machine, problems)
    return Logging(
        default=default,
        subsystems=subsystems,
        syslog_facility=section.value("syslog_facility"),
        timestamp=section.value("timestamp"),
        fileline=section.value("fileline") == "on",
        function_name=section.value("function_name") == "on",
        blackbox=section.value("blackbox") == "on",
        blackbox_size=section.value("blackbox_size"),
    )


def _destinations(
    section: Values, base: Destinations, machine: Machine, problems: Problems
) -> Destinations:
    to_logfile = _switch(section, "to_file", base.to_logfile)
    to_logfile = _switch(section, "to_logfile", to_logfile)
    logfile = _given(section, "logfile", base.logfile)
    if to_logfile and not logfile:
        what = "to_logfile is on but there is no logfile"
        problems.warning(section.where_of("to_logfile"), what, "write 'logfile: PATH'")
    if section.given("logfile") and logfile:
        _check_logfile(section, logfile, machine, problems)
    file_priority = _given(section, "logfile_priority", base.logfile_priority)
    syslog_priority = _given(section, "syslog_level", base.syslog_priority)
    syslog_priority = _given(section, "syslog_priority", syslog_priority)
    if section.given("debug") and section.value("debug") in ("on", "trace"):
        file_priority = syslog_priority = DEBUG if section.value("debug") == "on" else TRACE
    return Destinations(
        to_stderr=_switch(section, "to_stderr", base.to_stderr),
        to_syslog=_switch(section, "to_syslog", base.to_syslog),
        to_logfile=to_logfile,
        logfile=logfile,
        logfile_priority=file_priority,
        syslog_priority=syslog_priority,
    )


def _check_logfile(section: Values, logfile: str, machine: Machine, problems: Problems) -> None:
    where = section.where_of("logfile")
    if not logfile.startswith("/"):
        problems.warning(where, f"logfile {logfile!r} is relative to where the start happens", "write '/...'")
        return
    directory = os.path.dirname(logfile)
    reason = machine.directory_problem(directory)
    if reason:
        problems.error(
            where,
            f"can't open logfile {logfile!r}: {directory}: {reason}",
            f"create the directory (mkdir -p {directory}) or write another path",
            ExitCode.LOG_CONFIG_READ,
        )


def _given(section: Values, key: str, otherwise: Any) -> Any:
    return section.value(key) if section.given(key) else otherwise


def _switch(section: Values, key: str, otherwise: bool) -> bool:
    return section.value(key) in ("yes", "on") if section.given(key) else otherwise
