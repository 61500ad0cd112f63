"""aisexec-top: what readings mean together, and how they are shown."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from libais.quorum import RingId
from tools import top, top_text
from tools.top_state import COUNTERS, Client, Node, Paced, Reading
from tools.top_story import EVENTS_MAX, Story

ONE = Node(1, "one", "joined", ("10.0.0.1",), 1, 1, local=True)
TWO = Node(2, "two", "joined", ("10.0.0.2", "10.1.0.2"), 1, 1)
TWO_LEFT = Node(2, "two", "left", ("10.0.0.2",), 1, 1)
THREE = Node(3, "", "never seen")


def reading(
    moment: float,
    *nodes: Node,
    quorate: bool = True,
    clients: tuple[Client, ...] = (),
    counters: dict[str, int] | None = None,
) -> Reading:
    return Reading(
        moment=moment,
        clock=1_000_000 + moment,
        nodes=nodes,
        quorate=quorate,
        ring_id=RingId(1, 0x1F),
        cluster="lab",
        transport="udpu",
        counters=dict.fromkeys(COUNTERS, 0) | (counters or {}),
        clients=clients,
        clients_moment=moment,
        connections=len(clients),
    )


def told(*readings: Reading) -> Story:
    story = Story()
    for each in readings:
        story.take(each)
    return story


def texts(story: Story) -> list[str]:
    return [happening.text for happening in story.happenings]


@pytest.mark.parametrize(
    ("counters", "why"),
    [
        ({}, "in order"),
        ({"operational_token_lost": 1}, "in order"),
        ({"consensus_timeouts": 1}, "it did not answer"),
        ({"consensus_timeouts": 1, "operational_token_lost": 1}, "the token was lost, and it did not answer"),
    ],
)
def test_why_a_node_left(counters: dict[str, int], why: str) -> None:
    story = told(reading(0, ONE, TWO), reading(1, ONE, TWO_LEFT, quorate=False, counters=counters))
    assert texts(story)[1:] == [f"two left: {why}", "quorum LOST: activity is blocked"]
    assert story.departures[2].reason == why
    story.take(reading(2, ONE, Node(2, "two", "joined", joins=2), counters=counters))
    assert texts(story)[3:] == ["two joined", "quorum regained"]
    assert story.departures == {}


def test_a_node_that_was_away_between_two_readings() -> None:
    story = told(reading(0, ONE, TWO), reading(1, ONE, Node(2, "two", "joined", joins=2)))
    assert texts(story)[1:] == ["two restarted"]


def test_rates() -> None:
    clients = tuple(Client("cpg", pid, "p", requests=10) for pid in (5, 5, 6))
    now = ((5, 20), (5, 30), (6, 10), (7, 99))
    later = tuple(Client("cpg", pid, "p", requests=number) for pid, number in now)
    counters = {"orf_token_rx": 100, "mcast_rx": 30}
    story = told(
        reading(10, ONE, clients=clients), reading(12, ONE, clients=later, counters=counters)
    )
    rates = story.rates()
    assert rates is not None
    assert (rates.rotation, rates.received, rates.sent) == (20.0, 15.0, 0.0)
    # What a process had open before counts; one that is new has no rate yet.
    assert [(client.pid, rate) for client, rate in story.busiest()] == [(5, 15.0), (6, 0.0), (7, 0.0)]
    story.take(replace(reading(12.5, ONE, counters={"orf_token_rx": 101}), clients_moment=12), periodic=False)
    assert story.rates() == rates
    assert [client.pid for client, _ in story.busiest()] == [5, 6, 7]
    # Cleared counters are no rate below zero.
    story.take(reading(13, ONE))
    cleared = story.rates()
    assert cleared is not None
    assert (cleared.rotation, cleared.received) == (None, 0.0)


def test_what_takes_long_is_read_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def read() -> float:
        nonlocal now
        now += 0.5
        return now

    monkeypatch.setattr("time.monotonic", lambda: now)
    paced = Paced(read)
    assert paced.get() == 100.5
    now += 4
    assert (paced.get(), paced.moment) == (100.5, 100.5)
    assert paced.get(changed=True) == 105.0
    now += 4.6
    assert (paced.get(), paced.moment) == (110.1, 110.1)


def test_counters_may_be_read_before_the_membership_they_are_about() -> None:
    counters = {"consensus_timeouts": 1}
    between = reading(1, ONE, TWO, counters=counters)
    story = told(reading(0, ONE, TWO), between, reading(2, ONE, TWO_LEFT, counters=counters))
    assert texts(story)[1:] == ["two left: it did not answer"]


def test_messages_sent_again_are_one_line() -> None:
    story = told(*(reading(n, ONE, TWO, counters={"mcast_retx": 3 * n}) for n in range(5)))
    assert texts(story)[1:] == ["12 messages sent again"]
    story.take(reading(6, ONE, TWO_LEFT, counters={"mcast_retx": 13}))
    assert texts(story)[1:] == ["12 messages sent again", "two left: in order", "1 messages sent again"]


def test_what_is_kept_is_bounded() -> None:
    story = told(*(reading(n, ONE, TWO if n % 2 else TWO_LEFT) for n in range(3 * EVENTS_MAX)))
    assert len(story.happenings) == EVENTS_MAX


def test_the_executive_goes_and_comes() -> None:
    story = told(reading(0, ONE, TWO))
    story.lost(1_000_001, "gone")
    assert story.rates() is None
    assert top_text.as_json(story)["executive"] is False
    assert "the executive is gone: gone" in top_text.plain(story)
    # Another executive's counters begin at nothing.
    story.take(reading(2, ONE, TWO_LEFT))
    assert texts(story)[2:] == ["watching; in the ring: one; missing: two"]


def full() -> Story:
    client = Client("cmap", 77, "program\x1b[31m", requests=5)
    counters = {"consensus_timeouts": 1, "orf_token_rx": 50}
    return told(
        reading(0, ONE, TWO, THREE, clients=(client,)),
        reading(1, ONE, TWO_LEFT, THREE, quorate=False, clients=(client,), counters=counters),
    )


def test_plain_text() -> None:
    text = top_text.plain(full())
    assert text.startswith("lab (udpu)  ring 1.1f  1 of 3 nodes  ")
    for line in (
        "quorate:     NO, activity is blocked",
        "token:       comes round in 20.00 ms",
        " 1  one (local)  joined          1      1  10.0.0.1",
        " 3  node 3       never seen",
        "clients: 1 connections",
    ):
        assert line in text
    assert "two left: it did not answer" in text


def test_json() -> None:
    document = json.loads(json.dumps(top_text.as_json(full())))
    assert document["nodes"][1]["left"] == {"time": 1_000_001, "why": "it did not answer"}
    assert document["rates"]["token_rotation_ms"] == 20.0
    assert document["clients"][0]["service"] == "cmap"
    assert [event["grave"] for event in document["events"]] == [False, True, True]
    assert json.loads(json.dumps(top_text.as_json(told(reading(0, ONE)))))["rates"] is None


@pytest.mark.parametrize("height", [8, 25, 60])
def test_screen(height: int) -> None:
    """What matters is drawn, at any height; control characters of others are not passed on."""
    console = pytest.importorskip("rich.console", reason="rich is not installed: pip install rich")
    from tools.top_screen import picture

    recorder = console.Console(width=120, height=height, record=True, file=io.StringIO())
    recorder.print(picture(full(), height))
    text = recorder.export_text()
    for words in ("1 of 3 nodes", "NO, activity is blocked", "comes round in 20.00 ms", "one (local)"):
        assert words in text
    assert "\x1b" not in text
    recorder.print(picture(Story(), height))
    assert "no executive" in recorder.export_text()


def test_without_rich_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith(("rich.", "tools.top_screen"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert top.command([]) == 1
    error = capsys.readouterr().err
    assert "python3-rich" in error
    assert "--once" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_given_back(number: signal.Signals) -> None:
    """Whether there is an executive or not."""
    pytest.importorskip("rich", reason="rich is not installed: pip install rich")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(Path(__file__).parents[2])
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "tools.top"])
    shown = b""
    while b"watching" not in shown and b"no executive" not in shown:
        shown += os.read(terminal, 65536)
    assert b"\x1b[?1049h" in shown
    os.kill(pid, number)
    with contextlib.suppress(OSError):  # EIO is the end of a terminal
        while part := os.read(terminal, 65536):
            shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[?1049l" in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


@pytest.mark.parametrize("wrong", [["-i", "0"], ["-i", "x"], ["-n", "0"], ["operand"]])
def test_wrong_options(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        top.command(wrong)
    assert end.value.code == 2
