"""The configuration as keys of cmap: names and types that corosync gives them for the same file.

What the executive derives from the file is among them: the timeouts in force (runtime.config.),
addresses and nodeids that were not written, who may connect (uidgid.config.).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aisexec.config.grammar import Item, Section
from aisexec.config.load import Loaded
from aisexec.config.model import Effective
from aisexec.config.uidgid import UidGid
from aisexec.icmap import Value, i32, is_key, text, u8, u16, u32, u64

Make = Callable[[int], Value]

TOTEM_NUMBERS = frozenset(
    {
        "version", "nodeid", "threads", "token", "token_coefficient", "token_retransmit", "token_warning",
        "hold", "token_retransmits_before_loss_const", "join", "send_join", "consensus", "merge",
        "downcheck", "fail_recv_const", "seqno_unchanged_const", "rrp_token_expired_timeout",
        "rrp_problem_count_timeout", "rrp_problem_count_threshold", "rrp_problem_count_mcast_threshold",
        "rrp_autorecovery_check_timeout", "heartbeat_failures_allowed", "max_network_delay",
        "window_size", "max_messages", "miss_count_const", "knet_pmtud_interval", "knet_mtu",
        "knet_compression_threshold", "netmtu", "accelerated_window",
    }
)

NUMBERS: dict[str, tuple[Make, frozenset[str]]] = {
    "totem": (u32, TOTEM_NUMBERS),
    "quorum": (u32, frozenset({"expected_votes", "votes", "last_man_standing_window", "leaving_timeout"})),
    "quorum.device": (u32, frozenset({"timeout", "sync_timeout", "votes"})),
    "nodelist.node": (u32, frozenset({"nodeid", "quorum_votes"})),
    "resources": (u32, frozenset({"watchdog_timeout"})),
}
"""By section: the keys that are numbers of its usual type.  All others are strings ..."""

ODD_NUMBERS: dict[str, Make] = {
    "totem.knet_compression_level": i32,
    "totem.config_version": u64,
    "quorum.two_node": u8,
    "quorum.expected_votes_tracking": u8,
    "quorum.allow_downscale": u8,
    "quorum.wait_for_all": u8,
    "quorum.auto_tie_breaker": u8,
    "quorum.last_man_standing": u8,
    "quorum.device.master_wins": u8,
}
"""... but these."""

INTERFACE: dict[str, Make] = {
    "mcastport": u16,
    "ttl": u8,
    "knet_link_priority": u8,
    "knet_ping_interval": u32,
    "knet_ping_timeout": u32,
    "knet_ping_precision": u32,
    "knet_pong_count": u32,
}
INTERFACE_TEXTS = frozenset({"bindnetaddr", "mcastaddr", "broadcast", "knet_transport"})

KNET_PONG_COUNT = 2
NOT_SHOWN = frozenset({"token_coefficient", "netmtu"})
"""Of the derived numbers; stock has no runtime.config key for them."""

Pair = tuple[str, Value]


def configuration_keys(loaded: Loaded, config: Effective) -> dict[str, Value]:
    """Every key that comes from the configuration, whose files have no errors.

    Keys whose names cmap does not take (shorter than 3 characters) are left out.
    """
    keys: dict[str, Value] = {}
    for section in loaded.root.sections:
        keys.update(_section(section))
    keys.update(_nodes(loaded.root.named("nodelist")))
    keys.update((item.key, text(item.text)) for item in loaded.root.items)
    keys.update(_admitted(loaded.admitted))
    keys.update(_derived(config, keys))
    return {key: value for key, value in keys.items() if is_key(key)}


def _section(section: Section) -> Iterator[Pair]:
    special = SPECIAL.get(section.path)
    if special is not None:
        yield from special(section)
        return
    for item in section.items:
        yield f"{section.path}.{item.key}", _value(section.path, item)
    for child in section.sections:
        yield from _section(child)


def _value(path: str, item: Item) -> Value:
    full = f"{path}.{item.key}"
    if full in ODD_NUMBERS:
        return ODD_NUMBERS[full](int(item.text))
    if item.key == "poll_period" and path.startswith("resources."):
        return u64(int(item.text))
    make, numbers = NUMBERS.get(path, (u32, frozenset()))
    return make(int(item.text)) if item.key in numbers else text(item.text)


def _nodes(nodelists: list[Section]) -> Iterator[Pair]:
    nodes = [node for nodelist in nodelists for node in nodelist.named("node")]
    for position, node in enumerate(nodes):
        for item in node.items:
            yield f"nodelist.node.{position}.{item.key}", _value(node.path, item)


def _interface(section: Section) -> Iterator[Pair]:
    number = next((int(item.text) for item in reversed(section.items) if item.key == "linknumber"), 0)
    for item in section.items:
        if item.key in INTERFACE:
            yield f"totem.interface.{number}.{item.key}", INTERFACE[item.key](int(item.text))
        elif item.key in INTERFACE_TEXTS:
            yield f"totem.interface.{number}.{item.key}", text(item.text)
        elif item.key != "linknumber":
            yield f"totem.interface.{item.key}", text(item.text)
    members = [item for member in section.named("member") for item in member.items]
    for position, item in enumerate(reversed(members)):  # stock puts each in front of the others
        yield f"totem.interface.{number}.member.{position}", text(item.text)


def _logger_subsys(section: Section) -> Iterator[Pair]:
    """Of a key that is written twice corosync takes the first."""
    name = next((item.text for item in reversed(section.items) if item.key == "subsys"), "")
    yield from _first_wins(section, f"logging.logger_subsys.{name}", without={"subsys"})
    yield f"logging.logger_subsys.{name}.subsys", text(name)


def _logging_daemon(section: Section) -> Iterator[Pair]:
    subsys = next((item.text for item in reversed(section.items) if item.key == "subsys"), None)
    name = next((item.text for item in reversed(section.items) if item.key == "name"), "")
    if name == "corosync":
        prefix = "logging" if subsys is None else f"logging.logger_subsys.{subsys}"
    else:
        prefix = f"logging.logging_daemon.{name}" + ("" if subsys is None else f".{subsys}")
    yield from _first_wins(section, prefix, without={"subsys", "name"})
    if subsys is not None:
        yield f"{prefix}.subsys", text(subsys)
    if name != "corosync":
        yield f"{prefix}.name", text(name)


def _first_wins(section: Section, prefix: str, without: set[str]) -> Iterator[Pair]:
    for item in reversed(section.items):
        if item.key not in without:
            yield f"{prefix}.{item.key}", text(item.text)


def _nothing(section: Section) -> Iterator[Pair]:
    return iter(())


SPECIAL: dict[str, Callable[[Section], Iterator[Pair]]] = {
    "nodelist": _nothing,
    "totem.interface": _interface,
    "logging.logger_subsys": _logger_subsys,
    "logging.logging_daemon": _logging_daemon,
    "uidgid": _nothing,
}
"""Sections whose keys are named in another way than by their path."""


def _admitted(admitted: UidGid) -> Iterator[Pair]:
    for uid in sorted(admitted.uids):
        yield f"uidgid.config.uid.{uid}", u8(1)
    for gid in sorted(admitted.gids):
        yield f"uidgid.config.gid.{gid}", u8(1)


def _derived(config: Effective, written: dict[str, Value]) -> Iterator[Pair]:
    network = config.network
    local = next(i for i, node in enumerate(config.nodes) if node.nodeid == network.nodeid)
    yield "nodelist.local_node_pos", u32(local)
    for position, node in enumerate(config.nodes):
        yield f"nodelist.node.{position}.nodeid", u32(node.nodeid)
    link = "totem.interface.0"
    yield f"{link}.bindnetaddr", written[f"nodelist.node.{local}.ring0_addr"]
    if network.transport == "udp":
        yield f"{link}.mcastaddr", written.get(f"{link}.mcastaddr", text(network.mcast_address))
        yield f"{link}.mcastport", u16(network.port)
    yield from _in_force(config, written)


def _in_force(config: Effective, written: dict[str, Value]) -> Iterator[Pair]:
    numbers = {number.key: number.value for number in config.derived if number.key not in NOT_SHOWN}
    for key, number in numbers.items():
        yield f"runtime.config.totem.{key}", u32(number)
    yield "runtime.config.totem.block_unlisted_ips", u32(config.network.block_unlisted_ips)
    cancel = config.totem.cancel_token_hold_on_retransmit
    yield "runtime.config.totem.cancel_token_hold_on_retransmit", u32(cancel)
    for key, default in KNET_DEFAULTS.items():  # of no effect here; scripts compare them between nodes
        value = written.get(f"totem.{key}", default)
        zero = key == "knet_pmtud_interval" and value == u32(0)
        yield f"runtime.config.totem.{key}", default if zero else value
    link = "totem.interface.0"
    pongs = _number(written, f"{link}.knet_pong_count") or KNET_PONG_COUNT
    timeout = _number(written, f"{link}.knet_ping_timeout") or numbers["token"] // pongs
    interval = _number(written, f"{link}.knet_ping_interval") or numbers["token"] // (2 * pongs)
    yield f"runtime.config.{link}.knet_ping_timeout", u32(timeout)
    yield f"runtime.config.{link}.knet_ping_interval", u32(interval)


KNET_DEFAULTS = {
    "knet_pmtud_interval": u32(30),
    "knet_mtu": u32(0),
    "knet_compression_threshold": u32(0),
    "knet_compression_level": i32(0),
    "knet_compression_model": text("none"),
}


def _number(keys: dict[str, Value], key: str) -> int:
    return keys[key].number if key in keys else 0
