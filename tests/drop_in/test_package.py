"""The Debian package: what is in it, that it takes corosync's place, and that what it installs works."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.drop_in import package_root
from tests.harness import needs

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"dpkg-buildpackage": "dpkg-dev", "dh": "debhelper", "unshare": "util-linux"}
CONFIGURATION = """\
totem {
    version: 2
    cluster_name: single
    transport: udpu
}
nodelist {
    node {
        nodeid: 1
        name: node1
        ring0_addr: 127.0.0.1
    }
}
quorum {
    provider: corosync_votequorum
}
logging {
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync/corosync.log
}
"""

# As systemd does it: the unit's command with NOTIFY_SOCKET, until it says that it is ready.
SERVICE = """\
import os, shlex, socket, subprocess, sys
unit = open(sys.argv[1]).read()
lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#")
assert lines["Type"] == "notify"
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind("/run/notify")
sock.settimeout(20)
command = shlex.split(lines["ExecStart"].replace("$AISEXEC_OPTIONS", ""))
daemon = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": "/run/notify"})
while b"READY=1" not in sock.recv(4096):
    pass
print("ready")
for check in sys.argv[2:]:
    print("$", check, flush=True)
    subprocess.run(check, shell=True, check=True, timeout=30)
daemon.terminate()
assert daemon.wait(20) == 0
print("ended")
"""


@pytest.fixture(scope="module")
def package() -> Path:
    """The package: that of AISEXEC_DEB, otherwise built here."""
    lacking = {need for command, need in COMMANDS.items() if shutil.which(command) is None}
    if lacking:
        pytest.skip(f"needs packages: {' '.join(sorted(lacking))}")
    if given := os.environ.get("AISEXEC_DEB"):
        return Path(given)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON")
    }
    done = subprocess.run(
        ["make", "deb"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return ROOT / done.stdout.splitlines()[-1]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where the copy of the root is mounted, in its own namespace only."""
    if os.geteuid() != 0:
        pytest.skip(needs.missing("a"))
    path = tmp_path / "root"
    path.mkdir()
    return path


def show(package: Path, option: str) -> str:
    """What dpkg-deb says."""
    return subprocess.run(
        ["dpkg-deb", option, str(package)], capture_output=True, text=True, check=True
    ).stdout


def scripts() -> set[str]:
    """The commands that setup.cfg promises."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return {line.split("=")[0].strip() for line in listed}


def test_content(package: Path) -> None:
    lines = show(package, "--contents").splitlines()
    owners = {line.split()[1] for line in lines}
    assert owners == {"root/root"}
    files = {line.split()[5].removeprefix("."): line for line in lines}
    for command in scripts():
        place = "/usr/bin" if command == "corosync-blackbox" else "/usr/sbin"
        assert f"../lib/aisexec/bin/{command}" in files[f"{place}/{command}"]
        assert f"/usr/share/man/man8/{command}.8.gz" in files
    wanted = {
        "/etc/corosync/corosync.conf.example",
        "/etc/corosync/uidgid.d/README",
        "/etc/default/aisexec",
        "/etc/logrotate.d/aisexec",
        "/lib/systemd/system/aisexec.service",
        "/lib/systemd/system/corosync.service",
        "/usr/share/doc/aisexec/copyright",
        "/usr/share/man/man5/corosync.conf.5.gz",
        "/var/lib/corosync/",
        "/var/log/corosync/",
    }
    assert wanted <= set(files)
    assert "/etc/corosync/corosync.conf" not in files, "a node is in no cluster until somebody says so"
    compiled = {path.stem for top in ("aisexec", "ipc") for path in (ROOT / top).rglob("_*.pyx")}
    shipped = {Path(name).name.split(".")[0] for name in files if name.endswith(".so")}
    assert compiled <= shipped
    assert not [name for name in files if name.endswith((".pyx", ".pxd")) and "/ipc/" in name]


def test_nothing_leads_back_to_this_machine(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True, timeout=60)
    found = subprocess.run(
        ["grep", "-rlF", "-e", str(ROOT), "-e", "debian/aisexec/usr", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout == ""


def test_takes_the_place_of_corosync(package: Path, work: Path, tmp_path: Path) -> None:
    if shutil.which("pacemakerd") is None or shutil.which("corosync") is None:
        pytest.skip("needs packages: corosync pacemaker")
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copy(package, shared / "aisexec.deb")
    (shared / "service.py").write_text(SERVICE)
    (shared / "corosync.conf").write_text(CONFIGURATION)
    script = """
dpkg --install --auto-deconfigure /run/shared/aisexec.deb
dpkg --audit
dpkg --status aisexec pacemaker | grep -E '^(Package|Status)'
dpkg --status corosync 2>/dev/null | grep ^Status || true
apt-get check
hostname node1
cp /run/shared/corosync.conf /etc/corosync/corosync.conf
mkdir -p /run/systemd
if command -v systemd-analyze >/dev/null; then systemd-analyze verify --man=no aisexec.service; fi
corosync -v
aisexec -t
exec /usr/bin/python3 /run/shared/service.py /lib/systemd/system/aisexec.service \\
    'test -e /var/log/corosync/corosync.log' \\
    'command -v corosync-cmapctl && corosync-cmapctl totem.cluster_name' \\
    'corosync-quorumtool -s' 'corosync-cfgtool -s' 'corosync-cfgtool -L' 'corosync-cpgtool'
"""
    output = package_root.run(script, shared, work)
    lines = output.splitlines()
    assert lines.count("Status: install ok installed") == 2, output
    assert "totem.cluster_name (str) = single" in lines
    assert any(line.startswith("Quorate:") and line.endswith("Yes") for line in lines), output
    assert lines[-1] == "ended"
