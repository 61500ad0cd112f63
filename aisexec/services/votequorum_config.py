"""What votequorum takes over from the configuration map while it runs (votequorum(5), VARIOUS NOTES).

Only votes, expected votes, two_node and the quorum device may change.  What contradicts itself is
not refused any more at run time, as it would be at the start: the device is switched off, or
two_node, and the log says so.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from aisexec.icmap import Icmap, ValueType, u8, u32
from aisexec.services.base import Context
from aisexec.services.votequorum_counting import Counting
from aisexec.services.votequorum_device import Device
from aisexec.services.votequorum_state import VOTES_MAX, Ballot, DeviceOptions, TieBreaker
from aisexec.totem.types import LOG_CRIT

FIXED_KEYS = (
    "allow_downscale",
    "wait_for_all",
    "last_man_standing",
    "last_man_standing_window",
    "expected_votes_tracking",
    "auto_tie_breaker",
    "auto_tie_breaker_node",
)
"""Keys of section quorum that programs cannot change."""

_NODE_KEY = re.compile(r"nodelist\.node\.([0-9]+)\.\S", re.ASCII)


class Nodelist(NamedTuple):
    """Section nodelist, as far as it has votes."""

    votes: int
    """Ours."""
    nodes: int
    total: int


class DeviceSection(NamedTuple):
    """Section quorum.device; votes None: to be calculated."""

    votes: int | None
    timeout: int
    sync_timeout: int


def _u32(keys: Icmap, key: str, default: int = 0) -> int:
    """Programs may have written anything; as in corosync a key of another type counts as missing."""
    value = keys.get(key)
    return value.number if value is not None and value.type is ValueType.U32 else default


def read_nodelist(keys: Icmap) -> Nodelist | None:
    """None when there is no nodelist, or we are not in it."""
    if keys.get("nodelist.local_node_pos") is None:
        return None
    ours = keys.number("nodelist.local_node_pos")
    places = {int(found[1]) for key in keys.keys("nodelist.node.") if (found := _NODE_KEY.match(key))}
    votes = {place: _u32(keys, f"nodelist.node.{place}.quorum_votes", 1) for place in places}
    return Nodelist(votes.get(ours, 0), len(places), sum(votes.values()))


def read_device(keys: Icmap) -> DeviceSection | None:
    """None when no device is configured."""
    if not keys.text("quorum.device.model"):
        return None
    votes = keys.get("quorum.device.votes")
    defaults = DeviceOptions()
    return DeviceSection(
        votes.number if votes is not None and votes.type is ValueType.U32 else None,
        _u32(keys, "quorum.device.timeout", defaults.timeout),
        _u32(keys, "quorum.device.sync_timeout", defaults.sync_timeout),
    )


class LiveConfiguration:
    """Takes changes over into the ballot."""

    def __init__(self, context: Context, ballot: Ballot, counting: Counting, device: Device) -> None:
        self._context = context
        self._ballot = ballot
        self._counting = counting
        self._device = device

    def start(self) -> None:
        """What the executive starts with, in the map, too."""
        ballot, options = self._ballot, self._ballot.options
        self._context.map.set("runtime.votequorum.this_node_id", u32(ballot.us.nodeid))
        self._device.start()
        if options.configured_tie_breaker is not TieBreaker.NONE:
            self._set_tie_breaker(options.tie_breaker)
        if ballot.tracking:
            self._counting.track(ballot.tracked_votes)
        self._publish()
        if ballot.wait_for_all:
            self._counting.wait(True)
        for name in FIXED_KEYS:
            self._context.map.protect(f"quorum.{name}")

    def set_floor(self, votes: int) -> None:
        """allow_downscale does not go below these votes."""
        self._ballot.configured_votes = votes
        self._context.map.set("runtime.votequorum.ev_barrier", u32(votes))

    def _publish(self) -> None:
        self.set_floor(self._ballot.us.expected_votes)
        self._context.map.set("runtime.votequorum.two_node", u8(self._ballot.two_node))

    def reread(self) -> None:
        """The map has changed."""
        ballot, keys = self._ballot, self._context.map
        ballot.two_node = False
        self._set_tie_breaker(ballot.options.configured_tie_breaker)
        expected = _u32(keys, "quorum.expected_votes")
        nodelist, device = read_nodelist(keys), read_device(keys)
        if device is not None:
            self._device.options = DeviceOptions(0, device.timeout, device.sync_timeout)
            self._device.allow(True)
        ballot.two_node = bool(keys.number("quorum.two_node"))
        if nodelist is None and not expected:
            self._critical("configuration error: nodelist or quorum.expected_votes must be configured!")
            self._critical("will continue with current runtime data")
            return
        self._solve_two_node(device)
        if not self._solve_tie_breaker(nodelist):
            return
        if device is not None:
            self._check_device(device, expected, nodelist)
        self._take_votes(expected, nodelist, device)
        self._publish()
        if ballot.options.wait_for_all_follows_two_node and not ballot.wait_for_all and ballot.waiting:
            self._counting.wait(False)

    def _solve_two_node(self, device: DeviceSection | None) -> None:
        ballot = self._ballot
        if ballot.two_node and device is not None:
            self._critical(
                "configuration error: two_node and quorum device cannot be configured at the same time!"
            )
            if self._device.registered:
                self._critical("quorum device is registered, disabling two_node")
                ballot.two_node = False
            else:
                self._critical("quorum device is not registered, allowing two_node")
                self._device.allow(False)
        if ballot.options.wait_for_all_follows_two_node:
            ballot.wait_for_all = ballot.two_node
        if ballot.two_node and ballot.tie_breaker is not TieBreaker.NONE:
            self._critical("two_node and auto_tie_breaker are both specified but are not compatible.")
            self._critical("two_node has been disabled, please fix your corosync.conf")
            ballot.two_node = False

    def _solve_tie_breaker(self, nodelist: Nodelist | None) -> bool:
        """With an odd number of votes a half and a bit could come up again without the deciding node.

        False: last_man_standing is there, too; as in corosync nothing is taken over then.
        """
        ballot = self._ballot
        odd = nodelist is not None and nodelist.total % 2
        if ballot.tie_breaker is TieBreaker.NONE or not odd or ballot.wait_for_all:
            return True
        if ballot.last_man_standing:
            self._critical(
                "configuration error: auto_tie_breaker & last_man_standing not available in odd sized cluster"
            )
            self._critical("will continue with current runtime data")
            return False
        self._critical("auto_tie_breaker is set and the cluster has an odd number of nodes.")
        self._critical("wait_for_all needs to be set for this configuration but it is missing")
        self._critical("Therefore auto_tie_breaker has been disabled. Please fix your corosync.conf")
        self._set_tie_breaker(TieBreaker.NONE)
        return True

    def _check_device(self, device: DeviceSection, expected: int, nodelist: Nodelist | None) -> None:
        ballot = self._ballot
        counted = nodelist is not None and nodelist.nodes == nodelist.total
        breaks_ties = ballot.tie_breaker is not TieBreaker.NONE
        problems = {
            "quorum.device is not compatible with last_man_standing": ballot.last_man_standing,
            "quorum.device is not compatible with auto_tie_breaker": breaks_ties,
            "quorum.device is not compatible with allow_downscale": ballot.allow_downscale,
            "quorum.device.votes must be specified when quorum.expected_votes is set": (
                expected and device.votes is None
            ),
            "quorum.device.votes must be specified when not all nodes votes 1": (
                nodelist is not None and device.votes is None and not counted
            ),
            "quorum.device.votes is too high or expected_votes is too low": (
                expected and device.votes and expected - device.votes < 2
            ),
        }
        for text, applies in problems.items():
            if applies:
                self._critical(f"configuration error: {text}")
                self._critical("disabling quorum device operations")
                self._device.allow(False)

    def _take_votes(self, expected: int, nodelist: Nodelist | None, device: DeviceSection | None) -> None:
        ballot, us = self._ballot, self._ballot.us
        counted = min(nodelist.total, VOTES_MAX) if nodelist is not None else 0
        if device is None:
            ballot.roll.device.votes = 0
        elif device.votes is not None:
            ballot.roll.device.votes = device.votes
        elif not expected and nodelist is not None and nodelist.nodes == nodelist.total:
            ballot.roll.device.votes = max(0, counted - 1)
            counted = min(counted + ballot.roll.device.votes, VOTES_MAX)
        us.votes = nodelist.votes if nodelist is not None else _u32(self._context.map, "quorum.votes", 1)
        if ballot.tracking:
            us.expected_votes = max(counted or expected, ballot.tracked_votes)
        else:
            us.expected_votes = expected or counted

    def _set_tie_breaker(self, breaker: TieBreaker) -> None:
        self._ballot.tie_breaker = breaker
        self._context.map.set("runtime.votequorum.atb_type", u32(breaker))

    def _critical(self, text: str) -> None:
        self._context.log(LOG_CRIT, text)
