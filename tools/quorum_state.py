"""What the executive says about quorum, gathered for corosync-quorumtool and aisexec-top."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from libais import cfg, cmap, quorum, votequorum
from libais.errors import BadHandleError, CsException, NotExistError, strerror

from .connections import Connections

NODE_NAME_MAX = 254
"""Bytes of a node's name that are shown."""
PROVIDER = "corosync_votequorum"


class ToolError(Exception):
    """The command failed; the text says it as the stock tool does.

    `cause` is what the library said, where it said something.
    """

    def __init__(self, text: str, cause: CsException | None = None) -> None:
        super().__init__(text)
        self.cause = cause


def failed(what: str, error: CsException) -> ToolError:
    """A ToolError in the words of the stock tools: what failed, and the name of the error."""
    return ToolError(f"{what}: {strerror(error.code)}", error)


@dataclass
class Member:
    """A node of the membership; info is None without votequorum, or when the executive knew nothing."""

    nodeid: int
    info: votequorum.Info | None = None
    name: str = ""
    """What the stock tool shows: a name or address, or several."""

    @property
    def qdevice(self) -> votequorum.InfoFlag:
        """The flags that speak of its quorum device."""
        mask = (
            votequorum.InfoFlag.QDEVICE_REGISTERED
            | votequorum.InfoFlag.QDEVICE_ALIVE
            | votequorum.InfoFlag.QDEVICE_CAST_VOTE
            | votequorum.InfoFlag.QDEVICE_MASTER_WINS
        )
        return self.info.flags & mask if self.info else votequorum.InfoFlag(0)


@dataclass
class Status:
    """Quorum and membership at one moment.  ring_id.nodeid is 0 where nobody tells it (no votequorum)."""

    quorate: bool
    ring_id: quorum.RingId
    members: list[int]
    local: votequorum.Info | None = None
    nodes: list[Member] = field(default_factory=list)


