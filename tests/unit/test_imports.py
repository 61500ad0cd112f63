"""Imports run downward only, and the pure rooms stay pure: read from the sources, nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("aisexec", "ipc", "libais", "tools")

BORDER = {
    "ipc._event_batch",
    "ipc.cfg_layouts",
    "ipc.cmap_layouts",
    "ipc.cpg_layouts",
    "ipc.errors",
    "ipc.layout",
    "ipc.layouts",
    "ipc.quorum_layouts",
    "ipc.votequorum_layouts",
}
"""What both sides of the process border have to know of each other."""

MAY_IMPORT: dict[str, set[str]] = {
    "ipc": set(),
    "libais": {"ipc"},
    "tools": {"libais", "aisexec.config", "ipc.blackbox"},
    # What has no room of its own in aisexec, from pure leaves up to the daemon.
    "aisexec.exit_codes": set(),
    "aisexec.limits": set(),
    "aisexec.ratelimit": set(),
    "aisexec.batching": set(),
    "aisexec.counters": {"ipc._histogram"},
    "aisexec.garbage": {"ipc._histogram"},
    "aisexec.timing": {"ipc._histogram"},
    "aisexec._timing": {"ipc._histogram", "aisexec.timing"},
    "aisexec.messages": {"aisexec.totem", "aisexec.limits", *BORDER},
    "aisexec.icmap": {"aisexec.limits", *BORDER},
    "aisexec.log_outputs": set(),
    "aisexec.log": {"aisexec.log_outputs", "aisexec.config.model", "aisexec.exit_codes"},
    "aisexec.daemon": {"aisexec.exit_codes"},
    "aisexec.keygen": {"aisexec.config"},
    "aisexec.lock": {"aisexec.exit_codes"},
    "aisexec.recorder": {"ipc.blackbox"},
    "aisexec.machine": {"aisexec.services.machine", "aisexec.totem.types"},
    "aisexec.blackbox": {
        "aisexec.config.model",
        "aisexec.icmap",
        "aisexec.log",
        "aisexec.ratelimit",
        "aisexec.recorder",
        "aisexec.totem.types",
    },
    "aisexec.state": {"aisexec.exit_codes"},
    "aisexec.sampling": set(),
    "aisexec.systemd": set(),
    "aisexec.realtime": {"aisexec.totem.types"},
    # The rooms.
    "aisexec.totem": {"ipc.layout"},
    "aisexec.config": {"aisexec.totem.settings", "aisexec.exit_codes", "aisexec.icmap"},
    "aisexec.net": {"aisexec.totem", "aisexec.exit_codes", "aisexec.ratelimit", "ipc.layout"},
    "aisexec.services": {
        "aisexec.totem",
        "aisexec.limits",
        "aisexec.icmap",
        "aisexec.messages",
        "aisexec.ratelimit",
        *BORDER,
    },
    "aisexec.sync": {"aisexec.totem", "aisexec.limits", "aisexec.messages", "aisexec.services.base"},
    "aisexec.effects": {"aisexec.totem.types", *BORDER},
    "aisexec.service_context": {
        "aisexec.effects",
        "aisexec.icmap",
        "aisexec.services.options",
        "aisexec.services.timers",
        "aisexec.sync",
        "aisexec.totem.stack",
        "aisexec.totem.types",
        *BORDER,
    },
    "aisexec.executive": {
        "aisexec.effects",
        "aisexec.service_context",
        "aisexec.totem",
        "aisexec.services",
        "aisexec.sync",
        "aisexec.limits",
        "aisexec.icmap",
        "aisexec.messages",
        "aisexec.ratelimit",
        *BORDER,
    },
    # The drivers: the daemon's, and the simulator's.
    "aisexec.sim": {
        "aisexec.totem",
        "aisexec.services",
        "aisexec.sync",
        "aisexec.effects",
        "aisexec.executive",
        "aisexec.limits",
        "aisexec.messages",
        *BORDER,
    },
    "aisexec.statistics": {"aisexec.services", "aisexec.totem", "ipc"},
    "aisexec.slow_readers": set(),
    "aisexec._clients": {"aisexec", "ipc"},
    "aisexec._turn": {"aisexec", "ipc"},
    "aisexec.reconfiguring": {"aisexec", "ipc"},
    "aisexec.reload": {"aisexec", "ipc"},
    "aisexec.driver": {"aisexec", "ipc"},
    "aisexec.main": {"aisexec", "ipc"},
}

PURE = (
    "aisexec.totem",
    "aisexec.services",
    "aisexec.sync",
    "aisexec.effects",
    "aisexec.executive",
    "aisexec.messages",
    "aisexec.icmap",
    "aisexec.limits",
    "aisexec.net.crypto",
)
WORLD = {
    "asyncio",
    "datetime",
    "fcntl",
    "gevent",
    "io",
    "logging",
    "mmap",
    "os",
    "pathlib",
    "posix_ipc",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "sysv_ipc",
    "tempfile",
    "threading",
    "time",
}
"""Clock, randomness, files, network, threads: what would make a pure room depend on more than its input."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted([*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("_*.pyx")])
}

