"""Each checker lets a good history pass and finds what is wrong in bad ones, made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aisexec.sim.checkers import (
    ALL,
    agreed_order,
    boundedness,
    causal_order,
    configuration_agreement,
    delivered_once,
    group_agreement,
    group_delivery,
    group_views,
    liveness,
    quorum,
    ring_ids,
    safe_delivery,
    self_delivery,
    synchronisation,
    transitional_configuration,
    virtual_synchrony,
)
from aisexec.sim.history import (
    Delivered,
    Ended,
    History,
    ProgramDelivered,
    ProgramEnded,
    ProgramJoined,
    ProgramSent,
    ProgramView,
    Reached,
    Record,
    Regular,
    Sizes,
    Started,
    Stored,
    Submitted,
    Synchronised,
    Transitional,
    Verdict,
    Violation,
)
from aisexec.totem.types import RingId
from ipc.cpg_layouts import Reason

A, B, C = (1, 0), (2, 0), (3, 0)
LONE = {A: RingId(1, 5), B: RingId(2, 5), C: RingId(3, 5)}
ALL3, PAIR = RingId(1, 9), RingId(1, 13)
SIZES = dict.fromkeys(
    ("send queue", "retransmission queue", "misses", "own frames", "assembly", "assemblies", "failed"), 0
) | {"sort queue": 3}


def install(
    life: tuple[int, int], ring: RingId, members: tuple[int, ...], came: tuple[int, ...]
) -> list[Record]:
    """Both configurations, and what programs notice of them."""
    joined = tuple(n for n in members if n not in came)
    return [
        Stored(0.5, life, ring.seq),
        Transitional(1.0, life, ring, came),
        Regular(1.0, life, ring, members, (), joined),
        Reached(1.0, life, ring, False),
        Synchronised(1.1, life, ring),
        Verdict(1.1, life, ring, members, len(members) >= 2),
        Reached(1.1, life, ring, True),
    ]


def good() -> History:
    """Three nodes form a ring and send; then node 3 dies, and the others go on."""
    records: list[Record] = []
    for life in (A, B, C):
        records.append(Started(0.0, life, 0))
        records += install(life, LONE[life], (life[0],), ())
    for life in (A, B, C):
        records += install(life, ALL3, (1, 2, 3), (life[0],))
    records += joining(A, 10) + joining(B, 20)
    records += [
        ProgramView(2.0, A, 10, ((1, 10),), (), ((1, 10, Reason.JOIN),)),
        ProgramView(2.0, A, 10, ((1, 10), (2, 20)), (), ((2, 20, Reason.JOIN),)),
        ProgramView(2.0, B, 20, ((1, 10), (2, 20)), (), ((2, 20, Reason.JOIN),)),
        Submitted(3.0, A, 0, False),
        ProgramSent(3.0, A, 10, b"g", 5),
    ]
    records += [Delivered(3.1, life, 1, 0) for life in (A, B, C)]
    records += [ProgramDelivered(3.1, A, 10, (1, 10), 5), ProgramDelivered(3.1, B, 20, (1, 10), 5)]
    records.append(Submitted(3.2, B, 1, True))
    records += [Delivered(3.3, life, 2, 1) for life in (A, B)]
    records += [Submitted(3.4, A, 2, False), Ended(4.0, C, "crash")]
    for life in (A, B):
        records += [
            Stored(5.0, life, 13),
            Delivered(5.0, life, 1, 2),
            Transitional(5.0, life, PAIR, (1, 2)),
            Regular(5.0, life, PAIR, (1, 2), (), ()),
            Reached(5.0, life, PAIR, False),
            Synchronised(5.1, life, PAIR),
            Verdict(5.1, life, PAIR, (1, 2), True),
            Reached(5.1, life, PAIR, True),
        ]
    records += [Submitted(6.0, B, 3, False), Delivered(6.1, A, 2, 3), Delivered(6.1, B, 2, 3)]
    records += [Sizes(9.0, life, SIZES) for life in (A, B)]
    return History(
        records=records,
        messages=[b"message %d " % n for n in range(1, 7)],
        limits=dict.fromkeys(SIZES, 100),
        healed_at=4.5,
        settled_at=6.5,
        must_settle_by=20.0,
        ended_at=9.0,
        alive=(1, 2),
    )


def joining(life: tuple[int, int], pid: int) -> list[Record]:
    return [ProgramJoined(1.5, life, pid, b"g")]


def place(history: History, record: Record) -> int:
    return history.records.index(record)


def without(record: Record) -> Callable[[History], None]:
    return lambda history: history.records.remove(record)


def instead(record: Record, other: Record) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.records[place(history, record)] = other

    return change


def before(record: Record, other: Record) -> Callable[[History], None]:
    return lambda history: history.records.insert(place(history, record), other)


def moved(record: Record, ahead_of: Record) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.records.remove(record)
        history.records.insert(place(history, ahead_of), record)

    return change


def both(*changes: Callable[[History], None]) -> Callable[[History], None]:
    def change(history: History) -> None:
        for each in changes:
            each(history)

    return change


def never_settled(history: History) -> None:
    history.settled_at = None


def settled_late(history: History) -> None:
    history.settled_at = 21.0


FIRST = Delivered(6.1, A, 2, 3)
LAST = Transitional(5.0, B, PAIR, (1, 2))
PAIRED = Regular(5.0, B, PAIR, (1, 2), (), ())
SECOND_VIEW = ProgramView(2.0, A, 10, ((1, 10), (2, 20)), (), ((2, 20, Reason.JOIN),))
FULL = Sizes(9.0, B, SIZES | {"assembly": 101})
NOT_EMPTY = Sizes(9.0, B, SIZES | {"send queue": 1})
GROWN = Sizes(9.0, B, SIZES | {"sort queue": 90})

BAD: list[tuple[str, Callable[[History], None], Callable[[History], None]]] = [
    ("an alien message", delivered_once.check, before(FIRST, Delivered(6.0, A, 2, 4))),
    ("twice", delivered_once.check, before(FIRST, Delivered(6.0, B, 1, 0))),
    ("of another sender", delivered_once.check, instead(FIRST, Delivered(6.1, A, 1, 3))),
    ("before it was sent", delivered_once.check, moved(FIRST, Submitted(6.0, B, 3, False))),
    ("an own message is lost", self_delivery.check, without(Delivered(6.1, B, 2, 3))),
    (
        "an own message is lost at everybody",
        self_delivery.check,
        both(without(Delivered(5.0, A, 1, 2)), without(Delivered(5.0, B, 1, 2))),
    ),
    ("a gap", self_delivery.check, without(Delivered(3.1, A, 1, 0))),
    ("a hole", agreed_order.check, without(Delivered(3.1, B, 1, 0))),
    ("another order", agreed_order.check, moved(Delivered(3.3, A, 2, 1), Delivered(3.1, A, 1, 0))),
    ("less than mates", virtual_synchrony.check, without(Delivered(5.0, B, 1, 2))),
    ("T elsewhere", virtual_synchrony.check, moved(LAST, Delivered(5.0, B, 1, 2))),
    ("less in the last ring", virtual_synchrony.check, without(Delivered(6.1, A, 2, 3))),
    ("safe at one only", safe_delivery.check, without(Delivered(3.3, A, 2, 1))),
    ("no T", transitional_configuration.check, without(LAST)),
    ("T of another ring", transitional_configuration.check, instead(LAST, LAST._replace(ring=ALL3))),
    ("T too small", transitional_configuration.check, instead(LAST, LAST._replace(members=(2,)))),
    ("T with a stranger", transitional_configuration.check, instead(LAST, LAST._replace(members=(1, 2, 3)))),
    ("two Ts", transitional_configuration.check, before(LAST, LAST)),
    ("other members", configuration_agreement.check, instead(PAIRED, PAIRED._replace(members=(1, 2, 3)))),
    ("not a member", configuration_agreement.check, instead(PAIRED, PAIRED._replace(life=C))),
    ("wrongly joined", configuration_agreement.check, instead(PAIRED, PAIRED._replace(joined=(3,)))),
    (
        "effect before cause",
        causal_order.check,
        both(
            moved(Delivered(3.3, A, 2, 1), Delivered(3.1, A, 1, 0)),
            moved(Submitted(3.2, B, 1, True), Delivered(3.3, A, 2, 1)),
            moved(Delivered(3.1, B, 1, 0), Submitted(3.2, B, 1, True)),
        ),
    ),
    ("the id of before", ring_ids.check, instead(PAIRED, PAIRED._replace(ring=ALL3))),
    ("not on the disk", ring_ids.check, without(Stored(5.0, B, 13))),
    ("forgotten", ring_ids.check, before(FIRST, Started(6.0, (3, 1), 5))),
    ("a view out of nothing", group_views.check, without(SECOND_VIEW)),
    ("a wrong reason", group_views.check, before(FIRST, ProgramView(
        6.0, A, 10, ((1, 10),), ((2, 20, Reason.PROCDOWN),), ()))),
    ("node down that is up", group_views.check, before(FIRST, ProgramView(
        6.0, A, 10, ((1, 10),), ((2, 20, Reason.NODEDOWN),), ()))),
    ("a message of a stranger", group_views.check, before(FIRST, ProgramDelivered(6.0, A, 10, (3, 30), 5))),
    ("a ghost at the end", group_views.check, before(FIRST, ProgramEnded(6.0, B, 20, "exit"))),
    ("less than another member", group_agreement.check, without(ProgramDelivered(3.1, B, 20, (1, 10), 5))),
    ("own message lost", group_delivery.check, without(ProgramDelivered(3.1, A, 10, (1, 10), 5))),
    ("own message twice", group_delivery.check, before(FIRST, ProgramDelivered(6.0, A, 10, (1, 10), 5))),
    ("never sent", group_delivery.check, before(FIRST, ProgramDelivered(6.0, A, 10, (1, 10), 4))),
    ("never together", liveness.check, never_settled),
    ("too late", liveness.check, settled_late),
    ("in step elsewhere", synchronisation.check, moved(Synchronised(5.1, A, PAIR), Sizes(9.0, A, SIZES))),
    ("in step twice", synchronisation.check, before(FIRST, Synchronised(6.0, A, PAIR))),
    ("not in step", liveness.check, without(Synchronised(5.1, B, PAIR))),
    ("quorum alone", quorum.check, instead(
        Verdict(1.1, C, LONE[C], (3,), False), Verdict(1.1, C, LONE[C], (3,), True))),
    ("counts the dead", quorum.check, instead(
        Verdict(1.1, C, LONE[C], (3,), False), Verdict(1.1, C, LONE[C], (1, 3), False))),
    ("another opinion", quorum.check, instead(
        Verdict(1.1, C, ALL3, (1, 2, 3), True), Verdict(1.1, C, ALL3, (1, 2, 3), False))),
    ("a ring of some", liveness.check, lambda history: setattr(history, "alive", (1, 2, 3))),
    ("beyond a limit", boundedness.check, before(FIRST, FULL)),
    ("not empty at rest", boundedness.check, instead(Sizes(9.0, B, SIZES), NOT_EMPTY)),
    ("growth", boundedness.check, instead(Sizes(9.0, B, SIZES), GROWN)),
]  # fmt: skip


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__module__.rsplit(".", 1)[1])
def test_a_good_history_passes(check: Callable[[History], None]) -> None:
    check(good())


@pytest.mark.parametrize(("check", "spoil"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_one_does_not(check: Callable[[History], None], spoil: Callable[[History], None]) -> None:
    history = good()
    spoil(history)
    with pytest.raises(Violation):
        check(history)


def test_each_checker_has_bad_histories() -> None:
    assert {bad[1] for bad in BAD} == set(ALL)


def test_with_changed_frames_only_limits_are_judged() -> None:
    history = good()
    never_settled(history)
    history.records.remove(LAST)
    history.corrupted = True
    for check in ALL:
        check(history)
    history.records.append(FULL)
    history.index = None
    with pytest.raises(Violation):
        boundedness.check(history)
