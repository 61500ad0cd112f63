"""What the log tells of a membership change: who, why, how long."""

from __future__ import annotations

from aisexec.totem.change_story import ChangeStory, Trigger
from aisexec.totem.limits import PROCESSOR_COUNT_MAX
from aisexec.totem.types import RingId

RING = RingId(1, 0x5C)


def running(*members: int) -> ChangeStory:
    """In service since time 10."""
    story = ChangeStory()
    story.ring_lost(Trigger.INTERFACE, 0.0, 0.5, 9.9)
    story.agreed(9.95)
    story.installed(members, (), 9.99)
    story.in_service(RING, 10.0)
    return story


def reform(story: ChangeStory, members: tuple[int, ...], left: tuple[int, ...], at: float) -> str:
    """The rest of a change, 30 ms long."""
    story.agreed(at)
    story.installed(members, left, at + 0.02)
    return story.in_service(RING, at + 0.03)


def test_a_killed_node_with_the_time_that_it_cost() -> None:
    story = running(1, 2, 3)
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.0)
    story.no_consensus([3], frozenset(), 1.2)
    assert reform(story, (1, 2), (3,), 22.2) == (
        "Membership change complete: ring 1.5c of nodes 1 2;"
        " left: 3 (no answer to our JOINs within 1.20 s: killed, stopped or cut off);"
        " 2.230 s without service since the token was lost"
        " (token missing 1.000 s, agreement 1.200 s, new ring 0.020 s, services 0.010 s)"
    )


def test_a_node_that_leaves_and_comes_back() -> None:
    story = running(1, 2, 3)
    story.disturbed_by(3, leaves=True)
    story.said_goodbye(3)
    story.ring_lost(Trigger.JOIN, 20.0, 0.5, 20.1)
    text = reform(story, (1, 2), (3,), 20.1)
    assert "left: 3 (left cleanly);" in text
    assert "0.030 s without service since node 3 said that it leaves" in text
    story.disturbed_by(3)
    story.ring_lost(Trigger.JOIN, 32.0, 0.5, 32.6)
    text = reform(story, (1, 2, 3), (), 32.63)
    assert "joined: 3 (back after 12.53 s);" in text
    assert "since node 3 asked for a new ring" in text


def test_the_surest_reason_is_told() -> None:
    story = running(1, 2, 3, 4, 5)
    story.killed(2, "node 1")
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.0)
    story.given_up(1, [2, 3])
    story.no_consensus([2, 3, 4], {4}, 1.0)
    story.gave_us_up(5)
    text = reform(story, (1,), (2, 3, 4, 5), 22.0)
    assert "2 (killed by order of node 1)" in text
    assert "3 (no answer to our JOINs within 1.00 s: killed, stopped or cut off)" in text
    assert "4 (was heard, but agreed on no ring with us within 1.00 s: partly cut off)" in text
    assert "5 (it had given this node up: partitioned, or it does not hear us)" in text


def test_nodes_that_are_lost_together_hint_at_a_partition() -> None:
    story = running(1, 2, 3, 4)
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.0)
    story.no_consensus([3, 4], (), 1.0)
    assert "cut off), at once: perhaps the network is partitioned;" in reform(story, (1, 2), (3, 4), 22.0)
    story = running(1, 2, 3)
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.0)
    story.no_consensus([2, 3], (), 1.0)
    assert "all at once: perhaps it is this node that is cut off;" in reform(story, (1,), (2, 3), 22.0)
    story = running(1, 2, 3)
    for nodeid in (2, 3):
        story.said_goodbye(nodeid)
    story.ring_lost(Trigger.JOIN, 20.0, 0.5, 20.0)
    assert "at once" not in reform(story, (1,), (2, 3), 20.0)


def test_a_ring_that_did_not_last_until_services_were_in_step_belongs_to_the_same_change() -> None:
    story = running(1, 2, 3)
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.0)
    story.no_consensus([2, 3], (), 1.0)
    story.attempt_failed()
    story.agreed(22.0)
    story.installed((1,), (2, 3), 22.01)
    story.disturbed_by(2)
    story.ring_lost(Trigger.FOREIGN, 22.02, 0.5, 22.02)
    text = reform(story, (1, 2), (), 22.05)
    assert "left: 3 (no answer" in text
    assert "away for a moment: 2;" in text
    assert "2.080 s without service since the token was lost" in text
    assert text.endswith(", 1 attempt failed")


def test_who_notices_later_counts_from_the_last_token_as_well() -> None:
    story = running(1, 2, 3)
    story.disturbed_by(1)
    story.ring_lost(Trigger.JOIN, 20.0, 0.5, 21.0)
    story.given_up(1, [3])
    text = reform(story, (1, 2), (3,), 22.0)
    assert "left: 3 (given up by node 1, which had no answer from it);" in text
    assert "2.030 s without service since node 1 asked for a new ring (token missing 1.000 s" in text


def test_a_pause_of_our_own_is_named() -> None:
    story = running(1, 2)
    story.paused(1.5)
    story.paused(0.9)
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 21.5)
    assert reform(story, (1, 2), (), 21.5).endswith("; this process had not been scheduled for 1.500 s")
    story.ring_lost(Trigger.TOKEN_LOST, 30.0, 0.5, 31.0)
    assert "scheduled" not in reform(story, (1, 2), (), 31.0)


def test_a_new_ring_of_the_same_nodes_and_one_by_order() -> None:
    story = running(1, 2)
    story.forced()
    story.ring_lost(Trigger.TOKEN_LOST, 20.0, 0.5, 20.0)
    text = reform(story, (1, 2), (), 20.0)
    assert "; the same as before; 0.030 s without service since an operator asked for a new ring" in text


def test_notes_are_bounded() -> None:
    story = running(1)
    for nodeid in range(2, 5 * PROCESSOR_COUNT_MAX):
        story.said_goodbye(nodeid)
        story.given_up(1, [nodeid])
    assert len(story._departures) <= PROCESSOR_COUNT_MAX
    for nodeid in range(2, 3 * PROCESSOR_COUNT_MAX):
        story.ring_lost(Trigger.JOIN, 20.0, 0.5, 20.0)
        reform(story, (1, nodeid), (), 20.0)
    assert len(story._gone) <= PROCESSOR_COUNT_MAX
