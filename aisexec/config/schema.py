"""The schema of corosync.conf (corosync.spec) and the validation of a parsed file against it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from configobj import ConfigObj
from configobj.validate import ValidateError, Validator

from aisexec.config.grammar import Item, Section
from aisexec.config.kinds import CHECKS, REPEATED, BadValueError
from aisexec.config.limits import SUGGESTIONS_MAX
from aisexec.config.problems import Problems, Where
from aisexec.exit_codes import ExitCode

MANY = "__many__"
"""configobj's name of the specification of sections not named."""

MANY_KEYS = "___many___"
"""The same for keys."""

OLD_SECTIONS = {
    "aisexec": "user and group of corosync 1.x; clients of other users are admitted by section uidgid",
    "amf": "the availability management framework is not served by this version",
    "event": "the event service of openais is not served by this version",
    "logging.logger": "subsystems are now configured by logger_subsys { subsys: NAME }",
    "network": "write totem { version: 2 } with an interface section and a nodelist instead",
    "service": "services of corosync 1.x are not loaded by name any more",
}
"""Sections of older versions: they load, without effect, with this note."""


class KeyInfo(NamedTuple):
    """What the schema says of a key.  `section` is a dotted path, `default` a converted value."""

    section: str
    key: str
    kind: str
    options: tuple[str, ...]
    default: object
    required: bool
    unit: str
    change: str
    doc: str


class Setting(NamedTuple):
    """A converted value and where it was written; None for the schema's default."""

    value: Any
    where: Where | None


@dataclass(slots=True)
class Values:
    """A validated section: its settings by key, its subsections by name (in file order)."""

    path: str
    where: Where
    written: bool
    settings: dict[str, Setting] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    """Keys whose written value was rejected; their settings are the defaults."""
    children: dict[str, list[Values]] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)

    def value(self, key: str) -> Any:
        """The value of a key, its default when absent or wrong."""
        return self.settings[key].value

    def where_of(self, key: str) -> Where:
        """Where a key was written, or the section when it was not."""
        return self.settings[key].where or self.where

    def given(self, key: str) -> bool:
        """Was the key written in the file?"""
        return self.settings[key].where is not None

    def one(self, name: str) -> Values:
        """The subsection of that name, empty with defaults when it was not written."""
        return self.children[name][0]

    def all(self, name: str) -> list[Values]:
        """Every section of a name that may be repeated."""
        return self.children.get(name, [])


@cache
def specification() -> Any:
    """corosync.spec as a ConfigObj configspec."""
    text = resources.files("aisexec.config").joinpath("corosync.spec").read_text("utf-8")
    return ConfigObj(
        text.splitlines(), _inspec=True, interpolation=False, list_values=False, raise_errors=True
    )


def keys() -> Iterator[KeyInfo]:
    """Every key of the schema, in the order of corosync.spec."""
    yield from _keys_of(specification(), "")


def section_docs() -> dict[str, str]:
    """What the comment above each section of corosync.spec says, by dotted path."""
    return {path: doc for path, doc, _ in _sections_of(specification(), "")}


def open_sections() -> frozenset[str]:
    """Dotted paths of the sections that take any further key."""
    return frozenset(path for path, _, spec in _sections_of(specification(), "") if _is_open(spec))


def validate(root: Section) -> tuple[Values, Problems]:
    """Check a parsed file against the schema; all errors are collected, values converted.

    A wrong or missing value is replaced by its default (None without one), so that what is
    derived from the others can still be checked.
    """
    problems = Problems()
    plain: dict[str, Any] = {}
    values = _arrange([root], specification(), "", plain, problems)
    config = ConfigObj(plain, configspec=specification(), interpolation=False, list_values=False)
    result = config.validate(Validator(CHECKS), preserve_errors=True)
    _convert(values, config, result, problems)
    return values, problems