class Session(Connections):
    """Connections to all the services that have to do with quorum; a context manager.

    complain: is given what the stock tool prints to standard error and goes on.
    Raises ToolError when a service is not there.
    """

    def __init__(self, complain: Callable[[str], object], *, retry_for: float = 0.0) -> None:
        self.complain = complain
        self.votequorum: votequorum.Handle | None = None
        self.local_nodeid = 0
        self._ring_nodeid = 0
        self._views: list[quorum.QuorumChange] = []
        with ExitStack() as stack:
            try:
                what = "Cannot initialize CMAP service"
                self.cmap = stack.enter_context(cmap.Handle(retry_for=retry_for))
                what = "Cannot initialize QUORUM service"
                self.quorum = stack.enter_context(
                    quorum.Handle(self._on_quorum, model=quorum.QuorumModel.V0, retry_for=retry_for)
                )
                what = "Cannot initialise CFG service"
                self.cfg = stack.enter_context(cfg.Handle(retry_for=retry_for))
                self.provider = self._read_provider()
                if self.uses_votequorum:
                    what = "Cannot initialise VOTEQUORUM service"
                    self.votequorum = stack.enter_context(
                        votequorum.Handle(nodelist=self._on_nodelist, retry_for=retry_for)
                    )
                    what = "Unable to retrieve this_node_id"
                    self.local_nodeid = self.cmap.get_uint32("runtime.votequorum.this_node_id")
            except CsException as error:
                raise ToolError(what, error) from None
            self._stack = stack.pop_all()

    @property
    def configured(self) -> bool:
        """Is any quorum provider configured?"""
        return self.quorum.quorum_type != quorum.QuorumType.FREE

    @property
    def uses_votequorum(self) -> bool:
        """Is it votequorum?"""
        return self.provider == PROVIDER

    def _read_provider(self) -> str | None:
        if not self.configured:
            return None
        try:
            return self.cmap.get_string("quorum.provider")
        except CsException:
            return None

    # --- tracking ------------------------------------------------------------------------------

    def _on_quorum(self, _: quorum.Handle, change: quorum.QuorumChange) -> None:
        self._views.append(change)

    def _on_nodelist(self, _: votequorum.Handle, change: votequorum.NodeListChange) -> None:
        self._ring_nodeid = change.ring_id.nodeid

    def view(self) -> quorum.QuorumChange:
        """The membership as it is now; raises ToolError."""
        try:
            self.quorum.trackstart(quorum.Track.CURRENT)
        except CsException as error:
            raise failed("Unable to start quorum status tracking", error) from None
        return self.next_view()

    def next_view(self) -> quorum.QuorumChange:
        """The next membership that the quorum service tells; waits for it.  Raises ToolError."""
        try:
            while not self._views:
                self.quorum.dispatch(quorum.Dispatch.ONE)
        except CsException as error:
            raise failed("Unable to dispatch quorum status", error) from None
        return self._views.pop(0)

    def track(self, flags: quorum.Track) -> None:
        """Begin to follow changes of quorum; raises ToolError."""
        try:
            self.quorum.trackstart(flags)
        except CsException as error:
            raise failed("Unable to start quorum status tracking", error) from None
        self.track_votes(flags)

    def track_votes(self, flags: quorum.Track) -> None:
        """Begin to follow the ring's representative, which only votequorum tells; raises ToolError."""
        try:
            if self.votequorum is None:
                # Without a provider the stock tool asks a service that it is not connected to.
                if self.provider is None:
                    raise BadHandleError("votequorum_trackstart")
                return
            self.votequorum.trackstart(flags)
        except CsException as error:
            raise failed("Unable to start votequorum status tracking", error) from None
        self.follow_ring()

    def follow_ring(self) -> None:
        """Take in what votequorum has told by now; raises ToolError."""
        # A ring is announced before its quorum is known, so this never has to wait.
        try:
            if self.votequorum is not None:
                self.votequorum.dispatch()
        except CsException as error:
            raise failed("Unable to dispatch votequorum status", error) from None

    # --- questions -----------------------------------------------------------------------------

    def status(self, view: quorum.QuorumChange, quorate: bool | None = None) -> Status:
        """Everything about the membership `view`, its nodes in the order told; names are left empty.

        Raises ToolError.
        """
        ring_id = quorum.RingId(self._ring_nodeid, view.ring_id.seq)
        status = Status(view.quorate if quorate is None else quorate, ring_id, list(view.members))
        if self.votequorum is not None:
            status.local = self.info(self.votequorum)
        status.nodes = self.members(view)
        return status

    def info(self, handle: votequorum.Handle) -> votequorum.Info | None:
        """What votequorum says of this node; None, and a complaint, when it says nothing."""
        try:
            return handle.getinfo(self.local_nodeid)
        except CsException as error:
            self.complain(f"Unable to get node info: {strerror(error.code)}")
            return None

    def members(self, view: quorum.QuorumChange) -> list[Member]:
        """The nodes of a membership, with what votequorum knows of them."""
        return [Member(nodeid, self._member_info(nodeid)) for nodeid in view.members]

    def _member_info(self, nodeid: int) -> votequorum.Info | None:
        if self.votequorum is None:
            return None
        try:
            return self.votequorum.getinfo(nodeid)
        except CsException:
            return None

    def names(self) -> dict[int, str]:
        """Names of the nodes in the configuration's nodelist, by node id; "" for one without."""
        found: dict[int, str] = {}
        nodes = self.cmap.mapping("nodelist.node.")
        for key in list(nodes):
            position, _, last = key.partition(".")
            nodeid = nodes.get(key) if last == "nodeid" else None
            if isinstance(nodeid, int):
                found[nodeid] = str(nodes.get(f"{position}.name", ""))
        return found

    def addresses(self, nodeid: int) -> list[str]:
        """Addresses of a node, one a link; empty, and a complaint, when there are none."""
        try:
            return [str(address) for address in self.cfg.get_node_addrs(nodeid)]
        except CsException as error:
            self.complain(f"Unable to get node address for nodeid {nodeid}: {strerror(error.code)}")
            return []

    def label(self, nodeid: int, names: dict[int, str], *, numeric: bool, every: bool) -> str:
        """How the stock tool calls a node: its name or (numeric) address; `every`: one for each link."""
        addresses = self.addresses(nodeid)
        if not addresses:
            return ""
        shown = addresses if every else addresses[:1]
        name = "" if numeric else names.get(nodeid, "")
        if name:
            return ", ".join([shorten(name), *(host_name(address, numeric) for address in shown[1:])])
        return ", ".join(host_name(address, numeric) for address in shown)

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of cmap, `default` where the key is missing."""
        try:
            value = self.cmap.get(key).plain
        except NotExistError:
            return default
        return value if isinstance(value, int) else default

    def text(self, key: str, default: str = "") -> str:
        """A string of cmap, `default` where the key is missing."""
        try:
            return self.cmap.get_string(key)
        except CsException:
            return default


def shorten(name: str) -> str:
    """A name as long as the stock tool shows it."""
    encoded = name.encode("utf-8", "surrogateescape")
    return encoded[:NODE_NAME_MAX].decode("utf-8", "surrogateescape")


def host_name(address: str, numeric: bool) -> str:
    """The host name of an address, or the address where there is none."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NUMERICHOST if numeric else 0)[0]
    except OSError:
        return ""
