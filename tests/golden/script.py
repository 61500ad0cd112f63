"""Scripts: commands and the output they had, in one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.golden.coverage import Coverage, impossible_timers
from tests.golden.environment import ScriptError, World
from tests.golden.verbs import VERBS

HERE = Path(__file__).parent

NOTHING = "ok"
"""Output of commands that say nothing."""


@dataclass
class Block:
    """A few commands, `----`, their output, and an empty line; comments stand between commands."""

    lines: list[str] = field(default_factory=list)
    """Commands and comments as they are written."""
    commands: list[tuple[int, str]] = field(default_factory=list)
    """With their line numbers."""
    output: list[str] = field(default_factory=list)


def scripts() -> list[Path]:
    """All of them."""
    return sorted(HERE.glob("*.txt"))


def parse(text: str) -> list[Block]:
    """Blocks of a script; one whose output is missing yet has none."""
    blocks, block, in_output = [], Block(), False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if not line.strip():
            if block.lines:
                blocks.append(block)
            block, in_output = Block(), False
        elif in_output:
            block.output.append(line)
        elif line == "----":
            in_output = True
        else:
            block.lines.append(line)
            if not line.startswith("#"):
                block.commands.append((number, line))
    return blocks


def play(path: Path, coverage: Coverage) -> str:
    """The script's text with the output that its commands have now; raises ScriptError with file:line."""
    parts: list[str] = []
    play_into(parts, path, coverage)
    return "\n\n".join(parts) + "\n"


def play_into(parts: list[str], path: Path, coverage: Coverage) -> None:
    """As play(), but the blocks that were played are there also when one raises."""
    world = World(coverage)
    with coverage.recording():
        for block in parse(path.read_text()):
            output = ["----", *_run(world, path, block)] if block.commands else []
            parts.append("\n".join([*block.lines, *output]))


def _run(world: World, path: Path, block: Block) -> list[str]:
    world.lines = []
    for number, text in block.commands:
        name, *words = text.split()
        try:
            if name not in VERBS:
                raise ScriptError(f"there is no verb {name!r}")
            VERBS[name](world, words)
            for node in world.nodes.values():
                for complaint in impossible_timers(node.core):
                    raise ScriptError(f"node {node.nodeid}: {complaint}")
        except (ScriptError, ValueError, KeyError, IndexError) as error:
            said = "".join(f"\n  | {line}" for line in world.lines[-12:])
            raise ScriptError(f"{path.name}:{number}: {text}: {error}{said}") from error
    return world.lines or [NOTHING]
