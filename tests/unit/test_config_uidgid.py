"""Who may connect: uidgid sections and uidgid.d."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from tests.unit.config_support import addresses_list, configure, derived, messages

ROOT = Path(__file__).resolve().parents[2]


def test_names_and_numbers_from_file_and_directory(tmp_path: Path) -> None:
    directory = tmp_path / "uidgid.d"
    directory.mkdir()
    (directory / "app").write_text("# x\nuidgid {\n uid: 1234\n gid: +0055\n}\n")
    (directory / "sub").mkdir()
    user, group = pwd.getpwall()[0], grp.getgrall()[0]
    text = f"uidgid {{\nuid: {user.pw_name}\nuid: 77\n}}\nuidgid {{\ngid: {group.gr_name}\n}}\n"
    config = derived(configure(tmp_path, rest=addresses_list(2) + text))
    assert config.uids == {user.pw_uid, 77, 1234}
    assert config.gids == {group.gr_gid, 55}


def test_unknown_names_are_errors_with_their_line(tmp_path: Path) -> None:
    directory = tmp_path / "uidgid.d"
    directory.mkdir()
    (directory / "app").write_text("uidgid {\nuid: no_such_user\nname: x\n}\ngid: 5\ntotem {\n}\n")
    text = "uidgid {\ngid: no_such_group\nuid: 4294967295\n}\n"
    loaded = configure(tmp_path, rest=addresses_list(2) + text)
    found = messages(loaded)
    app = str(directory / "app")
    assert [message.split(";")[0] for message in found] == [
        "16: the group 'no_such_group' is not known",
        "17: the user '4294967295' is not known",
        f"{app}:2: the user 'no_such_user' is not known",
        f"{app}:3: unknown key 'name' in section uidgid",
        f"{app}:5: 'gid' outside of a section",
        f"{app}:6: section 'totem' in uidgid.d",
    ]
    assert loaded.exit_code == 8


def test_file_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "uidgid.d"
    directory.mkdir()
    os.symlink("/no/such/file", directory / "dangling")
    loaded = configure(tmp_path)
    assert messages(loaded) == [
        f"{directory}/dangling: warning: cannot be read: No such file or directory;"
        " its users are not admitted"
    ]


def test_shipped_readme_is_a_valid_file_of_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "uidgid.d"
    directory.mkdir()
    (directory / "README").write_bytes((ROOT / "etc" / "uidgid.d" / "README").read_bytes())
    assert derived(configure(tmp_path)).uids == frozenset()
