"""What a machine needs for tests with real clusters."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

COMMANDS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "gcc": "gcc",
}
"""Command to Debian package."""

CPG_HEADER = Path("/usr/include/corosync/cpg.h")


def missing(mix: str) -> str:
    """Why a cluster of these kinds of nodes (`tests.harness.node.KINDS`) cannot be had; empty when it can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    packages = {package for command, package in COMMANDS.items() if shutil.which(command) is None}
    if not CPG_HEADER.exists():
        packages.add("libcpg-dev")
    if "s" in mix and shutil.which("corosync") is None:
        packages.add("corosync")
    return f"needs packages: {' '.join(sorted(packages))}" if packages else ""
