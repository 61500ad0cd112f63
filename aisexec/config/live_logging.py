"""Section logging from keys of cmap: a program may change them without the file (cmap_keys(7))."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from aisexec.config.grammar import Item, Section
from aisexec.config.logging_section import derive_logging
from aisexec.config.machine import Machine
from aisexec.config.model import Logging
from aisexec.config.problems import Problem, Problems, Where
from aisexec.config.schema import validate
from aisexec.icmap import Value, ValueType

SUBSYSTEM = "logging.logger_subsys."

KEYS_MAX = 512
"""Keys that are looked at: the loop waits meanwhile."""


def live_logging(written: Mapping[str, Value], machine: Machine) -> tuple[Logging, list[Problem]]:
    """From all keys that begin with logging.; what is wrong is passed over and reported.

    As in corosync keys of another type than string are not looked at.
    """
    logging = Section("logging", "logging", Where("cmap"))
    subsystems: dict[str, Section] = {}
    for key, value in islice(written.items(), KEYS_MAX):
        if value.type is not ValueType.STRING:
            continue
        prefix, _, name = key.rpartition(".")
        item = Item(name, value.text, Where(key))
        if prefix == "logging":
            logging.items.append(item)
        elif prefix.startswith(SUBSYSTEM) and name != "subsys":
            subsystem = prefix.removeprefix(SUBSYSTEM)
            section = subsystems.get(subsystem)
            if section is None:
                section = Section("logger_subsys", "logging.logger_subsys", Where(prefix))
                section.items.append(Item("subsys", subsystem, Where(prefix)))
                subsystems[subsystem] = section
                logging.sections.append(section)
            section.items.append(item)
    values, wrong = validate(Section("", "", Where("cmap"), sections=[logging]))
    found = Problems()
    if len(written) > KEYS_MAX:
        what = f"of {len(written)} keys that begin with logging. only the first {KEYS_MAX} are looked at"
        found.warning(Where("cmap"), what, "delete those that mean nothing")
    derived = derive_logging(values, machine, found)
    return derived, [*found.found, *wrong.found]
