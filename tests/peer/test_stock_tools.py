"""Stock corosync's tools against aisexec and against stock corosync in the same state: the same output.

Two rings of two nodes with the same configuration, node 1 stock in the first and aisexec in the second,
node 2 the other way round.  Every option of the tools' man pages that has a meaning with udpu is used on
node 1 of both.  What may differ is in OWN_KEYS, STOCK_KEYS and MOVING, each with its reason; an entry that
is not needed any more is an error, too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from tests.conftest import need
from tests.harness.node import PATIENCE, Node
from tests.harness.pair import Pair, two_rings
from tests.harness.wait import wait_until

QUORUM = "corosync-quorumtool"
CMAP = "corosync-cmapctl"
CFG = "corosync-cfgtool"
CPG = "corosync-cpgtool"

STOCK_KEYS: dict[str, str] = {}
"""Lines of corosync-cmapctl that only stock has, and why."""

OWN_KEYS = {
    r"runtime\.config\.totem\.accelerated_window ": "a setting that stock does not have",
    r"stats\.(cfg|cpg|gc|loop|net|recorder|sync|log)\.": "counters of our own",
    r"stats\.ipcs\.global\.(?!active |closed )": "counters of our own",
    r"stats\.srp\.(broken_pairs_seen|excluded|excluded_ignored|exclusions|surveys) ": "counters of our own",
    r"stats\.srp\.token_hold_us_": "a histogram of our own",
}
"""Lines that only aisexec has, and why."""

MOVING = {
    r"^(Date: +).*": "the time of day",
    r"^(Ring ID: +[0-9a-f]+\.).*": "how many rings there were before depends on who found whom first",
    r"^(runtime\.services\.\S+\.[rt]x \(u64\) = ).*": "counters of messages",
    r"^(stats\.ipcs\.service\d+\.)\d+\.0x[0-9a-f]+": "pid and address of a connection",
    r"^(stats\.(?:ipcs|srp|schedmiss)\.\S+ \(\w+\) = )[\d.]+": "counters and durations",
    r"^(stats\.pg\.\S+ \(u32\) = )\d+": "room in the queue of messages: stock leaves msg_queue_avail 0",
    r"(/\S+/)cluster\d(?=/node1/)": "each ring has its directory",
    r"^(logging\.logfile \(str\) = ).*": "each ring has its directory",
    r"^(\t\t) *\d+(?=\t)": "pid of a group's member",
    r"^((?:plain|back.*),)\d+(?=,\d$)": "pid of a group's member",
    r"(last_updated \(u64\) = )\d+": "a time",
    r"^(resources\.system\.\S+\.current \(\w+\) = ).*": "what the monitoring service measured last",
}
"""What is blotted out on both sides; the group in front of it stays."""


class Result(NamedTuple):
    """What a command did."""

    command: str
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    need("sa")
    with two_rings(tmp_path_factory.mktemp("tools")) as rings:
        yield rings


@pytest.fixture(scope="module")
def used() -> set[str]:
    """Patterns that were needed."""
    return set()


def run(node: Node, commands: Sequence[Sequence[str]], stdin: str = "") -> list[Result]:
    """Stock's commands, one after another."""
    steps = [
        {"program": program, "arguments": arguments, "ours": False, "stdin": stdin}
        for program, *arguments in commands
    ]
    runner = node.popen([sys.executable, "-m", "tests.harness.command_runner"], stdin=subprocess.PIPE)
    output, _ = runner.communicate(json.dumps(steps), timeout=60)
    assert runner.returncode == 0
    return [
        Result(" ".join(command), result["status"], result["out"], result["err"])
        for command, result in zip(commands, json.loads(output), strict=True)
    ]


def blotted(text: str, used: set[str]) -> str:
    """Without what moves by itself."""
    for pattern in MOVING:
        text, found = re.subn(pattern, r"\1*", text, flags=re.M)
        if found:
            used.add(pattern)
    return text


def without(text: str, patterns: dict[str, str], used: set[str]) -> str:
    """Without the lines that only one side has."""
    lines = []
    for line in text.splitlines(keepends=True):
        dropped = [pattern for pattern in patterns if re.match(pattern, line)]
        used.update(dropped)
        if not dropped:
            lines.append(line)
    return "".join(lines)


