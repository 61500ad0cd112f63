"""corosync-quorumtool: shows and sets quorum.  Options, output and exit status are those of corosync 3.1.

Beyond them: --json, and --what-if, which says what becomes of quorum when nodes go.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version

from libais import quorum
from libais.errors import CsError, CsException, strerror

from . import console
from .quorum_report import json_nodes, json_status, nodes_text, status_text
from .quorum_state import Session, Status, ToolError, failed
from .stock_options import Options, UsageError, number
from .what_if import UnknownNodeError, consider
from .what_if_state import gather
from .what_if_words import as_json, explain

PROGRAM = "corosync-quorumtool"
EXIT_FAILURE = 1
EXIT_NOT_QUORATE = 2
INT_MAX = (1 << 31) - 1
UINT_MAX = (1 << 32) - 1

USAGE = f"""\
usage: {PROGRAM} [-s | -l | -m | -v VOTES [-n NODEID] | -e EXPECTED | -f | --what-if NODES]
                           [-a] [-i] [-H] [-p] [-o a|n|i] [--json]

  -s             print the state of quorum and the members (as without any option)
  -l             print the members only
  -m             print the state of quorum now and after every change
  -v VOTES       set the votes of a node *
  -n NODEID      with -v: of that node instead of this one
  -e EXPECTED    set the votes that are expected in the cluster *
  -f             take the quorum device away, DANGEROUS *
  --what-if NODES
                 say what becomes of quorum if these nodes go: names or ids with commas between *
  -a             all addresses of a node, not just the first
  -i             addresses instead of names
  -H             node ids in hexadecimal
  -p             the same columns whether there is a quorum device or not, for scripts
  -o a|n|i       members in the order of addresses, names or ids
  --json         print JSON, with -m one line for each change
  -h             print this
  -V             print the version

  * needs votequorum as quorum provider
"""


class Action(Enum):
    """What to do; the last one named on the command line."""

    SHOW_STATUS = "s"
    SHOW_NODES = "l"
    MONITOR = "m"
    SET_VOTES = "v"
    SET_EXPECTED = "e"
    UNREGISTER_QDEVICE = "f"
    WHAT_IF = "--what-if"


@dataclass
class Request:
    """A command line, understood."""

    action: Action = Action.SHOW_STATUS
    votes: int = 0
    nodeid: int | None = None
    hexadecimal: bool = False
    numeric: bool = False
    every_address: bool = False
    parsable: bool = False
    order: str = "a"
    json: bool = False
    gone: str = ""


class Finished(Exception):
    """The command line asked for something that needs no executive, or is wrong."""

    def __init__(self, status: int, text: str = "", error: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.text = text
        self.error = error


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status of corosync-quorumtool(8)."""
    return console.run(command, arguments)


def command(arguments: Sequence[str]) -> int:
    """The same for given arguments."""
    try:
        request = understand(arguments)
    except Finished as end:
        sys.stdout.write(end.text)
        if end.error:
            print(end.error, file=sys.stderr)
        return end.status
    try:
        with Session(console.complain) as session:
            return Tool(session, request).run()
    except ToolError as error:
        return _fail(error, request)


def _fail(error: ToolError, request: Request) -> int:
    console.complain(str(error))
    if request.json:
        code = error.cause.code if error.cause else CsError.INVALID_PARAM
        detail = error.cause.what if error.cause else ""
        told = {"code": int(code), "name": strerror(code), "text": str(error), "detail": detail}
        _write_json({"error": told})
    return EXIT_FAILURE


def understand(arguments: Sequence[str]) -> Request:
    """Take a command line apart, in the stock tool's order; raises Finished."""
    request = Request()
    letters = "VHaslpmfe:v:hin:o:"
    try:
        for option in Options(PROGRAM, arguments, letters, {"--json": False, "--what-if": True}):
            _apply(request, option.name, option.argument or "")
    except UsageError as error:
        raise Finished(EXIT_FAILURE, USAGE, str(error)) from None
    return request


def _apply(request: Request, name: str, argument: str) -> None:
    match name:
        case "s" | "l" | "m" | "f":
            request.action = Action(name)
        case "a":
            request.every_address = True
        case "i":
            request.numeric = True
        case "H":
            request.hexadecimal = True
        case "p":
            request.parsable = True
        case "e":
            text = "New expected votes value was not valid, try a positive number"
            request.votes = _number(argument, 1, INT_MAX, text)
            request.action = Action.SET_EXPECTED
        case "n":
            request.nodeid = _number(
                argument, 1, UINT_MAX, "The nodeid was not valid, try a positive number"
            )
        case "v":
            text = "New votes value was not valid, try a positive number or zero"
            request.votes = _number(argument, 0, INT_MAX, text)
            request.action = Action.SET_VOTES
        case "o":
            if argument not in ("a", "i", "n"):
                text = "Invalid ordering option. valid orders are a(address), i(node ID) or n(name)"
                raise Finished(EXIT_FAILURE, error=text)
            request.order = argument
        case "--json":
            request.json = True
        case "--what-if":
            request.gone = argument
            request.action = Action.WHAT_IF
        case "V":
            raise Finished(0, f"{PROGRAM} version: {package_version()}\n")
        case _:
            raise Finished(0, USAGE)


def _number(text: str, least: int, most: int, complaint: str) -> int:
    value = number(text, least, most)
    if value is None:
        raise Finished(EXIT_FAILURE, error=complaint)
    return value


def package_version() -> str:
    """Our version, as the package says."""
    try:
        return version("aisexec")
    except PackageNotFoundError:
        return "0"


