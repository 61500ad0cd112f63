"""Broken links: the best clique, what counts as evidence, what is said, and that everything is bounded."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisexec.counters import flatten
from aisexec.totem.broken_links import BrokenLinks, compare
from aisexec.totem.clique import better, largest_clique
from aisexec.totem.connectivity import Connectivity, Survey, Tally
from aisexec.totem.limits import (
    BACKOFF_LEVEL_MAX,
    BROKEN_PAIR_LOG_INTERVAL,
    BROKEN_PAIRS_LOGGED,
    BROKEN_PAIRS_MAX,
    PROCESSOR_COUNT_MAX,
)
from aisexec.totem.settings import Settings
from aisexec.totem.stats import Stats
from aisexec.totem.types import LOG_NOTICE, LOG_WARNING
from aisexec.totem.wire import Join

SETTINGS = Settings(token=1.0, consensus=1.2)
ATTEMPT = 2.2

NODES = range(1, 9)
PAIRS = list(combinations(NODES, 2))
BROKEN = st.sets(st.sampled_from(PAIRS))


def conflicts_of(pairs: set[tuple[int, int]]) -> dict[int, set[int]]:
    graph: dict[int, set[int]] = {}
    for a, b in pairs:
        graph.setdefault(a, set()).add(b)
        graph.setdefault(b, set()).add(a)
    return graph


def by_brute_force(pairs: set[tuple[int, int]]) -> frozenset[int]:
    best: frozenset[int] = frozenset()
    for size in range(1, len(NODES) + 1):
        for members in combinations(NODES, size):
            if not any(pair in pairs for pair in combinations(members, 2)):
                candidate = frozenset(members)
                best = candidate if better(candidate, best) else best
    return best


@given(BROKEN)
def test_the_search_finds_the_best_clique(pairs: set[tuple[int, int]]) -> None:
    assert largest_clique(NODES, conflicts_of(pairs)) == by_brute_force(pairs)


@given(BROKEN)
def test_members_of_the_best_clique_see_it_in_their_neighbourhood(pairs: set[tuple[int, int]]) -> None:
    conflicts = conflicts_of(pairs)
    best = largest_clique(NODES, conflicts)
    for me in best:
        neighbours = set(NODES) - conflicts.get(me, set()) - {me}
        assert largest_clique(neighbours, conflicts) | {me} == best


@pytest.mark.parametrize("seed", range(5))
def test_large_clusters_are_searched_in_bounded_time(seed: int) -> None:
    rng = random.Random(seed)
    nodes = range(1, 129)
    pairs = {tuple(sorted(rng.sample(nodes, 2))) for _ in range(60)} | {(1, n) for n in nodes if n > 1}
    chosen = largest_clique(nodes, conflicts_of(pairs))  # type: ignore[arg-type]
    assert 1 not in chosen
    assert len(chosen) > 80
    assert not any(pair in pairs for pair in combinations(sorted(chosen), 2))


def test_what_occurs_often_enough_in_time_is_said() -> None:
    tally = Tally(3)
    assert not tally.note(1, 0.0, 10.0)
    assert not tally.note(1, 5.0, 10.0)
    assert not tally.note(2, 6.0, 10.0)
    assert not tally.note(1, 11.0, 10.0)  # the first is too old
    assert tally.note(1, 14.0, 10.0)
    tally.clear()
    assert not tally.note(1, 14.0, 10.0)
    assert not any(tally.note(n, 1.0, 10.0) for n in range(10_000))


def broken(*rows: tuple[int, set[int]]) -> list[tuple[int, int]]:
    return compare(dict(rows), ()).broken


def test_a_direction_is_known_by_who_hears_and_who_does_not() -> None:
    assert broken((1, {2}), (2, {1, 3}), (3, {1, 2})) == [(3, 1)]
    assert broken((1, {2}), (2, {1, 3}), (3, {2})) == [(1, 3), (3, 1)]
    assert broken((1, {2, 3}), (2, {1, 3})) == []
    assert broken((1, {2}), (2, {1})) == []  # whoever nobody hears is not there


def say_twice(links: BrokenLinks, now: float, *rows: tuple[int, set[int]]) -> str | None:
    links.report(compare(dict(rows), ()), now)
    return links.report(compare(dict(rows), ()), now)


def test_the_pair_and_the_direction_are_named_once() -> None:
    stats = Stats()
    links = BrokenLinks(stats)
    rows = [(1, {2}), (2, {1, 3}), (3, {1, 2})]
    assert links.report(compare(dict(rows), ()), 0.0) is None, "one survey may have met a slow node"
    assert not list(stats.broken_pairs)
    said = links.report(compare(dict(rows), ()), 2.0)
    assert said == "node 1 does not hear node 3, only the other way round"
    assert list(stats.broken_pairs) == [(3, 1)]
    assert stats.broken_pairs_seen == 1
    assert links.report(compare(dict(rows), ()), 3.0) is None
    again = links.report(compare(dict(rows), ()), 2.0 + BROKEN_PAIR_LOG_INTERVAL)
    assert again == said
    assert stats.broken_pairs_seen == 1


def test_statistics_have_a_key_for_each_broken_direction() -> None:
    stats = Stats(broken_pairs=((3, 1), (4, 12)))
    keys = dict(flatten("stats.srp", stats))
    assert [key for key in keys if ".broken_pairs." in key] == [
        "stats.srp.broken_pairs.3_1",
        "stats.srp.broken_pairs.4_12",
    ]


def test_both_directions_make_one_sentence_and_an_unknown_one_is_not_claimed() -> None:
    assert say_twice(BrokenLinks(Stats()), 0.0, (1, {2}), (2, {1, 3}), (3, {2})) == (
        "nodes 1 and 3 do not hear each other"
    )
    assert say_twice(BrokenLinks(Stats()), 0.0, (1, {2}), (2, {1, 3})) == "node 1 does not hear node 3"


def test_a_broken_switch_does_not_flood_the_log() -> None:
    stats = Stats()
    nobody = {n: set[int]() for n in range(1, 101)}
    links = BrokenLinks(stats)
    links.report(compare(nobody, ()), 0.0)
    said = links.report(compare(nobody, ()), 0.0)
    assert said is not None
    assert said.count(";") == BROKEN_PAIRS_LOGGED
    assert len(stats.broken_pairs) == BROKEN_PAIRS_MAX


def test_whole_again_is_said_when_it_was_broken() -> None:
    links = BrokenLinks(Stats())
    assert not links.forget()
    say_twice(links, 0.0, (1, {2}), (2, {1, 3}), (3, {1, 2}))
    assert links.any_broken is True
    assert links.forget()
    assert [links.any_broken, links.forget()] == [False, False]


def make(me: int = 1) -> Connectivity:
    return Connectivity(me, SETTINGS, Stats())


def suspecting(me: int = 1) -> Connectivity:
    connectivity = make(me)
    for _ in range(2):
        connectivity.heard(9, 0.0)
        connectivity.quarrelled([9], 0.0)
    assert connectivity.suspected
    return connectivity


def survey(connectivity: Connectivity, now: float, **rows: set[int]) -> Survey:
    """A survey in which those named by `rows` (n3={1, 3}) took part, through to its ring of us alone."""
    assert connectivity.survey_begins({1}, now)
    current = connectivity.survey
    assert current is not None
    for name, row in rows.items():
        connectivity.heard(int(name[1:]), now)
        current.rows[int(name[1:])] = row
        current.told[int(name[1:])] = now - 1
    connectivity.agreed(())
    connectivity.installed([1], now, ())
    return current


def test_a_node_that_talks_and_does_not_agree_is_suspicious_the_second_time() -> None:
    connectivity = make()
    seen = []
    for heard, now in ((False, 1.2), (False, 2.4), (True, 3.6), (False, 4.8), (True, 6.0)):
        if heard:  # a dead node does not talk
            connectivity.heard(2, now - 0.1)
        connectivity.quarrelled([2, 3], now)
        seen.append(connectivity.suspected)
    assert seen == [False, False, False, False, True]


def test_old_quarrels_do_not_count() -> None:
    connectivity = make()
    for at in (0.0, 100.0, 200.0):
        connectivity.heard(2, at)
        connectivity.quarrelled([2], at)
    assert not connectivity.suspected


def test_a_ring_that_lasts_ends_suspicion() -> None:
    connectivity = suspecting()
    connectivity.installed([1, 9], 10.0, ())
    seen = []
    for now in (11.0, 10.0 + 8 * ATTEMPT):
        connectivity.ring_ends(now)
        seen.append(connectivity.suspected)
    assert seen == [True, False]
    assert not connectivity.survey_begins({1, 9}, 30.0)


def test_the_back_off_doubles_up_to_a_limit_and_ends_when_the_node_is_a_member() -> None:
    connectivity = suspecting()
    now = 10.0
    waits = []
    for _ in range(BACKOFF_LEVEL_MAX + 3):
        survey(connectivity, now, n3={1, 3})
        connectivity.settle([1], now)
        entry = connectivity.excluded[3]
        waits.append(round((entry.opens_at - now) / ATTEMPT))
        assert connectivity.shuts_out(3, entry.opens_at - 0.01)
        assert not connectivity.shuts_out(3, entry.opens_at)
        now = entry.opens_at
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert max(waits) * ATTEMPT < connectivity.rejoin_bound
    connectivity.installed([1, 3], now, ())
    assert not connectivity.excluded


def test_joins_of_an_excluded_node_are_listened_to_after_half_its_time_or_with_news() -> None:
    connectivity = suspecting()
    for now in (10.0, 12.2, 16.6, 25.4):
        survey(connectivity, now, n3={3}, n4={1, 4})
        connectivity.settle([1], now)
    entry = connectivity.excluded[3]
    assert entry.opens_at == pytest.approx(25.4 + 8 * ATTEMPT)
    idle = Join(3, 3, (3,), (), 8)
    wants_us = Join(3, 3, (1, 3), (), 8)
    gave_us_up = Join(3, 3, (1, 3), (1,), 8)
    early, half = 25.4 + ATTEMPT, 25.4 + 4 * ATTEMPT
    assert connectivity.shuts_out_join(wants_us, early - 0.01)
    assert not connectivity.shuts_out_join(wants_us, early + 0.01), "now it hears us"
    assert connectivity.shuts_out_join(idle, early + 0.01)
    assert connectivity.shuts_out_join(gave_us_up, early + 0.01)
    assert connectivity.shuts_out_join(Join(4, 4, (1, 4), (), 8), early + 0.01), "it did all the time"
    assert not connectivity.shuts_out_join(idle, half + 0.01)
    assert not connectivity.shuts_out_join(Join(5, 5, (5,), (), 8), early), "never heard of"


def test_a_node_that_leaves_in_good_order_may_come_back_at_once() -> None:
    connectivity = suspecting()
    survey(connectivity, 10.0, n3={1, 3})
    connectivity.settle([1], 10.0)
    assert connectivity.shuts_out_join(Join(0, 3, (), (3,), 8), 10.1)
    assert not connectivity.shuts_out_join(Join(3, 3, (3,), (), 8), 10.2)


def test_news_of_a_broken_link_and_of_its_end() -> None:
    connectivity = suspecting()
    for now in (10.0, 12.2):
        survey(connectivity, now, n2={1, 2, 3}, n3={2, 3})
        said = connectivity.settle([1, 2], now)
    assert said is not None
    assert said[0] == LOG_WARNING
    assert said[1] == (
        "The network is only partly connected: node 3 does not hear node 1, only the other way round."
        " A ring needs nodes that all hear each other: going on with 1 2, without 3, trying again in 4 s."
        " Check the switch ports, firewall rules and cables of the nodes named."
    )
    survey(connectivity, 20.0, n2={1, 2, 3}, n3={1, 2, 3})
    connectivity.installed([1, 2, 3], 20.0, ())
    assert connectivity.settle([1, 2, 3], 20.0) == (LOG_NOTICE, "All nodes hear each other again: 1 2 3.")


def test_those_who_give_somebody_up_say_nothing_about_links() -> None:
    """Nodes that do not survey name in their failed lists whom they gave up, for whatever reason."""
    connectivity = suspecting()
    for now in (10.0, 12.2):
        current = survey(connectivity, now, n2={1, 2}, n3={1, 2, 3})
        del current.told[2]
        assert connectivity.settle([1, 2], now) is None


def test_surveys_that_lead_to_nothing_are_left_alone_for_a_while() -> None:
    connectivity = suspecting()
    survey(connectivity, 10.0, n3={1, 3})
    connectivity.settle([1], 10.0)
    now = 10.0
    while connectivity.survey_begins({1}, now):
        connectivity.agreed(())
        now += 0.5
        assert now < 40
    waits = []
    for _ in range(3):
        paused_at = now
        assert not connectivity.excluded
        while not connectivity.suspected:
            now += 0.5
            connectivity.heard(3, now)
            connectivity.quarrelled([3], now)
        waits.append(now - paused_at)
        while connectivity.survey_begins({1}, now):
            connectivity.agreed(())
    assert waits[0] > ATTEMPT
    assert waits[0] < waits[1] < waits[2]


def test_merge_detects_are_few_while_nodes_are_excluded() -> None:
    connectivity = suspecting()
    assert connectivity.may_announce(True, 0.0)
    assert not connectivity.may_announce(False, 0.0)
    survey(connectivity, 10.0, n3={1, 3})
    connectivity.settle([1], 10.0)
    times = [now for i in range(10) if connectivity.may_announce(False, now := 10.0 + 0.2 * i)]
    assert times == [10.0], "one in the time of an attempt, from every member"
    opens_at = connectivity.excluded[3].opens_at
    assert all(connectivity.may_announce(True, opens_at + 0.2 * i) for i in range(5))


def test_forged_senders_do_not_fill_the_memory_nor_push_out_who_is_there() -> None:
    connectivity = suspecting()
    for number in range(3000):
        connectivity.heard(1000 + number, 9.0 + number / 3000)
    survey(connectivity, 10.0, n3={1, 3})
    connectivity.settle([1], 10.0)
    assert len(connectivity.excluded) <= PROCESSOR_COUNT_MAX
    for number in range(3000):
        connectivity.heard(10_000 + number, 12.2)
        connectivity.heard(3, 12.2)
    survey(connectivity, 12.2, n3={1, 3})
    connectivity.settle([1], 12.2)
    assert len(connectivity.excluded) <= PROCESSOR_COUNT_MAX
    assert connectivity.shuts_out(3, 12.3)


def test_exclusions_of_who_is_gone_expire() -> None:
    connectivity = suspecting()
    survey(connectivity, 10.0, n3={1, 3})
    connectivity.settle([1], 10.0)
    connectivity.ring_ends(10.0 + 3 * connectivity.backoff(BACKOFF_LEVEL_MAX))
    assert not connectivity.excluded
    assert not connectivity.suspected
