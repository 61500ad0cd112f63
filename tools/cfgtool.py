"""The command `corosync-cfgtool`: links and nodes, reload, log files, shutdown."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from libais import cfg, cmap
from libais.errors import CsError, CsException, strerror

from . import console
from .console import EXIT_SUCCESS, Failure, complain
from .reload_report import reasons
from .stock_options import LongOptions, UsageError, number

HELP = """\
usage: corosync-cfgtool [-i LINK] [-b] -s | -n | -R | -L | -k NODEID | -a NODEID | -H [--force] [--json]

  -s, --status           print the links and which nodes are connected by them
  -b, --brief            with -s: one character for each node, by node id: n this node, else a digit,
                         1 enabled + 2 connected
  -i, --if LINK          accepted, without effect
  -n, --nodes            print the nodes that can be reached, and by which links
  -R, --reload           have all nodes read corosync.conf again
  -L, --reopen           have this node open its log files anew
  -k, --kill NODEID      end the executive of a node
  -a, --address NODEID   print the addresses of a node
  -H, --shutdown         end the executive of this node, unless a program objects
      --force            with -H: whatever programs say
      --json             print JSON
  -h, --help             print this
"""

KILL_REASON = "Killed by corosync-cfgtool"
NODEID_MAX = 2**32 - 1
LINKS_MAX = 8
SHUTDOWN_TRIES = 30
LETTERS = "i:snbrRLk:a:hH"
LONG: Mapping[str, str] = {
    "--if": "i",
    "--status": "s",
    "--nodes": "n",
    "--brief": "b",
    "--reload": "R",
    "--reopen": "L",
    "--kill": "k",
    "--address": "a",
    "--shutdown": "H",
    "--force": "",
    "--json": "",
    "--help": "h",
}
"""Long options and the letters that are the same."""
WITH_ARGUMENT = ("--if", "--kill", "--address")


class Action(Enum):
    """What to do."""

    USAGE = auto()
    LINKS = auto()
    NODES = auto()
    RELOAD = auto()
    REOPEN = auto()
    SHUTDOWN = auto()
    ADDRESSES = auto()
    KILL = auto()


ACTIONS = {
    "s": Action.LINKS,
    "n": Action.NODES,
    "R": Action.RELOAD,
    "L": Action.REOPEN,
    "H": Action.SHUTDOWN,
    "a": Action.ADDRESSES,
    "k": Action.KILL,
}


@dataclass
class CommandLine:
    """The options; of several actions the last one counts."""

    action: Action = Action.USAGE
    brief: bool = False
    force: bool = False
    json: bool = False
    nodeid: int = 0


def parse(arguments: list[str]) -> CommandLine:
    """Failure at the first option that is wrong."""
    line = CommandLine()
    long = {word: word in WITH_ARGUMENT for word in LONG}
    try:
        for name, argument in LongOptions(sys.argv[0], arguments, LETTERS, long):
            letter = LONG.get(name) or name
            if letter in ("a", "k"):
                nodeid = number(argument or "", 1, NODEID_MAX)
                if nodeid is None:
                    raise Failure("The nodeid was not valid, try a positive number")
                line.nodeid = nodeid
            line.action = ACTIONS.get(letter, line.action)
            line.brief |= letter == "b"
            line.force |= letter == "--force"
            line.json |= letter == "--json"
    except UsageError as error:
        raise Failure(str(error)) from None
    return line


def connect() -> cfg.Handle:
    """A handle; the error is told as a number."""
    try:
        return cfg.Handle()
    except CsException as error:
        raise Failure(f"Could not initialize corosync configuration API error {int(error.code)}") from None


def connect_by_name() -> cfg.Handle:
    """The same for reload and reopen, where the error is told by its name."""
    try:
        return cfg.Handle()
    except CsException as error:
        raise Failure(
            f"Could not initialize corosync configuration API error {strerror(error.code)}"
        ) from None


def signed(nodeid: int) -> int:
    """As printf(3) writes a large node id with %d, which stock's tool does here and there."""
    return nodeid - 2**32 if nodeid >= 2**31 else nodeid


# --- status ----------------------------------------------------------------------------------------


class Cluster(NamedTuple):
    """What the map says: node ids in order, the transport and that of each link."""

    local: int
    transport: str
    nodeids: Sequence[int]
    link_transports: Sequence[str]


def read_cluster(handle: cfg.Handle) -> Cluster:
    """Failure when something is not there."""
    try:
        keys = cmap.Handle()
    except CsException as error:
        raise Failure(f"Could not initialize corosync cmap API error {int(error.code)}") from None
    with keys:
        transport = string(keys, "totem.transport") or "knet"
        try:
            local = handle.local_get()
        except CsException as error:
            raise Failure(f"Could not get the local node id, the error is: {int(error.code)}") from None
        try:
            found = sorted(node_ids(keys))
        except CsException as error:
            raise Failure(f"Could not get nodelist from cmap. error {int(error.code)}") from None
        if not found:
            raise Failure("No nodes found in nodelist")
        return Cluster(local, transport, found, link_transports(keys, transport))


