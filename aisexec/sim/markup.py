"""Elements of SVG and HTML as text, well-formed whatever the words in them are."""

from __future__ import annotations

import re
from html import escape

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) has no place for."""


def words(text: str) -> str:
    """Text that can stand in an element or in an attribute."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def number(value: float) -> str:
    """A coordinate: fine enough to be stretched a thousand times."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def element(name: str, *inside: str, **attributes: str | float) -> str:
    """An element around what is already markup. In attribute names _ stands for -, `cls` for class."""
    parts = [name]
    for key, value in attributes.items():
        text = words(value) if isinstance(value, str) else number(value)
        parts.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{text}"')
    head = " ".join(parts)
    return f"<{head}>{''.join(inside)}</{name}>" if inside else f"<{head}/>"


def titled(text: str) -> str:
    """What is shown when the pointer is over the element this is in."""
    return element("title", words(text))
