"""The judge of histories finds what is wrong, and only that."""

from __future__ import annotations

import pytest

from tests.harness.history import History, disagreements, parse

A, B = "1:11", "2:22"
RING = "T 1.5 1,2"
NEXT = "T 1.9 1,2"


def history(name: str, *lines: str, complete: bool = True, may_miss: int = 1) -> History:
    """A history whose events come a second apart."""
    result = parse("".join(f"{time}.0 {line}\n" for time, line in enumerate(lines)), name)
    result.complete = complete
    result.may_miss = may_miss
    return result


def message(member: str, number: int | str, size: int = 100) -> str:
    """The line of a delivery."""
    return f"D {member.replace(':', ' ')} {number} {size} {hash((member, number)) & 0xFFFF:016x}"


def joined(*members: str) -> str:
    """The line of the last one's join."""
    return f"C {','.join(members)} - {members[-1]}:1"


def start_a() -> list[str]:
    return [joined(A), RING, joined(A, B)]


def start_b() -> list[str]:
    return [joined(A, B), RING]


def messages(*numbers: int) -> list[str]:
    return [message(A, number) for number in numbers]


def test_equal_histories_agree() -> None:
    one = history("one", *start_a(), *messages(1, 2), NEXT, *messages(3))
    other = history("other", *start_b(), *messages(1, 2), NEXT, *messages(3))
    assert disagreements([one, other]) == []


@pytest.mark.parametrize("numbers", [(2, 1), (1,), (1, 2, 9), ()])
def test_difference_between_two_shared_configurations_is_found(numbers: tuple[int, ...]) -> None:
    one = history("one", *start_a(), *messages(1, 2), NEXT)
    other = history("other", *start_b(), *messages(*numbers), NEXT)
    assert disagreements([one, other])
    assert disagreements([other, one])


def test_difference_in_members_is_found() -> None:
    one = history("one", *start_a(), f"C {A} {B}:2 -", NEXT)
    other = history("other", *start_b(), f"C {A} {B}:5 -", NEXT)
    assert disagreements([one, other])


def test_last_configuration_counts_only_when_all_has_arrived() -> None:
    one = history("one", *start_a(), *messages(1, 2))
    assert disagreements([one, history("other", *start_b(), *messages(1))])
    assert disagreements([one, history("other", *start_b(), *messages(1), complete=False)]) == []


def test_order_counts_also_for_those_who_part() -> None:
    one = history("one", *start_a(), *messages(1, 2, 3), NEXT)
    other = history("other", *start_b(), *messages(1, 3, 2), "T 2.9 2")
    fewer = history("other", *start_b(), *messages(1, 3), "T 2.9 2")
    assert disagreements([one, other])
    assert disagreements([one, fewer]) == []


def test_who_came_from_elsewhere_may_miss_the_message_that_was_under_way() -> None:
    here = [*start_a(), "T 1.7 1", *messages(1), NEXT, *messages(2, 3, 4)]
    there = [*start_b(), "T 2.7 2", NEXT, *messages(3, 4)]
    assert disagreements([history("one", *here), history("other", *there)]) == []
    worse = [*start_b(), "T 2.7 2", NEXT, *messages(4)]
    assert disagreements([history("one", *here), history("other", *worse)])
    assert disagreements([history("one", *here), history("other", *worse, may_miss=9)]) == []
    hole = [*start_b(), "T 2.7 2", NEXT, *messages(2, 4)]
    assert disagreements([history("one", *here), history("other", *hole, may_miss=9)])


def test_nobody_who_came_along_may_miss_anything() -> None:
    one = history("one", *start_a(), NEXT, *messages(2, 3))
    other = history("other", *start_b(), NEXT, *messages(3))
    assert disagreements([one, other])


def test_late_joiner_is_compared_from_its_join_on() -> None:
    one = history("one", joined(A), RING, *messages(1, 2), joined(A, B), *messages(3, 4))
    assert disagreements([one, history("other", joined(A, B), RING, *messages(3, 4))]) == []
    assert disagreements([one, history("other", joined(A, B), RING, *messages(4))]) == []
    assert disagreements([one, history("other", joined(A, B), RING, *messages(3))])
    assert disagreements([one, history("other", joined(B), RING, *messages(3, 4))])


def test_what_the_program_found_wrong_is_reported() -> None:
    assert disagreements([history("one", *start_a(), "E content of message 3 is wrong")]) == [
        "one: E content of message 3 is wrong"
    ]


def test_line_that_is_still_being_written_is_left_out() -> None:
    assert len(parse("1.0 C 1:1 - 1:1:1\n2.0 T 1.5", "x").events) == 1


def test_longest_gap() -> None:
    events = history("one", *start_a(), *messages(1, 2), NEXT, *messages(3))
    assert events.longest_gap(2.0, 8.0) == 2.0