class Tool:
    """One run with a connection."""

    def __init__(self, session: Session, request: Request) -> None:
        self.session = session
        self.request = request

    def run(self) -> int:
        """Do what was asked for; the exit status.  Raises ToolError."""
        actions = {
            Action.SHOW_STATUS: self.show_status,
            Action.SHOW_NODES: self.show_nodes,
            Action.MONITOR: self.monitor,
            Action.SET_VOTES: self.set_votes,
            Action.SET_EXPECTED: self.set_expected,
            Action.UNREGISTER_QDEVICE: self.unregister_qdevice,
            Action.WHAT_IF: self.what_if,
        }
        return actions[self.request.action]()

    # --- showing -------------------------------------------------------------------------------

    def show_status(self) -> int:
        """-s: 0 quorate, 2 not quorate."""
        try:
            quorate = self.session.quorum.getquorate()
        except CsException as error:
            raise failed("Unable to get cluster quorate status", error) from None
        view = self.session.view()
        try:
            self.session.quorum.trackstop()
        except CsException as error:
            self.session.complain(f"Unable to stop quorum status tracking: {strerror(error.code)}")
        # With --json a node without a provider is worth an answer; stock's tool fails on it.
        if self.session.configured or not self.request.json:
            self.session.track_votes(quorum.Track.CURRENT)
        status = self.session.status(view, quorate)
        self._show(status)
        if self.session.votequorum is not None and status.local is None:
            return EXIT_FAILURE
        return 0 if quorate else EXIT_NOT_QUORATE

    def _show(self, status: Status) -> None:
        self._name(status)
        if self.request.json:
            _write_json(json_status(status, self.session))
        else:
            sys.stdout.write(
                status_text(
                    status,
                    self.session,
                    hexadecimal=self.request.hexadecimal,
                    parsable=self.request.parsable,
                    order=self.request.order,
                )
            )
        sys.stdout.flush()

    def _name(self, status: Status) -> None:
        names = self.session.names()
        for node in status.nodes:
            node.name = self.session.label(
                node.nodeid, names, numeric=self.request.numeric, every=self.request.every_address
            )

    def show_nodes(self) -> int:
        """-l: the members."""
        view = self.session.view()
        nodes = self.session.members(view)
        status = Status(view.quorate, view.ring_id, list(view.members), nodes=nodes)
        self._name(status)
        if self.request.json:
            _write_json({"nodes": json_nodes(status, self.session)})
        else:
            sys.stdout.write(
                nodes_text(
                    status.nodes,
                    self.session,
                    hexadecimal=self.request.hexadecimal,
                    parsable=self.request.parsable,
                    order=self.request.order,
                )
            )
        return 0

    def monitor(self) -> int:
        """-m: the status, now and after every change, until the executive goes."""
        if not self.session.configured:
            if not self.request.json:
                print("\nQuorum is not configured - cannot monitor", flush=True)
            return self.show_status()
        self.session.track(quorum.Track.CHANGES)
        while True:
            view = self.session.next_view()
            self.session.follow_ring()
            self._show(self.session.status(view))
            if not self.request.json:
                print(flush=True)

    # --- setting -------------------------------------------------------------------------------

    def set_votes(self) -> int:
        """-v: votes of a node, of this one unless -n says another."""
        handle = self.session.votequorum
        if handle is None:
            raise ToolError("You cannot change node votes, corosync is not using votequorum")
        nodeid = self.session.local_nodeid if self.request.nodeid is None else self.request.nodeid
        try:
            handle.setvotes(nodeid, self.request.votes)
        except CsException as error:
            raise failed(f"Unable to set votes {self.request.votes} for nodeid: {nodeid}", error) from None
        return self._done(nodeid=nodeid, votes=self.request.votes)

    def set_expected(self) -> int:
        """-e: expected votes of the cluster."""
        handle = self.session.votequorum
        if handle is None:
            raise ToolError("You cannot change expected votes, corosync is not using votequorum")
        try:
            handle.setexpected(self.request.votes)
        except CsException as error:
            raise failed("Unable to set expected votes", error) from None
        return self._done(expected_votes=self.request.votes)

    def unregister_qdevice(self) -> int:
        """-f: take this node's quorum device away."""
        handle = self.session.votequorum
        if handle is None:
            raise ToolError("You cannot unregister quorum device, corosync is not using votequorum")
        try:
            info = handle.getinfo(self.session.local_nodeid)
        except CsException as error:
            raise failed("Unable to get quorum device info", error) from None
        registered = bool(info.flags & info.flags.QDEVICE_REGISTERED)
        try:
            if registered:
                handle.qdevice_unregister(info.qdevice_name)
        except CsException as error:
            raise failed("Unable to unregister quorum device", error) from None
        return self._done(unregistered=info.qdevice_name if registered else None)

    def _done(self, **what: object) -> int:
        if self.request.json:
            _write_json({"done": what})
        return 0

    # --- what if -------------------------------------------------------------------------------

    def what_if(self) -> int:
        """--what-if: 0 if those who are left have quorum for certain, else 2."""
        if self.session.votequorum is None:
            raise ToolError("You cannot ask what happens to quorum, corosync is not using votequorum")
        situation = gather(self.session)
        try:
            verdict = consider(situation, [word for word in self.request.gone.split(",") if word])
        except UnknownNodeError as error:
            raise ToolError(str(error)) from None
        if self.request.json:
            _write_json(as_json(verdict))
        else:
            print("\n".join(explain(verdict)))
        return 0 if verdict.remaining.quorate else EXIT_NOT_QUORATE


def _write_json(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main())
