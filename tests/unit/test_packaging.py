"""What setup.cfg lists is what there is."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_installed() -> None:
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("aisexec", "ipc", "libais", "tools")
        for path in (ROOT / top).rglob("__init__.py")
    }
    installed = {name for name in setup_cfg()["options"]["packages"].split() if not name.startswith("#")}
    assert installed == {
        "aisexec_tools" + name.removeprefix("tools") if name.startswith("tools") else name for name in folders
    }


def test_commands_exist() -> None:
    scripts = setup_cfg()["options.entry_points"]["console_scripts"].strip().splitlines()
    for script in scripts:
        target = script.split("=")[1].strip()
        module, function = target.split(":")
        source = ROOT / (module.replace("aisexec_tools", "tools").replace(".", "/") + ".py")
        assert f"def {function}(" in source.read_text(), f"{script.strip()}: {source} has no {function}"


def test_build_needs_cython() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert any(requirement.startswith("Cython") for requirement in requires)
