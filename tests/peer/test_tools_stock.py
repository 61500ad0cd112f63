"""Our corosync-cmapctl, -cfgtool and -cpgtool beside stock's: same words, same exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from libais import cfg, errors
from tests.conftest import NewCluster, need
from tests.harness.config_file import Settings
from tests.harness.inside import inside
from tests.harness.node import PATIENCE, Node
from tests.harness.rings import Rings
from tests.harness.wait import wait_until

CMAP = "corosync-cmapctl"
CFG = "corosync-cfgtool"
CPG = "corosync-cpgtool"
LONG = "k" * 255
NOBODY = 65534


class Result(NamedTuple):
    """What a command did."""

    command: str
    status: int
    out: str
    err: str


def run(
    node: Node, ours: bool, commands: Sequence[Sequence[str]], stdin: str = "", uid: int = 0
) -> list[Result]:
    """The commands one after another on a node, ours or stock's."""
    steps = [
        {"program": program, "arguments": arguments, "ours": ours, "uid": uid, "stdin": stdin}
        for program, *arguments in commands
    ]
    program = node.popen([sys.executable, "-m", "tests.harness.command_runner"], stdin=subprocess.PIPE)
    output, _ = program.communicate(json.dumps(steps), timeout=100)
    assert program.returncode == 0
    return [
        Result(" ".join(command), result["status"], result["out"], result["err"])
        for command, result in zip(commands, json.loads(output), strict=True)
    ]


def run_one(node: Node, *command: str) -> Result:
    """One of ours."""
    return run(node, True, [command])[0]


def same(node: Node, commands: Sequence[Sequence[str]], stdin: str = "") -> None:
    """Stock's and ours do the same with all of them, beginning in the same state."""
    stock = run(node, False, commands, stdin)
    ours = run(node, True, commands, stdin)
    assert [result for result in stock if result.status not in (0, 1, 7)] == []
    for expected, result in zip(stock, ours, strict=True):
        assert result == expected


@pytest.fixture(scope="module", params=["ss", "aa"])
def mix(request: pytest.FixtureRequest) -> str:
    """The kinds of nodes; of the module, so that a ring serves all tests before the next one is made."""
    return str(request.param)


@pytest.fixture
def node(mix: str, rings: Rings) -> Node:
    """The first node of a ring of two."""
    need(mix)
    return rings.get(mix, "udpu")[1]


def test_reading_keys(node: Node) -> None:
    everything = [
        [CMAP, "-q", "runtime.services."],
        [CMAP],
        [CMAP, "-b"],
        [CMAP, "totem."],
        [CMAP, "totem.", "nothing."],
        [CMAP, "nothing.here"],
        [CMAP, "nothing.", "none."],
        [CMAP, "-g", "totem.version", "nodelist.node.0.ring0_addr"],
        [CMAP, "-qg", "totem.version", "totem.cluster_name"],
        [CMAP, "totem.", "-q"],
        [CMAP, "--", "totem."],
        [CMAP, "-g", "totem.version", "no.such", "totem.version"],
        [CMAP, "-g", LONG],
        [CMAP, "-g", LONG + "k"],
        [CMAP, LONG + "k"],
        [CMAP, "-t", LONG + "k"],
        [CMAP, "-D", LONG + "k"],
        [CMAP, "-m", "icmap", "-m", "nonsense", "-g", "totem.version"],
        [CMAP, "-m", "default", "-g", "totem.version"],
        [CMAP, "-m", "stats", "-g", "stats.srp.no"],
        [CMAP, "-m", "stats", "-g", "totem.version"],
        [CMAP, "-m", "stats", "stats.pg.msg_reserved"],
        [CMAP, "-m", "stats", "-T", "stats."],
        [CMAP, "-m", "stats", "-s", "stats.srp.mcast_tx", "u64", "1"],
        [CMAP, "-m", "stats", "-d", "stats.srp.mcast_tx"],
        [CMAP, "-C", "totem"],
    ]
    # Counters of messages move with time.
    moving = re.compile(r"^(runtime\.services\.\S+\.[rt]x \(u64\) = )\d+$", re.M)
    stock, ours = (run(node, side, everything) for side in (False, True))
    for expected, result in zip(stock[1:], ours[1:], strict=True):
        assert [moving.sub(r"\1n", text) for text in result[2:]] == [
            moving.sub(r"\1n", text) for text in expected[2:]
        ]
        assert result[:2] == expected[:2]


