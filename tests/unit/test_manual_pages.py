"""The manual pages can be rendered, and every command has one."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "man").glob("*.[1-8]"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_renders_without_warnings(page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs package: groff-base")
    done = subprocess.run(
        ["groff", "-man", "-t", "-wall", "-z", "-Tutf8", str(page)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_well_formed(page: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("needs package: mandoc")
    lint = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
    done = subprocess.run(lint, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    name, section = page.name.rsplit(".", 1)
    assert re.match(rf"('.*\n)?\.TH {re.escape(name.upper())} {section} ", text)
    assert re.search(rf"^\.SH NAME\n{re.escape(name)} - ", text, re.MULTILINE)
    assert ".SH SYNOPSIS\n" in text
    assert ".SH SEE ALSO\n" in text


def test_every_command_has_a_page() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    commands = {script.split("=")[0].strip() for script in scripts}
    assert commands <= {page.stem for page in PAGES}
    assert {page.suffix for page in PAGES} == {".5", ".8"}, "setup.cfg installs these sections"
