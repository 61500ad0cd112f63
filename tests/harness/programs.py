"""The C programs of tests/c, linked to Debian's libraries: compiled when needed, driven from tests."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.harness.history import History, parse
from tests.harness.node import PATIENCE, ROOT, Node
from tests.harness.wait import wait_until

SOURCES = ROOT / "tests" / "c"
BUILT = ROOT / "build" / "tests-c"


def compiled(name: str) -> Path:
    """The program of tests/c/NAME.c; compiled again when its source or any header is newer."""
    source = SOURCES / f"{name}.c"
    program = BUILT / name
    newest = max(path.stat().st_mtime for path in (source, *SOURCES.glob("*.h")))
    if not program.exists() or program.stat().st_mtime < newest:
        BUILT.mkdir(parents=True, exist_ok=True)
        flags = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
        partial = program.with_suffix(".new")
        subprocess.run(
            ["gcc", *flags, "-o", str(partial), str(source), *libraries(source)], check=True, timeout=120
        )
        partial.replace(program)
    return program


def libraries(source: Path) -> list[str]:
    """What to link: the line ` * Libraries: cfg cmap` in the source's head, without one libcpg."""
    named = re.search(r"^ \* Libraries:(.*)$", source.read_text(), re.M)
    names = named[1].split() if named else ["cpg", "m"]
    return [f"-l{name}" for name in names]


class HistoryProgram:
    """cpg_history on a node; its first line says how to command it."""

    def __init__(self, node: Node, group: str, directory: Path) -> None:
        self.node = node
        self._sends = 0
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"history{node.nodeid}"
        serial = 1
        while self.path.exists():
            serial += 1
            self.path = directory / f"history{node.nodeid}.{serial}"
        self._output_path = self.path.with_name(f"{self.path.name}.out")
        with self._output_path.open("w") as output:
            self.process = node.popen(
                [compiled("cpg_history"), group, self.path],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        """All it printed so far."""
        return self._output_path.read_text()

    def wait_output(self, word: str, timeout: float = PATIENCE) -> str:
        """The rest of the first line that begins with `word`."""

        def line() -> list[str]:
            return [line for line in self.output().splitlines() if line.split(" ")[0] == word]

        found = wait_until(line, timeout, lambda: f"{word!r} from program on {self.node}: {self.output()}")
        return found[0].partition(" ")[2]

    @property
    def pid(self) -> int:
        """Its process id, the one that CPG knows."""
        return self.process.pid

    @property
    def member(self) -> str:
        """As a history names it: node:pid."""
        return f"{self.node.nodeid}:{self.pid}"

    def wait_ready(self) -> None:
        """Until it has asked to join."""
        self.wait_output("ready")

    def command(self, text: str) -> None:
        """One line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def send(self, count: int, smallest: int, largest: int, seed: int, pause_us: int = 0) -> None:
        """Start to send `count` messages (0: until `stop_sending`)."""
        self._sends += 1
        self.command(f"send {count} {smallest} {largest} {seed} {pause_us}")

    def stop_sending(self) -> None:
        """No further messages."""
        self.command("stop")

    def sent(self) -> int:
        """Messages sent in all by the sends that are done."""
        totals = [line.split()[1] for line in self.output().splitlines() if line.startswith("sent ")]
        return int(totals[-1]) if totals else 0

    def wait_sends_done(self, timeout: float) -> None:
        """Wait for the end of all sends that were asked for."""
        wait_until(
            lambda: self.output().count("sent ") >= self._sends,
            timeout,
            lambda: f"program on {self.node} has sent {self._sends} times: {self.output()}",
        )

    def history(self, *, complete: bool = False) -> History:
        """What it wrote so far; `complete` when everything sent is known to have arrived."""
        history = parse(self.path.read_text(), self.path.name)
        history.complete = complete
        if self.node.kind == "stock":
            history.may_miss = len(history.events)
        return history

    # Quick looks at a history that may be long, for waiting.

    def has_delivered(self, member: str, number: int) -> bool:
        """Did it get the message of `member` with that number?"""
        return f" D {member.replace(':', ' ')} {number} " in self.path.read_text()

    def delivered(self) -> int:
        """Messages it got so far."""
        return self.path.read_text().count(" D ")

    def members(self) -> frozenset[str]:
        """The group as it was told last."""
        text = self.path.read_text()
        words = text[text.rfind(" C ") :].split(maxsplit=2)
        return frozenset(words[1].split(",")) if len(words) == 3 else frozenset()

    def quit(self) -> None:
        """Let it leave and end."""
        self.command("quit")
        self.wait_output("hash")
        assert self.process.wait(PATIENCE) == 0, self.output()
