"""Section quorum: what votequorum starts with, and its contradictions (votequorum_readconfig)."""

from __future__ import annotations

import re
from typing import Literal

from aisexec.config.model import Quorum, QuorumDevice
from aisexec.config.nodes import ResolvedNode
from aisexec.config.problems import Problems
from aisexec.config.schema import Values
from aisexec.exit_codes import ExitCode

TieBreaker = Literal["none", "lowest", "highest", "list"]

_NODEIDS = re.compile(r"[0-9]{1,10}(?: +[0-9]{1,10})*", re.ASCII)


def derive_quorum(
    root: Values, nodes: list[ResolvedNode], local: ResolvedNode | None, problems: Problems
) -> Quorum:
    """The effective section; contradictions end corosync's start with a service engine error."""
    section = root.one("quorum")
    if section.value("provider") is None:
        if section.written and section.items and "provider" not in section.wrong:
            problems.warning(
                section.where, "section quorum has no provider", "write 'provider: corosync_votequorum'"
            )
        return Quorum(node_votes={node.nodeid: node.votes for node in nodes})
    device = _device(section, nodes, problems)
    _check_device(section, device, problems)
    two_node = bool(section.value("two_node"))
    follows = section.value("wait_for_all") is None
    wait_for_all = two_node if follows else bool(section.value("wait_for_all"))
    breaker, breaker_nodes = _tie_breaker(section, nodes, problems)
    if two_node and breaker != "none":
        problems.warning(
            section.where_of("two_node"),
            "two_node and auto_tie_breaker are both specified but are not compatible",
            "two_node is disabled: remove one of them",
        )
        two_node = False
    if two_node and len(nodes) > 2:
        problems.warning(
            section.where_of("two_node"),
            f"two_node is set but there are {len(nodes)} nodes in the nodelist",
            "it is disabled when they meet: remove it",
        )
    counted = sum(node.votes for node in nodes)
    tracking = bool(section.value("expected_votes_tracking") or section.value("allow_downscale"))
    configured_breaker = breaker
    if breaker != "none" and counted % 2 and not wait_for_all:
        breaker = _odd_tie_breaker(section, problems)
    return Quorum(
        provider=section.value("provider"),
        votes=local.votes if local is not None else section.value("votes") or 1,
        expected_votes=_expected_votes(section, counted, device, tracking),
        node_votes={node.nodeid: node.votes for node in nodes},
        two_node=two_node,
        wait_for_all=wait_for_all,
        wait_for_all_follows_two_node=follows,
        last_man_standing=bool(section.value("last_man_standing")),
        last_man_standing_window=section.value("last_man_standing_window"),
        auto_tie_breaker=breaker,
        configured_tie_breaker=configured_breaker,
        auto_tie_breaker_nodes=breaker_nodes if configured_breaker == "list" else (),
        allow_downscale=bool(section.value("allow_downscale")),
        expected_votes_tracking=tracking,
        device=device,
    )


def check_expected_votes(root: Values, nodes: list[ResolvedNode], problems: Problems) -> None:
    """expected_votes overrides what the nodelist counts: more is never quorate, fewer may split."""
    section = root.one("quorum")
    expected = section.value("expected_votes")
    device = section.one("device")
    if section.value("provider") is None or not expected or not nodes or device.value("model"):
        return
    counted = sum(node.votes for node in nodes)
    if section.value("expected_votes_tracking") or section.value("allow_downscale"):
        problems.warning(
            section.where_of("expected_votes"),
            f"expected_votes {expected} is not used: with expected_votes_tracking the nodelist's votes count",
            "remove it: the votes are counted",
        )
    elif expected != counted:
        problems.warning(
            section.where_of("expected_votes"),
            f"expected_votes {expected} overrides the {counted} votes of the nodelist",
            "remove it: the votes are counted",
        )


