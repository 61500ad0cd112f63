"""The reference of all keys, made from the schema: `python -m aisexec.config.document FILE.md`.

Replaces what stands between the two marker lines of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby

from aisexec.config.kinds import one_of
from aisexec.config.schema import KeyInfo, keys

BEGIN = "<!-- keys: begin -->"
END = "<!-- keys: end -->"

_CHANGE = {"live": "running", "reload": "reload", "start": "start", "ignored": "no effect"}


def reference() -> str:
    """Markdown: a heading for each section, a table row for each key."""
    return "\n".join(_lines()) + "\n"


def replace_reference(text: str) -> str:
    """The text with its reference made anew.  Raises ValueError without the marker lines."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{reference()}{END}{after}"


def _lines() -> Iterator[str]:
    for section, infos in groupby(keys(), key=lambda info: info.section):
        yield f"\n### {section or 'Top level'}\n"
        yield "| key | value | default | change | meaning |"
        yield "|---|---|---|---|---|"
        yield from (_row(info) for info in infos)


def _row(info: KeyInfo) -> str:
    default = "required" if info.required else default_of(info)
    doc = (info.doc or same_elsewhere(info.key)).replace("|", "\\|")
    return f"| `{info.key}` | {_kind(info)} | {default} | {_CHANGE[info.change]} | {doc} |"


def same_elsewhere(key: str) -> str:
    """For a key that has no words of its own: where the same key has."""
    home = next((info.section for info in keys() if info.key == key and info.doc), None)
    return f"As in section {home}." if home else ""


def _kind(info: KeyInfo) -> str:
    if info.kind == "choice":
        return one_of(info.options)
    text = {"text": "text", "texts": "text, repeatable", "priority": "priority", "nice": "max, min, number"}
    return text.get(info.kind, f"number, {info.unit}" if info.unit else "number")


def default_of(info: KeyInfo) -> str:
    """As it would be written; empty where there is none, or none that is always the same."""
    if info.default is None:
        return ""
    return "info" if info.kind == "priority" else str(info.default)


def main() -> int:
    """Rewrite the file named on the command line."""
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(replace_reference(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
