"""The grammar of corosync.conf: sections in braces, `key: value`, whole-line `#` comments.

It takes what corosync's own parser takes, with its peculiarities: a `{` anywhere makes the line
the start of a section, the first `:` ends the key, `#` starts a comment only as the first visible
character, and only blanks and tabs are trimmed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from aisexec.config.limits import (
    FILE_SIZE_MAX,
    KEY_PATH_MAX,
    LINE_LENGTH_MAX,
    SECTION_DEPTH_MAX,
    SYNTAX_ERRORS_MAX,
)
from aisexec.config.problems import Problems, Where

BLANKS = " \t"

# The characters of a cmap key: what a name may consist of in corosync.
_NAME = re.compile(r"[A-Za-z0-9._/:-]+", re.ASCII)


class Item(NamedTuple):
    """One `key: text` line."""

    key: str
    text: str
    where: Where


@dataclass(slots=True)
class Section:
    """A section as written: `items` and `sections` in file order, `path` is its dotted name."""

    name: str
    path: str
    where: Where
    items: list[Item] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def named(self, name: str) -> list[Section]:
        """Every direct subsection of that name."""
        return [section for section in self.sections if section.name == name]


def parse(data: bytes, file: str) -> tuple[Section, Problems]:
    """The tree of a file's contents and all its syntax errors; never raises.

    A line that cannot be understood is reported and skipped.  Bytes that are not UTF-8 are kept
    as surrogates (PEP 383), so that paths and names survive.
    """
    parser = _Parser(file)
    if len(data) > FILE_SIZE_MAX:
        parser.problems.error(
            Where(file), f"the file has {len(data)} bytes, more than the {FILE_SIZE_MAX} that are read"
        )
        return parser.root, parser.problems
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if len(parser.problems.found) >= SYNTAX_ERRORS_MAX:
            parser.problems.error(Where(file, number), "too many errors, the rest of the file was not read")
            return parser.root, parser.problems
        parser.line(line, Where(file, number))
    parser.end()
    return parser.root, parser.problems


class _Parser:
    def __init__(self, file: str) -> None:
        self.root = Section("", "", Where(file))
        self.open = [self.root]
        self.problems = Problems()

    def line(self, raw: bytes, where: Where) -> None:
        if len(raw) > LINE_LENGTH_MAX:
            self.problems.error(
                where, f"line too long: {len(raw)} bytes", f"at most {LINE_LENGTH_MAX} are allowed"
            )
            return
        if b"\0" in raw:
            self.problems.error(where, "a NUL byte in the line", "is this a text file?")
            return
        text = raw.decode("utf-8", "surrogateescape").removesuffix("\r").strip(BLANKS)
        if not text or text.startswith("#"):
            return
        if "{" in text:
            self._section_start(text, where)
        elif ":" in text:
            self._item(text, where)
        elif "}" in text:
            self._section_end(text, where)
        else:
            self.problems.error(
                where, f"{text!r} is neither a section nor a value", "write 'key: value' or 'section {'"
            )

    def end(self) -> None:
        for section in self.open[1:]:
            self.problems.error(
                section.where, f"missing closing brace: section {section.path!r} starts here", "write '}'"
            )

    def _section_start(self, text: str, where: Where) -> None:
        before, _, after = text.partition("{")
        name = before.rstrip(BLANKS + ":")
        path = self._path(name)
        if not name:
            self.problems.error(
                where, "missing section name before opening bracket '{'", "write 'name {'"
            )
        elif after.strip(BLANKS):
            self.problems.error(
                where,
                f"extra characters after opening bracket '{{': {after.strip(BLANKS)!r}",
                "put them on a line of their own (a brace in a value is not possible)",
            )
        elif self._good_name(name, path, where) and len(self.open) > SECTION_DEPTH_MAX:
            self.problems.error(where, f"sections are nested deeper than {SECTION_DEPTH_MAX}")
        # Opened in spite of an error: its closing brace will come, and its contents are checked too.
        section = Section(name, path, where)
        if name and len(self.open) <= SECTION_DEPTH_MAX:
            self.open[-1].sections.append(section)
        self.open.append(section)

    def _section_end(self, text: str, where: Where) -> None:
        if text != "}":
            self.problems.error(
                where,
                f"extra characters before or after closing bracket '}}': {text!r}",
                "put '}' on a line of its own",
            )
        elif len(self.open) == 1:
            self.problems.error(where, "unexpected closing brace", "remove it, or open the section it closes")
        if len(self.open) > 1:
            self.open.pop()

    def _item(self, text: str, where: Where) -> None:
        before, _, after = text.partition(":")
        key = before.rstrip(BLANKS)
        if not key:
            self.problems.error(where, "missing key before ':'", "write 'key: value'")
        elif self._good_name(key, self._path(key), where):
            self.open[-1].items.append(Item(key, after.strip(BLANKS), where))

    def _path(self, name: str) -> str:
        parent = self.open[-1].path
        return f"{parent}.{name}" if parent else name

    def _good_name(self, name: str, path: str, where: Where) -> bool:
        if _NAME.fullmatch(name) is None:
            self.problems.error(
                where, f"{name!r} is not a name", "names consist of letters, digits, '_', '-', '.' and '/'"
            )
            return False
        if len(path) > KEY_PATH_MAX:
            self.problems.error(
                where, f"the name {path[:40]}... has {len(path)} characters", f"at most {KEY_PATH_MAX}"
            )
            return False
        return True
