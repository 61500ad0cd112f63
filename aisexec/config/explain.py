"""What a configuration means, for people: the text of `aisexec --explain` and `aisexec -t`."""

from __future__ import annotations

from collections.abc import Iterable

from aisexec.config.load import Loaded
from aisexec.config.model import Derived, Effective

_UNITS = {"times": "", "rotations": "rotations", "token visits": "token visits"}


def check_report(loaded: Loaded) -> str:
    """The text of `aisexec -t`: every problem on a line `file:line: what; what to write`, then a sum.

    It can be written to any stream: what is not text was replaced by escapes.
    """
    path, errors, warnings = loaded.path, len(loaded.errors), len(loaded.warnings)
    lines = [str(problem) for problem in loaded.problems.found]
    if errors:
        lines.append(f"{path}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    elif warnings:
        lines.append(f"{path}: can be used, {_count(warnings, 'warning')}")
    else:
        lines.append(f"{path}: can be used")
    return _printable("\n".join(lines) + "\n")


def explain(config: Effective) -> str:
    """The text of `aisexec --explain`: who takes part, every number with its source, what follows."""
    parts = [_cluster(config), _nodes(config), _numbers(config.derived), _consequences(config)]
    if config.warnings:
        parts.append(["Warnings:", *(f"  {warning}" for warning in config.warnings)])
    return _printable("\n\n".join("\n".join(part) for part in parts) + "\n")


def _cluster(config: Effective) -> list[str]:
    network = config.network
    lines = [
        f"Cluster {config.cluster_name or '(no name)'}, configuration version {config.config_version}",
        f"Transport {network.transport}, port {network.port}",
    ]
    if network.transport == "udp":
        group = "broadcast" if network.broadcast else f"multicast group {network.mcast_address}"
        lines[-1] += f" (and {network.port - 1} for sending), {group}, ttl {network.ttl}"
    interface = network.interface_name or "no interface now"
    lines.append(f"This node: {network.nodeid} at {network.local_address} on {interface}")
    security = network.security
    lines.append(
        "Security: none, anybody on the network can read and send frames"
        if security is None
        else f"Security: {security.algorithm}, key from {security.key_source}"
    )
    quorum = config.quorum
    if quorum.provider:
        half = quorum.expected_votes // 2 + 1
        needed = 1 if quorum.two_node else half
        lines.append(
            f"Quorum: {quorum.provider}, {_count(quorum.expected_votes, 'vote')} expected, {needed} needed"
            + (", after all were seen once" if quorum.wait_for_all else "")
        )
    else:
        lines.append("Quorum: no provider, every partition works on")
    return lines


def _nodes(config: Effective) -> list[str]:
    lines = [f"{_count(len(config.nodes), 'node')} in the nodelist:"]
    width = max((len(str(node.nodeid)) for node in config.nodes), default=1)
    for node in config.nodes:
        own = "  <- this node" if node.nodeid == config.network.nodeid else ""
        lines.append(f"  {node.nodeid:>{width}}  {node.address}  {node.name}{own}".rstrip())
    return lines


def _numbers(derived: Iterable[Derived]) -> list[str]:
    lines = ["Effective values of totem:"]
    rows = [(d.key, f"{d.value} {_UNITS.get(d.unit, d.unit)}".strip(), d.source) for d in derived]
    key_width = max(len(row[0]) for row in rows)
    value_width = max(len(row[1]) for row in rows)
    lines += [f"  {key:<{key_width}}  {value:<{value_width}}  {source}" for key, value, source in rows]
    return lines


def _consequences(config: Effective) -> list[str]:
    totem = config.totem
    recovery = totem.token + totem.consensus
    lines = [
        "What follows for this node list:",
        f"  detection: a node that stops is noticed after {totem.token:.3f} s (token)",
        f"  recovery:  the others go on without it after at most {recovery:.3f} s (token + consensus)",
        "  leaving:   a node that ends in order costs no timeout",
        f"  watchdog:  one that fires in less than {recovery:.0f} s plus its own update interval resets nodes"
        " during a normal recovery",
    ]
    if totem.token_warning:
        lines.append(
            f"  log:       a late token is logged after {totem.token * totem.token_warning / 100:.3f} s"
            f" ({totem.token_warning} % of token)"
        )
        if totem.token * totem.token_warning / 100 < totem.token_retransmit:
            lines.append("             that is before its first retransmission: expect false alarms")
    lines.append(f"  idle:      the token goes round about every {totem.hold:.3f} s (hold)")
    lines.append(
        f"  flow:      up to {totem.window_size} messages of {totem.net_mtu} bytes in a rotation,"
        f" {totem.max_messages} from one node"
    )
    if totem.accelerated_window:
        lines.append(
            f"             the last {totem.accelerated_window} of them are sent after the token"
            " (accelerated_window)"
        )
    if len(config.nodes) > 2:
        by_node = next(d for d in config.derived if d.key == "token_coefficient").value
        lines.append(
            f"  growth:    each further node adds {by_node / 1000:.3f} s to detection and"
            f" {by_node * 2.2 / 1000:.3f} s to recovery (token_coefficient)"
        )
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _printable(text: str) -> str:
    """Names and values come from a file, and must not send commands to a terminal."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
