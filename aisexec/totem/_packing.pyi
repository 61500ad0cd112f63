from collections.abc import Callable, Sequence

class Packer:
    """The staging buffer of one sender.  `enqueue(packet, guarantee)` takes finished packets.

    net_mtu: bytes of the longest packet; ValueError when it is none of NET_MTU_MIN to NET_MTU_MAX.
    Compiled code adds messages without making objects of them (`add_vector` in _packing.pxd).
    """

    def __init__(self, net_mtu: int, enqueue: Callable[[bytes, int], object]) -> None: ...
    @property
    def staged(self) -> bool:
        """Something waits for the token or for more messages."""

    def add(self, parts: Sequence[bytes], guarantee: int) -> None:
        """Stage one message; its parts matter, as stock never cuts a part that fits.

        Raises ValueError for more than PARTS_MAX parts.
        """

    def flush(self) -> None:
        """The token is here: what is staged goes out with it."""

NET_MTU_MIN: int
NET_MTU_MAX: int
PARTS_MAX: int
