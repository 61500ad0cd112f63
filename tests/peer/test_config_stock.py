"""`corosync -t` and our check take and refuse the same files, but for the differences listed here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from aisexec.config import check_report, effective, load, this_machine
from aisexec.exit_codes import ExitCode
from aisexec.net.interfaces import interface_addresses

pytestmark = pytest.mark.skipif(
    shutil.which("corosync") is None, reason="corosync is not installed (apt install corosync)"
)


class Case(NamedTuple):
    name: str
    totem: str = "transport: udpu"
    nodes: str = "ring0_addr: 127.0.0.1\nnodeid: 1"
    rest: str = ""
    before: str = ""
    accepted: bool = True
    only_stock: str = ""
    """Why we refuse what corosync takes."""
    only_ours: str = ""
    """Why we take what corosync refuses."""
    aborts: bool = False
    """Corosync does not refuse it but dies of an assertion."""


def node(*lines: str) -> str:
    return "\n".join(lines)


LONG_NAME = "n" * 300
SECOND = "}\nnode {\n"

CASES = [
    Case("udpu"),
    Case("udp with a cluster name", "transport: udp\ncluster_name: x"),
    Case("udp without group", "transport: udp", accepted=False),
    Case("udp with a group", "transport: udp\ninterface {\nmcastaddr: 239.1.2.3\nmcastport: 5410\nttl: 3\n}"),
    Case("udp with a group that is none",
         "transport: udp\ninterface {\nmcastaddr: 10.1.2.3\n}", accepted=False),
    Case("udp with a group of the other family",
         "transport: udp\ninterface {\nmcastaddr: ff15::1\n}", accepted=False),
    Case("udp broadcast", "transport: udp\ninterface {\nbroadcast: yes\n}"),
    Case("unknown transport", "transport: upd", accepted=False),
    Case("no version", "transport: udpu\nversion: 0", accepted=False),
    Case("version 1", "transport: udpu\nversion: 1", accepted=False),
    Case("token not a number", "transport: udpu\ntoken: 1000ms", accepted=False),
    Case("token hexadecimal", "transport: udpu\ntoken: 0x400", accepted=False),
    Case("token negative", "transport: udpu\ntoken: -1", accepted=False),
    Case("token with plus and zeros", "transport: udpu\ntoken: +0005000"),
    Case("token too small", "transport: udpu\ntoken: 29", accepted=False),
    Case("token too small for its retransmits", "transport: udpu\ntoken: 120", accepted=False),
    Case("token just large enough", "transport: udpu\ntoken: 126"),
    Case("token zero is the default", "transport: udpu\ntoken: 0"),
    Case("token out of range", "transport: udpu\ntoken: 4294967296", accepted=False),
    Case("empty number", "transport: udpu\ntoken:", accepted=False),
    Case("comment behind a number", "transport: udpu\ntoken: 1000 # ms", accepted=False),
    Case("token_retransmit too small", "transport: udpu\ntoken_retransmit: 29", accepted=False),
    Case("hold too small", "transport: udpu\nhold: 13", accepted=False),
    Case("hold", "transport: udpu\nhold: 14"),
    Case("join too small", "transport: udpu\njoin: 29", accepted=False),
    Case("consensus less than join", "transport: udpu\nconsensus: 40", accepted=False),
    Case("consensus less than token", "transport: udpu\nconsensus: 1000"),
    Case("merge too small", "transport: udpu\nmerge: 10", accepted=False),
    Case("downcheck too small", "transport: udpu\ndowncheck: 10", accepted=False),
    Case("max_network_delay too small", "transport: udpu\nmax_network_delay: 10", accepted=False),
    Case("token_warning 101", "transport: udpu\ntoken_warning: 101", accepted=False),
    Case("token_warning 0", "transport: udpu\ntoken_warning: 0"),
    Case("config_version of 64 bits", "transport: udpu\nconfig_version: 18446744073709551615"),
    Case("config_version beyond", "transport: udpu\nconfig_version: 18446744073709551616",
         accepted=False, aborts=True),
    Case("ip_version", "transport: udpu\nip_version: ipv4-6"),
    Case("ip_version unknown", "transport: udpu\nip_version: 4", accepted=False),
    Case("ip_version without address", "transport: udpu\nip_version: ipv6", accepted=False),
    Case("crypto none", "transport: udpu\ncrypto_cipher: none\ncrypto_hash: none\nsecauth: off"),
    Case("crypto cipher unknown", "transport: udpu\ncrypto_cipher: 3des", accepted=False),
    Case("crypto hash unknown", "transport: udpu\ncrypto_hash: crc", accepted=False),
    Case("crypto cipher without hash", "transport: udpu\ncrypto_cipher: aes256", accepted=False),
    Case("crypto without a key", "transport: udpu\nsecauth: on\nkeyfile: /nowhere/authkey", accepted=False),
    Case("key too short", f"transport: udpu\nsecauth: on\nkey: {'k' * 127}", accepted=False),
    Case("crypto model unknown", "transport: udpu\ncrypto_model: rot13", accepted=False),
    Case("compression unknown", "transport: udpu\nknet_compression_model: rar", accepted=False),
    Case("link mode unknown", "transport: udpu\nlink_mode: all", accepted=False),
    Case("ttl with udpu", "transport: udpu\ninterface {\nttl: 2\n}", accepted=False),
    Case("ttl 1 with udpu", "transport: udpu\ninterface {\nttl: 1\n}"),
    Case("ttl 256", "transport: udp\ncluster_name: x\ninterface {\nttl: 256\n}", accepted=False),
    Case("port 65536", "transport: udpu\ninterface {\nmcastport: 65536\n}", accepted=False),
    Case("port 0 is the default", "transport: udpu\ninterface {\nmcastport: 0\n}"),
    Case("link priority with udpu", "transport: udpu\ninterface {\nknet_link_priority: 2\n}", accepted=False),
    Case("two interfaces with addresses",
         "transport: udpu\ninterface {\nlinknumber: 0\nbindnetaddr: 127.0.0.0\n}\n"
         "interface {\nlinknumber: 1\nbindnetaddr: 127.0.0.0\n}", accepted=False),
    Case("interface of 1.x", "transport: udpu\ninterface {\nringnumber: 0\nbindnetaddr: 127.0.0.0\n"
         "mcastaddr: 226.94.1.1\nmcastport: 5405\nttl: 1\n}"),
    Case("two rings of 1.x", "transport: udpu\nrrp_mode: passive\ninterface {\nringnumber: 0\n"
         "bindnetaddr: 127.0.0.0\n}\ninterface {\nringnumber: 1\nbindnetaddr: 127.0.0.0\n}"),
    Case("linknumber 8", "transport: udpu\ninterface {\nlinknumber: 8\nmcastport: 5405\n}", accepted=False),
    Case("keys of 1.x", "transport: udpu\nthreads: 0\nvsftype: none\nrrp_mode: none\nnodeid: 3"),
    Case("two addresses of a node", nodes="ring0_addr: 127.0.0.1\nring1_addr: 127.0.0.1\nname: a\nnodeid: 1",
         accepted=False),
    Case("nodeid generated", nodes="ring0_addr: 127.0.0.1"),
    Case("nodeid zero", nodes="ring0_addr: 127.0.0.1\nnodeid: 0"),
    Case("nodeid not a number", nodes="ring0_addr: 127.0.0.1\nnodeid: one", accepted=False),
    Case("nodeid twice", nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}ring0_addr: 127.0.0.2\nnodeid: 1",
         accepted=False),
    Case("IPv6 with nodeid", nodes="ring0_addr: ::1\nnodeid: 1"),
    Case("IPv6 without nodeid", nodes="ring0_addr: ::1", accepted=False),
    Case("mixed families", nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}ring0_addr: ::1\nnodeid: 2",
         accepted=False),
    Case("IPv6 with udp and ip_version ipv4", "transport: udp\ncluster_name: x", "ring0_addr: ::1\nnodeid: 1",
         accepted=False),
    Case("IPv6 with udp", "transport: udp\ncluster_name: x\nip_version: ipv6", "ring0_addr: ::1\nnodeid: 1"),
    Case("name that cannot be resolved",
         nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}ring0_addr: no.such.host.invalid\nnodeid: 2",
         accepted=False),
    Case("no local node", nodes="ring0_addr: 198.51.100.7\nnodeid: 1", accepted=False),
    Case("no nodelist", nodes="-", accepted=False),
    Case("logging", rest="logging {\ntimestamp: on\ndebug: trace\nto_stderr: on\nlogfile_priority: ERR\n"
         "syslog_facility: local3\nlogger_subsys {\nsubsys: TOTEM\ndebug: on\nto_logfile: no\n}\n}"),
    Case("logging debug unknown", rest="logging {\ndebug: yes\n}", accepted=False),
    Case("logging timestamp unknown", rest="logging {\ntimestamp: yes\n}", accepted=False),
    Case("logging fileline unknown", rest="logging {\nfileline: yes\n}", accepted=False),
    Case("logging to_stderr unknown", rest="logging {\nto_stderr: true\n}", accepted=False),
    Case("logging facility unknown", rest="logging {\nsyslog_facility: local9\n}", accepted=False),
    Case("logging priority unknown", rest="logging {\nlogfile_priority: verbose\n}", accepted=False),
    Case("logging subsys missing", rest="logging {\nlogger_subsys {\ndebug: on\n}\n}", accepted=False),
    Case("logging daemon name missing", rest="logging {\nlogging_daemon {\ndebug: on\n}\n}", accepted=False),
    Case("logging logfile in no directory",
         rest="logging {\nto_logfile: yes\nlogfile: /no/such/directory/x.log\n}", accepted=False),
    Case("quorum", rest="quorum {\nprovider: corosync_votequorum\ntwo_node: 1\nwait_for_all: 0\n"
         "auto_tie_breaker: 0\nlast_man_standing_window: 1\nexpected_votes: 1\n}"),
    Case("quorum number wrong", rest="quorum {\nexpected_votes: many\n}", accepted=False),
    Case("quorum two_node 256", rest="quorum {\ntwo_node: 256\n}", accepted=False),
    Case("quorum device", rest="quorum {\nprovider: corosync_votequorum\ndevice {\nmodel: net\nvotes: 1\n"
         "net {\nhost: q\nalgorithm: ffsplit\n}\nheuristics {\nmode: on\nexec_ping: /bin/ping\n}\n}\n}"),
    Case("quorum device timeout wrong", rest="quorum {\ndevice {\ntimeout: 1s\n}\n}", accepted=False),
    Case("system", rest="system {\nqb_ipc_type: shm\nsched_rr: no\npriority: max\nmove_to_root_cgroup: no\n"
         "allow_knet_handle_fallback: yes\n}"),
    Case("system ipc unknown", rest="system {\nqb_ipc_type: pipe\n}", accepted=False),
    Case("system sched_rr unknown", rest="system {\nsched_rr: on\n}", accepted=False),
    Case("system cgroup unknown", rest="system {\nmove_to_root_cgroup: on\n}", accepted=False),
    Case("system state_dir missing", rest="system {\nstate_dir: /no/such/directory\n}", accepted=False),
    Case("uidgid", rest="uidgid {\nuid: root\ngid: root\nuid: 1000\n}\nuidgid {\nuid: 1001\n}"),
    Case("uidgid user unknown", rest="uidgid {\nuid: no_such_user\n}", accepted=False),
    Case("uidgid group unknown", rest="uidgid {\ngid: no_such_group\n}", accepted=False),
    Case("uidgid key unknown", rest="uidgid {\nuser: root\n}", accepted=False),
    Case("resources", rest="resources {\nwatchdog_timeout: 6\nwatchdog_device: off\nsystem {\nmemory_used {\n"
         "recovery: watchdog\nmax: 80\npoll_period: 1000\n}\n}\n}"),
    Case("resources period wrong",
         rest="resources {\nsystem {\nmemory_used {\npoll_period: often\n}\n}\n}",
         accepted=False, aborts=True),
    Case("nozzle", rest="nozzle {\nname: noz0\nipaddr: 10.0.0.0\nipprefix: 24\n"
         "macaddr: 54:54:12:24:00:00\n}"),
    Case("sections of 1.x", before="compatibility: whitetank", rest="aisexec {\nuser: root\ngroup: root\n}\n"
         "amf {\nmode: disabled\n}\nservice {\nname: pacemaker\nver: 0\n}\nservice {\nname: x\n}"),
    Case("section of another program", rest="myprogram {\nany: thing\ndeeper {\nkey: v\n}\n}"),
    Case("DOS line ends", rest="logging {\r\n debug: off\r\n\r\n}\r\n"),
    Case("blanks and tabs everywhere", rest="  \t logging\t{\t \n\t\t debug \t:\t off \t\n \t } \t"),
    Case("comments", rest="# logging {\n\t # x\nlogging {\n#debug: maybe\ndebug: off\n}"),
    Case("section name with a colon", rest="logging: {\ndebug: off\n}"),
    Case("same section twice", rest="logging {\ndebug: off\n}\nlogging {\ndebug: on\n}"),
    Case("extra behind the opening brace", rest="logging { debug: off\n}", accepted=False),
    Case("comment behind the opening brace", rest="logging { # log\n}", accepted=False),
    Case("extra before the closing brace", rest="logging {\ndebug off }", accepted=False),
    Case("closing brace missing", rest="logging {", accepted=False),
    Case("closing brace unexpected", rest="}", accepted=False),
    Case("section without name", rest="{\n}", accepted=False),
    Case("neither section nor value", rest="hello world", accepted=False),
    Case("line of 510 bytes", rest="#" * 510),
    Case("line of 511 bytes", rest="#" * 511, accepted=False),
    Case("line of 510 bytes with DOS end", rest="#" * 509 + "\r"),
    Case("name too long", rest=f"logging {{\n{LONG_NAME}: 1\n}}", accepted=False),
    Case("section name too long", rest=f"{LONG_NAME} {{\n}}", accepted=False),
    Case("name with a blank", rest="logging {\nto stderr: yes\n}", accepted=False),
    Case("value with colons and quotes", "transport: udpu\ncluster_name: \"a:b\" : c"),
    Case("no line end at the end", rest="logging {\n}"),
    # Differences.
    Case("crypto hash with udpu", f"transport: udpu\ncrypto_hash: sha1\nkey: {'k' * 200}", accepted=False,
         only_ours="corosync authenticates with knet only"),
    Case("secauth with udp", f"transport: udp\ncluster_name: x\nsecauth: on\nkey: {'k' * 200}",
         accepted=False, only_ours="corosync encrypts with knet only"),
    Case("chacha20", f"transport: udpu\nsecauth: on\ncrypto_cipher: chacha20\nkey: {'k' * 200}",
         accepted=False, only_ours="corosync does not know it"),
    Case("crypto model of ours", "transport: udpu\ncrypto_model: pycryptodome", accepted=False,
         only_ours="corosync does not know it"),
    Case("knet", "transport: knet", accepted=True, only_stock="knet is not served by this version"),
    Case("no transport", "", accepted=True, only_stock="it means knet"),
    Case("unknown key", "transport: udpu\ntokken: 5000", only_stock="a typing error would pass unseen"),
    Case("unknown section like a known one", rest="loging {\ndebug: on\n}",
         only_stock="a typing error would pass unseen"),
    Case("switch with another word", "transport: udpu\nblock_unlisted_ips: off",
         only_stock="corosync ignores the word silently"),
    Case("secauth yes", "transport: udpu\nsecauth: yes", only_stock="corosync reads it as off"),
    Case("key empty", "transport: udpu\n: 5", only_stock="it has no meaning"),
    Case("address twice",
         nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}ring0_addr: 127.0.0.1\nnodeid: 2",
         only_stock="such a cluster cannot form"),
    Case("a node without address", nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}nodeid: 2",
         only_stock="such a node cannot be reached"),
    Case("loopback among real addresses",
         nodes=f"ring0_addr: 127.0.0.1\nnodeid: 1\n{SECOND}ring0_addr: 192.0.2.77\nnodeid: 2",
         only_stock="such a cluster cannot form"),
    Case("two nodelists", rest="nodelist {\nnode {\nring0_addr: 127.0.0.1\n}\n}",
         only_stock="the nodes of one take the place of the other's"),
    Case("two_node with a device", rest="quorum {\nprovider: corosync_votequorum\ntwo_node: 1\ndevice {\n"
         "model: net\nvotes: 1\n}\n}",
         only_stock="corosync -t does not start the quorum service, which refuses"),
]  # fmt: skip


def configuration(case: Case, state_dir: Path) -> bytes:
    """The file of a case: keys that a case repeats win, as they come later."""
    parts = [
        case.before,
        f"system {{\nstate_dir: {state_dir}\n}}",
        "logging {\nto_syslog: no\nblackbox: off\n}",
        f"totem {{\nversion: 2\n{case.totem}\n}}",
    ]
    if case.nodes != "-":
        parts.append(f"nodelist {{\nnode {{\n{case.nodes}\n}}\n}}")
    parts.append(case.rest)
    return "\n".join(parts).encode() + (b"" if case.name.startswith("no line end") else b"\n")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_same_verdict(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "corosync.conf"
    path.write_bytes(configuration(case, tmp_path))
    stock = subprocess.run(
        ["corosync", "-t", "-c", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    if case.aborts:
        assert stock.returncode == -signal.SIGABRT
    loaded = load(str(path), {})
    ours = effective(loaded, this_machine(interface_addresses()))
    report = check_report(loaded)
    assert (stock.returncode == 0) == case.accepted, stock.stderr
    assert (ours is not None) == (bool(case.only_ours) or (case.accepted and not case.only_stock)), report
    if not case.accepted and not case.only_ours:
        expected = ExitCode.MAIN_CONFIG_READ if case.aborts else stock.returncode
        assert loaded.exit_code == expected, report + stock.stderr
        assert all(problem.where.line or problem.where.file == str(path) for problem in loaded.errors)


NUMBERS = {
    "token": r"Token Timeout \((\d+) ms\)",
    "token_retransmit": r"retransmit timeout \((\d+) ms\)",
    "hold": r"token hold \((\d+) ms\)",
    "token_retransmits_before_loss_const": r"retransmits before loss \((\d+) retrans\)",
    "join": r"join \((\d+) ms\)",
    "send_join": r"send_join \((\d+) ms\)",
    "consensus": r"consensus \((\d+) ms\)",
    "merge": r"merge \((\d+) ms\)",
    "downcheck": r"downcheck \((\d+) ms\)",
    "fail_recv_const": r"fail to recv const \((\d+) msgs\)",
    "seqno_unchanged_const": r"seqno unchanged const \((\d+) rotations\)",
    "window_size": r"window size per rotation \((\d+) messages\)",
    "max_messages": r"maximum messages per rotation \((\d+) messages\)",
    "miss_count_const": r"missed count const \((\d+) messages\)",
    "heartbeat_failures_allowed": r"heartbeat_failures_allowed \((\d+)\)",
    "max_network_delay": r"max_network_delay \((\d+) ms\)",
}
"""How corosync logs each number when it starts with debug messages."""

TIMINGS = [
    (1, ""),
    (2, ""),
    (3, ""),
    (3, "token: 1234"),
    (5, "token: 777\ntoken_coefficient: 0\ntoken_retransmits_before_loss_const: 9"),
    (32, "token_coefficient: 125"),
    (40, "token: 16777217\ntoken_coefficient: 33"),
    (2, "token: 0\nconsensus: 0\njoin: 0\nhold: 0\nmax_messages: 0\nsend_join: 0\nmiss_count_const: 0"),
    (2, "token_retransmit: 101\nmerge: 31\ndowncheck: 33\nwindow_size: 300\nmax_messages: 20\nsend_join: 80"),
    (4, "netmtu: 8982\nfail_recv_const: 10\nseqno_unchanged_const: 3\nheartbeat_failures_allowed: 3"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="starting corosync in a network namespace needs root")
@pytest.mark.parametrize(("nodes", "totem"), TIMINGS)
def test_same_numbers(nodes: int, totem: str, tmp_path: Path) -> None:
    log = tmp_path / "corosync.log"
    path = tmp_path / "corosync.conf"
    listed = "".join(f"node {{\nring0_addr: 127.0.0.{i}\nnodeid: {i}\n}}\n" for i in range(1, nodes + 1))
    path.write_text(
        f"system {{\nstate_dir: {tmp_path}\nsched_rr: no\n}}\n"
        f"totem {{\nversion: 2\ntransport: udpu\n{totem}\n}}\nnodelist {{\n{listed}}}\n"
        "logging {\nto_syslog: no\nto_stderr: no\nto_logfile: yes\n"
        f"logfile: {log}\ndebug: on\nblackbox: off\n}}\n"
    )
    loaded = load(str(path), {})
    ours = effective(loaded, this_machine(interface_addresses()))
    assert ours is not None, check_report(loaded)
    stock = _start_and_read(path, log, "max_network_delay (")
    expected = {key: int(match[1]) for key, text in NUMBERS.items() if (match := re.search(text, stock))}
    assert {d.key: d.value for d in ours.derived if d.key in NUMBERS} == expected
    mtu = re.search(r"Maximum network MTU (\d+)", stock)
    assert mtu is not None
    assert ours.totem.net_mtu == int(mtu[1])


def _start_and_read(path: Path, log: Path, until: str) -> str:
    """Corosync's log up to a text.  It runs in namespaces of its own, so that others are not disturbed."""
    private = "mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && ip link set lo up"
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", f"{private} && exec corosync -f -c {path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            text = log.read_text() if log.exists() else ""
            if until in text:
                return text
            time.sleep(0.01)
        pytest.fail(f"corosync did not log {until!r}: {log.read_text() if log.exists() else 'no log'}")
    finally:
        process.kill()
        process.communicate()