def compare(stock: Result, ours: Result, used: set[str]) -> None:
    """Same status and text, but for what is listed."""
    expected = stock._replace(
        out=blotted(without(stock.out, STOCK_KEYS, used), used), err=blotted(stock.err, used)
    )
    found = ours._replace(out=blotted(without(ours.out, OWN_KEYS, used), used), err=blotted(ours.err, used))
    assert found.out.splitlines() == expected.out.splitlines(), stock.command
    assert found == expected


def alike(pair: Pair, used: set[str], commands: Sequence[Sequence[str]], stdin: str = "") -> list[Result]:
    """The commands on node 1 of both rings do the same; returns what they did on stock."""
    stock = run(pair.stock[1], commands, stdin)
    ours = run(pair.ours[1], commands, stdin)
    for expected, result in zip(stock, ours, strict=True):
        compare(expected, result, used)
    return stock


def test_quorumtool_shows(pair: Pair, used: set[str]) -> None:
    options = ["", "-s", "-l", "-sp", "-lp", "-sH", "-lH", "-si", "-li", "-sa", "-lai", "-h", "-V", "-x"]
    commands = [[QUORUM, *([option] if option else [])] for option in options]
    commands += [[QUORUM, option, "-o", order] for option in ("-s", "-l") for order in "ani"]
    results = alike(pair, used, [*commands, [QUORUM, "-o", "x"]])
    assert {result.status for result in results} == {0, 1}
    assert "Quorate:          Yes\n" in results[0].out


def test_quorumtool_sets(pair: Pair, used: set[str]) -> None:
    commands = [
        [QUORUM, "-v", "3"],
        *settled("Total votes:      4"),
        [QUORUM, "-v", "2", "-n", "2"],
        *settled("Total votes:      5"),
        [QUORUM, "-e", "1"],
        [QUORUM, "-e", "99"],
        [QUORUM, "-e", "6"],
        *settled("Expected votes:   6"),
        [QUORUM, "-v", "1", "-n", "99"],
        [QUORUM, "-v", "x"],
        [QUORUM, "-n", "0"],
        [QUORUM, "-e", "0"],
        [QUORUM, "-f"],
        [QUORUM, "-v", "1"],
        [QUORUM, "-e", "5"],
        *settled("Expected votes:   5"),
        [QUORUM, "-v", "1"],
        *settled("Total votes:      3"),
        [QUORUM, "-e", "3"],
        *settled("Expected votes:   3"),
        [QUORUM, "-v", "1", "-n", "2"],
        *settled("Total votes:      2"),
        [QUORUM, "-e", "2"],
        *settled("Expected votes:   2"),
    ]
    alike(pair, used, commands)


def settled(line: str) -> list[list[str]]:
    """Votes are set by messages: wait for what they lead to, then look."""
    wait = f"until {QUORUM} -s | grep -q '{line}'; do sleep 0.02; done"
    return [["timeout", "5", "sh", "-c", wait], [QUORUM, "-s"]]


DEVICE = """\
from libais import votequorum
handle = votequorum.Handle(retry_for=20)
handle.qdevice_register("judge")
"""


def test_quorumtool_and_a_quorum_device(pair: Pair, used: set[str]) -> None:
    """Registered, but nobody polls for it."""
    for cluster in pair:
        cluster[1].run([sys.executable, "-c", DEVICE])
    commands = [[QUORUM, option] for option in ("-s", "-l", "-lp", "-lH", "-f", "-f")]
    results = alike(pair, used, [*commands, *settled("Flags:            Quorate $")])
    assert "Flags:            Quorate Qdevice \n" in results[0].out
    assert "         1          1  NA,NV,NMW node1 (local)\n" in results[1].out


def test_cfgtool(pair: Pair, used: set[str]) -> None:
    commands = [
        [CFG],
        [CFG, "-h"],
        [CFG, "-x"],
        [CFG, "-s"],
        [CFG, "-sb"],
        [CFG, "-s", "-i", "0"],
        [CFG, "-s", "-i", "10.77.0.1"],
        [CFG, "-s", "-i", "5"],
        [CFG, "-n"],
        [CFG, "-a", "1"],
        [CFG, "-a", "2"],
        [CFG, "-a", "99"],
        [CFG, "-a", "0"],
        [CFG, "-k", "99"],
        [CFG, "-L"],
        [CFG, "-R"],
    ]
    results = alike(pair, used, commands)
    assert results[-1].status == 0


