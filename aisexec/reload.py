"""Reading the configuration while the executive runs, and what follows from it outside the pure executive.

`read()` runs in a thread of its own: files, name servers and parsing may take their time, and the
token does not wait for them.  `take_effect()` runs in the loop, when the executive has taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from aisexec.config import Effective, Loaded, effective, load, this_machine
from aisexec.config.changes import Change, Effect, changes
from aisexec.config.keys import configuration_keys
from aisexec.config.live_logging import live_logging
from aisexec.config.live_totem import live_totem, written_keys
from aisexec.icmap import Icmap, Value
from aisexec.log import LogError, Logger
from aisexec.net.base import Transport
from aisexec.net.interfaces import interface_addresses
from aisexec.services.options import ExecutiveOptions, Findings, Reconfiguration
from aisexec.totem.settings import Settings
from aisexec.totem.types import LOG_ERR, LOG_NOTICE, LOG_WARNING

CHANGES_LOGGED_MAX = 200
"""Changed keys that a reload logs one by one."""

FIXED_KEYS = frozenset(
    {
        "totem.version", "totem.threads", "totem.ip_version", "totem.rrp_mode", "totem.netmtu",
        "totem.transport", "totem.cluster_name", "totem.secauth", "totem.crypto_cipher",
        "totem.crypto_hash", "totem.crypto_model", "totem.keyfile", "totem.key", "quorum.provider",
        "system.move_to_root_cgroup", "system.allow_knet_handle_fallback", "system.sched_rr",
        "system.priority", "system.qb_ipc_type", "system.state_dir",
    }
)  # fmt: skip
"""Keys of the map that keep their value until the executive is restarted, as far as they stay in the file."""

Log = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class InForce:
    """A configuration and the files it comes from."""

    loaded: Loaded
    config: Effective
    path: str
    """Of the main file, absolute: the executive has another working directory than it was started in."""
    keys: Mapping[str, Value] = field(default_factory=dict)
    """Those of the map that the files have brought."""


class Reloader:
    """Knows the configuration in force, and how to go over to another one."""

    def __init__(
        self,
        in_force: InForce,
        options: Callable[[Effective], ExecutiveOptions],
        transport: Transport,
        logger: Logger,
    ) -> None:
        keys = configuration_keys(in_force.loaded, in_force.config)
        self._in_force = replace(in_force, keys=keys)
        self._started_with = in_force.loaded.root
        self._options = options
        self._transport = transport
        self._logger = logger

    def read(self) -> Findings:
        """Read the files and check them against this machine and what cannot change.  Never raises."""
        before = self._in_force
        loaded = load(before.path)
        config = effective(loaded, this_machine(interface_addresses()))
        if config is None:
            return Findings(tuple(map(str, loaded.errors)), None)
        wrong = _moved(before, loaded, config)
        if wrong:
            return Findings(tuple(wrong), None)
        keys = _keys(before.keys, loaded, config)
        world = InForce(loaded, config, before.path, keys)
        return Findings((), Reconfiguration(config.totem, self._options(config), keys, world))

    def take_effect(self, world: object) -> None:
        """Network and log follow; then the log tells what has become of each change."""
        assert isinstance(world, InForce)
        before, self._in_force = self._in_force, world
        network = world.config.network
        self._transport.reconfigure(network.members, block_unlisted_ips=network.block_unlisted_ips)
        try:
            self._logger.reconfigure(world.config.logging)
        except LogError as error:
            self._log(LOG_ERR, f"{error.text} The log stays as it was.")
        waiting = changes(self._started_with, world.loaded.root)
        found = [change for change in waiting if change.effect is Effect.RESTART]
        found += [
            change
            for change in changes(before.loaded.root, world.loaded.root)
            if change.effect is not Effect.RESTART
        ]
        for line in report(world.loaded, found):
            self._log(*line)

    def _log(self, priority: int, text: str) -> None:
        self._logger.log("CFG", priority, text)

    def totem_keys_changed(self, map: Icmap) -> Settings | None:
        """A program has changed keys of totem. in the map; None when they cannot be used."""
        config = self._in_force.config
        found = live_totem(written_keys(map), len(config.nodes))
        for problem in found.problems:
            self._log(LOG_WARNING if problem.warning else LOG_ERR, f"Changed in cmap: {problem.what}")
        if found.settings is None:
            self._log(LOG_ERR, "Timeouts and limits stay as they were.")
            return None
        for key, value in found.keys.items():
            map.set(key, value)
        self._transport.reconfigure(
            config.network.members, block_unlisted_ips=found.block_unlisted_ips
        )
        return found.settings

    def logging_keys_changed(self, map: Icmap) -> None:
        """A program has changed keys of logging. in the map; what is wrong is said, the rest is in force."""
        written = {key: value for key in map.keys("logging.") if (value := map.get(key)) is not None}
        logging, problems = live_logging(written, this_machine(interface_addresses()))
        for problem in problems[:CHANGES_LOGGED_MAX]:
            self._log(LOG_WARNING, f"Changed in cmap: {problem.where.file}: {problem.what}")
        try:
            self._logger.reconfigure(logging)
        except LogError as error:
            self._log(LOG_ERR, f"{error.text} The log stays as it was.")


def report(loaded: Loaded, found: list[Change]) -> list[tuple[int, str]]:
    """What a reload has done: a summary, each change, each warning about the new file.

    What waits for a restart is told at every reload.
    """
    now = sum(change.effect is Effect.NOW for change in found)
    later = sum(change.effect is Effect.RESTART for change in found)
    lines = [
        (
            LOG_NOTICE,
            f"Configuration reloaded from {loaded.path}; changes: {now} in force now,"
            f" {later} after a restart, {len(found) - now - later} without effect; 0 errors,"
            f" {len(loaded.warnings)} warnings",
        )
    ]
    for change in found[:CHANGES_LOGGED_MAX]:
        priority = LOG_NOTICE if change.effect is Effect.NOW else LOG_WARNING
        lines.append((priority, str(change)))
    if len(found) > CHANGES_LOGGED_MAX:
        lines.append((LOG_NOTICE, f"and {len(found) - CHANGES_LOGGED_MAX} more"))
    lines += [(LOG_WARNING, str(warning)) for warning in loaded.warnings]
    return lines


def _keys(old: Mapping[str, Value], loaded: Loaded, config: Effective) -> dict[str, Value]:
    """As corosync has them after a reload.

    What cannot change at run time keeps its value, or does not come; the address of the interface, which
    was put in at the start, goes.
    """
    keys = configuration_keys(loaded, config)
    for key in FIXED_KEYS & keys.keys():
        if key in old:
            keys[key] = old[key]
        else:
            del keys[key]
    if not any(link.given("bindnetaddr") for link in loaded.values.one("totem").all("interface")):
        keys.pop("totem.interface.0.bindnetaddr", None)
    return keys


def _moved(before: InForce, loaded: Loaded, config: Effective) -> list[str]:
    """Nodes that are still there under another address, and this node under another nodeid."""
    old, new = before.config.network, config.network
    wrong = []
    where = loaded.values.one("nodelist").where
    if new.nodeid != old.nodeid:
        wrong.append(
            f"{where}: this node's nodeid has changed from {old.nodeid} to {new.nodeid};"
            " restart the executive to change it"
        )
    sections = {node.value("nodeid"): node for node in loaded.values.one("nodelist").all("node")}
    for nodeid, address in new.members.items():
        known = old.members.get(nodeid)
        if known is not None and known != address:
            node = sections.get(nodeid)
            line = where if node is None else node.where_of("ring0_addr")
            wrong.append(
                f"{line}: node {nodeid} has another address, {address} instead of {known}; remove the"
                " node from the nodelist, reload, and add it with its new address"
            )
    return wrong
