"""`make install`: everything is in its place and runs from there; `make uninstall` takes it away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.drop_in.package_root import clean_environment

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
totem {
    version: 2
    transport: udpu
}
nodelist {
    node {
        nodeid: 1
        name: node1
        ring0_addr: 127.0.0.1
    }
}
"""


class Place:
    """A directory that stands for a machine's root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix = directory / "opt"

    def install(self, *words: str) -> None:
        """Call the script, as the Makefile does."""
        environment = {
            **os.environ,
            "PYTHON": "python3",
            "PREFIX": str(self.prefix),
            "DESTDIR": "",
            "SYSCONFDIR": str(self.directory / "etc"),
            "LOCALSTATEDIR": str(self.directory / "var"),
        }
        done = subprocess.run(
            ["tools/install", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *command: str) -> str:
        """One of the installed commands, far from this checkout."""
        path = self.prefix / "sbin" / command[0]
        return subprocess.run(
            [str(path), *command[1:]],
            cwd=self.directory,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An installation."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.install()
    return place


def test_commands_run(place: Place) -> None:
    assert place.run("aisexec", "-v").startswith("aisexec, version '0.")
    file = place.directory / "corosync.conf"
    state = place.directory / "state"
    state.mkdir()
    file.write_text(f"{CONFIGURATION}system {{\n    state_dir: {state}\n}}\n")
    assert "can be used" in place.run("aisexec", "-t", "-c", str(file))
    place.run("corosync-keygen", "-k", str(place.directory / "authkey"))
    # The compiled modules are there, and whole clusters run on them.
    assert place.run("aisexec-sim", "--seed", "1")


def test_settings_name_their_places(place: Place) -> None:
    unit = (place.prefix / "lib/systemd/system/aisexec.service").read_text()
    assert f"ExecStart={place.prefix}/sbin/aisexec -f" in unit
    assert f"EnvironmentFile=-{place.directory}/etc/default/aisexec" in unit
    rotation = (place.directory / "etc/logrotate.d/aisexec").read_text()
    assert rotation.startswith(f"{place.directory}/var/log/corosync/corosync.log {{")
    assert f"{place.prefix}/sbin/corosync-cfgtool -L" in rotation
    assert "@" not in unit + rotation


def test_what_was_changed_stays(place: Place) -> None:
    options = place.directory / "etc/default/aisexec"
    options.write_text('AISEXEC_OPTIONS="-p"\n')
    rotation = place.directory / "etc/logrotate.d/aisexec"
    rotation.write_text("# none\n")
    place.install()
    assert options.read_text() == 'AISEXEC_OPTIONS="-p"\n'
    assert rotation.read_text() == "# none\n"
    place.run("aisexec", "-v")

    place.install("remove")
    left = {path.relative_to(place.directory) for path in place.prefix.rglob("*") if not path.is_dir()}
    assert left == set()
    assert options.exists()
    assert (place.directory / "var/lib/corosync").is_dir()