def test_a_reload_of_a_broken_file(pair: Pair, used: set[str]) -> None:
    alike(pair, used, [[CFG, "-R"]])
    texts = [cluster[1].configuration.read_text() for cluster in pair]
    try:
        for cluster, text in zip(pair, texts, strict=True):
            cluster[1].configuration.write_text(text + "}\n")
        keys = ("config.reload_status", "config.totemconfig_reload_in_progress")
        commands = [[CFG, "-R"], [QUORUM, "-s"], *([CMAP, "-qg", key] for key in keys)]
        stock, ours = (run(cluster[1], commands) for cluster in pair)
        for expected, result in zip(stock[:2], ours[:2], strict=True):
            compare(expected, result, used)
        assert ours[0].status != 0
        # Stock forgets about a reload that fails so early: its keys say it was good, and still goes on.
        assert [result.out for result in stock[2:]] == ["1\n", "1\n"]
        assert [result.out for result in ours[2:]] == ["7\n", "0\n"]
    finally:
        for cluster, text in zip(pair, texts, strict=True):
            cluster[1].configuration.write_text(text)
    alike(pair, used, [[CFG, "-R"], [CMAP, "-b", "config."]])


def test_cmapctl_reads(pair: Pair, used: set[str]) -> None:
    commands = [
        [CMAP, "-b"],
        [CMAP],
        [CMAP, "-h"],
        [CMAP, "totem.", "nodelist."],
        [CMAP, "none."],
        [CMAP, "-g", "totem.version", "quorum.provider", "none.such"],
        [CMAP, "-qg", "totem.version"],
        [CMAP, "-m", "icmap", "nodelist.node.0."],
        [CMAP, "-m", "stats"],
        [CMAP, "-m", "stats", "-g", "stats.srp.operational_entered", "stats.none"],
        [CMAP, "-m", "nonsense"],
    ]
    results = alike(pair, used, commands)
    assert len(results[0].out.splitlines()) > 80
    assert "stats.srp.mcast_tx (u64) = " in results[8].out


def test_cmapctl_writes(pair: Pair, used: set[str], tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    loaded.write_text("# comment\ng.a u8 5\ng.b str hello world\n^g.none\n^^t.\n")
    types = ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "flt", "dbl", "str", "bin"]
    commands = [
        *([CMAP, "-s", f"t.{kind}", kind, "-" if kind == "bin" else "7"] for kind in types),
        [CMAP, "t."],
        [CMAP, "-b", "t."],
        [CMAP, "-s", "t.u8", "u8", "300"],
        [CMAP, "-s", "t.u8", "bad", "3"],
        [CMAP, "-s", "totem.version", "u32", "3"],
        [CMAP, "-s", "runtime.services.cpg.service_id", "u16", "3"],
        [CMAP, "-d", "totem.version"],
        [CMAP, "-d", "t.i8", "t.none"],
        [CMAP, "-D", "t.i"],
        [CMAP, "t."],
        [CMAP, "-p", str(loaded)],
        [CMAP, "t.", "g."],
        [CMAP, "-D", "g."],
        *([CMAP, "-C", kind] for kind in ("ipc", "totem", "schedmiss", "knet", "all", "none")),
        [CMAP, "-m", "stats", "-s", "stats.srp.mcast_tx", "u64", "1"],
        [CMAP, "-m", "stats", "-d", "stats.srp.mcast_tx"],
    ]
    alike(pair, used, commands, stdin="\x00\\text\xff")


class Watching:
    """A command that goes on by itself, and what it wrote so far."""

    def __init__(self, node: Node, command: Sequence[str], path: Path) -> None:
        self.path = path
        with path.open("w") as output:
            # Without a terminal they would keep what they say.
            self.process = node.popen(["stdbuf", "-oL", *command], stdin=subprocess.PIPE, stdout=output)

    def text(self) -> str:
        return self.path.read_text()

    def wait(self, what: str, times: int = 1) -> None:
        wait_until(lambda: self.text().count(what) >= times, PATIENCE, lambda: f"{what!r} in\n{self.text()}")

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


