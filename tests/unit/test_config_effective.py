"""Effective values: nodes, addresses, timeouts, contradictions, as corosync derives and refuses them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.config import check_report, effective, explain, load
from aisexec.config.model import Destinations
from aisexec.config.network import cluster_mcast_address, match_interface
from aisexec.config.nodes import generate_nodeid
from aisexec.config.schema import KeyInfo, keys
from aisexec.exit_codes import ExitCode
from tests.unit.config_support import (
    ETH0,
    ETH1,
    LO,
    address,
    addresses_list,
    all_messages,
    configure,
    derived,
    machine,
    messages,
    nodelist,
)


def test_defaults_of_two_nodes(tmp_path: Path) -> None:
    config = derived(configure(tmp_path))
    totem = config.totem
    assert (totem.token, totem.token_retransmit, totem.hold, totem.consensus) == (3.0, 0.714, 0.561, 3.6)
    assert totem.net_mtu == 1410
    assert config.network.members == {1: "192.0.2.1", 2: "192.0.2.2"}
    assert (config.network.nodeid, config.network.local_address) == (1, "192.0.2.1")
    assert (config.network.interface_name, config.network.interface_index) == ("eth0", 2)
    assert config.network.block_unlisted_ips
    assert config.config_version == 0


@pytest.mark.parametrize(
    ("nodes", "totem", "expected"),
    [
        (3, "", {"token": 3650, "token_retransmit": 869, "hold": 685, "consensus": 4380}),
        (16, "", {"token": 12100, "token_retransmit": 2880, "hold": 2294, "consensus": 14520}),
        (32, "", {"token": 22500, "token_retransmit": 5357, "hold": 4275, "consensus": 27000}),
        (5, "token: 1000\ntoken_coefficient: 0", {"token": 1000, "consensus": 1200}),
        (2, "token: 0\njoin: 0\nconsensus: 0", {"token": 3000, "join": 50, "consensus": 3600}),
        (2, "consensus: 900\nhold: 20", {"consensus": 900, "hold": 20}),
        (2, "timeout {\ntoken: 2000\nretransmit: 99\nretransmits_before_loss: 7\n}",
         {"token": 2000, "token_retransmit": 99, "token_retransmits_before_loss_const": 7}),
        (2, "token: 4000\ntimeout {\ntoken: 2000\nmerge: 77\n}", {"token": 4000, "merge": 77}),
    ],
)  # fmt: skip
def test_timeouts(tmp_path: Path, nodes: int, totem: str, expected: dict[str, int]) -> None:
    config = derived(configure(tmp_path, f"transport: udpu\n{totem}", nodes=nodes))
    numbers = {d.key: d.value for d in config.derived}
    assert {key: numbers[key] for key in expected} == expected


def test_old_timeouts_at_the_top_level(tmp_path: Path) -> None:
    loaded = configure(tmp_path, rest="timeout {\njoin: 60\n}\n" + addresses_list(2))
    assert derived(loaded).totem.join == 0.06
    assert "5: warning: section timeout is the old form; write its keys in section totem" in messages(loaded)


@pytest.mark.parametrize(
    ("totem", "expected"),
    [
        ("token: 29", "4: totem.token: the token timeout parameter (29 ms) may not be less than (30 ms)"),
        ("token: 100",
         "4: totem.token_retransmit: not appropriate token or token_retransmits_before_loss_const"),
        ("token_retransmit: 29",
         "4: totem.token_retransmit: the token retransmit timeout parameter (29 ms) may not be less"),
        ("hold: 13", "4: totem.hold: the token hold timeout parameter (13 ms) may not be less than (14 ms)"),
        ("join: 29", "4: totem.join: the join timeout parameter (29 ms)"),
        ("merge: 29", "4: totem.merge: the merge timeout parameter (29 ms)"),
        ("downcheck: 29", "4: totem.downcheck: the downcheck timeout parameter (29 ms)"),
        ("max_network_delay: 29", "4: totem.max_network_delay: the max_network_delay parameter (29 ms)"),
        ("consensus: 49",
         "4: totem.consensus: the consensus timeout parameter (49 ms) may not be less than join"),
        ("token_warning: 101", "4: totem.token_warning: the token warning parameter (101%) must be between"),
        ("netmtu: 100", "4: totem.netmtu: no frames of 100 bytes"),
        ("netmtu: 65508", "4: totem.netmtu: no frames of 65508 bytes"),
        ("max_messages: 200", "4: warning: totem.max_messages (200) is more than 256000 / netmtu (170)"),
        ("token: 4294967295", "4: totem.consensus becomes 5153960960 ms"),
    ],
)  # fmt: skip
def test_limits_of_timeouts(tmp_path: Path, totem: str, expected: str) -> None:
    found = messages(configure(tmp_path, f"transport: udpu\n{totem}"))
    assert any(message.startswith(expected) for message in found), found


def test_recovery_longer_than_a_watchdog_is_a_warning(tmp_path: Path) -> None:
    assert "60.9 s (token + consensus)" in " ".join(messages(configure(tmp_path, nodes=40)))
    assert not messages(configure(tmp_path, nodes=32))
    assert not messages(configure(tmp_path, "transport: udpu\ntoken_coefficient: 125", nodes=40))


LOCAL_NODE = [
    # host name, nodes, position of the local node, reverse names
    ("node2", ["name:node1 ring0_addr:192.0.2.1", "name:node2 ring0_addr:192.0.2.2"], 1, {}),
    ("node2.example.org", ["name:node1 ring0_addr:192.0.2.1", "name:node2 ring0_addr:192.0.2.2"], 1, {}),
    ("node2", ["name:node1.a ring0_addr:192.0.2.1", "name:node2.a ring0_addr:192.0.2.2"], 1, {}),
    ("node2", ["ring0_addr:node1", "ring0_addr:node2"], 1, {}),
    ("other", ["ring0_addr:192.0.2.2", "ring0_addr:192.0.2.1"], 1, {}),
    ("other", ["ring0_addr:node2", "ring0_addr:node1"], 1, {}),
    ("other", ["name:x ring0_addr:192.0.2.2", "name:y ring0_addr:192.0.2.3"], 1, {"192.0.2.1": "y.example"}),
]


@pytest.mark.parametrize(("hostname", "nodes", "position", "reverse"), LOCAL_NODE)
def test_local_node(
    tmp_path: Path, hostname: str, nodes: list[str], position: int, reverse: dict[str, str]
) -> None:
    listed = nodelist(*(f"nodeid:{i} {node}" for i, node in enumerate(nodes)))
    listed = listed.replace("nodeid:0", "nodeid:100")
    config = derived(configure(tmp_path, rest=listed), machine(hostname, reverse=reverse))
    assert config.network.nodeid == (position or 100)


def test_no_local_node_says_what_this_machine_has(tmp_path: Path) -> None:
    loaded = configure(tmp_path, rest=nodelist("nodeid:1 ring0_addr:192.0.2.77"))
    assert messages(loaded) == [
        "5: no valid name found for local host: no node is named 'unrelated' or has an address"
        " of this machine (127.0.0.1, 192.0.2.1, 2001:db8::1);"
        " write a node section with this machine's ring0_addr"
    ]
    assert loaded.exit_code == ExitCode.MAIN_CONFIG_READ


def test_slow_reverse_lookups_are_not_made_when_addresses_are_numeric(tmp_path: Path) -> None:
    asked: list[object] = []
    base = machine()
    on = type(base)(base.hostname, base.addresses, base.resolve, lambda a: asked.append(a))
    effective(configure(tmp_path, rest=nodelist("nodeid:1 ring0_addr:192.0.2.77")), on)
    assert not asked


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:192.0.2.2 nodeid:1"],
         "11: nodeid 1 appears twice, first for the node at {path}:7"),
        (["ring0_addr:192.0.2.1", "ring0_addr:192.0.2.2 nodeid:3221225985"],
         "10: nodeid 3221225985 appears twice"),
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:192.0.2.1 nodeid:2"],
         "11: address 192.0.2.1 appears twice"),
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:2001:db8::2 nodeid:2"],
         "11: nodes for link 0 have different IP families (compared 2001:db8::2 with 192.0.2.1)"),
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:nowhere nodeid:2"],
         "11: failed to parse node address 'nowhere': it cannot be resolved"),
        (["ring0_addr:2001:db8::1"], "6: an IPV6 network requires that a node ID be specified"),
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:looped nodeid:2"],
         "11: the node's address is 127.0.1.1"),
        (["ring0_addr:192.0.2.1 nodeid:1", "nodeid:2"], "10: a node without ring0_addr"),
        (["ring0_addr:192.0.2.1 nodeid:1", "ring0_addr:224.0.0.1 nodeid:2"],
         "11: 224.0.0.1 is not the address"),
        (["ring0_addr:192.0.2.1 ring1_addr:192.0.2.9 nodeid:1"],
         "8: ring1_addr: too many configured interfaces"),
        (["ring0_addr:192.0.2.1 nodeid:0"], "8: warning: nodeid 0 is reserved; 3221225985 is used"),
        (["ring0_addr:192.0.2.9 nodeid:1", "name:unrelated ring0_addr:192.0.2.50 nodeid:2"],
         "12: warning: address 192.0.2.50 of this node is not on any interface of this machine"
         " (eth0 has 192.0.2.1 in the same network)"),
    ],
)  # fmt: skip
def test_trouble_with_nodes(tmp_path: Path, nodes: list[str], expected: str) -> None:
    loaded = configure(tmp_path, rest=nodelist(*nodes))
    found = messages(loaded)
    assert any(message.startswith(expected.format(path=loaded.path)) for message in found), found


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        ("ipv4", "both", "192.0.2.9"),
        ("ipv6", "both", "2001:db8::9"),
        ("ipv4-6", "both", "192.0.2.9"),
        ("ipv6-4", "both", "2001:db8::9"),
        ("ipv6-4", "node2", "192.0.2.2"),
        ("ipv4-6", "six", "2001:db8::7"),
        ("", "both", "2001:db8::9"),
    ],
)
def test_ip_version(tmp_path: Path, version: str, name: str, expected: str) -> None:
    own = "2001:db8::1" if ":" in expected else "192.0.2.1"
    totem = f"transport: udpu\nip_version: {version}" if version else "transport: udpu"
    rest = nodelist(f"nodeid:1 ring0_addr:{own}", f"nodeid:2 ring0_addr:{name}")
    assert derived(configure(tmp_path, totem, rest)).network.members[2] == expected


def test_udp_prefers_ipv4(tmp_path: Path) -> None:
    rest = nodelist("nodeid:1 ring0_addr:192.0.2.1", "nodeid:2 ring0_addr:both")
    config = derived(configure(tmp_path, "transport: udp\ncluster_name: c", rest))
    assert config.network.members[2] == "192.0.2.9"


def test_generated_nodeid() -> None:
    high = ipaddress.ip_address("192.0.2.1")
    assert generate_nodeid(high, False) == 0xC0000201
    assert generate_nodeid(high, True) == 0x40000201
    assert generate_nodeid(ipaddress.ip_address("::1"), False) is None


def test_generated_nodeid_of_a_file(tmp_path: Path) -> None:
    rest = nodelist("ring0_addr:192.0.2.1", "ring0_addr:192.0.2.2")
    config = derived(configure(tmp_path, "transport: udpu\nclear_node_high_bit: yes", rest))
    assert list(config.network.members) == [0x40000201, 0x40000202]


def test_match_interface_prefers_the_exact_address() -> None:
    second = address("eth2", "192.0.2.5/24")
    exact = match_interface(ipaddress.ip_address("192.0.2.5"), (ETH0, second))
    network = match_interface(ipaddress.ip_address("192.0.2.0"), (LO, ETH0, second))
    assert exact is not None
    assert (exact.found.name, exact.exact) == ("eth2", True)
    assert network is not None
    assert (network.found.name, network.exact) == ("eth0", False)
    assert match_interface(ipaddress.ip_address("198.51.100.1"), (LO, ETH0, ETH1)) is None


def test_group_made_from_the_name() -> None:
    # Worked out by hand: "ab" is 97 * 2 + 98 = 292 = 0x124, 292 mod 255 = 37.
    assert cluster_mcast_address("ab", 4) == "239.192.1.37"
    assert cluster_mcast_address("ab", 6) == "ff15::124"
    assert cluster_mcast_address("", 4) == "239.192.0.0"


@given(st.text(), st.sampled_from([4, 6]), st.integers(0, 7))
def test_group_is_always_multicast(name: str, family: int, link: int) -> None:
    text = name.encode("utf-8", "replace").decode()
    group = ipaddress.ip_address(cluster_mcast_address(text, family, link))
    assert group.is_multicast
    assert group.version == family


UDP = "transport: udp\n"


@pytest.mark.parametrize(
    ("totem", "expected"),
    [
        (UDP + "cluster_name: ab", {"mcast_address": "239.192.1.37", "port": 5405, "ttl": 1}),
        (UDP + "interface {\nmcastaddr: 239.1.1.1\nmcastport: 6000\nttl: 9\n}",
         {"mcast_address": "239.1.1.1", "port": 6000, "ttl": 9}),
        (UDP + "interface {\nbroadcast: yes\n}", {"mcast_address": "255.255.255.255", "broadcast": True}),
        ("transport: udpu\ninterface {\nbroadcast: yes\nmcastport: 0\n}", {"broadcast": False, "port": 5405}),
        ("transport: udpu\nblock_unlisted_ips: no", {"block_unlisted_ips": False}),
        (UDP + "cluster_name: ab\ninterface {\nlinknumber: 0\nmcastport: 1000\n}\ninterface {\nttl: 2\n}",
         {"port": 1000, "ttl": 2}),
    ],
)  # fmt: skip
def test_network(tmp_path: Path, totem: str, expected: dict[str, object]) -> None:
    network = derived(configure(tmp_path, totem)).network
    assert {key: getattr(network, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("totem", "expected"),
    [
        (UDP, "1: no multicast address specified for interface 0"),
        (UDP + "interface {\nmcastaddr: 10.0.0.1\n}",
         "5: mcastaddr 10.0.0.1 is not a correct multicast address"),
        (UDP + "interface {\nmcastaddr: ff15::1\n}", "5: failed to parse mcast address 'ff15::1'"),
        (UDP + "ip_version: ipv4-6\ninterface {\nmcastaddr: ff15::1\n}",
         "6: multicast address family does not match bind address family"),
        ("transport: udpu\ninterface {\nttl: 5\n}", "5: can only set ttl on multicast transport types"),
        ("transport: udpu\ninterface {\nknet_link_priority: 5\n}", "5: can only set link priority on knet"),
        ("transport: udpu\ninterface {\nlinknumber: 1\nbindnetaddr: 192.0.2.0\n}",
         "4: interface 1: too many configured interfaces"),
        ("transport: udpu\ninterface {\nlinknumber: 9\n}",
         "5: interface ring number 9 is bigger than allowed"),
        ("transport: udpu\ninterface {\nringnumber: 1\nbindnetaddr: 192.0.2.0\n}",
         "4: warning: ring 1 is not used: redundant rings need transport knet"),
        ("transport: udpu\ninterface {\nbindnetaddr: 192.0.2.0\n}",
         "5: warning: interface section bindnetaddr is used together with nodelist"),
        ("transport: knet", "3: transport knet is not served by this version; write 'transport: udpu'"),
        ("", "1: no transport is given, which means knet (as in corosync 3)"),
        ("transport: udpu\ncrypto_cipher: aes256", "4: crypto_cipher requires crypto_hash"),
        ("transport: udpu\nnodeid: 5", "4: warning: nodeid in totem section is deprecated and ignored"),
        ("transport: udpu\nrrp_mode: active", "4: warning: totem.rrp_mode of an older version has no effect"),
    ],
)  # fmt: skip
def test_trouble_with_the_network(tmp_path: Path, totem: str, expected: str) -> None:
    found = messages(configure(tmp_path, totem))
    assert any(message.startswith(expected) for message in found), found


def test_secauth_may_be_switched_off_piece_by_piece(tmp_path: Path) -> None:
    derived(configure(tmp_path, "transport: udpu\nsecauth: on\ncrypto_cipher: none\ncrypto_hash: none"))


def test_interface_that_is_down_is_a_warning(tmp_path: Path) -> None:
    down = address("eth0", "192.0.2.1/24", flags=0)
    found = messages(configure(tmp_path), machine(addresses=(LO, down)))
    assert found == ["8: warning: interface eth0 with address 192.0.2.1 is down"]


def test_logging(tmp_path: Path) -> None:
    text = (
        "logging {\nto_stderr: no\nto_logfile: yes\nlogfile: /log/a\nsyslog_priority: err\ntimestamp: on\n"
        "fileline: on\nsyslog_facility: local3\n"
        "logger_subsys {\nsubsys: totem\ndebug: on\nto_syslog: no\n}\n"
        "logger_subsys {\nsubsys: CPG\nlogfile: /log/b\nlogfile_priority: crit\n}\n"
        "logging_daemon {\nname: corosync\nsubsys: QUORUM\ndebug: trace\n}\n"
        "logging_daemon {\nname: corosync\nto_syslog: no\n}\n"
        "logging_daemon {\nname: pacemaker\ndebug: on\n}\n}\n"
    )
    logging = derived(configure(tmp_path, rest=addresses_list(2) + text)).logging
    base = Destinations(False, False, True, "/log/a", 6, 3)
    assert logging.default == base
    assert logging.subsystems == {
        "TOTEM": Destinations(False, False, True, "/log/a", 7, 7),
        "CPG": Destinations(False, False, True, "/log/b", 2, 3),
        "QUORUM": Destinations(False, False, True, "/log/a", 8, 8),
    }
    assert (logging.timestamp, logging.fileline, logging.syslog_facility) == ("on", True, "local3")


def test_log_file_that_cannot_be_made(tmp_path: Path) -> None:
    rest = addresses_list(2) + "logging {\nto_logfile: yes\nlogfile: /nowhere/a\n}\n"
    base = machine()
    on = type(base)(
        base.hostname, base.addresses, base.resolve,
        directory_problem=lambda path: "No such file or directory" if path == "/nowhere" else "",
    )  # fmt: skip
    loaded = configure(tmp_path, rest=rest)
    assert messages(loaded, on)[0].startswith("17: can't open logfile '/nowhere/a': /nowhere: No such file")
    assert loaded.exit_code == ExitCode.LOG_CONFIG_READ


def test_state_directory_missing(tmp_path: Path) -> None:
    base = machine()
    on = type(base)(
        base.hostname, base.addresses, base.resolve, directory_problem=lambda path: "Permission denied"
    )
    loaded = configure(tmp_path, rest="system {\nstate_dir: /state\n}\n" + addresses_list(2))
    assert messages(loaded, on) == [
        "6: cannot chdir to state directory /state: Permission denied;"
        " create it (mkdir -p /state) or write another state_dir in section system"
    ]
    assert loaded.exit_code == ExitCode.DIR_NOT_PRESENT


QUORUM = "quorum {\nprovider: corosync_votequorum\n"


def test_quorum_counts_votes(tmp_path: Path) -> None:
    rest = nodelist("nodeid:1 ring0_addr:192.0.2.1 quorum_votes:3", "nodeid:2 ring0_addr:192.0.2.2")
    quorum = derived(configure(tmp_path, rest=rest + QUORUM + "}\n")).quorum
    assert (quorum.votes, quorum.expected_votes, quorum.node_votes) == (3, 4, {1: 3, 2: 1})
    assert not quorum.wait_for_all


def test_two_node_implies_wait_for_all(tmp_path: Path) -> None:
    quorum = derived(configure(tmp_path, rest=addresses_list(2) + QUORUM + "two_node: 1\n}\n")).quorum
    assert quorum.two_node
    assert quorum.wait_for_all
    rest = addresses_list(2) + QUORUM + "two_node: 1\nwait_for_all: 0\n}\n"
    assert not derived(configure(tmp_path, rest=rest)).quorum.wait_for_all


def test_quorum_device_votes_are_counted(tmp_path: Path) -> None:
    rest = addresses_list(4) + QUORUM + "device {\nmodel: net\n}\n}\n"
    quorum = derived(configure(tmp_path, rest=rest)).quorum
    assert quorum.device is not None
    assert (quorum.device.votes, quorum.expected_votes) == (3, 7)


def test_quorum_device_votes_that_are_written_are_not_expected_at_first(tmp_path: Path) -> None:
    """As in corosync: they are, once they have been seen together with those of all nodes."""
    rest = addresses_list(4) + QUORUM + "device {\nmodel: net\nvotes: 1\n}\n}\n"
    assert derived(configure(tmp_path, rest=rest)).quorum.expected_votes == 4


def test_with_tracking_the_nodelist_counts(tmp_path: Path) -> None:
    rest = addresses_list(4) + QUORUM + "expected_votes: 2\nallow_downscale: 1\n}\n"
    assert derived(configure(tmp_path, rest=rest)).quorum.expected_votes == 4


def test_two_node_that_is_switched_off_still_waits_for_all(tmp_path: Path) -> None:
    rest = addresses_list(2) + QUORUM + "two_node: 1\nauto_tie_breaker: 1\n}\n"
    quorum = derived(configure(tmp_path, rest=rest)).quorum
    assert (quorum.two_node, quorum.wait_for_all, quorum.auto_tie_breaker) == (False, True, "lowest")


@pytest.mark.parametrize(
    ("section", "nodes", "expected", "code"),
    [
        ("two_node: 1\ndevice {\nmodel: net\nvotes: 1\n}", 2,
         "two_node and quorum device cannot be configured at the same time", 20),
        ("last_man_standing: 1\ndevice {\nmodel: net\n}", 4, "not compatible with last_man_standing", 20),
        ("auto_tie_breaker: 1\ndevice {\nmodel: net\n}", 4, "not compatible with auto_tie_breaker", 20),
        ("allow_downscale: 1\ndevice {\nmodel: net\n}", 4, "not compatible with allow_downscale", 20),
        ("expected_votes: 4\ndevice {\nmodel: net\n}", 4, "quorum.device.votes must be specified", 20),
        ("expected_votes: 4\ndevice {\nmodel: net\nvotes: 3\n}", 4, "votes is too high or expected_votes",
         20),
        ("auto_tie_breaker: 1\nlast_man_standing: 1", 3, "not available in odd sized cluster", 20),
        ("auto_tie_breaker: 1\nauto_tie_breaker_node: first", 4, "write lowest, highest or nodeids", 20),
        ("auto_tie_breaker: 1", 3, "warning: auto_tie_breaker is set and the cluster has an odd number", 0),
        ("auto_tie_breaker_node: 1", 3, "warning: auto_tie_breaker_node is meaningless", 0),
        ("auto_tie_breaker: 1\nauto_tie_breaker_node: 1 9", 4,
         "names nodes that are not in the nodelist: [9]", 0),
        ("two_node: 1\nauto_tie_breaker: 1", 2, "warning: two_node and auto_tie_breaker are both specified",
         0),
        ("two_node: 1", 3, "warning: two_node is set but there are 3 nodes", 0),
        ("expected_votes: 5", 3, "warning: expected_votes 5 overrides the 3 votes of the nodelist", 0),
    ],
)  # fmt: skip
def test_trouble_with_quorum(tmp_path: Path, section: str, nodes: int, expected: str, code: int) -> None:
    loaded = configure(tmp_path, rest=addresses_list(nodes) + QUORUM + section + "\n}\n")
    found = messages(loaded)
    assert any(expected in message for message in found), found
    assert loaded.exit_code == code


def test_unknown_provider_is_refused(tmp_path: Path) -> None:
    loaded = configure(tmp_path, rest=addresses_list(2) + "quorum {\nprovider: ykd\n}\n")
    assert "quorum.provider: 'ykd' is not known here; write corosync_votequorum" in messages(loaded)[0]


def test_system(tmp_path: Path) -> None:
    text = "system {\nsched_rr: no\npriority: max\nipc_semaphores: sysv\nmove_to_root_cgroup: no\n}\n"
    loaded = configure(tmp_path, rest=addresses_list(2) + text)
    system = derived(loaded).system
    assert (system.sched_rr, system.priority, system.ipc_semaphores) == (False, -20, "sysv")
    assert system.state_dir == "/var/lib/corosync"
    assert "only client libraries of this project" in messages(loaded)[0]


def test_errors_of_all_kinds_come_together_in_the_order_of_lines(tmp_path: Path) -> None:
    nodes = nodelist("nodeid:x ring0_addr:nowhere")
    rest = "junk\nlogging {\ndebug: maybe\n}\n" + nodes + "uidgid {\nuid: ?\n}\n"
    loaded = configure(tmp_path, "transport: udpu\ntokken: 1\ntoken: 1", rest)
    found = all_messages(loaded)
    lines = [int(message.partition(":")[0]) for message in found]
    assert lines == sorted(lines)
    assert set(lines) >= {4, 5, 7, 9, 13, 14, 18}
    report = check_report(loaded)
    assert report.count("\n") == len(found) + 1
    assert report.splitlines()[-1] == f"{loaded.path}: {len(loaded.errors)} errors, 1 warning"
    assert loaded.exit_code == ExitCode.MAIN_CONFIG_READ


def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    loaded = load(str(tmp_path / "none.conf"), {})
    assert effective(loaded, machine()) is None
    assert check_report(loaded).startswith(f"{loaded.path}: can't read file: No such file or directory")
    assert len(loaded.errors) == 1
    assert loaded.exit_code == ExitCode.MAIN_CONFIG_READ


def test_path_comes_from_the_environment(tmp_path: Path) -> None:
    for name in ("COROSYNC_MAIN_CONFIG_FILE", "OPENAIS_MAIN_CONFIG_FILE"):
        assert load(None, {name: str(tmp_path / "x")}).path == str(tmp_path / "x")
    assert load(None, {"COROSYNC_DEFAULT_CONFIG_IFACE": "xmlconf"}).warnings


def test_report_can_be_printed_whatever_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "corosync.conf"
    path.write_bytes(b"totem {\nversion: 2\ntransport: \xff\x1b[2J\n}\n")
    loaded = load(str(path), {})
    effective(loaded, machine())
    report = check_report(loaded)
    report.encode("utf-8")
    assert "\x1b" not in report


NUMBER = st.sampled_from(["0", "1", "29", "30", "4294967295", "-1", "x", "", "7 8", "lowest"])
WORD = st.sampled_from(["udp", "udpu", "knet", "yes", "no", "on", "192.0.2.1", "::1", "net"])
VALUE = st.one_of(NUMBER, WORD)


@given(st.lists(st.tuples(st.sampled_from(list(keys())), VALUE), max_size=25), st.data())
def test_any_keys_with_any_values_give_a_report(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[KeyInfo, str]], data: st.DataObject
) -> None:
    by_section: dict[str, list[str]] = {}
    for info, value in chosen:
        by_section.setdefault(info.section, []).append(f"{info.key}: {value}")
    base = data.draw(st.sampled_from(["", "totem {\nversion: 2\ntransport: udpu\n}\n" + addresses_list(3)]))
    text = base
    for section, body in by_section.items():
        names = section.split(".") if section else []
        text += "".join(f"{name} {{\n" for name in names) + "\n".join(body) + "\n}" * len(names) + "\n"
    path = tmp_path_factory.mktemp("any") / "corosync.conf"
    path.write_text(text)
    loaded = load(str(path), {})
    config = effective(loaded, machine())
    assert (config is None) == bool(loaded.errors)
    assert check_report(loaded).count("\n") == len(loaded.problems.found) + 1
    if config is not None:
        assert explain(config)


def test_explain_names_the_source_of_each_number(tmp_path: Path) -> None:
    loaded = configure(tmp_path, "transport: udpu\ntoken: 5000\njoin: 60", nodes=5)
    text = explain(derived(loaded))
    path = loaded.path
    assert "6950 ms         5000 + (5 nodes - 2) * token_coefficient 650; token 5000 is from" in text
    assert f"60 ms           {path}:5" in text
    assert "8340 ms         1.2 * token" in text
    assert "noticed after 6.950 s (token)" in text
    assert "after at most 15.290 s (token + consensus)" in text
    assert "1  192.0.2.1    <- this node" in text
    assert "each further node adds 0.650 s to detection and 1.430 s to recovery" in text
