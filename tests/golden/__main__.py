"""`python -m tests.golden --rewrite [file ...]`: play scripts, write their output into them.

Without --rewrite it prints what would change.  Read the difference before you commit it: what is in a
file is what reviewers agreed to.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from tests.golden.coverage import Coverage
from tests.golden.environment import ScriptError
from tests.golden.script import play_into, scripts


def main() -> int:
    """Exit status 1 when a script has an error, or would change and was not to be rewritten."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("--rewrite", action="store_true", help="write the output into the scripts")
    parser.add_argument("files", nargs="*", type=Path, help="all scripts, when none is named")
    arguments = parser.parse_args()
    status = 0
    for path in arguments.files or scripts():
        before = path.read_text()
        parts: list[str] = []
        try:
            play_into(parts, path, Coverage())
        except ScriptError as error:
            print(*parts, error, sep="\n\n", file=sys.stderr)
            status = 1
            continue
        after = "\n\n".join(parts) + "\n"
        if before == after:
            continue
        sys.stdout.writelines(
            difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), "now")
        )
        if arguments.rewrite:
            path.write_text(after)
        else:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
