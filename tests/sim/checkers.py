"""What extended virtual synchrony promises, checked on recorded histories."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

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
