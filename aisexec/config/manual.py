"""The keys in corosync.conf(5), made from the schema: `python -m aisexec.config.manual FILE.5`.

Replaces what stands between the two marker lines of the page.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from aisexec.config.document import default_of, same_elsewhere
from aisexec.config.kinds import PRIORITIES, one_of
from aisexec.config.schema import OLD_SECTIONS, KeyInfo, keys, open_sections, section_docs

BEGIN = '.\\" keys: begin'
END = '.\\" keys: end'

WIDTH = 110

OLDER = frozenset(OLD_SECTIONS) | {"qb", "timeout", "totem.interface.member", "totem.timeout"}
"""Sections that nobody writes any more."""

_CHANGES = {
    "live": "May change while the executive runs.",
    "reload": "Read again by a reload.",
    "start": "",
}

_KINDS = {
    "text": "Text",
    "texts": "Text; the key may be repeated",
    "priority": f"One of {one_of(PRIORITIES)}",
    "nice": "max, min or a number",
}


def pages_keys() -> str:
    """The roff text between the markers: a subsection for each section, a paragraph for each key."""
    return "\n".join(_lines()) + "\n"


def replace_keys(text: str) -> str:
    """The page with its keys made anew.  Raises ValueError without the marker lines."""
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are missing")
    return f"{before}{begin}{pages_keys()}{end}{after}"


def _lines() -> Iterator[str]:
    docs = section_docs()
    free = open_sections()
    for section, found in groupby(keys(), key=lambda info: info.section):
        if section and section not in OLDER:
            yield f".SS {_escape(section)}"
            infos = list(found)
            head = [*_sentences(docs.get(section, ""))]
            for info in filter(_counts, infos):
                head += _key(info)
            yield from head
            yield from _others(infos, section in free, behind=bool(head))
    yield ".SS Sections of older versions"
    yield "They load, so that a file need not be changed at once."
    for section in sorted(OLDER, key=lambda path: (path not in docs, path)):
        yield ".TP"
        yield f".B {_escape(section)}"
        yield from _sentences(docs.get(section, ""))
        if section in OLD_SECTIONS:
            yield "Without effect."


def _counts(info: KeyInfo) -> bool:
    return bool(info.doc) and info.change != "ignored" and not _knet_only(info)


def _knet_only(info: KeyInfo) -> bool:
    return "knet only" in info.doc


def _key(info: KeyInfo) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escape(info.key)}"
    yield from _sentences(info.doc)
    yield from _sentences(f"{_kind(info)}{_default(info)}. {_CHANGES[info.change]}")


def _kind(info: KeyInfo) -> str:
    if info.kind == "choice":
        return f"One of {one_of(info.options)}"
    return _KINDS.get(info.kind) or ("A number" + (f" ({info.unit})" if info.unit else ""))


def _default(info: KeyInfo) -> str:
    if info.required:
        return "; required"
    default = default_of(info)
    return f"; {default} unless given" if default else ""


def _others(infos: list[KeyInfo], free: bool, *, behind: bool) -> Iterator[str]:
    """The keys that need no words of their own; `behind` something else in the section."""
    lists: dict[str, list[str]] = {}
    for info in infos:
        if info.change == "ignored":
            lists.setdefault("Accepted, without effect", []).append(info.key)
        elif _knet_only(info):
            lists.setdefault("For transport knet", []).append(info.key)
        elif not info.doc:
            lists.setdefault(same_elsewhere(info.key).rstrip("."), []).append(info.key)
    if free:
        lists["Further keys"] = ["accepted as they are"]
    for what, names in lists.items():
        if behind:
            yield ".PP"
        yield from _sentences(f"{what}: {', '.join(names)}.")
        behind = True


def _sentences(text: str) -> Iterator[str]:
    """One line of input for a sentence, as roff wants it; long ones are folded."""
    for sentence in re.split(r"(?<=[.;]) (?=[A-Z0-9])", text.strip()):
        if sentence:
            yield from textwrap.wrap(
                _escape(sentence), WIDTH, break_long_words=False, break_on_hyphens=False
            )


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main() -> int:
    """Rewrite the page named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(replace_keys(path.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
