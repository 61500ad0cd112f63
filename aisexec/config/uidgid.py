"""Who may connect: sections uidgid{} of the main file and of the files in uidgid.d beside it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from aisexec.config.files import read_file
from aisexec.config.grammar import Section, parse
from aisexec.config.limits import UIDGID_FILES_MAX
from aisexec.config.problems import Problems, Where

ID_MAX = 2**32 - 2
"""The id above it, -1, means "nobody asked for" in the kernel's calls."""

_NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?([0-9]{1,20})", re.ASCII)


@dataclass(slots=True)
class UidGid:
    """Numeric users and groups that may connect, besides root and the executive's own user."""

    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)


def from_sections(root: Section, admitted: UidGid, problems: Problems) -> None:
    """Add what the uidgid sections of a parsed file say."""
    for section in root.named("uidgid"):
        for item in section.items:
            if item.key == "uid":
                _add(item.text, "user", _user_id, item.where, admitted.uids, problems)
            elif item.key == "gid":
                _add(item.text, "group", _group_id, item.where, admitted.gids, problems)


def from_directory(directory: str, admitted: UidGid, problems: Problems) -> None:
    """Add what the regular files of uidgid.d say; a directory that is not there says nothing."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except OSError as error:
        problems.warning(Where(directory), f"cannot be read: {error.strerror}", "its users are not admitted")
        return
    if len(names) > UIDGID_FILES_MAX:
        problems.warning(Where(directory), f"{len(names)} files", f"only {UIDGID_FILES_MAX} are read")
    for name in names[:UIDGID_FILES_MAX]:
        _from_file(os.path.join(directory, name), admitted, problems)


def _from_file(path: str, admitted: UidGid, problems: Problems) -> None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return
        data = read_file(path)
    except OSError as error:
        # corosync passes over a file it cannot open.
        problems.warning(Where(path), f"cannot be read: {error.strerror}", "its users are not admitted")
        return
    root, found = parse(data, path)
    problems.found.extend(found.found)
    for item in root.items:
        problems.error(item.where, f"{item.key!r} outside of a section", "write uidgid { uid: NAME }")
    for section in root.sections:
        if section.name != "uidgid":
            problems.error(section.where, f"section {section.name!r} in uidgid.d", "only uidgid is allowed")
        for child in section.sections:
            problems.error(child.where, f"section {child.path!r} in uidgid.d", "only uidgid is allowed")
    for section in root.named("uidgid"):
        for item in section.items:
            if item.key not in ("uid", "gid"):
                problems.error(item.where, f"unknown key {item.key!r} in section uidgid", "write uid or gid")
    from_sections(root, admitted, problems)


def _add(
    text: str,
    what: str,
    look_up: Callable[[str], int],
    where: Where,
    ids: set[int],
    problems: Problems,
) -> None:
    match = _NUMBER.fullmatch(text)
    if match is not None and int(match[1]) <= ID_MAX:
        ids.add(int(match[1]))
        return
    try:
        ids.add(look_up(text))
    except (KeyError, ValueError, OSError):
        problems.error(where, f"the {what} {text!r} is not known", f"create it or write a known {what}")


def _user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid
