"""A ring id stands for one membership, and only members install it (EVS, configuration changes).

All who install a ring agree on its members.  Who joined is, for each of them, who did not come along
with it from its last ring; nobody leaves in a regular configuration.
"""

from __future__ import annotations

import itertools

from aisexec.sim.checkers.index import Passage, index, name
from aisexec.sim.history import History, Violation

PROPERTY = "configuration agreement"


def check(history: History) -> None:
    """Members, and what is said of who joined."""
    if history.corrupted:
        return
    indexed = index(history)
    for passages in indexed.rings.values():
        for passage in passages:
            _check_members(passages[0], passage)
    for passages in indexed.passages.values():
        for passage, follower in itertools.pairwise(passages):
            _check_joined(passage, follower)


def _check_members(first: Passage, passage: Passage) -> None:
    ring, members = passage.ring, passage.members
    assert ring is not None
    assert first.installed is not None
    assert passage.installed is not None
    evidence = first.installed, passage.installed
    if first.members != members:
        raise Violation(
            PROPERTY,
            f"ring {ring} is {members} for {name(passage.life)} at {passage.at:.6f} and {first.members} for"
            f" {name(first.life)} at {first.at:.6f}",
            evidence,
        )
    if passage.life[0] not in members or ring.id.rep not in members:
        raise Violation(
            PROPERTY, f"{name(passage.life)} installs ring {ring} of {members} at {passage.at:.6f}", evidence
        )
    if tuple(sorted(set(members))) != members:
        raise Violation(PROPERTY, f"ring {ring} has members {members}", evidence)


def _check_joined(passage: Passage, follower: Passage) -> None:
    announced, installed = passage.transitional, follower.installed
    if announced is None or installed is None:
        return
    joined = set(installed.members) - set(announced.members)
    if installed.left or set(installed.joined) != joined or len(installed.joined) != len(joined):
        raise Violation(
            PROPERTY,
            f"{name(follower.life)} installs ring {installed.ring} of {installed.members} at"
            f" {installed.at:.6f}, {announced.members} came along: joined {installed.joined}, left"
            f" {installed.left}",
            (announced, installed),
        )
