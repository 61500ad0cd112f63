"""The demo's proofs: do they fail when they should, and does its replica keep tables alike?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from libais import cpg
from tools.demo_history import History, Message, check_histories
from tools.kv import Have, Process, Replica, digest, winner

BOTH = [(1, 10), (2, 20)]


def history(node: int, *texts: str, then: str = "1.b") -> History:
    """Texts from node 1 delivered in ring 1.a, behind which comes another ring."""
    result = History(node)
    result.changed("1.a", BOTH)
    for text in texts:
        result.delivered(Message(1, 10, text))
    result.changed(then, BOTH)
    result.delivered(Message(1, 10, f"end of {then}"))
    return result


def failed(*histories: History) -> list[bool]:
    """For each proof: did it fail?"""
    return [bool(problem) for problem in check_histories(histories).values()]


def test_equal_histories_agree() -> None:
    assert failed(history(1, "x", "y"), history(2, "x", "y")) == [False, False, False]


@pytest.mark.parametrize(
    ("texts", "then", "expected"),
    [
        (("y", "x"), "1.b", [True, True, False]),
        (("x",), "1.b", [True, False, False]),
        (("x", "y", "y"), "1.b", [True, False, True]),
        (("y", "x"), "2.b", [True, True, False]),
    ],
    ids=["reordered", "lost", "twice", "reordered where ways parted"],
)
def test_differences_are_found(texts: tuple[str, ...], then: str, expected: list[bool]) -> None:
    assert failed(history(1, "x", "y"), history(2, *texts, then=then)) == expected


def test_a_shorter_history_is_right_where_ways_parted() -> None:
    stayed = [history(3, "x", "y"), history(1, "x", "y")]
    assert failed(*stayed, history(2, "x", then="2.b")) == [False, False, False]


def test_what_follows_the_end_is_not_compared() -> None:
    one, other = history(1, "x"), history(2, "x")
    one.closed = True
    one.changed("1.c", BOTH[:1])
    one.delivered(Message(1, 10, "late"))
    assert failed(one, other) == [False, False, False]


def test_the_larger_side_wins_and_empty_tables_never() -> None:
    a, b, c = Process(1, 1), Process(2, 1), Process(3, 1)
    assert winner({a: Have("", 0), b: Have("", 0)}) is None
    assert winner({a: Have("", 0), b: Have("h", 5)}) == b
    assert winner({a: Have("g", 9), b: Have("h", 5), c: Have("h", 5)}) == b
    assert winner({c: Have("h", 5), b: Have("g", 1)}) == b


class Group:
    """Replicas and the ordered messages between them, without a ring."""

    def __init__(self, *numbers: int) -> None:
        self.replicas = [
            Replica(Process(number, 1), self._sender(number), lambda _: None) for number in numbers
        ]
        self.queue: list[tuple[int, bytes]] = []

    def _sender(self, number: int) -> Any:
        return lambda message: self.queue.append((number, json.dumps(message).encode()))

    def view(self, seq: int, *members: int) -> None:
        """A change for its members."""
        processes = tuple(cpg.Process(number, 1) for number in members)
        for replica in self.of(*members):
            replica.handle(cpg.ConfigChange("kv", processes, (), ()))
            replica.handle(cpg.TotemChange(cpg.RingId(min(members), seq), members))

    def of(self, *numbers: int) -> list[Replica]:
        return [replica for replica in self.replicas if replica.me.node in numbers]

    def update(self, sender: int, key: str, value: str) -> None:
        self.queue.append((sender, json.dumps({"kind": "update", "key": key, "value": value}).encode()))

    def deliver(self, *numbers: int) -> None:
        """Everything that is under way, to the replicas named."""
        while self.queue:
            sender, message = self.queue.pop(0)
            for replica in self.of(*numbers):
                replica.handle(cpg.Deliver("kv", sender, 1, message))


def test_a_merge_takes_the_larger_side_and_updates_meanwhile_are_kept() -> None:
    group = Group(1, 2, 3)
    group.view(1, 1, 2, 3)
    group.update(1, "key", "old")
    group.deliver(1, 2, 3)
    group.view(2, 2, 3)
    group.update(3, "key", "of two")
    group.deliver(2, 3)
    group.view(2, 1)
    group.update(1, "key", "of one")
    group.deliver(1)
    group.view(3, 1, 2, 3)
    group.update(1, "more", "meanwhile")
    group.deliver(1, 2, 3)
    assert all(replica.agreed for replica in group.replicas)
    tables = [replica.table for replica in group.replicas]
    assert [table.entries for table in tables] == [{"key": "of two", "more": "meanwhile"}] * 3
    assert len({(table.history, table.updates) for table in tables}) == 1
    assert tables[0].updates == 3


def test_a_change_during_the_comparison_starts_it_again() -> None:
    group = Group(1, 2, 3)
    group.view(1, 2, 3)
    group.update(2, "key", "value")
    group.deliver(2, 3)
    group.view(2, 1, 2, 3)
    unfinished = group.queue[:]
    group.queue.clear()
    group.view(3, 1, 2)
    # What was said of the view before is delivered late: it must not count.
    group.queue[:0] = unfinished
    group.deliver(1, 2)
    assert [replica.agreed for replica in group.of(1, 2)] == [True, True]
    assert [replica.table.entries for replica in group.of(1, 2)] == [{"key": "value"}] * 2


def test_a_message_of_another_program_changes_nothing() -> None:
    group = Group(1)
    group.view(1, 1)
    group.deliver(1)
    for message in (b"", b"\xff\0", b"[1]", b'{"kind": "other"}'):
        group.replicas[0].handle(cpg.Deliver("kv", 2, 9, message))
    assert group.replicas[0].agreed
    assert group.replicas[0].table.history == ""
    assert digest("a", "b") != digest("b", "a")
