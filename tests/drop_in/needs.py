"""What a machine needs for tests with services above the executive."""

from __future__ import annotations

import shutil

from tests.harness import needs

COMMANDS = {
    "pacemaker": {"pacemakerd": "pacemaker", "crm_mon": "pacemaker-cli-utils"},
    "qdevice": {
        "corosync-qdevice": "corosync-qdevice",
        "corosync-qnetd": "corosync-qnetd",
        "certutil": "libnss3-tools",
    },
}
"""Debian package of each command, by what is tested; the tools that look at a cluster are stock's."""


def missing(what: str, mix: str) -> str:
    """Why such a test cannot run here; empty when it can."""
    lacking = needs.missing(mix + "s")
    if lacking:
        return lacking
    packages = {package for command, package in COMMANDS[what].items() if shutil.which(command) is None}
    return f"needs packages: {' '.join(sorted(packages))}" if packages else ""