def string(keys: cmap.Handle, key: str) -> str | None:
    """A string, or None."""
    try:
        return keys.get_string(key)
    except CsException:
        return None


def node_ids(keys: cmap.Handle) -> list[int]:
    """Those of the nodelist that have one."""
    found = []
    with keys.iteration("nodelist.node.") as entries:
        for entry in entries:
            if re.fullmatch(r"nodelist\.node\.\d+\.nodeid", entry.key) and entry.type == cmap.ValueType.U32:
                found.append(keys.get_uint32(entry.key))
    return found


def link_transports(keys: cmap.Handle, transport: str) -> list[str]:
    """Of each link: udp or sctp with knet; nothing with the others, which are what they are."""
    usual = "" if transport in ("udp", "udpu") else "udp"
    return [string(keys, f"totem.interface.{n}.knet_transport") or usual for n in range(LINKS_MAX)]


@dataclass(frozen=True)
class LinkOfNode:
    """How a node is reached by a link."""

    nodeid: int
    local: bool
    enabled: bool
    connected: bool

    @property
    def digit(self) -> str:
        """For the brief form."""
        return "n" if self.local else str(self.enabled | self.connected << 1)

    @property
    def word(self) -> str:
        """For the long form."""
        if self.local:
            return "localhost"
        return "connected" if self.connected else "disconnected"


@dataclass(frozen=True)
class Link:
    """A link of this node, and all nodes in the order of their ids."""

    link: int
    transport: str
    address: str
    nodes: list[LinkOfNode] = field(default_factory=list)


def links_do(handle: cfg.Handle, line: CommandLine) -> int:
    """The links of this node."""
    cluster = read_cluster(handle)
    links = read_links(handle, cluster)
    if line.json:
        described = [
            {**asdict(link), "nodes": [{**asdict(node), "status": node.word} for node in link.nodes]}
            for link in links
        ]
        document = {"local_nodeid": cluster.local, "transport": cluster.transport, "links": described}
        console.print_json(document)
        return EXIT_SUCCESS
    print(f"Local node ID {cluster.local}, transport {cluster.transport}")
    for link in links:
        print(f"LINK ID {link.link} {link.transport}")
        print(f"\taddr\t= {link.address}")
        if line.brief:
            print("\tstatus\t= " + "".join(node.digit for node in link.nodes))
            continue
        print("\tstatus:")
        for node in link.nodes:
            print(f"\t\tnodeid: {node.nodeid:10}:\t{node.word}")
    return EXIT_SUCCESS


def read_links(handle: cfg.Handle, cluster: Cluster) -> list[Link]:
    """The links that are enabled, seen from the node with the highest id: to itself a node has but one."""
    statuses: list[cfg.NodeStatus | None] = []
    for nodeid in cluster.nodeids:
        try:
            statuses.append(handle.node_status_get(nodeid))
        except CsException as error:
            complain(
                f"Could not get the node status for nodeid {signed(nodeid)}, the error is: {int(error.code)}"
            )
            statuses.append(None)
    others = [at for at, nodeid in enumerate(cluster.nodeids) if nodeid != cluster.local]
    witness = statuses[others[-1] if others else 0]
    # A node that is not in the nodelist takes itself for the first, as in stock's tool.
    local = cluster.nodeids.index(cluster.local) if cluster.local in cluster.nodeids else 0
    return [
        Link(
            seen.link,
            cluster.link_transports[seen.link],
            seen.source,
            [link_of_node(status, seen.link, at == local) for at, status in enumerate(statuses)],
        )
        for seen in (witness.links if witness else ())
        if seen.enabled
    ]


def link_of_node(status: cfg.NodeStatus | None, number: int, local: bool) -> LinkOfNode:
    """A node whose status is not known is node 0, and not connected."""
    if status is None:
        return LinkOfNode(0, local, False, False)
    link = status.links[number]
    return LinkOfNode(status.nodeid, local, link.enabled, link.connected)


def nodes_do(handle: cfg.Handle, line: CommandLine) -> int:
    """The other nodes that can be reached."""
    cluster = read_cluster(handle)
    reached = []
    for nodeid in cluster.nodeids:
        try:
            status = handle.node_status_get(nodeid)
        except CsException:
            continue
        if status.reachable and status.nodeid != cluster.local:
            reached.append(status)
    if line.json:
        nodes = [
            {**asdict(node), "links": [asdict(link) for link in node.links if link.enabled]}
            for node in reached
        ]
        document = {"local_nodeid": cluster.local, "transport": cluster.transport, "nodes": nodes}
        console.print_json(document)
        return EXIT_SUCCESS
    print(f"Local node ID {cluster.local}, transport {cluster.transport}")
    knet = cluster.transport not in ("udp", "udpu")
    for node in reached:
        print(node_line(node, knet))
        for link in node.links:
            if link.enabled:
                print(link_line(link, cluster.link_transports[link.link], knet))
        print()
    return EXIT_SUCCESS


