"""Runs many short commands on a node from one process: python -m tests.harness.command_runner < list.

Reads a JSON list of {"program", "arguments", "ours", "uid", "stdin"}, writes one of {"status", "out", "err"}.
Ours are called in a fork of this process, which has the modules loaded; others are executed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from typing import Any, NoReturn

MODULES = {
    "corosync-cfgtool": "tools.cfgtool",
    "corosync-cmapctl": "tools.cmapctl",
    "corosync-cpgtool": "tools.cpgtool",
    "corosync-quorumtool": "tools.quorumtool",
}


def become(step: dict[str, Any]) -> NoReturn:
    """The command, in a process of its own."""
    if step.get("uid"):
        os.setgroups([])
        os.setgid(step["uid"])
        os.setuid(step["uid"])
    if not step["ours"]:
        os.execvp(step["program"], [step["program"], *step["arguments"]])
    sys.argv = [step["program"], *step["arguments"]]
    try:
        status = importlib.import_module(MODULES[step["program"]]).main()
        sys.stdout.flush()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stderr.flush()
    os._exit(status)


def run(step: dict[str, Any]) -> dict[str, Any]:
    """Its status, and what it wrote."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(step["stdin"].encode())
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            for number, file in enumerate((given, out, err)):
                os.dup2(file.fileno(), number)
            become(step)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        texts = [file.read().decode("utf-8", "surrogateescape") for file in (out, err)]
    return {"status": status, "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    steps = json.load(sys.stdin)
    if any(step["ours"] for step in steps):
        for module in MODULES.values():
            importlib.import_module(module)
    json.dump([run(step) for step in steps], sys.stdout)
