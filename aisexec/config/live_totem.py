"""Totem's numbers from keys of cmap: a program may change them without the file (cmap_keys(7))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from aisexec.config.grammar import Item, Section
from aisexec.config.problems import Problem, Problems, Where
from aisexec.config.schema import KeyInfo, keys, validate
from aisexec.config.timing import Timing
from aisexec.icmap import Icmap, Value, ValueType, u32
from aisexec.totem.settings import Settings

NOT_SHOWN = frozenset({"token_coefficient", "netmtu"})


@dataclass(slots=True)
class LiveTotem:
    """What follows from the keys; `settings` is None when they cannot be used."""

    settings: Settings | None
    block_unlisted_ips: bool
    problems: list[Problem]
    keys: dict[str, Value] = field(default_factory=dict)
    """runtime.config.totem., which say what is in force."""


def live_totem(written: Mapping[str, Value], nodes: int) -> LiveTotem:
    """From keys that begin with totem., see `written_keys()`, and the number of nodes that have an address.

    As in corosync a key of another type than its own, or another word than yes and no, is passed over.
    """
    section = Section("totem", "totem", Where("cmap"), [Item("version", "2", Where("cmap"))])
    for key, value in written.items():
        info = _live().get(key)
        if info is None:
            continue
        if info.kind == "u32" and value.type is ValueType.U32:
            section.items.append(Item(info.key, str(value.number), Where(key)))
        elif info.kind == "choice" and value.type is ValueType.STRING and value.text in info.options:
            section.items.append(Item(info.key, value.text, Where(key)))
    root = Section("", "", Where("cmap"), sections=[section])
    values, wrong = validate(root)
    timing = Timing(values, nodes)
    found = Problems()
    timing.check(found)
    totem = values.one("totem")
    block = totem.value("block_unlisted_ips") == "yes"
    problems = [*wrong.found, *found.found]
    if any(not problem.warning for problem in problems):
        return LiveTotem(None, block, problems)
    settings = timing.settings()
    shown = {
        f"runtime.config.totem.{number.key}": u32(number.value)
        for number in timing.derived.values()
        if number.key not in NOT_SHOWN
    }
    shown["runtime.config.totem.block_unlisted_ips"] = u32(block)
    cancel = settings.cancel_token_hold_on_retransmit
    shown["runtime.config.totem.cancel_token_hold_on_retransmit"] = u32(cancel)
    return LiveTotem(settings, block, problems, shown)


def written_keys(map: Icmap) -> dict[str, Value]:
    """What `live_totem()` looks at; programs may have added any number of other keys."""
    return {key: value for key in _live() if (value := map.get(key)) is not None}


@cache
def _live() -> dict[str, KeyInfo]:
    """Of section totem, by their names in cmap, in order."""
    return {
        f"totem.{info.key}": info
        for info in sorted(keys(), key=lambda info: info.key)
        if info.section == "totem" and (info.change == "live" or info.key == "netmtu")
    }
