"""A root of its own, laid over this machine's, where packages can be installed and nobody notices."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# The upper directory is a tmpfs: what is written goes with the last process of a call, except below `keep`.
ENTER = """\
set -e
work=$1 shared=$2
shift 2
mount --make-rprivate /
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/temporary" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/temporary" none "$work/root"
mount -t proc none "$work/root/proc"
mount --rbind /dev "$work/root/dev"
mount -t tmpfs none "$work/root/dev/shm"
mount -t tmpfs none "$work/root/run"
mkdir "$work/root/run/shared"
mount --bind "$shared" "$work/root/run/shared"
ip link set lo up
exec chroot "$work/root" "$@"
"""

# Nothing that is installed may be started.
POLICY = "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d\n"


def run(script: str, shared: Path, work: Path, timeout: float = 110.0) -> str:
    """Run a shell script as root of the copy; its output.  AssertionError when it fails.

    shared: a directory that the script finds as /run/shared; work: an empty one, for the mounts.
    """
    done = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child"),
            *("sh", "-c", ENTER, "enter", str(work), str(shared)),
            *("sh", "-euc", POLICY + script),
        ],
        env={**clean_environment(), "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Without what leads to this checkout and its Python."""
    names: Sequence[str] = ("HOME", "TERM", "LANG")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
