"""Putting a sender's messages together again from packets (totempg; spec 7.5, 7.6)."""

from collections.abc import Callable

from ipc.layout import Buffer

class PacketError(ValueError):
    """A packet whose counts and lengths do not fit its size."""

class Sink:
    """Base of compiled receivers, which take messages before they become Python objects."""

class Assembly:
    """One set of assembly buffers, one for each sender.

    A head piece whose beginning we do not have belongs to a message sent before we came: it
    is thrown away, and only it.  (Stock throws away the complete messages behind it, too.)
    """

    stop: bool
    """Set from within a delivery: frames() ends behind the present frame."""
    sink: Sink | None

    def __init__(
        self,
        deliver: Callable[[int, bytes], object],
        complain: Callable[[int, str], object] | None = None,
        sink: Sink | None = None,
    ) -> None:
        """deliver: gets what the sink does not take; complain: told of malformed packets in frames()."""

    @property
    def open_sizes(self) -> dict[int, int]:
        """By sender, the bytes of the message whose end has not come yet."""

    def forget(self, nodeid: int) -> None:
        """The node left: what it began will not be finished."""

    def packet(self, nodeid: int, payload: Buffer) -> None:
        """Take a packet of `nodeid` in total order; raises PacketError when it is malformed."""

    def frames(self, frames: list[bytes], start: int = 0) -> int:
        """Take the packets of whole mcast frames; returns the index of the first one not looked at."""