def suggestion(name: str, known: list[str]) -> str:
    """What to write instead of an unknown name."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    home = _homes().get(name)
    return f"it belongs in section {home}" if home else "remove it"


@cache
def _homes() -> dict[str, str]:
    """The first section that has a key of that name."""
    homes: dict[str, str] = {}
    for info in keys():
        homes.setdefault(info.key, info.section)
    return homes


def _repeated(spec: Any) -> bool:
    return not spec.scalars and spec.sections == [MANY]


def _arrange(
    sections: list[Section], spec: Any, path: str, plain: dict[str, Any], problems: Problems
) -> Values:
    """Put one section (written in one or more places) into the nested mapping that is validated."""
    first = sections[0]
    values = Values(path, first.where, written=True)
    for section in sections:
        for item in section.items:
            _arrange_item(item, spec, values, plain, problems)
    by_name: dict[str, list[Section]] = {}
    for section in sections:
        for child in section.sections:
            by_name.setdefault(child.name, []).append(child)
    for name, children in by_name.items():
        child_spec = _section_spec(name, children[0], spec, problems)
        if child_spec is None:
            continue
        child_path = f"{path}.{name}" if path else name
        plain[name] = {}
        if _repeated(child_spec):
            values.children[name] = [
                _arrange([child], child_spec[MANY], child_path, plain[name].setdefault(str(i), {}), problems)
                for i, child in enumerate(children)
            ]
        else:
            values.children[name] = [_arrange(children, child_spec, child_path, plain[name], problems)]
            if note := OLD_SECTIONS.get(child_path):
                problems.warning(children[0].where, f"section {child_path} has no effect", note)
    _fill_missing(values, spec)
    return values


def _arrange_item(
    item: Item, spec: Any, values: Values, plain: dict[str, Any], problems: Problems
) -> None:
    key, path = item.key, values.path
    if key in spec.scalars and key != MANY_KEYS:
        check = spec[key]
    elif MANY_KEYS in spec.scalars:
        check = spec[MANY_KEYS]
    else:
        what = f"unknown key {key!r} in section {path}" if path else f"unknown key {key!r}"
        known = [name for name in spec.scalars if name != MANY_KEYS]
        if key in spec.sections:
            write = "write it as a section"
        elif len(problems.found) < SUGGESTIONS_MAX:
            write = suggestion(key, known)
        else:
            write = "remove it"
        problems.error(item.where, what, write, _exit_code(path))
        return
    values.items.append(item)
    if check.partition("(")[0] in REPEATED:
        plain.setdefault(key, []).append(item.text)
    else:
        earlier = values.settings.get(key)
        if earlier is not None and earlier.value != item.text:
            problems.warning(
                item.where,
                f"{_dotted(path, key)} is given again",
                f"the value at {earlier.where} is not used",
            )
        plain[key] = item.text
    values.settings[key] = Setting(item.text, item.where)


def _section_spec(name: str, section: Section, spec: Any, problems: Problems) -> Any:
    if name in spec.sections and name != MANY:
        return spec[name]
    if MANY in spec.sections and not _repeated(spec):
        return spec[MANY]
    if name in spec.scalars:
        problems.error(section.where, f"{section.path} is a key, not a section", f"write '{name}: value'")
        return None
    known = [known for known in spec.sections if known != MANY]
    nearest = None
    if len(problems.found) < SUGGESTIONS_MAX:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if nearest:
        problems.error(section.where, f"unknown section {section.path!r}", f"did you mean {nearest[0]!r}?")
    elif section.path != name:
        problems.error(section.where, f"unknown section {section.path!r}", "remove it")
    else:
        # corosync keeps any top-level section in cmap for other programs.
        problems.warning(section.where, f"section {name!r} is not known here", "it has no effect")
    return None


def _fill_missing(values: Values, spec: Any) -> None:
    for name in spec.sections:
        if name == MANY or name in values.children:
            continue
        path = f"{values.path}.{name}" if values.path else name
        child = Values(path, values.where, written=False)
        if _repeated(spec[name]):
            values.children[name] = []
        else:
            values.children[name] = [child]
            _fill_missing(child, spec[name])


def _convert(values: Values, config: Any, result: Any, problems: Problems) -> None:
    """Replace texts by converted values and report what `ConfigObj.validate` rejected."""
    spec = config.configspec
    outcome: Mapping[str, Any] = result if isinstance(result, dict) else {}
    values.defaults = dict(config.default_values)
    for key in config.scalars:
        error = outcome.get(key, result is not False)
        where = values.settings[key].where if key in values.settings else None
        if error is True:
            values.settings[key] = Setting(config[key], where)
            continue
        values.wrong.add(key)
        _report(values, key, config[key], error, problems)
        values.settings[key] = Setting(values.defaults.get(key), None)
    for key in spec.scalars:
        if key not in values.settings and key != MANY_KEYS:
            if values.written:
                problems.error(
                    values.where,
                    f"{_dotted(values.path, key)} is missing",
                    _how_to_write(spec, key),
                )
            values.settings[key] = Setting(None, None)
    for name, children in values.children.items():
        section, sub_result = config[name], outcome.get(name, result)
        if _is_repeated(section):
            for i, child in enumerate(children):
                part = sub_result.get(str(i)) if isinstance(sub_result, dict) else sub_result
                _convert(child, section[str(i)], part, problems)
        else:
            _convert(children[0], section, sub_result, problems)


def _is_repeated(section: Any) -> bool:
    return section.configspec is not None and _repeated(section.configspec)


def _report(values: Values, key: str, raw: object, error: object, problems: Problems) -> None:
    where = values.where_of(key)
    name = _dotted(values.path, key)
    code = _exit_code(values.path)
    if isinstance(error, BadValueError):
        problems.error(where, f"{name}: {raw!r} {error.what}", error.write, code)
    else:
        problems.error(where, f"{name}: {raw!r} cannot be used ({error})", "", code)


def _exit_code(path: str) -> ExitCode:
    return ExitCode.LOG_CONFIG_READ if path.split(".")[0] == "logging" else ExitCode.MAIN_CONFIG_READ


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _default(spec: Any, key: str) -> object:
    try:
        return Validator(CHECKS).get_default_value(spec[key])
    except (KeyError, ValidateError):
        return None


def _how_to_write(spec: Any, key: str) -> str:
    _, options, arguments = _kind(spec[key])
    if "min" in arguments and arguments["min"] == arguments.get("max"):
        return f"write '{key}: {arguments['min']}'"
    return f"write '{key}: ...'" if not options else f"write '{key}: {options[0]}'"


def _kind(check: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Name, positional and named arguments of a check, by letting a Validator read it."""

    def reader(name: str) -> Any:
        return lambda _value, *args, **kwargs: (name, args, kwargs)

    description: tuple[str, tuple[str, ...], dict[str, str]] = Validator(
        {name: reader(name) for name in CHECKS}
    ).check(check, "")
    return description


def _comment(lines: list[str]) -> str:
    return " ".join(line.strip().lstrip("# ") for line in lines).strip()


def _is_open(spec: Any) -> bool:
    return MANY_KEYS in (spec[MANY] if _repeated(spec) else spec).scalars


def _sections_of(spec: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    for name in spec.sections:
        inner = path if name == MANY else _dotted(path, name)
        if name != MANY:
            yield inner, _comment(spec.comments[name]), spec[name]
        yield from _sections_of(spec[name], inner)


def _keys_of(spec: Any, path: str) -> Iterator[KeyInfo]:
    for key in spec.scalars:
        if key == MANY_KEYS:
            continue
        kind, options, arguments = _kind(spec[key])
        # configobj takes everything above the file's first key for the file's own comment.
        first = not path and key == spec.scalars[0]
        comment = spec.initial_comment[-1:] if first else spec.comments[key]
        yield KeyInfo(
            path, key, kind, options, _default(spec, key), "default" not in spec[key],
            arguments.get("unit", ""), arguments.get("change", "start"), _comment(comment),
        )  # fmt: skip
    for name in spec.sections:
        if name == MANY:
            yield from _keys_of(spec[name], path)
        else:
            yield from _keys_of(spec[name], _dotted(path, name))