def test_cmapctl_tracks(pair: Pair, used: set[str], tmp_path: Path) -> None:
    changes = [
        [CMAP, "-s", "track.one", "u8", "1"],
        [CMAP, "-s", "track.one", "str", "text"],
        [CMAP, "-s", "track.two", "u8", "1"],
        [CMAP, "-d", "track.one"],
        [CMAP, "-D", "track."],
        [CMAP, "-s", "track.one", "u8", "9"],
    ]
    texts = []
    for number, cluster in enumerate(pair):
        watching = [
            Watching(cluster[1], [CMAP, option, key], tmp_path / f"{number}{option}")
            for option, key in (("-t", "track.one"), ("-T", "track."))
        ]
        for each in watching:
            each.wait("Type")
        run(cluster[1], changes)
        for each in watching:
            each.wait("create> track.one (u8) = 9\n")
            each.stdin.write("q\n")
            each.stdin.flush()
            assert each.process.wait(PATIENCE) == 0
        run(cluster[1], [[CMAP, "-d", "track.one"]])
        texts.append([each.text() for each in watching])
    assert texts[1] == texts[0]


MEMBERS = """\
import sys
from libais import cpg
handles = []
for group in (b"plain", b"back\\\\slash \\x01 \\xff"):
    handle = cpg.Handle(retry_for=20)
    handle.join(group)
    next(handle.events(20))
    handles.append(handle)
print("ready", flush=True)
sys.stdin.read()
"""


def test_cpgtool(pair: Pair, used: set[str]) -> None:
    commands = [[CPG], [CPG, "-n"], [CPG, "-e"], [CPG, "-ne"], [CPG, "-d", ","], [CPG, "-h"], [CPG, "-x"]]
    alike(pair, used, commands)
    for cluster in pair:
        # A member on each node.
        for node in cluster.nodes.values():
            program = node.popen([sys.executable, "-c", MEMBERS], stdin=subprocess.PIPE)
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
    results = alike(pair, used, commands)
    assert results[0].out.count("\n") == 7
    for cluster in pair:
        for node in cluster.nodes.values():
            node.end_programs()


OBJECTOR = """\
from libais import CsException, cfg
handle = cfg.Handle(lambda handle, _: handle.replyto_shutdown(cfg.ShutdownReply.NO), retry_for=20)
handle.trackstart()
print("ready", flush=True)
try:
    handle.dispatch(cfg.Dispatch.BLOCKING)
except CsException:
    pass
"""


def test_a_node_killed_and_the_executive_shut_down(pair: Pair, used: set[str], tmp_path: Path) -> None:
    """Last, because the rings do not outlive it: quorumtool -m, cfgtool -k and -H, and what is left."""
    watching = []
    for number, cluster in enumerate(pair):
        watching.append(Watching(cluster[1], [QUORUM, "-m"], tmp_path / f"monitor{number}"))
        watching[-1].wait("(local)")
    alike(pair, used, [[CFG, "-k", "2"]])
    for cluster, each in zip(pair, watching, strict=True):
        cluster.wait_formed([1])
        each.wait("(local)", 2)
    results = alike(
        pair,
        used,
        [
            [QUORUM, "-s"],
            [QUORUM, "-l"],
            [CFG, "-s"],
            [CFG, "-n"],
            [CFG, "-a", "2"],
            [CFG, "-k", "2"],
            [CMAP, "runtime.members.", "runtime.votequorum."],
        ],
    )
    assert results[0].status == 2
    for cluster in pair:
        program = cluster[1].popen([sys.executable, "-c", OBJECTOR])
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    results = alike(pair, used, [[CFG, "-H"], [CFG, "-H", "--force"]])
    assert [result.err for result in results] == ["Could not shutdown (error = 10)\n", ""]
    for cluster in pair:
        assert cluster[1].wait() == 0
    texts = []
    for each in watching:
        assert each.process.wait(PATIENCE) == 1
        texts.append(blotted(each.text(), used))
    assert texts[1] == texts[0]
    alike(pair, used, [[QUORUM, "-s"], [CFG, "-s"], [CMAP], [CPG]])


def test_every_difference_listed_is_one(pair: Pair, used: set[str]) -> None:
    if len(used) == 0:
        pytest.skip("the tests before this one did not run")
    assert {*STOCK_KEYS, *OWN_KEYS, *MOVING} - used == set()
