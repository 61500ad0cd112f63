"""The command `corosync-cpgtool`: the groups of the cluster and who is in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from libais import cfg, cpg
from libais.errors import CsException

from . import console
from .console import EXIT_SUCCESS, Failure
from .stock_options import Options, UsageError

HELP = """\
usage: corosync-cpgtool [-d DELIMITER] [-e] [-n] [--json] [-h]

  -d DELIMITER   one line for each member, with this character between group, process id and node id
  -e             print names as they are; otherwise \\xNN stands for what is not printable
  -n             print the names of the groups only
  --json         print JSON
  -h, --help     print this
"""


@dataclass
class CommandLine:
    """The options; delimiter is one byte, or nothing."""

    delimiter: str = ""
    escape: bool = True
    names_only: bool = False
    json: bool = False
    help: bool = False


def parse(arguments: list[str]) -> CommandLine:
    """Failure at the first option that is wrong; what follows -h does not count."""
    line = CommandLine()
    try:
        for name, argument in Options(sys.argv[0], arguments, "hd:ne", {"--help": False, "--json": False}):
            match name:
                case "h" | "--help":
                    line.help = True
                    return line
                case "d" if argument:
                    line.delimiter = os.fsdecode(os.fsencode(argument)[:1])
                case "n":
                    line.names_only = True
                case "e":
                    line.escape = False
                case "--json":
                    line.json = True
    except UsageError as error:
        raise Failure(str(error)) from None
    return line


def shown(group: str, escape: bool) -> str:
    """A group's name."""
    return console.escaped(group.encode("utf-8", "surrogateescape")) if escape else group


def addresses(handle: cfg.Handle, nodeid: int) -> list[str]:
    """Of a node; none when they are not known."""
    try:
        return [str(address) for address in handle.get_node_addrs(nodeid)]
    except CsException:
        return []


def iteration(handle: cpg.Handle, kind: cpg.IterationType) -> cpg.Iteration:
    """A walk over the groups."""
    try:
        return handle.iteration(kind)
    except CsException as error:
        raise Failure(f"Cannot initialize cpg iterator error {int(error.code)}") from None


def print_names(handle: cpg.Handle, line: CommandLine) -> None:
    """The groups: one a line, or all in one line with the delimiter behind each."""
    end = line.delimiter or "\n"
    try:
        for entry in iteration(handle, cpg.IterationType.NAME_ONLY):
            print(shown(entry.group, line.escape), end=end)
    except CsException:
        pass  # what came so far is all there is, as in stock's tool
    if line.delimiter:
        print()


def print_members(entries: Iterable[cpg.GroupEntry], nodes: cfg.Handle, line: CommandLine) -> None:
    """Under each group its members."""
    print(f"Group Name\t{'PID':>10}\t{'Node ID':>10}")
    group = ""
    for entry in entries:
        if entry.group != group:
            group = entry.group
            print(shown(group, line.escape))
        print(f"\t\t{entry.pid:10}\t{entry.nodeid:10} ({' '.join(addresses(nodes, entry.nodeid))})")


def print_table(entries: Iterable[cpg.GroupEntry], line: CommandLine) -> None:
    """A line for each member."""
    print(line.delimiter.join(("GRP_NAME", "PID", "NODEID")))
    for entry in entries:
        print(line.delimiter.join((shown(entry.group, line.escape), str(entry.pid), str(entry.nodeid))))


def print_json(entries: Iterable[cpg.GroupEntry], nodes: cfg.Handle) -> None:
    """The groups, each with its members."""
    groups: dict[str, list[dict[str, object]]] = {}
    for entry in entries:
        member = {"nodeid": entry.nodeid, "pid": entry.pid, "addresses": addresses(nodes, entry.nodeid)}
        groups.setdefault(entry.group, []).append(member)
    console.print_json({"groups": [{"name": name, "members": groups[name]} for name in groups]})


def print_full(handle: cpg.Handle, nodes: cfg.Handle, line: CommandLine) -> None:
    """All groups with all members, in one of three forms."""
    entries = iteration(handle, cpg.IterationType.ALL)
    try:
        if line.json:
            print_json(entries, nodes)
        elif line.delimiter:
            print_table(entries, line)
        else:
            print_members(entries, nodes, line)
    except CsException as error:
        raise Failure(f"cpg iteration error {int(error.code)}") from None


def command(arguments: list[str]) -> int:
    """All of it."""
    line = parse(arguments)
    if line.help:
        print(HELP, end="")
        return EXIT_SUCCESS
    try:
        handle = cpg.Handle()
    except CsException as error:
        raise Failure(f"Could not initialize corosync cpg API error {int(error.code)}") from None
    with handle:
        try:
            nodes = cfg.Handle()
        except CsException as error:
            raise Failure(
                f"Could not initialize corosync configuration API error {int(error.code)}"
            ) from None
        with nodes:
            if line.names_only and line.json:
                names = [entry.group for entry in iteration(handle, cpg.IterationType.NAME_ONLY)]
                console.print_json({"groups": [{"name": name} for name in names]})
            elif line.names_only:
                print_names(handle, line)
            else:
                print_full(handle, nodes, line)
    return EXIT_SUCCESS


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    return console.run(command, arguments)


if __name__ == "__main__":
    sys.exit(main())