def node_line(node: cfg.NodeStatus, knet: bool) -> str:
    """A node."""
    text = f"nodeid: {node.nodeid} reachable"
    text += " remote" if node.remote else ""
    text += " external" if node.external else ""
    if knet and node.onwire_max:  # else the executive's knet is too old to tell
        versions = f"{node.onwire_min}, {node.onwire_max}, {node.onwire_version}"
        text += f"   onwire (min/max/cur): {versions}"
    return text


def link_line(link: cfg.LinkStatus, transport: str, knet: bool) -> str:
    """A link to it."""
    text = f"   LINK: {link.link} {transport} ({link.source}{'->' if knet else ''}{link.destination}) enabled"
    text += " connected" if link.connected else ""
    text += " dynconnected" if link.dynconnected else ""
    return f"{text} mtu: {link.mtu}"


# --- the rest --------------------------------------------------------------------------------------


def outcome(line: CommandLine, error: CsException | None = None, found: Sequence[str] = ()) -> None:
    """With --json: what came of it."""
    if line.json:
        name = None if error is None else strerror(error.code)
        told = {"reasons": list(found)} if found else {}
        console.print_json({"done": error is None, "error": name, **told})


def say(line: CommandLine, text: str) -> None:
    """Without --json: a line."""
    if not line.json:
        print(text)


def reload_do(line: CommandLine) -> int:
    """The error's number is the exit status."""
    say(line, "Reloading corosync.conf...")
    with connect_by_name() as handle:
        try:
            handle.reload_config()
        except CsException as error:
            found = reasons(handle.executive_pid) if error.code == CsError.INVALID_PARAM else []
            outcome(line, error, found)
            text = f"Could not reload configuration. Error {strerror(error.code)}"
            raise Failure("\n".join([text, *found]), int(error.code)) from None
    say(line, "Done")
    outcome(line)
    return EXIT_SUCCESS


def reopen_do(line: CommandLine) -> int:
    """Silent when it is done; the error's number is the exit status."""
    with connect_by_name() as handle:
        try:
            handle.reopen_log_files()
        except CsException as error:
            outcome(line, error)
            text = f"Could not reopen corosync logging files. Error {strerror(error.code)}"
            raise Failure(text, int(error.code)) from None
    outcome(line)
    return EXIT_SUCCESS


def shutdown_do(line: CommandLine) -> int:
    """Succeeds whatever comes of it, as stock's tool does."""
    flags = cfg.ShutdownFlag.REGARDLESS if line.force else cfg.ShutdownFlag.REQUEST
    with connect() as handle:
        say(line, "Shutting down corosync")
        try:
            console.patient(lambda: handle.try_shutdown(flags), SHUTDOWN_TRIES - 1)
        except CsException as error:
            complain(f"Could not shutdown (error = {int(error.code)})")
            outcome(line, error)
        else:
            outcome(line)
    return EXIT_SUCCESS


def addresses_do(line: CommandLine) -> int:
    """In one line."""
    with connect() as handle:
        try:
            addresses = [str(address) for address in handle.get_node_addrs(line.nodeid)]
        except CsException:
            raise Failure(f"Could not get node address for nodeid {signed(line.nodeid)}") from None
    if line.json:
        console.print_json({"nodeid": line.nodeid, "addresses": addresses})
    else:
        print(" ".join(addresses))
    return EXIT_SUCCESS


def kill_do(line: CommandLine) -> int:
    """Of any node in the ring, this one included."""
    say(line, f"Killing node {line.nodeid}")
    with connect() as handle:
        try:
            handle.kill_node(line.nodeid, KILL_REASON)
        except CsException as error:
            outcome(line, error)
            raise Failure(f"Could not kill node (error = {strerror(error.code)})") from None
    outcome(line)
    return EXIT_SUCCESS


def command(arguments: list[str]) -> int:
    """All of it."""
    line = parse(arguments)
    match line.action:
        case Action.LINKS | Action.NODES:
            with connect() as handle:
                return (links_do if line.action == Action.LINKS else nodes_do)(handle, line)
        case Action.RELOAD:
            return reload_do(line)
        case Action.REOPEN:
            return reopen_do(line)
        case Action.SHUTDOWN:
            return shutdown_do(line)
        case Action.ADDRESSES:
            return addresses_do(line)
        case Action.KILL:
            return kill_do(line)
        case Action.USAGE:
            print(HELP, end="")
            return EXIT_SUCCESS


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return console.run(command, arguments)


if __name__ == "__main__":
    sys.exit(main())
