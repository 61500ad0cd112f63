"""The compiled modules under the sanitizers, in short, and that the sanitizers see what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sanitize.__main__ import main
from tests.sanitize.build import FLAGS, STATUS, environment, missing

FIRST_BUILD = 600
"""Seconds; the next ones take none."""

FAULTY = """
#include <stddef.h>
void write_at(char *data, size_t at) { data[at] = 1; }
int shifted(int bits) { return 1 << bits; }
"""

FAULTS = {
    "behind an object of bytes": ("library.write_at(bytes(100), 101)", "heap-buffer-overflow"),
    "undefined shift": ("library.shifted(40)", "shift exponent 40 is too large"),
}

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("faulty") / "faulty.c"
    source.write_text(FAULTY)
    library = source.with_suffix(".so")
    subprocess.run(["gcc", *FLAGS, "-fPIC", "-shared", "-o", library, source], check=True)
    return library


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault: str, faulty: Path, tmp_path: Path) -> None:
    call, report = FAULTS[fault]
    program = f"import ctypes; library = ctypes.CDLL({str(faulty)!r}); {call}; print('went on')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(tmp_path / "report"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == STATUS
    assert report in done.stderr + "".join(path.read_text() for path in tmp_path.glob("report.*"))


@pytest.mark.timeout(FIRST_BUILD)
def test_compiled_modules_in_short(capfd: pytest.CaptureFixture[str]) -> None:
    status = main(["--short"])
    output = "".join(capfd.readouterr())
    assert status == 0, output