def _device(section: Values, nodes: list[ResolvedNode], problems: Problems) -> QuorumDevice | None:
    device = section.one("device")
    if not device.value("model"):
        return None
    votes = device.value("votes")
    counted = sum(node.votes for node in nodes)
    if votes is None:
        if section.value("expected_votes"):
            what = "quorum.device.votes must be specified when expected_votes is set"
            _refuse(device, "model", what, "write 'votes: NUMBER' in section device", problems)
        elif counted != len(nodes):
            what = "quorum.device.votes must be specified when not all nodes vote 1"
            _refuse(device, "model", what, "write 'votes: NUMBER' in section device", problems)
        votes = max(0, counted - 1)
    return QuorumDevice(
        device.value("model"),
        votes,
        device.value("timeout"),
        device.value("sync_timeout"),
        bool(device.value("master_wins")),
    )


def _expected_votes(section: Values, counted: int, device: QuorumDevice | None, tracking: bool) -> int:
    """A device's votes are expected from the start only if they were not written but calculated.

    With tracking the nodelist counts and not what is written, as in corosync.
    """
    written: int = section.value("expected_votes") or 0
    if device is not None and section.one("device").value("votes") is None:
        counted += device.votes
    return counted or written if tracking else written or counted


def _check_device(section: Values, device: QuorumDevice | None, problems: Problems) -> None:
    if device is None:
        return
    for key, name in (
        ("two_node", "two_node and quorum device cannot be configured at the same time"),
        ("last_man_standing", "quorum.device is not compatible with last_man_standing"),
        ("auto_tie_breaker", "quorum.device is not compatible with auto_tie_breaker"),
        ("allow_downscale", "quorum.device is not compatible with allow_downscale"),
    ):
        if section.value(key):
            _refuse(section, key, name, "remove one of them", problems)
    expected = section.value("expected_votes")
    written = section.one("device").value("votes")
    if expected and written and expected - written < 2:
        what = "quorum.device.votes is too high or expected_votes is too low"
        write = "expected_votes counts the device's votes and those of at least two nodes"
        _refuse(section, "expected_votes", what, write, problems)


def _tie_breaker(
    section: Values, nodes: list[ResolvedNode], problems: Problems
) -> tuple[TieBreaker, tuple[int, ...]]:
    text = section.value("auto_tie_breaker_node")
    where = section.where_of("auto_tie_breaker_node")
    if not section.value("auto_tie_breaker"):
        if text is not None:
            problems.warning(
                where, "auto_tie_breaker_node is meaningless if auto_tie_breaker is set to 0",
                "write 'auto_tie_breaker: 1'",
            )  # fmt: skip
        return "none", ()
    if text in (None, "lowest"):
        return "lowest", ()
    if text == "highest":
        return "highest", ()
    if _NODEIDS.fullmatch(text) is None:
        problems.error(
            where,
            f"quorum.auto_tie_breaker_node: {text!r} is not known here",
            "write lowest, highest or nodeids with blanks between them",
            ExitCode.SERVICE_ENGINE_INIT,
        )
        return "lowest", ()
    chosen = tuple(int(word) for word in text.split())
    unknown = sorted(set(chosen) - {node.nodeid for node in nodes})
    if unknown and nodes:
        problems.warning(where, f"auto_tie_breaker_node names nodes that are not in the nodelist: {unknown}")
    return "list", chosen


def _odd_tie_breaker(section: Values, problems: Problems) -> TieBreaker:
    where = section.where_of("auto_tie_breaker")
    if section.value("last_man_standing"):
        problems.error(
            where,
            "auto_tie_breaker & last_man_standing not available in odd sized cluster",
            "remove last_man_standing and write 'wait_for_all: 1'",
            ExitCode.SERVICE_ENGINE_INIT,
        )
    else:
        problems.warning(
            where,
            "auto_tie_breaker is set and the cluster has an odd number of nodes",
            "it is disabled: write 'wait_for_all: 1', which it needs then",
        )
    return "none"


def _refuse(section: Values, key: str, what: str, write: str, problems: Problems) -> None:
    problems.error(section.where_of(key), what, write, ExitCode.SERVICE_ENGINE_INIT)