SETTING = [
    ("u8", "1"),
    ("u8", "256"),
    ("u8", "-1"),
    ("i8", "-128"),
    ("i8", "-129"),
    ("i16", "32767"),
    ("u16", "65536"),
    ("i32", "-2147483648"),
    ("i32", "2147483648"),
    ("u32", "12abc"),
    ("u32", "abc"),
    ("u32", ""),
    ("u32", "99999999999999999999999"),
    ("i64", "99999999999999999999999"),
    ("i64", " +7"),
    ("u64", "-1"),
    ("u64", "18446744073709551615"),
    ("flt", "1.5e3x"),
    ("flt", "0.1"),
    ("dbl", "-inf"),
    ("dbl", "nan"),
    ("dbl", "-nan"),
    ("dbl", "1e"),
    ("dbl", "0x1p3"),
    ("dbl", "."),
    ("dbl", "1e300"),
    ("str", ""),
    ("str", "two words, \u00e4 and a tab\t"),
    ("str", "x" * 16383),
    ("str", "x" * 16384),
    ("bin", "/no/such/file"),
    ("bin", "/dev/null"),
    ("bin", "/"),
    ("xyz", "1"),
]


def test_setting_and_deleting_keys(node: Node, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    first = tmp_path / "first"
    first.write_text("# nothing\n  \tl.a u8 5\n\nl.b str hello world\n^l.nope\nl.c i32 -7\nl.d bin -\n")
    second = tmp_path / "second"
    second.write_text("^^l.b\n^l.a\nl.y u8\nl.z u8 1\n")
    third = tmp_path / "third"
    third.write_text("l.x u8 5\n  ")
    long_line = tmp_path / "long"
    long_line.write_text(f"l.m str {'m' * 2000}\n")
    commands = [command for kind in SETTING for command in ([CMAP, "-s", "t.k", *kind], [CMAP, "t."])]
    commands += [
        [CMAP, "-s", "t.k", "u8"],
        [CMAP, "-s", "t.k", "str", "x", "more", "words"],
        [CMAP, "-s", "tk", "u8", "1"],
        [CMAP, "-s", "t k y", "u8", "1"],
        [CMAP, "-s", LONG, "u8", "1"],
        [CMAP, "-q", LONG],
        [CMAP, "-d", LONG],
        [CMAP, "-s", LONG + "k", "u8", "1"],
        [CMAP, "-d", LONG + "k"],
        [CMAP, "-s", "totem.version", "u32", "3"],
        [CMAP, "-d", "totem.version"],
        [CMAP, "-D", "totem.vers"],
        [CMAP, "-d", "no.such"],
        [CMAP, "-s", "t.bin", "bin", str(binary)],
        [CMAP, "t.bin"],
        [CMAP, "-b", "t.bin"],
        [CMAP, "-q", "t.bin"],
        [CMAP, "-bqg", "t.bin"],
        [CMAP, "-s", "t.bin", "bin", "-"],
        [CMAP, "-b", "t.bin"],
        [CMAP, "-d", "t.k", "t.nope", "t.bin"],
        [CMAP, "-D", "t."],
        [CMAP, "-D", "t."],
        [CMAP, "-p", str(first)],
        [CMAP, "-b", "l."],
        [CMAP, "-p", str(second)],
        [CMAP, "l."],
        [CMAP, "-p", str(third)],
        [CMAP, "l."],
        [CMAP, "-p", str(long_line)],
        [CMAP, "-q", "l."],
        [CMAP, "-p", "/no/such/file"],
        [CMAP, "-p", "/"],
        [CMAP, "-D", "l."],
    ]
    same(node, commands, stdin="from standard input")


def test_wrong_command_lines(node: Node) -> None:
    wrong = [
        [CMAP, "-x"],
        [CMAP, "-qz"],
        [CMAP, "-m"],
        [CMAP, "-m", "bad"],
        [CMAP, "-C", "bad"],
        [CMAP, "-C"],
        [CMAP, "-g"],
        [CMAP, "-s"],
        [CMAP, "-d"],
        [CMAP, "-T"],
        [CMAP, "--nope"],
        [CMAP, "-s", "a.b"],
        [CMAP, "-C", "bad", "-x"],
        [CFG, "-z"],
        [CFG, "-k"],
        [CFG, "--kill"],
        [CFG, "--foo"],
        [CFG, "--re"],
        [CFG, "--brief=1"],
        [CFG, "-a", "0"],
        [CFG, "-a", "x"],
        [CFG, "-a", "1x"],
        [CFG, "-a", ""],
        [CFG, "-a", "4294967296"],
        [CFG, "-k", "-1"],
        [CPG, "-x"],
        [CPG, "-d"],
        [CPG, "--nope"],
    ]
    same(node, wrong)


def test_links_and_nodes(node: Node) -> None:
    commands = [
        [CFG, "-s"],
        [CFG, "-s", "-b"],
        [CFG, "-bs", "-i", "0"],
        [CFG, "--status", "--br"],
        [CFG, "-n"],
        [CFG, "-s", "-n"],
        [CFG, "-r", "-n"],
        [CFG, "-a", "1"],
        [CFG, "-a", "2"],
        [CFG, "--addr=2"],
        [CFG, "-a", " +1"],
        [CFG, "-a", "99"],
        [CFG, "-a", "4294967295"],
        [CFG, "-k", "99"],
        [CFG, "--kill", "4294967295"],
        [CFG, "-L"],
    ]
    same(node, commands)


def test_reload(node: Node) -> None:
    """With the file as it is, and with one that is wrong."""
    same(node, [[CFG, "-R"], [CFG, "--reload"]])
    text = node.configuration.read_text()
    try:
        node.configuration.write_text(text + "}\n")
        stock, ours = (run(node, side, [[CFG, "-R"]])[0] for side in (False, True))
        json_too = run_one(node, CFG, "-R", "--json")
        assert ours[:3] == stock[:3]
        assert ours.status > 1
        first, *reasons = ours.err.splitlines()
        assert first == stock.err.strip()
        # Stock's executive does not tell where, and has a grammar of its own.
        assert len(reasons) == (1 if node.kind == "aisexec" else 0)
        for reason in reasons:
            assert reason.startswith(f"{node.configuration}:{len(text.splitlines()) + 1}: ")
            assert json.loads(json_too.out)["reasons"] == reasons
    finally:
        node.configuration.write_text(text)


MEMBERS = """\
import sys
from libais import cpg
handles = []
for group in (b"plain", b"back\\\\slash \\x01 \\xff", b"zz", "umlaut \\u00e4".encode()):
    handle = cpg.Handle(retry_for=20)
    handle.join(group)
    for event in handle.events(20):
        break
    handles.append(handle)
print("ready", flush=True)
sys.stdin.read()
"""


def test_groups(node: Node) -> None:
    program = node.popen([sys.executable, "-c", MEMBERS], stdin=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    options = ["", "-n", "-e", "-ne", "-d,", "-nd:", "-ed,", "-d\u00e4", "-d"]
    commands = [[CPG, *([option] if option else [])] for option in options[:-1]]
    same(node, [*commands, [CPG, "-d", ""], [CPG, "operand"]])
    document = json.loads(run_one(node, CPG, "--json").out)
    groups = {group["name"]: group["members"] for group in document["groups"]}
    assert groups["zz"] == [{"nodeid": 1, "pid": program.pid, "addresses": [node.host.address]}]
    names = json.loads(run_one(node, CPG, "-n", "--json").out)
    assert {group["name"] for group in names["groups"]} == set(groups)


class Tracking:
    """corosync-cmapctl -t or -T, which goes on until it is told to stop."""

    def __init__(self, node: Node, ours: bool, arguments: Sequence[str], path: Path) -> None:
        self.path = path
        # Stock's tool keeps what it says until its end, when that is no terminal.
        start = [sys.executable, "-m", "tools.cmapctl"] if ours else ["stdbuf", "-oL", CMAP]
        with path.open("w") as output:
            self.process = node.popen([*start, *arguments], stdin=subprocess.PIPE, stdout=output)
        wait_until(lambda: self.path.read_text(), PATIENCE, f"{arguments} begins")

    @property
    def stdin(self) -> IO[str]:
        """To stop it."""
        assert self.process.stdin is not None
        return self.process.stdin

    def finish(self, last: str) -> str:
        """Everything it said, once it has said the last thing."""
        wait_until(lambda: last in self.path.read_text(), PATIENCE, lambda: self.path.read_text())
        self.stdin.write("q\n")
        self.stdin.flush()
        assert self.process.wait(PATIENCE) == 0
        return self.path.read_text()


CHANGES = [
    [CMAP, "-s", "track.one", "u8", "1"],
    [CMAP, "-s", "track.one", "u8", "2"],
    [CMAP, "-s", "track.one", "u8", "2"],
    [CMAP, "-s", "track.one", "str", "text"],
    [CMAP, "-s", "track.bin", "bin", "-"],
    [CMAP, "-d", "track.one"],
    [CMAP, "-D", "track."],
    [CMAP, "-s", "track.one", "u32", "77"],
    [CMAP, "-d", "track.one"],
]


def test_tracking(node: Node, tmp_path: Path) -> None:
    options = (["-b", "-T", "track."], ["-t", "track.one"], ["-T", "track.", "track.o"])
    tracks = {
        (side, number): Tracking(node, side, arguments, tmp_path / f"{side}{number}")
        for number, arguments in enumerate(options)
        for side in (False, True)
    }
    run(node, True, CHANGES, stdin="\x00\\\xff")
    texts = {key: track.finish("delete> track.one (u32) = 77\n") for key, track in tracks.items()}
    for number in range(len(options)):
        assert texts[True, number] == texts[False, number]
        assert texts[True, number].startswith('Type "q" to finish\ncreate> track.one (u8) = 1\n')


def test_json(node: Node) -> None:
    commands = [
        [CMAP, "-s", "j.bin", "bin", "-"],
        [CMAP, "-s", "j.flt", "dbl", "inf"],
        [CMAP, "--json", "j.", "totem.version"],
        [CMAP, "--json", "no.such"],
        [CMAP, "-D", "j."],
        [CFG, "--json", "-s"],
        [CFG, "--json", "-n"],
        [CFG, "--json", "-a", "2"],
        [CFG, "--json", "-k", "99"],
    ]
    results = run(node, True, commands, stdin="\x00a")
    keys, nothing, links, nodes, addresses, failed = (results[at] for at in (2, 3, 5, 6, 7, 8))
    assert json.loads(keys.out) == {
        "j.bin": {"type": "bin", "value": "0061"},
        "j.flt": {"type": "dbl", "value": "inf"},
        "totem.version": {"type": "u32", "value": 2},
    }
    assert nothing[1:3] == (1, "{}\n")
    assert json.loads(links.out)["local_nodeid"] == 1
    assert [each["status"] for each in json.loads(links.out)["links"][0]["nodes"]] == [
        "localhost",
        "connected",
    ]
    assert [(each["nodeid"], each["reachable"]) for each in json.loads(nodes.out)["nodes"]] == [(2, True)]
    assert json.loads(addresses.out)["nodeid"] == 2
    assert json.loads(failed.out) == {"done": False, "error": "CS_ERR_NOT_EXIST"}
    assert (failed.status, failed.err) == (1, "Could not kill node (error = CS_ERR_NOT_EXIST)\n")


def test_links_of_knet(new_cluster: NewCluster) -> None:
    """Of stock corosync, which alone has them."""
    cluster = new_cluster("ss", Settings(transport="knet"))
    cluster.start()
    wait_until(
        lambda: "connected" in run_one(cluster[1], CFG, "-n").out, PATIENCE, "the other node is connected"
    )
    commands = [[CFG, "-s"], [CFG, "-sb"], [CFG, "-n"], [CFG, "-a", "2"]]
    # knet goes on finding out how long a packet may be.
    wait_until(
        lambda: run(cluster[1], False, commands) == run(cluster[1], True, commands),
        PATIENCE,
        lambda: f"equal: {run(cluster[1], False, commands)} {run(cluster[1], True, commands)}",
    )


NO_EXECUTIVE = [
    [CMAP],
    [CMAP, "-g", "totem.version"],
    [CMAP, "-C", "all"],
    *([CFG, option] for option in ("-s", "-n", "-R", "-L", "-H")),
    [CFG, "-H", "--force"],
    [CFG, "-a", "1"],
    [CFG, "-k", "1"],
    [CPG],
    [CPG, "-n"],
]


def test_without_an_executive(new_cluster: NewCluster) -> None:
    stock, ours = (run(new_cluster("s")[1], side, NO_EXECUTIVE) for side in (False, True))
    assert ours == stock


def test_users_who_are_not_allowed(node: Node) -> None:
    commands = [[CMAP], [CMAP, "-s", "t.k", "u8", "1"], [CFG, "-s"], [CFG, "-R"], [CFG, "-H"], [CPG]]
    stock, ours = (run(node, side, commands, uid=NOBODY) for side in (False, True))
    assert "CS_ERR_ACCESS" in stock[0].err
    assert ours == stock
    assert node.running


@pytest.mark.parametrize("kind", ["s", "a"])
def test_shutdown(kind: str, new_cluster: NewCluster) -> None:
    cluster = new_cluster(kind * 3)
    cluster.start()
    with inside(cluster[1]), cfg.Handle() as handle:

        def object_to_everything() -> None:
            with contextlib.suppress(errors.LibraryError):  # the executive's end
                for _ in handle.events():
                    handle.replyto_shutdown(cfg.ShutdownReply.NO)

        handle.trackstart()
        thread = threading.Thread(target=object_to_everything)
        thread.start()
        try:
            stock, ours = (run(cluster[1], side, [[CFG, "-H"]]) for side in (False, True))
            assert "Could not shutdown (error = 10)" in stock[0].err
            assert ours == stock
            assert cluster[1].running
            forced = run_one(cluster[1], CFG, "-H", "--force")
        finally:
            handle.close()
            thread.join(PATIENCE)
    assert forced[1:] == (0, "Shutting down corosync\n", "")
    assert cluster[1].wait() == 0
    stock, ours = (run(cluster[node], node == 2, [[CFG, "-H"]]) for node in (3, 2))
    assert ours == stock == [("corosync-cfgtool -H", 0, "Shutting down corosync\n", "")]
    assert cluster[2].wait() == cluster[3].wait() == 0


@pytest.mark.parametrize("name", [CMAP, CFG, CPG])
def test_help_names_every_option_of_stock(name: str, new_cluster: NewCluster) -> None:
    """In words of our own."""
    node = new_cluster("s")[1]
    stock, ours, ours_long = (
        run(node, side, [[name, option]])[0]
        for side, option in ((False, "-h"), (True, "-h"), (True, "--help"))
    )
    assert (ours.status, ours.err) == (stock.status, stock.err) == (0, "")
    assert ours_long.out == ours.out
    letters = re.compile(r"(?<![\w-])-(\w)\b")
    assert set(letters.findall(stock.out)) <= set(letters.findall(ours.out))
    assert "--json" in ours.out
