from aisexec.totem.stack import Totem

class Intake:
    """Takes ordinary multicast requests of a cpg client in one go, straight into the packer.

    Ordinary is a request to which nothing can be said: it has the size that its header says, its payload
    is all there and not longer than receivers take.  waiting_max: frames in the send queue from which
    clients have to wait; overhead: bytes that the message may be longer than its request.
    """

    def __init__(self, group: bytes, waiting_max: int, overhead: int) -> None: ...
    def take(self, totem: Totem, head: bytes, messages: list[bytes], first: int) -> int:
        """Multicast from `messages[first]` on, until the end, one without room or one that is not ordinary.

        Returns how many.  head: a CPG_MCAST of the client; its sizes are filled in for each message.
        """

def layouts() -> dict[str, dict[str, tuple[int, int]]]:
    """Offset and size of each field of the structures used, for comparison with their declarations."""