COMPILED_IMPORT = re.compile(r"^\s*(?:from [\w.]+ )?c?import (?:\([^)]*\)|[^\n]+)", re.M)


def imported(module: str) -> Iterator[str]:
    """Names of the modules that a module imports."""
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    source = path.read_text()
    if path.suffix == ".pyx":
        found = COMPILED_IMPORT.findall(source)
        source = "\n".join(statement.strip().replace("cimport", "import", 1) for statement in found)
    return imports(source, package)


def imports(source: str, package: str) -> Iterator[str]:
    """Names of the modules that a source in `package` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, *([base] if base else [])])
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield below if below in SOURCES else base


def within(module: str, rooms: set[str] | tuple[str, ...]) -> bool:
    """Is it one of the rooms, or in one?"""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str | None:
    """The nearest entry of the table."""
    while module and module not in MAY_IMPORT:
        module = module.rpartition(".")[0]
    return module or None


def upward(names: Iterable[str], room: str) -> list[str]:
    """Those of the modules imported that the room must not know."""
    allowed = {room, *MAY_IMPORT[room]}
    return [name for name in names if within(name, PACKAGES) and not within(name, allowed)]


def reached(module: str) -> dict[str, str]:
    """All modules of the project that importing this one imports, each with the one that does it."""
    found = {module: module}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        for name in imported(current):
            if name in SOURCES and name not in found:
                found[name] = current
                waiting.append(name)
    return found


@pytest.mark.parametrize("module", sorted(set(SOURCES) - {"aisexec", "tools"}))
def test_imports_run_downward(module: str) -> None:
    room = room_of(module)
    assert room is not None, f"{module} is in no room: add it to MAY_IMPORT with what it may know"
    assert upward(imported(module), room) == []


@pytest.mark.parametrize("module", sorted(name for name in SOURCES if within(name, PURE)))
def test_pure_rooms_do_not_reach_the_world(module: str) -> None:
    worldly = {
        f"{name} imports {outside}"
        for name in reached(module)
        for outside in imported(name)
        if outside.split(".")[0] in WORLD
    }
    assert worldly == set()


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("aisexec.totem", "from aisexec.services.base import Service"),
        ("aisexec.totem", "def f():\n    from ..services import base"),
        ("aisexec.services", "from ipc.server import Server"),
        ("aisexec.net", "from aisexec import executive"),
        ("ipc", "from aisexec.limits import X"),
        ("libais", "import aisexec.config"),
        ("tools", "from aisexec.driver import Driver"),
    ],
)
def test_an_upward_import_is_found(package: str, source: str) -> None:
    assert upward(imports(source, package), package) != []


def test_imports_of_compiled_modules_are_seen() -> None:
    seen = set(imported("aisexec.services._multicasts"))
    assert {"aisexec.totem._assembly", "ipc._event_batch", "aisexec.services.cpg_joinlist", "copy"} <= seen
    assert "aisexec.totem._wire" in set(imported("aisexec.totem._visit"))


COMMANDS_OF_SIM = ("aisexec.sim.main", "aisexec.sim.__main__", "aisexec.sim.large")


@pytest.mark.parametrize(
    "module", sorted({name for name in SOURCES if within(name, ("aisexec.sim",))} - set(COMMANDS_OF_SIM))
)
def test_a_simulated_cluster_depends_on_its_plan_alone(module: str) -> None:
    """Randomness comes from random.Random(seed); the rest of the world is the commands' affair."""
    outside = {name.split(".")[0] for name in imported(module)}
    assert outside & (WORLD | {"concurrent", "multiprocessing", "uuid"}) <= {"random"}


def test_packages_do_not_do_things_when_imported() -> None:
    for package in ("aisexec", "tools"):
        assert SOURCES[package].read_text() == ""
