"""corosync-quorumtool --what-if against votequorum itself: what it says is what happens."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from aisexec.services.votequorum_state import Ballot, NodeState
from tests.quorum.judge import SETTLED, options_of
from tests.quorum.model import Node, World
from tests.quorum.scripts import FEATURES, LAST_MAN_WINDOW, Script, make_script
from tools.what_if import Side, Situation, TieBreaker, Verdict, Voter, consider, settle
from tools.what_if_words import as_json, explain

SEEDS = 300
ELSEWHERE = 9
"""A partition that the scripts leave empty."""
BEFORE_THE_WINDOW = LAST_MAN_WINDOW / 2000


def ballot_of(node: Node) -> Ballot:
    """What a node of the model counts with."""
    return node._service.ballot


def situation_of(node: Node) -> Situation:
    """What the tool would learn from the node."""
    ballot = ballot_of(node)
    voters = {voter.nodeid: voter for voter in ballot.roll if voter.state is NodeState.MEMBER}
    members = tuple(
        Voter(nodeid, f"n{nodeid}", voters[nodeid].votes, voters[nodeid].expected_votes)
        for nodeid in ballot.members
    )
    return Situation(
        members=members,
        expected_votes=ballot.us.expected_votes,
        quorum=ballot.quorum,
        quorate=ballot.quorate,
        two_node=ballot.two_node,
        wait_for_all=ballot.wait_for_all,
        waiting=ballot.waiting,
        tie_breaker=TieBreaker(ballot.tie_breaker.value),
        tie_nodes=tuple(ballot.options.tie_breaker_nodes),
        lowest=ballot.lowest,
        highest=ballot.highest,
        last_man_standing=ballot.last_man_standing,
        window=LAST_MAN_WINDOW,
        allow_downscale=ballot.allow_downscale,
        least_expected=ballot.configured_votes,
    )


def nodes_of(world: World, place: int) -> list[Node]:
    """Of a partition."""
    return world._partitions[place]


def agreed(nodes: list[Node]) -> Situation | None:
    """The situation, if all of them see the same."""
    first = situation_of(nodes[0])
    return first if all(situation_of(node) == first for node in nodes) else None


def happens(nodes: list[Node], side: Side) -> bool:
    return all(ballot_of(node).quorate is side.quorate for node in nodes)


@pytest.mark.parametrize("feature", [name for name in FEATURES if name != "device"])
def test_what_it_says_happens(feature: str, tmp_path: Path) -> None:
    """In random clusters after random histories some nodes are cut off."""
    scripts = [script for seed in range(SEEDS) if (script := make_script(seed)).feature == feature]
    judged = sum(cut(script, tmp_path, chance=random.Random(script.seed)) for script in scripts)
    assert judged > len(scripts) / 2


def cut(script: Script, directory: Path, chance: random.Random) -> bool:
    """False when there is nothing to predict: no partition of which all nodes see the same."""
    world = World(options_of(script, directory), script.seed)
    world.up(0, script.nodes)
    world.settle(SETTLED)
    for command in script.commands[: chance.randint(0, len(script.commands))]:
        world.run(command)
        world.settle(SETTLED)
    places = [place for place in range(ELSEWHERE) if len(nodes_of(world, place)) > 1]
    situation = agreed(nodes_of(world, places[0])) if places else None
    if situation is None:
        return False
    gone = chance.sample(situation.members, chance.randint(1, len(situation.members) - 1))
    verdict = consider(situation, [voter.name for voter in gone])
    world.run(f"split {ELSEWHERE}:{','.join(str(voter.nodeid) for voter in gone)}")
    world.settle(BEFORE_THE_WINDOW)
    story = f"seed {script.seed} {dict(script.quorum)} {situation} without {[voter.nodeid for voter in gone]}"
    remaining, elsewhere = nodes_of(world, places[0]), nodes_of(world, ELSEWHERE)
    assert happens(remaining, verdict.remaining), story
    assert verdict.cut_off is not None
    assert happens(elsewhere, verdict.cut_off), story
    if verdict.remaining.quorate:
        assert {ballot_of(node).quorum for node in remaining} == {verdict.remaining.needed}, story
    world.settle(SETTLED)
    if verdict.remaining.quorate:
        after = settle(situation, verdict.remaining)
        found = {(ballot_of(node).us.expected_votes, ballot_of(node).quorum) for node in remaining}
        assert found == {(after.expected_votes, after.quorum)}, story
    return True


def test_a_shrinking_cluster_one_by_one(tmp_path: Path) -> None:
    """last_man_standing, with time for its window after each."""
    script = Script(0, "lms", (1, 2, 3, 4, 5), {}, {"last_man_standing": 1, "last_man_standing_window": 60})
    world = World(options_of(script, tmp_path), 1)
    world.up(0, script.nodes)
    world.settle(SETTLED)
    situation = agreed(nodes_of(world, 0))
    assert situation is not None
    verdict = consider(situation, ["5", "4", "3", "2"])
    assert verdict.remaining.quorate is False
    for step in verdict.one_by_one:
        world.run(f"down {step.gone.nodeid}")
        world.settle(SETTLED)
        ballot = ballot_of(nodes_of(world, 0)[0])
        assert (ballot.quorate, ballot.quorum) == (step.side.quorate, step.quorum)
    assert [step.side.quorate for step in verdict.one_by_one] == [True, True, True, False]


def test_a_cluster_shut_down_node_by_node(tmp_path: Path) -> None:
    """allow_downscale: fewer votes are expected, but quorum stays above half of the configured ones."""
    script = Script(0, "downscale", (1, 2, 3, 4, 5), {}, {"allow_downscale": 1})
    world = World(options_of(script, tmp_path), 1)
    world.up(0, script.nodes)
    world.settle(SETTLED)
    situation = agreed(nodes_of(world, 0))
    assert situation is not None
    verdict = consider(situation, ["5", "4", "3", "2"])
    for step in verdict.one_by_one:
        leaving = next(node for node in nodes_of(world, 0) if node.nodeid == step.gone.nodeid)
        leaving._service.leaving()
        world.settle(BEFORE_THE_WINDOW)
        world.run(f"down {step.gone.nodeid}")
        world.settle(SETTLED)
        ballot = ballot_of(nodes_of(world, 0)[0])
        assert (ballot.quorate, ballot.quorum, ballot.us.expected_votes) == (
            step.side.quorate,
            step.quorum,
            step.expected_votes,
        )
    assert [step.side.quorate for step in verdict.one_by_one] == [True, True, False, False]
    assert "allow_downscale, if they are shut down in order" in text(verdict)


THREE = Situation(
    members=tuple(Voter(nodeid, f"n{nodeid}", 1, 3) for nodeid in (1, 2, 3)),
    expected_votes=3,
    quorum=2,
    quorate=True,
)
TWO = replace(
    THREE,
    members=tuple(Voter(nodeid, f"n{nodeid}", 1, 2) for nodeid in (1, 2)),
    expected_votes=2,
    quorum=1,
    two_node=True,
    wait_for_all=True,
)
FOUR = replace(
    THREE,
    members=tuple(Voter(nodeid, f"n{nodeid}", 1, 4) for nodeid in (1, 2, 3, 4)),
    expected_votes=4,
    quorum=3,
    tie_breaker=TieBreaker.LIST,
    tie_nodes=(7, 3, 1),
)
WITH_DEVICE = replace(THREE, members=THREE.members[:2], device_votes=1, device_name="net")


def text(verdict: Verdict) -> str:
    return "\n".join(explain(verdict))


def test_words() -> None:
    one = text(consider(THREE, ["n3"]))
    assert "n3 goes, the rest (n1 and n2) is quorate" in one
    assert "no further node may go" in one
    two = text(consider(THREE, ["n3", "2"]))
    assert "the rest (n1) is NOT quorate" in two
    assert "Quorum comes back with 1 vote more" in two
    assert "quorate there, instead of the rest" in two
    pair = text(consider(TWO, ["n2"]))
    assert "two_node: each of the two nodes goes on" in pair
    assert "BOTH sides go on, so fencing" in pair
    half = text(consider(FOUR, ["n1", "n2"]))
    assert "auto_tie_breaker: this half has n3, which decides" in half
    assert "n3, which decides, is not in this half" in text(consider(FOUR, ["n3", "n4"]))
    assert "no node is left" in text(consider(THREE, ["1", "2", "3"]))


def test_a_quorum_device_is_reckoned_both_ways() -> None:
    verdict = consider(WITH_DEVICE, ["n2"])
    assert verdict.remaining.quorate is None
    assert (verdict.remaining.with_device, verdict.remaining.without_device) == (True, False)
    assert "it depends on the quorum device" in text(verdict)
    assert as_json(verdict)["critical_next"] == []
