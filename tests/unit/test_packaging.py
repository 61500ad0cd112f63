"""What setup.cfg lists is what is there."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_installed(setup: configparser.ConfigParser) -> None:
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("aisexec", "ipc", "libais", "tools")
        for path in (ROOT / top).rglob("__init__.py")
    }
    listed = set(setup["options"]["packages"].split())
    # In site-packages a top-level `tools` would be in everybody's way.
    assert listed == {folder.replace("tools", "aisexec_tools") for folder in folders}


def test_tools_find_each_other_when_installed() -> None:
    """Their package has another name then."""
    absolute = [
        str(path)
        for path in (ROOT / "tools").rglob("*.py")
        if re.search(r"^\s*(from|import) tools\b", path.read_text(), re.M)
    ]
    assert absolute == []


def test_package_data_covers_all_other_files(setup: configparser.ConfigParser) -> None:
    patterns = [pattern.strip() for pattern in setup["options.package_data"]["*"].split(",")]
    built_or_unused = {".py", ".pyc", ".pyx", ".pxd", ".c", ".h", ".so"}
    others = [
        path
        for top in ("aisexec", "ipc", "libais")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in built_or_unused
    ]
    assert others
    assert [path.name for path in others if not any(path.match(pattern) for pattern in patterns)] == []


def test_commands_exist(setup: configparser.ConfigParser) -> None:
    scripts = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    assert len(scripts) >= 3
    for script in scripts:
        module, function = script.split("=")[1].strip().split(":")
        imported = importlib.import_module(module.replace("aisexec_tools", "tools"))
        assert callable(getattr(imported, function))


def test_sources_of_the_extensions_are_in_a_source_distribution() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    for suffix in ("c", "h", "pyx", "pxd"):
        assert f"ipc/*.{suffix}" in manifest
    assert "recursive-include aisexec *.pyx *.pxd" in manifest


COMPILED = [path for top in ("ipc", "aisexec") for path in sorted((ROOT / top).rglob("_*.pyx"))]


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: str(path.relative_to(ROOT)))
def test_compiled_modules_are_typed_and_built(path: Path) -> None:
    assert path.with_suffix(".pyi").exists()
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert module.__file__ is not None
    assert module.__file__.endswith(".so")


def test_a_missing_compiler_is_named_by_its_package(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    place = str(tmp_path)
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", place, "--build-temp", place]
    environment = {**os.environ, "CC": "no-such-compiler"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode != 0
    assert "a C compiler (no-such-compiler) is needed" in done.stderr
    assert "apt-get install gcc libc6-dev" in done.stderr
    assert not any(tmp_path.rglob("*.so"))


def test_build_needs_cython() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert any(requirement.startswith("Cython") for requirement in requires)
