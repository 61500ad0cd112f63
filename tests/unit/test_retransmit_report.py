"""When retransmits are worth a line, and what it says: who asks, what is missing, does it matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aisexec.totem import wire
from aisexec.totem.limits import RETRANSMIT_REPORT_SEQS_MAX
from aisexec.totem.retransmit_report import STORM_VISITS, RetransmitReport
from aisexec.totem.settings import Settings
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING, RingId

SETTINGS = replace(Settings(), token=1.0)
RING = RingId(1, 8)


def token(*missing: int, seq: int, aru: int, behind: int = 3, ring: RingId = RING) -> wire.OrfToken:
    head = wire.header(wire.FrameType.ORF_TOKEN, 1)
    items = tuple(wire.RtrItem(ring, n) for n in missing)
    return wire.OrfToken(head, seq, 1, aru, behind, ring, 0, 0, 0, items)


def test_messages_that_come_at_once_are_not_worth_a_line() -> None:
    report = RetransmitReport(1)
    assert report.note(token(7, seq=10, aru=6), [], 1, 5.0)
    assert not report.note(token(9, seq=12, aru=8), [], 1, 5.01)
    assert report.report(SETTINGS, 0, 6.0) is None
    assert not report.active


def test_a_storm_that_does_no_harm() -> None:
    report = RetransmitReport(1)
    for n in range(40):
        missing = range(98 + n, 101 + n)  # each at three visits
        report.note(token(*missing, seq=200 + 100 * n, aru=97 + n), [], 1, 5 + n * 0.02)
    assert report.active
    assert report.report(SETTINGS, 0, 6.0) == (
        LOG_NOTICE,
        "Retransmits for 0.78 s, at 40 visits of the token: node 3 asks for 42 messages"
        " (62 63 64 65 66 67 68 69 ...); this node has sent 40 again. It does not matter: none was asked for"
        " longer than 0.04 s.",
    )


def test_many_lost_messages_cost_throughput() -> None:
    report = RetransmitReport(1)
    for n in range(30):
        missing = range(1000 * n, 1000 * n + 1000, 10)
        report.note(token(*missing[:10], seq=100 * n, aru=100 * n - 50), [], 0, 5 + n * 0.01)
    told = report.report(SETTINGS, 0, 6.0)
    assert told is not None
    assert told[0] == LOG_WARNING
    assert "256+ messages" in told[1]
    assert "It costs throughput: 9 % of the messages were lost" in told[1]


def test_a_message_that_does_not_come_matters() -> None:
    report = RetransmitReport(3)
    for n in range(100):
        report.note(token(seq=10, aru=6), [7], 0, 5 + n * 0.01)
    told = report.report(SETTINGS, 99, 6.0)
    assert told == (
        LOG_WARNING,
        "Retransmits for 0.99 s, at 100 visits of the token: this node asks for 1 message (7); this node has"
        " sent 0 again. It matters: one is missing for 1.00 s already, and what comes behind it is not"
        " delivered where it is missing.",
    )
    # The next interval knows since when.
    for n in range(1000):
        report.note(token(seq=10, aru=6), [7], 0, 6 + n * 0.01)
    told = report.report(SETTINGS, SETTINGS.fail_recv_const - 1, 16.0)
    assert told is not None
    assert "missing for 11.00 s" in told[1]
    assert f"at {SETTINGS.fail_recv_const} (fail_recv_const) the node that is behind leaves" in told[1]


def test_a_gap_that_is_closed_again_is_over() -> None:
    report = RetransmitReport(1)
    for n in range(STORM_VISITS):
        report.note(token(7, seq=10, aru=6), [], 1, 5 + n * 0.1)
    told = report.report(SETTINGS, 0, 15.0)
    assert told is not None
    assert told[0] == LOG_NOTICE
    assert told[1].endswith("none was asked for longer than 0.40 s.")
    assert report.report(SETTINGS, 0, 25.0) is None


def test_a_gap_that_was_open_for_long_has_mattered() -> None:
    report = RetransmitReport(1)
    for n in range(20):
        report.note(token(7, seq=10, aru=6), [], 1, 5 + n * 0.1)
    told = report.report(SETTINGS, 0, 15.0)
    assert told is not None
    assert told[0] == LOG_WARNING
    assert told[1].endswith("It mattered: one was missing for 1.90 s before it came.")


def test_the_window_of_the_queue_matters() -> None:
    report = RetransmitReport(1)
    for n in range(10):
        report.note(token(n + 1, seq=12000, aru=100), [], 1, 5 + n * 0.01)
    told = report.report(SETTINGS, 0, 5.2)
    assert told is not None
    assert "11900 messages wait for it; from 16384 on nobody may send" in told[1]


def test_another_ring_begins_anew() -> None:
    report = RetransmitReport(1)
    report.note(token(7, seq=10, aru=6), [], 1, 5.0)
    report.note(token(7, seq=10, aru=6, ring=RingId(1, 12)), [], 1, 50.0)
    assert report.report(SETTINGS, 0, 50.1) is None


@pytest.mark.parametrize(("nodes", "words"), [((0,), "somebody asks"), ((2, 1), "nodes 1 (this node) 2 ask")])
def test_who_asks(nodes: tuple[int, ...], words: str) -> None:
    report = RetransmitReport(1)
    for n in range(12):
        report.note(token(n, seq=100, aru=6, behind=nodes[n % len(nodes)]), [], 1, 5 + n * 0.01)
    told = report.report(SETTINGS, 0, 5.2)
    assert told is not None
    assert f": {words} for 12 messages (" in told[1]


def test_notes_are_bounded() -> None:
    report = RetransmitReport(1)
    for n in range(10 * RETRANSMIT_REPORT_SEQS_MAX):
        report.note(token(n, seq=n + 5, aru=n), [], 1, 5 + n * 0.001)
    assert len(report._asked) == RETRANSMIT_REPORT_SEQS_MAX
    assert len(report._missing) == 1
