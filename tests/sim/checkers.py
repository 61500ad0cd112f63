"""What extended virtual synchrony promises, checked on recorded histories."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

History = Sequence[tuple[object, ...]]


def by_configuration(history: History) -> dict[object, list[tuple[object, ...]]]:
    """Messages between a regular configuration and the next one, by its ring id.

    Includes those of the transitional configuration in between.
    """
    result: dict[object, list[tuple[object, ...]]] = {}
    current: list[tuple[object, ...]] | None = None
    for event in history:
        if event[0] == "R":
            current = result[event[1]] = []
        elif event[0] == "D" and current is not None:
            current.append(event)
    return result


def successors(history: History) -> dict[object, object]:
    """For each regular configuration the one installed next."""
    rings = [event[1] for event in history if event[0] == "R"]
    return dict(itertools.pairwise(rings))


def check_virtual_synchrony(histories: Mapping[object, History]) -> int:
    """Members that share two consecutive configurations delivered the same in the first; returns pairs."""
    pairs = 0
    items = list(histories.items())
    for i, (a, history_a) in enumerate(items):
        for b, history_b in items[i + 1 :]:
            messages_a, messages_b = by_configuration(history_a), by_configuration(history_b)
            next_a, next_b = successors(history_a), successors(history_b)
            for ring, follower in next_a.items():
                if ring in messages_b and next_b.get(ring) == follower:
                    if messages_a[ring] != messages_b[ring]:
                        where = describe_difference(messages_a[ring], messages_b[ring])
                        raise AssertionError(f"{a} and {b} differ in ring {ring} {where}")
                    pairs += 1
    return pairs


def check_agreed_prefix(histories: Mapping[object, History]) -> None:
    """Within a configuration everybody delivers in the same order: one sequence begins the other."""
    seen: dict[object, tuple[object, list[tuple[object, ...]]]] = {}
    for name, history in histories.items():
        for ring, messages in by_configuration(history).items():
            other_name, other = seen.setdefault(ring, (name, messages))
            common = [m for m in messages if m in set(other)]
            common_other = [m for m in other if m in set(messages)]
            assert common == common_other, f"{name} and {other_name} order differently in ring {ring}"


def check_once(histories: Mapping[object, History]) -> None:
    """Unique messages are delivered at most once."""
    for name, history in histories.items():
        messages = [event for event in history if event[0] == "D"]
        assert len(messages) == len(set(messages)), f"{name} delivered a message twice"


def check_transitional_first(histories: Mapping[object, History]) -> None:
    """Each regular configuration is preceded by a transitional one of the same ring, within its members."""
    for name, history in histories.items():
        last: tuple[object, ...] | None = None
        for event in history:
            if event[0] == "T":
                last = event
            elif event[0] == "R":
                assert last is not None, f"{name}: regular configuration without a transitional one"
                assert last[1] == event[1], f"{name}: ring ids {last[1]} and {event[1]}"
                assert set(last[2]) <= set(event[2])  # type: ignore[call-overload]
                last = None


def check_all(histories: Mapping[object, History]) -> int:
    """All of the above; returns how many pairs of histories shared two consecutive configurations."""
    check_once(histories)
    check_transitional_first(histories)
    check_agreed_prefix(histories)
    return check_virtual_synchrony(histories)


def describe_difference(a: Sequence[tuple[object, ...]], b: Sequence[tuple[object, ...]]) -> str:
    """Where two sequences part."""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    brief = [[(e[1], bytes(e[2])[:16]) for e in s[at : at + 3]] for s in (a, b)]  # type: ignore[call-overload]
    return f"at {at} of {len(a)} and {len(b)}: {brief[0]} against {brief[1]}"


# What closed process groups promise their programs: histories of tests.sim.executives.Program.


def check_views(name: object, history: History) -> None:
    """Each view follows from the one before; who joins was not in it, who leaves was."""
    members: set[object] | None = None
    for event in history:
        if event[0] != "V":
            continue
        now, left, joined = (list(part) for part in event[1:])  # type: ignore[call-overload]
        gone, new = {entry[:2] for entry in left}, {entry[:2] for entry in joined}
        assert now == sorted(set(now)), f"{name}: members unsorted or twice: {now}"
        assert gone or new, f"{name}: a view without a change"
        assert not gone & set(now), f"{name}: left and still there"
        assert new <= set(now), f"{name}: joined and not there"
        if members is not None:
            assert gone <= members, f"{name}: {gone - members} left that were not there"
            assert not new & members, f"{name}: {new & members} joined that were there"
            assert set(now) == (members - gone) | new, f"{name}: {members} -{gone} +{new} gives {now}"
        members = set(now)


class Segment(NamedTuple):
    """What a program saw in one regular configuration, for as long as it was a member of its group."""

    base: tuple[object, ...]
    """Rings since the last one in which cpg was synchronised, which is the first."""
    seen: list[tuple[object, ...]]
    synchronised_at: int
    """Index in `seen` at which synchronisation was through."""
    follower: object


def segments(history: History) -> dict[object, Segment]:
    """By ring; only whole ones, from the installation of a ring to that of the next."""
    result: dict[object, Segment] = {}
    joined = whole = False
    base: tuple[object, ...] = (id(history),)  # nobody else has the same
    ring: object = None
    seen: list[tuple[object, ...]] = []
    at = -1
    for event in history:
        if event[0] == "R":
            if whole:
                result[ring] = Segment(base, seen, at, event[1])
            if at >= 0:
                base = (ring,)
            elif ring is not None:
                base = (*base, ring)
            ring, whole = event[1], joined
            seen, at = [], -1
        elif event[0] == "T":
            at = len(seen)
        elif event[0] in ("D", "P", "V"):
            joined = True
            seen.append(event)
    return result


def check_groups(histories: Mapping[object, History]) -> int:
    """Members of one group that go through the same configurations see the same, views included.

    Returns how many shared, whole segments with messages were compared.
    """
    for name, history in histories.items():
        check_views(name, history)
    compared = 0
    cut = {name: segments(history) for name, history in histories.items()}
    names = list(cut)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            for ring in cut[a].keys() & cut[b].keys():
                one, two = cut[a][ring], cut[b][ring]
                if one.follower != two.follower:
                    continue
                assert (one.synchronised_at < 0) == (two.synchronised_at < 0), f"{a}, {b}: {ring} in step?"
                left, right = one.seen, two.seen
                if one.base != two.base:  # their views before differ, and so what the merge changes
                    left, right = left[max(0, one.synchronised_at) :], right[max(0, two.synchronised_at) :]
                assert left == right, f"{a} and {b} differ in ring {ring} {first_difference(left, right)}"
                compared += bool(left)
    return compared


def first_difference(left: History, right: History) -> str:
    """Where two sequences of events part."""
    at = next((i for i, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(left), len(right)) if at is None else at
    brief = [[str(event)[:100] for event in side[at : at + 3]] for side in (left, right)]
    return f"at {at} of {len(left)} and {len(right)}: {brief[0]} against {brief[1]}"
