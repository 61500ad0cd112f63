"""What a reload says of a changed file, and timeouts that programs change in cmap."""

from __future__ import annotations

from aisexec.config.changes import Effect, changes
from aisexec.config.grammar import Section, parse
from aisexec.config.live_totem import live_totem, written_keys
from aisexec.icmap import Icmap, text, u32

FILE = """totem {
    version: 2
    transport: udpu
    token: 1000
}
nodelist {
    node {
        nodeid: 1
        ring0_addr: 10.0.0.1
    }
    node {
        nodeid: 2
        ring0_addr: 10.0.0.2
    }
}
logging {
    debug: off
    logger_subsys {
        subsys: QUORUM
        debug: off
    }
}
"""


def parsed(contents: str) -> Section:
    root, problems = parse(contents.encode(), "corosync.conf")
    assert problems.found == []
    return root


def told(old: str, new: str) -> list[str]:
    return [str(change) for change in changes(parsed(old), parsed(new))]


def test_no_change_is_none() -> None:
    assert told(FILE, "# a comment\n" + FILE.replace("    ", "\t")) == []


def test_each_change_with_its_place_and_when_it_counts() -> None:
    new = FILE.replace("token: 1000", "token: 2000").replace("transport: udpu", "transport: udp")
    assert told(FILE, new) == [
        "corosync.conf:3: totem.transport: udpu -> udp: takes effect when the executive is restarted",
        "corosync.conf:4: totem.token: 1000 -> 2000: in force now",
    ]


def test_added_and_removed_keys() -> None:
    new = FILE.replace("    token: 1000\n", "    join: 60\n    knet_mtu: 9000\n")
    assert told(FILE, new) == [
        "corosync.conf:4: totem.token: 1000 -> removed: in force now",
        "corosync.conf:4: totem.join: not written -> 60: in force now",
        "corosync.conf:5: totem.knet_mtu: not written -> 9000: has no effect",
    ]


def test_a_node_that_is_taken_away_does_not_rename_the_others() -> None:
    new = FILE.replace("    node {\n        nodeid: 1\n        ring0_addr: 10.0.0.1\n    }\n", "")
    assert told(FILE, new) == [
        "corosync.conf:8: nodelist.node[1].nodeid: 1 -> removed: in force now",
        "corosync.conf:9: nodelist.node[1].ring0_addr: 10.0.0.1 -> removed: in force now",
    ]


def test_sections_about_something_are_told_apart() -> None:
    more = "    logger_subsys {\n        subsys: TOTEM\n        debug: on\n    }\n"
    new = FILE.replace("    logger_subsys {", more + "    logger_subsys {", 1)
    assert [change.name for change in changes(parsed(FILE), parsed(new))] == [
        "logging.logger_subsys[TOTEM].subsys",
        "logging.logger_subsys[TOTEM].debug",
    ]


def test_a_key_that_other_programs_own() -> None:
    found = changes(parsed(FILE), parsed(FILE + "other {\n    key: 1\n}\n"))
    assert [change.effect for change in found] == [Effect.NEVER]


def test_timeouts_from_cmap_follow_from_each_other() -> None:
    found = live_totem({"totem.token": u32(2000), "totem.block_unlisted_ips": text("no")}, 4)
    assert found.settings is not None
    assert found.settings.token == 3.3
    assert found.settings.consensus == 3.96
    assert found.keys["runtime.config.totem.token"] == u32(3300)
    assert found.keys["runtime.config.totem.block_unlisted_ips"] == u32(0)
    assert not found.block_unlisted_ips


def test_a_timeout_in_cmap_that_cannot_work_is_refused() -> None:
    found = live_totem({"totem.token": u32(20)}, 2)
    assert found.settings is None
    assert any("may not be less than (30 ms)" in problem.what for problem in found.problems)


def test_a_value_in_cmap_of_a_wrong_type_counts_as_not_there() -> None:
    found = live_totem({"totem.token": text("fast"), "totem.join": u32(70)}, 2)
    assert found.settings is not None
    assert (found.settings.token, found.settings.join) == (3.0, 0.07)


def test_of_totem_keys_in_cmap_only_known_ones_are_read() -> None:
    map = Icmap()
    for key in ("totem.token", "totem.tokens", "totem.join", "totem.interface.0.bindnetaddr", "other.token"):
        map.set(key, u32(70))
    assert written_keys(map) == {"totem.join": u32(70), "totem.token": u32(70)}
