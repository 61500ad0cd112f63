"""What differs between two configuration files, and when each difference takes effect."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple

from aisexec.config.grammar import Item, Section
from aisexec.config.problems import Where
from aisexec.config.schema import keys

KNET_ONLY = "knet only"
"""Ends the description of a key that means nothing for the transports there are."""


class Effect(Enum):
    """When a changed key counts."""

    NOW = "in force now"
    RESTART = "takes effect when the executive is restarted"
    NEVER = "has no effect"


class Change(NamedTuple):
    """A key that was written, removed or has another value; the texts are as written, None for absent."""

    where: Where
    """In the new file, or where it was in the old one."""
    name: str
    old: str | None
    new: str | None
    effect: Effect

    def __str__(self) -> str:
        old = "not written" if self.old is None else self.old
        new = "removed" if self.new is None else self.new
        return f"{self.where}: {self.name}: {old} -> {new}: {self.effect.value}"


def changes(old: Section, new: Section) -> list[Change]:
    """All differences between two files as parsed, in the order of the new file."""
    before, after = dict(_flat(old)), dict(_flat(new))
    found = []
    for name, (path, item) in {**before, **after}.items():
        was = before[name][1].text if name in before else None
        now = item.text if name in after else None
        if was != now:
            found.append(Change(item.where, name, was, now, _effect(path, item.key)))
    return sorted(found, key=lambda change: (change.where.file, change.where.line))


def _flat(root: Section, name: str = "") -> Iterator[tuple[str, tuple[str, Item]]]:
    """Every key with a name that is the same in both files."""
    repeated: dict[str, int] = {}
    for item in root.items:
        repeated[item.key] = count = repeated.get(item.key, 0) + 1
        again = f"[{count}]" if count > 1 else ""
        yield f"{name}.{item.key}{again}" if name else item.key, (root.path, item)
    seen: dict[str, int] = {}
    for child in root.sections:
        label = _label(child)
        seen[label] = count = seen.get(label, 0) + 1
        if count > 1 and label != child.name:
            label += f"#{count}"
        yield from _flat(child, f"{name}.{label}" if name else label)


def _label(section: Section) -> str:
    """Sections that may be repeated are told apart by what they are about, not by their place."""
    for key in ("nodeid", "ring0_addr", "subsys", "linknumber", "ringnumber"):
        for item in section.items:
            if item.key == key and section.name in ("node", "logger_subsys", "logging_daemon", "interface"):
                return f"{section.name}[{item.text}]"
    return section.name


@cache
def _known() -> dict[tuple[str, str], str]:
    return {
        (info.section, info.key): "ignored" if KNET_ONLY in info.doc else info.change for info in keys()
    }


def _effect(path: str, key: str) -> Effect:
    change = _known().get((path, key))
    if change in ("live", "reload"):
        return Effect.NOW
    return Effect.RESTART if change == "start" else Effect.NEVER
